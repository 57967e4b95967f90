"""The audio of single utterances, from the data set folder that a run was trained on, if it is still there."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hf_ambiser.data.audio import decode, encode_flac
from hf_ambiser.data.hub_dataset import dataset_folder, on_the_hub
from hf_ambiser.data.loading import cure_of, read_dataset_info
from hf_ambiser.files.read import open_parquet
from hf_ambiser.run_folder.finished import FinishedRun


MOST_BYTES = 12_000_000  # of all audio on one page, before base64


@dataclass(frozen=True)
class Heard:
    """One utterance to play: 16-bit FLAC, its speaker and its length in seconds."""

    data: bytes
    speaker: str
    seconds: float


@dataclass(frozen=True)
class Audio:
    """The utterances that can be played, by id, and the reason the others cannot ("" if all can)."""

    utterances: dict[str, Heard]
    why_not: str


def audio_of(run: FinishedRun, ids: Iterable[str], near: Path, most_bytes: int = MOST_BYTES) -> Audio:
    """Read the audio of these utterances, in their order, until `most_bytes` are used up.

    The data set is looked for under the path in the run's arguments, taken as it is and below each folder above `near`
    and above the run (a study may have been moved together with its data). It must be the build that the run was made
    from. An id that is given twice is played twice, so its bytes count twice.
    """
    times = Counter(ids)
    wanted = list(times)
    if not run.dataset:
        return Audio({}, "the run does not say where its data set was")
    places = (root / run.dataset for base in (near, run.folder) for root in (Path(), *base.absolute().parents))
    folder = next((place for place in places if (place / "build_report.json").is_file()), None)
    if folder is None and on_the_hub(run.dataset):
        with contextlib.suppress(FileNotFoundError):
            folder = dataset_folder(run.dataset, cached=True)
    if folder is None:
        return Audio({}, f"the data set {run.dataset} is not here any more")
    if read_dataset_info(folder)["content"] != run.data["content"]:
        return Audio({}, f"the data set {run.dataset} was built again since then, so its utterances may be others")
    found = dict(_read(folder, set(wanted)))
    utterances, used = {}, 0
    for name in wanted:
        if name in found and used + times[name] * len(found[name].data) <= most_bytes:
            utterances[name] = found[name]
            used += times[name] * len(found[name].data)
    absent = sum(name not in found for name in wanted)
    reasons = [f"{absent} utterances are not in the data set"] if absent else []
    if len(utterances) + absent < len(wanted):
        left_out = len(wanted) - absent - len(utterances)
        reasons.append(
            f"{left_out} utterances have no player, to keep the page's audio under {most_bytes / 1e6:.0f} MB"
        )
    return Audio(utterances, "; ".join(reasons))


def _read(folder: Path, wanted: set[str]) -> Iterator[tuple[str, Heard]]:
    """Yield each wanted utterance once; of row groups without one only the ids are read."""
    left = set(wanted)
    for path in sorted(folder.rglob("*.parquet")):
        if not left:
            return
        with open_parquet(path, cure_of(folder)) as file:
            for number in range(file.num_row_groups):
                if left.isdisjoint(file.read_row_group(number, ["id"]).column("id").to_pylist()):
                    continue
                for row in file.read_row_group(number, ["id", "audio", "speaker"]).to_pylist():
                    if row["id"] in left:
                        left.remove(row["id"])
                        samples = decode(row["audio"]["bytes"], f"{path}: the audio of {row['id']!r}")
                        yield row["id"], Heard(encode_flac(samples), row["speaker"], len(samples) / 16000)
