"""Build a data set from a user's own table of ratings and folder of audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.data.audio import MIN_DURATION
from hf_ambiser.data.build import BuildReport, build
from hf_ambiser.data.place import Place
from hf_ambiser.data.ratings.own_corpus import read_own_corpus
from hf_ambiser.data.ratings.preview import preview
from hf_ambiser.data.shards import SHARD_BYTES
from hf_ambiser.data.splits import SplitOptions
from hf_ambiser.labels.policies import LabelPolicy


# IPR's splits need ten clear utterances of each class, which a small table does not have.
DEFAULT_CONFIGS = ("slc-strict",)


def build_from_ratings(
    ratings: Path | str,
    audio: Path | str | None,
    out: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    class_columns: Sequence[str] = (),
    rater_columns: Sequence[str] = (),
    separator: str | None = None,
    classes: Mapping[str, str | None] | Path | str | None = None,
    as_found: bool = False,
    corpus: Path | str | None = None,
    no_speakers: bool = False,
    subset: str | None = None,
    policy: LabelPolicy | Path | str | None = None,
    rules: Mapping[str, Any] | None = None,
    configs: Sequence[str] = DEFAULT_CONFIGS,
    options: SplitOptions | None = None,
    limit: int | None = None,
    min_duration: float = MIN_DURATION,
    shard_bytes: int = SHARD_BYTES,
    progress: bool = True,
    overwrite: bool = False,
    keep_audio_metadata: bool = False,
    **split_options: Any,
) -> BuildReport:
    """Build a data set from a table of ratings and a folder of audio, as `build` does from a corpus' release.

    Rows that cannot be used never stop it; they are in `listed.csv` with their lines.

    Args:
        ratings: A table (CSV, TSV, JSON, JSONL, Parquet, XLSX), long, with one rating a row, or wide, with one
            utterance a row and one column a rater (labels) or a class (counts). Or an export of Label Studio (JSON,
            JSON-MIN). Or a TextGrid of Praat or an .eaf file of ELAN, or a folder of such files. Or a `datasets` set
            with audio: a folder or file of Parquet, a folder of `save_to_disk`, or
            `hf://datasets/ACCOUNT/NAME[@REVISION][/FOLDER]`.
        audio: Folder of the audio files. The ratings name them with or without endings and folders. None for a
            `datasets` set, which holds its audio.
        out: Folder to make.
        columns: What a column is (`utterance`, `label`, `rater`, `speaker`, `session`, `dialogue`, `sentence`,
            `language`, `sex`, `age`, and `start` and `end` of a part of a recording in seconds) -> its name; what is
            not given is found by usual names (`ratings.columns.USUAL_NAMES`), but `start` and `end` never.
        class_columns: Wide table: the columns of counts.
        rater_columns: Wide table: the columns of raters. Praat and ELAN: the tiers of raters.
        separator: What stands between several labels in a cell (`;`, `|`, `,`), or "none"; None: it is found out.
        classes: Label -> class, or None for a label that is left out; or a YAML file with such lines. By default
            every label that is found is a class.
        as_found: Take each label for a class. Otherwise labels that look like spellings of one another, or like no
            answer ("NA", "-"), are refused.
        corpus: `corpus.yaml` with the facts of the corpus; by default the one beside the table, if there is one.
        no_speakers: Divide utterances and not speakers, if the table does not say who speaks.
        subset: Which subset (config) of a `datasets` set of Parquet files, or which split of a saved one.
        policy: Label policy, its name or its YAML file, in place of `classes`.
        rules: Fields of `LabelPolicy` by name, for example `{"rule": "majority", "multi_label": "each"}`.
        configs: As for `build`, and so are all arguments that follow.
        options: All split options together.
        limit: Use only this many utterances.
        min_duration: Shortest usable utterance in seconds.
        shard_bytes: Upper bound on the bytes of audio in one file.
        progress: Show progress bars.
        overwrite: Replace an earlier build in `out`.
        keep_audio_metadata: Store what audio files hold beside their samples.
        **split_options: Split options one by one.

    Raises:
        FileNotFoundError: If the folder of audio is missing or holds none.
        FileExistsError: If `out` holds something else, or a build and `overwrite` is False.
        SplitError: If a split cannot be made.
        ValueError: If the table, its columns, its labels or `corpus.yaml` cannot be used, in one line that says what
            to do. As a FileError for a file.
    """
    Place(Path(out).absolute()).check(overwrite)
    own = read_own_corpus(
        ratings, audio, columns=columns, class_columns=class_columns, rater_columns=rater_columns, separator=separator,
        classes=classes, as_found=as_found, corpus=corpus, no_speakers=no_speakers, subset=subset,
        policy=policy, **(rules or {}),
    )  # fmt: skip
    if not own.scan.utterances:
        first = own.scan.listed[0]
        raise ValueError(
            f"no utterance of {Path(ratings).name} can be used; {len(own.scan.listed)} are listed, the first:"
            f" {first.id!r}, {first.reason}, {first.detail}. Look at --preview, and check --audio and"
            " --columns utterance=NAME."
        )
    return build(
        own.module, own.root, out, own.policy, configs, options, limit=limit, min_duration=min_duration,
        shard_bytes=shard_bytes, progress=progress, overwrite=overwrite, keep_audio_metadata=keep_audio_metadata,
        **split_options,
    )  # fmt: skip


def preview_ratings(
    ratings: Path | str,
    audio: Path | str | None = None,
    *,
    configs: Sequence[str] = DEFAULT_CONFIGS,
    options: SplitOptions | None = None,
    **arguments: Any,
) -> str:
    """Describe what `build_from_ratings` would build, in lines of text, and write nothing.

    Args:
        ratings: As for `build_from_ratings`.
        audio: As for `build_from_ratings`.
        configs: As for `build_from_ratings`.
        options: As for `build_from_ratings`.
        **arguments: Its arguments about the table: `columns`, `classes`, `corpus` ... Fields of the label policy stand
            among them by their names.
    """
    return preview(read_own_corpus(ratings, audio, **arguments), configs, options or SplitOptions())
