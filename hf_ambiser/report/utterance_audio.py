"""The audio of single clips, out of the data set folder that a run was trained on, if it is still there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from hf_ambiser.data.audio import decode, encode_flac
from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.run_folder.finished import FinishedRun


MOST_BYTES = 12_000_000  # of all audio on one page, before base64


@dataclass(frozen=True)
class Heard:
    """One clip to play: 16-bit FLAC, its speaker and its length in seconds."""

    data: bytes
    speaker: str
    seconds: float


@dataclass(frozen=True)
class Audio:
    """Clips that can be played by id, and why others cannot ("" where all can)."""

    clips: dict[str, Heard]
    why_not: str


def audio_of(cell: FinishedRun, ids: Iterable[str], near: Path, most_bytes: int = MOST_BYTES) -> Audio:
    """The audio of these clips, in their order until `most_bytes` are used up; an id that is there twice counts twice.

    The data set is looked for where `arguments.yaml` says: as it is written, and below the folders above `near` and
    the run (a study that was moved together with its data). It must be the very build the run was made from.
    """
    times = Counter(ids)
    wanted = list(times)
    if not cell.dataset:
        return Audio({}, "the run does not say where its data set was")
    places = (root / cell.dataset for base in (near, cell.folder) for root in (Path(), *base.absolute().parents))
    folder = next((place for place in places if (place / "build_report.json").is_file()), None)
    if folder is None:
        return Audio({}, f"the data set {cell.dataset} is not here any more")
    if read_dataset_info(folder)["content"] != cell.data["content"]:
        return Audio({}, f"the data set {cell.dataset} was built anew since, so its clips may be others")
    found = dict(_read(folder, set(wanted)))
    clips, used = {}, 0
    for name in wanted:
        if name in found and used + times[name] * len(found[name].data) <= most_bytes:
            clips[name] = found[name]
            used += times[name] * len(found[name].data)
    absent = sum(name not in found for name in wanted)
    reasons = [f"{absent} clips are not in the data set"] if absent else []
    if len(clips) + absent < len(wanted):
        left_out = len(wanted) - absent - len(clips)
        reasons.append(f"{left_out} clips have no player, to keep the page's audio under {most_bytes / 1e6:.0f} MB")
    return Audio(clips, "; ".join(reasons))


def _read(folder: Path, wanted: set[str]) -> Iterator[tuple[str, Heard]]:
    """Only row groups that hold a wanted clip are read beyond their ids; each clip once."""
    left = set(wanted)
    for path in sorted(folder.rglob("*.parquet")):
        if not left:
            return
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                if left.isdisjoint(file.read_row_group(number, ["id"]).column("id").to_pylist()):
                    continue
                for row in file.read_row_group(number, ["id", "audio", "speaker"]).to_pylist():
                    if row["id"] in left:
                        left.remove(row["id"])
                        samples = decode(row["audio"]["bytes"])
                        yield row["id"], Heard(encode_flac(samples), row["speaker"], len(samples) / 16000)
