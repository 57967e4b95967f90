"""Build a data set on disk from a corpus release: Parquet files, card, report and the list of what is left out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hf_ambiser.data.audio import MIN_DURATION
from hf_ambiser.data.card import dataset_card
from hf_ambiser.data.corpora import load_corpus
from hf_ambiser.data.corpus_rows import Prepared, prepare
from hf_ambiser.data.intensities import write_intensities
from hf_ambiser.data.overlap.audit import audit_splits
from hf_ambiser.data.overlap.record import OVERLAP, summary_lines
from hf_ambiser.data.parquet_files import content_digest
from hf_ambiser.data.place import REPORT, Place
from hf_ambiser.data.ratings.corpus_facts import FACTS
from hf_ambiser.data.schema import Listed, TableRows, features
from hf_ambiser.data.shards import SHARD_BYTES, write_shards
from hf_ambiser.data.shared_audio import FOLDS, fold_parts
from hf_ambiser.data.speakers import speaker_attributes, write_speakers
from hf_ambiser.data.splits import (
    DEFAULT_CONFIGS,
    Split,
    SplitInput,
    SplitOptions,
    check_options,
    expand_configs,
    is_fold,
    make_split,
)
from hf_ambiser.files.read import read_card
from hf_ambiser.hub.edits import Card, merge
from hf_ambiser.labels.votes import LabelPolicy
from hf_ambiser.untrusted.cells import csv_of


LISTED, CARD = "listed.csv", "README.md"
SCAN_OPTIONS = "scan_options"  # in the report of a build that reads only a part of a release
# What is listed for want of a label, and stands in splits; `N in = K kept + L listed` counts labels.
_STILL_USED = {"no_consensus": " (no consensus label, so listed; the splits that take such utterances hold them)"}
KEPT_METADATA = "audio_metadata_kept"  # in the report of a build whose audio is stored with its metadata


@dataclass(frozen=True)
class BuildReport:
    """The result of a build; `content` is what `build_report.json` holds."""

    out: Path
    content: dict[str, Any]

    def summary(self) -> str:
        """Write the counts in a few lines; the last line is `N in = K kept + L listed`."""
        c = self.content
        ratings = f", ratings: {', '.join(asked)}" if (asked := c["policy"].get("ratings")) else ""
        lines = [f"{c['corpus']}: policy {c['policy']['name']} ({c['policy_fingerprint']}){ratings}, seed {c['seed']}"]
        lines += [f"  {note}" for note in c["notes"]]
        if rows := c.get("rows"):
            lines.append(f"  rows: {rows['rows_in']} in = {rows['rows_used']} used + {rows['rows_listed']} listed")
            lines += [f"    listed, {reason}: {n}" for reason, n in rows["listed_by_reason"].items()]
            lines.append(
                f"  votes in the rows: {rows['votes_in']} = {rows['votes_used']} of utterances with audio +"
                f" {rows['votes_in_listed_rows']} in listed rows + {rows['votes_of_listed_utterances']} of listed"
                " utterances"
            )
        votes = c["votes"]
        lines.append(f"  votes: {votes['in']:g} in = {votes['counted']:g} counted + {votes['excluded_total']:g} out")
        lines += [f"    excluded, {reason}: {n:g}" for reason, n in votes["excluded"].items()]
        for name, config in c["configs"].items():
            parts = ", ".join(f"{split} {s['rows']}" for split, s in config["splits"].items())
            lines.append(f"  {name} ({config['fingerprint']}): {parts}; in no split {config['unused']}")
            apart = config.get("held_apart", {})
            lines += [f"    of these left out to hold {column} apart: {n}" for column, n in apart.items()]
            if "d1" in config["splits"]:
                # A prototype is a mean over these utterances, so the user should see if they are few.
                classes = ", ".join(f"{name} {n}" for name, n in config["splits"]["d1"]["per_class"].items())
                lines.append(f"    d1 by class: {classes}")
        lines += summary_lines(c[OVERLAP]) if OVERLAP in c else []
        listed = c["counts"]["listed_by_reason"]
        lines += [f"  listed, {reason}: {n}{_STILL_USED.get(reason, '')}" for reason, n in listed.items()]
        lines.append(f"{c['counts']['in']} in = {c['counts']['kept']} kept + {c['counts']['listed']} listed")
        return "\n".join(lines)


def build(
    corpus_name: str | ModuleType,
    root: Path | str,
    out: Path | str,
    policy: LabelPolicy | Path | str | None = None,
    configs: Sequence[str] = DEFAULT_CONFIGS,
    options: SplitOptions | None = None,
    *,
    limit: int | None = None,
    min_duration: float = MIN_DURATION,
    shard_bytes: int = SHARD_BYTES,
    progress: bool = True,
    overwrite: bool = False,
    scan_options: Mapping[str, Any] | None = None,
    generate_options: Mapping[str, Any] | None = None,
    keep_audio_metadata: bool = False,
    **split_options: Any,
) -> BuildReport:
    """Build the data set of one corpus in `out`, ready for `load_dataset(out, config)`.

    All files are first written beside `out`, or inside it if it is a mount point, and moved there at the end, so a
    killed build never leaves an incomplete data set. The same input gives the same files.

    Args:
        corpus_name: A name from `corpora.available_corpora()`, or a module that has what those have.
            `build_from_ratings` makes one of a table of ratings.
        root: Folder of the corpus release. A corpus that is generated (`simulated`) is generated there if the folder
            does not exist.
        out: Folder to make. A link is followed. It may be an empty mount point, as a container has.
        policy: Label policy, its name or its YAML file; by default the corpus' own. It also says which ratings count:
            `get_policy("crema-d-4", ratings=("face", "voice"))`.
        configs: Splits by name: `ipr-strict`, `slc-paper`, `loso-strict` (all speakers), `kfold5-strict` ...
        options: All split options together. They can also be given one by one, e.g. `seed=1, d1_quota="per_class"`.
        limit: Use only this many utterances.
        min_duration: Shortest usable utterance in seconds.
        shard_bytes: Upper bound on the bytes of audio in one file.
        progress: Show progress bars.
        overwrite: Replace an earlier build in `out`.
        scan_options: Keyword arguments for the corpus' `scan`.
        generate_options: How a corpus is generated, e.g. `{"n_utterances": 200}`; see `SimulationOptions`. A folder
            with a corpus of the same options is used as it is.
        keep_audio_metadata: Store audio that needs no conversion with what its files hold beside the samples (tags,
            pictures ...), which may be private. By default the samples alone are stored, bit for bit.

    Raises:
        FileExistsError: If `out` holds something else, or a build and `overwrite` is False.
        OSError: If nothing can be written there; this and the above come before the release is read.
        SplitError: If a split cannot be made.
        ValueError: If a name is unknown, or if split options are given in both ways.
    """
    if options is not None and split_options:
        raise ValueError(
            f"split options came as options= and one by one ({sorted(split_options)}); allowed is one of the two. Put"
            " all of them into options=, or leave options= out."
        )
    options = options or SplitOptions(**split_options)
    out = Path(out).absolute()
    place = Place(out)
    place.check(overwrite)
    corpus = load_corpus(corpus_name) if isinstance(corpus_name, str) else corpus_name
    _generate(corpus, Path(root), generate_options)
    prepared = prepare(
        corpus, root, policy, limit=limit, seed=options.seed, min_duration=min_duration, progress=progress,
        scan_options=scan_options, keep_audio_metadata=keep_audio_metadata, scratch=place.scratch,
    )  # fmt: skip
    data = prepared.split_input()
    # Make all splits before writing anything: if one cannot be made, no time is lost on writing the others.
    splits = [make_split(data, name, options) for name in expand_configs(configs, data)]
    check_options(splits, options)
    unsafe = [s.config for s in splits if not re.fullmatch(r"[\w.-]+", s.config)]
    if unsafe:
        raise ValueError(
            f"config names {unsafe[:5]}, made from names of speakers or groups, may hold only letters, digits, '_',"
            " '.' and '-'. Use kfold<k> instead."
        )

    partial = place.begin()
    files = _write_parquet(prepared, splits, partial, shard_bytes, progress)
    said = {SCAN_OPTIONS: stored_scan_options(scan_options)} if scan_options else {}
    report = {**_report(prepared, data, splits, files, options, limit), **said, "content": content_digest(partial)}
    (partial / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    of_rows = prepared.table_rows.listed if prepared.table_rows else []
    left_out = [item for split in splits for item in _held_apart(prepared, split)]
    listed = sorted((x.id, x.reason, x.detail, x.source) for x in [*prepared.listed, *of_rows, *left_out])
    text = csv_of([("id", "reason", "detail", "source"), *listed])
    (partial / LISTED).write_text(text, encoding="utf-8", newline="")
    write_speakers(partial, speaker_attributes(usable.utterance for usable in prepared.utterances))
    write_intensities(partial, (usable.utterance for usable in prepared.utterances))
    card = dataset_card(report, prepared.corpus, "path/to/this/folder")
    (partial / CARD).write_text(merged_card(card, out), encoding="utf-8")
    place.finish()
    return BuildReport(out, report)


def _generate(corpus: ModuleType, root: Path, options: Mapping[str, Any] | None) -> None:
    """Generate a corpus that is made on this machine, if `root` does not exist or if options are given."""
    if not hasattr(corpus, "generate"):
        if options:
            raise ValueError(f"corpus {corpus.NAME!r} is not generated: leave generate_options={options} out.")
    elif options or not root.exists():
        corpus.generate(root, **(options or {}))


def merged_card(card: Card, out: Path) -> str:
    """Return the card's text, with the edits that somebody made in the card of an earlier build."""
    former = out / CARD
    return merge(card, read_card(former), str(former))[0]


def _write_parquet(
    prepared: Prepared, splits: list[Split], folder: Path, shard_bytes: int, progress: bool
) -> dict[str, dict[str, list[str]]]:
    """Write all rows; return config -> split -> glob patterns of its files, relative to the folder.

    All folds share their files (`shared_audio`); every other config has its own.
    """
    from tqdm import tqdm

    columns = features(prepared.policy.classes)
    jobs: list[tuple[str, str, np.ndarray, bool]] = []
    files: dict[str, dict[str, list[str]]] = {split.config: {} for split in splits}
    for part in fold_parts([split for split in splits if is_fold(split.config)]):
        jobs.append((FOLDS, part.name, part.rows, part.masked))
        for config, name in part.splits.items():
            files[config].setdefault(name, []).append(f"{FOLDS}/{part.name}-*.parquet")
    for split in splits:
        if not is_fold(split.config):
            for name in set(split.names) - set(split.aliases):
                files[split.config][name] = [f"{split.config}/{name}-*.parquet"]
                jobs.append((split.config, name, split.rows(name), name in split.masked))
        for name, repeated in split.aliases.items():
            files[split.config][name] = [file for other in repeated for file in files[split.config].get(other, [])]
    with tqdm(total=sum(len(job[2]) for job in jobs), desc="writing", unit="row", disable=not progress) as bar:
        for subfolder, name, rows, masked in jobs:
            sizes = [prepared.utterances[i].nbytes for i in sorted(rows.tolist())]
            write_shards(prepared.rows(rows, masked), sizes, folder / subfolder, name, columns, shard_bytes)
            bar.update(len(rows))
    return files


def stored_scan_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the keyword arguments of a corpus' `scan` as a report stores them: texts, and lists of texts."""
    told = {name: list(map(str, v)) if isinstance(v, list | tuple) else str(v) for name, v in (options or {}).items()}
    return dict(sorted(told.items()))


def _report(
    prepared: Prepared,
    data: SplitInput,
    splits: list[Split],
    files: dict[str, dict[str, list[str]]],
    options: SplitOptions,
    limit: int | None,
) -> dict[str, Any]:
    policy, table = prepared.policy, prepared.table
    durations = np.array([utterance.duration for utterance in prepared.utterances])
    known = getattr(prepared.corpus, "SPEAKERS_KNOWN", True)
    configs = {}
    for split in splits:
        parts, disjoint = {}, "disjoint" in split.options
        for name in split.names:
            rows = split.rows(name)
            labels = table.label[rows]
            parts[name] = {
                "rows": len(rows),
                "hours": round(float(durations[rows].sum()) / 3600, 4),
                "speakers": len(np.unique(data.speaker[rows])) if known else 0,
                "per_class": {c: int((labels == k).sum()) for k, c in enumerate(policy.classes)},
                "without_label": int((labels < 0).sum()),
                "labels_hidden": name in split.masked,
                "data_files": files[split.config][name],
            }
        configs[split.config] = {
            "protocol": split.protocol,
            "fingerprint": split.fingerprint,
            "seed": options.seed,
            "options": split.options,
            "description": split.description,
            "repeats": {name: list(parts) for name, parts in split.aliases.items()},
            "unused": int((split.assignment == "").sum()),
            **({"held_apart": dict(Counter(column for _, column in split.left_out.values()))} if disjoint else {}),
            "splits": parts,
        }
    reasons = Counter(item.reason for item in prepared.listed)
    return {
        "corpus": facts["name"] if (facts := getattr(prepared.corpus, FACTS.upper(), {})) else prepared.corpus.NAME,
        **({FACTS: facts} if facts else {}),
        "classes": list(policy.classes),
        "policy": policy.to_dict(),
        "policy_fingerprint": policy.fingerprint(),
        "group": prepared.corpus.GROUP,
        "seed": options.seed,
        "limit": limit,
        "counts": {
            "in": prepared.count_in,
            "kept": prepared.kept,
            "listed": len(prepared.listed),
            "listed_by_reason": dict(sorted(reasons.items())),
        },
        "votes": {
            "in": float(table.votes.sum()) + sum(prepared.votes_out.values()),
            "counted": float(table.votes.sum()),
            "excluded_total": float(sum(prepared.votes_out.values())),
            "excluded": prepared.votes_out,
        },
        **({"rows": _row_counts(prepared.table_rows)} if prepared.table_rows else {}),
        "audio_conversions": dict(sorted(prepared.conversions.items())),
        "notes": prepared.notes,
        **({KEPT_METADATA: True} if prepared.keeps_audio_metadata else {}),
        OVERLAP: audit_splits(data.id.tolist(), data.columns, [one.sound for one in prepared.utterances], splits),
        "configs": configs,
    }


def _held_apart(prepared: Prepared, split: Split) -> list[Listed]:
    """List what a split leaves out to hold its sides apart; in other splits, the same utterances may stand."""
    return [
        Listed(prepared.utterances[row].utterance.id, "held_apart", f"{split.config}, {name}: its {column}")
        for row, (name, column) in split.left_out.items()
    ]


def _row_counts(rows: TableRows) -> dict[str, Any]:
    reasons = Counter(item.reason for item in rows.listed)
    return {**rows.counts, "listed_by_reason": dict(sorted(reasons.items()))}
