"""The names of a run's files, and how they are written: whole or not at all.

A run folder holds these files, in the order in which a run writes them:

    arguments.yaml      the fields that were given to the run
    data.json           the data that it learns from: fingerprints, protocol, counts
    environment.json    versions, commit and machine
    speakers.json       sex and age of the data set's speakers, if it knows them
    reference.parquet   the raters' votes on its training utterances; no trainer opens it
    base_model/         LoRA runs only: the model that the adapter belongs to
    checkpoint-<step>/  the state from which an interrupted run resumes
    legs.json           the seconds of training up to each stop, and which checkpoints were spoilt
    trajectory/         the label of every training utterance after each epoch
    predictions/        the answer to every utterance of the held-out speakers, one file per split
    model/              the trained model with its code, extractor, card, figures; an adapter with its base
    results.json        every figure; it is written last, so a folder that has it is a finished run
    train.log           the output of the process, in a study
    .attempts/          which process worked in this folder, when, and how it ended

`hf-ambiser calibrate` later writes `decision` into `model/config.json` (LoRA: `base_model/config.json`) and
`results.json`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hf_ambiser.files.read import Record, exists, read_json, read_records, read_yaml
from hf_ambiser.untrusted.names import path_of_name, why_no_name


# Names that published copies of these files have, too.
ARGUMENTS, RESULTS, FIGURES, CARD = "arguments.yaml", "results.json", "figures", "README.md"
CHECKPOINT = "checkpoint-"


@contextmanager
def whole(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write to; if the block ends without an error, rename it to `path`.

    Args:
        path: File or folder that must exist whole or not at all. Its parent folder is made.
        shared: Whether other processes, also of other machines, may write the same file at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In containers the first processes all have the same few numbers.
    writer = f"{socket.gethostname()}.{os.getpid()}"
    part = path.with_name(f".{path.name}.{writer}.part" if shared else f"{path.name}.part")
    if part.is_symlink():  # to write there would write into the file that it leads to
        part.unlink()
    elif part.is_dir():  # of a writer that was killed; a file is written over
        shutil.rmtree(part)
    yield part
    os.replace(part, path)


def write_whole(path: Path, text: str, shared: bool = False, sync: bool = False) -> Path:
    """Write a text as UTF-8, whole or not at all.

    Args:
        path: The file.
        text: Its content.
        shared: As in `whole`.
        sync: Whether to wait until the disk has it, so that even a power cut leaves no half file.
    """
    with whole(path, shared) as part, part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        if sync:
            stream.flush()
            os.fsync(stream.fileno())
    return path


def is_name(text: str) -> bool:
    """Whether a text is a name, of a system for example, and not a path."""
    return not why_no_name(text)


class RunFolder:
    """The files of one run. To make this object reads and writes nothing.

    Args:
        path: The run's `output_dir`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.arguments = self.path / ARGUMENTS
        self.data = self.path / "data.json"
        self.environment = self.path / "environment.json"
        self.speakers = self.path / "speakers.json"
        self.reference = self.path / "reference.parquet"
        self.base_model = self.path / "base_model"
        self.begun_with = self.path / "begun_with.json"
        self.legs = self.path / "legs.json"
        self.trajectory = self.path / "trajectory"
        self.predictions = self.path / "predictions"
        self.model = self.path / "model"
        self.card = self.model / CARD
        self.figures = self.model / FIGURES
        self.results = self.path / RESULTS
        self.log = self.path / "train.log"
        self.attempts = self.path / ".attempts"

    @property
    def is_begun(self) -> bool:
        """Whether a run has written its arguments here."""
        return exists(self.arguments)

    @property
    def is_finished(self) -> bool:
        """Whether a run has written its results here, which come last."""
        return exists(self.results)

    @property
    def cure(self) -> str:
        """What to do about a file of this folder that cannot be used."""
        return f"Restore it from a copy, or delete {self.path} and run it again."

    @property
    def parts(self) -> list[Path]:
        """Folders inside a run folder, which are not searched for other run folders."""
        return [self.base_model, self.trajectory, self.predictions, self.model, self.attempts]

    @property
    def recorded(self) -> list[Path]:
        """All existing files from which a card can be written again: everything but weights."""
        single = [self.arguments, self.data, self.environment, self.results, self.speakers, self.reference]
        single += [self.begun_with, self.model / "config.json"]
        return sorted(
            path
            for path in (*single, *self.predictions.glob("*.parquet"), *self.trajectory.glob("*"))
            if path.is_file()
        )

    def predictions_of(self, split: str) -> Path:
        """Return the file of the predictions on one test split.

        Raises:
            ValueError: If the split's name, which `results.json` or a data set gave, is not a name.
        """
        return path_of_name(self.predictions, split, "split", self.results, suffix=".parquet")

    def tidy_model(self) -> None:
        """Delete from `model/` what nobody needs: a pickle, and what writers that were killed have left there.

        safetensors writes through a file `.tmp...` beside its target, which a killed process leaves behind.
        """
        for path in (self.model / "training_args.bin", *self.model.glob(".tmp*")):
            path.unlink(missing_ok=True)

    def figure_of(self, name: str, figures: Path | None = None) -> Path:
        """Return the file of a figure beside the card, without its ending; `figures` is drawn into another folder.

        Raises:
            ValueError: If the name, which may be a split's from `results.json`, is not a name.
        """
        return path_of_name(figures or self.figures, name, "figure", self.results, suffix=".png")

    def labels_after(self, epoch: int) -> Path:
        """Return the file of the label trajectory's table of one epoch (1, 2, ...)."""
        return self.trajectory / f"epoch_{epoch:04d}.parquet"

    def tensors_after(self, epoch: int) -> Path:
        """Return the file of a method's other tensors of one epoch (1, 2, ...), for example prototypes."""
        return self.trajectory / f"epoch_{epoch:04d}.safetensors"

    def epochs(self) -> list[int]:
        """Return the epochs (1, 2, ...) of the label trajectory that have been written."""
        names = [re.fullmatch(r"epoch_(\d+)", path.stem) for path in self.trajectory.glob("epoch_*.parquet")]
        return sorted(int(name[1]) for name in names if name)

    def sibling(self, system: str) -> RunFolder:
        """Return the run of another system on the same fold and seed, in a study (`<system>/<fold>/<seed>`).

        Raises:
            ValueError: If the system is not a name (see `is_name`).
        """
        study = self.path.parent.parent.parent
        place = path_of_name(study, system, "system", self.arguments, follow=True)
        return RunFolder(place / self.path.parent.name / self.path.name)

    def write_arguments(self, given: Mapping[str, Any]) -> None:
        """Write the fields that were given to the run."""
        write_whole(self.arguments, yaml.safe_dump(dict(given), sort_keys=False))

    def read_arguments(self) -> dict[str, Any]:
        """Read the fields that were given to the run; empty if the file does not exist."""
        return read_yaml(self.arguments, self.cure) if self.is_begun else {}

    def write_data(self, data: Mapping[str, Any]) -> None:
        """Write the description of the data that the run learns from."""
        write_whole(self.data, json.dumps(data, indent=1))

    def read_data(self) -> dict[str, Any] | None:
        """Read the description of the data that the run learns from; None if the file does not exist."""
        return read_json(self.data, self.cure) if exists(self.data) else None

    def write_begun_with(self, beginning: Mapping[str, Any]) -> None:
        """Write what is known of the trained model that the run began with; see `runs.begun_model.beginning_of`.

        No place of this machine is written, nor what the arguments say.
        """
        kept = {name: beginning[name] for name in ("name", "on_hub", "weights", "learnt_from")}
        write_whole(self.begun_with, json.dumps(kept))

    def read_begun_with(self) -> dict[str, Any] | None:
        """Read what is known of the trained model that the run began with; None if there was none.

        Raises:
            FileError: If the file cannot be used.
        """
        if not exists(self.begun_with):
            return None
        found = read_json(self.begun_with, self.cure)
        found.check({"name": str, "on_hub": bool, "weights": str | None, "learnt_from": dict | None})
        return dict(found)

    def write_speakers(self, speakers: Mapping[str, Mapping[str, Any]]) -> None:
        """Write speaker -> what is known of that speaker (`sex`, `age`)."""
        write_whole(self.speakers, json.dumps(speakers, indent=1))

    def read_speakers(self) -> dict[str, dict[str, Any]]:
        """Read speaker -> what is known of that speaker; empty if nothing is known of anybody."""
        return read_json(self.speakers, self.cure) if exists(self.speakers) else {}

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Write versions, commit and machine."""
        write_whole(self.environment, json.dumps(environment, indent=1))

    def read_environment(self) -> dict[str, Any]:
        """Read versions, commit and machine of the run's start or last resume."""
        return read_json(self.environment, self.cure)

    def write_legs(self, legs: list[dict[str, Any]]) -> None:
        """Write the legs of a run, of which each begins where the run was begun or resumed.

        Args:
            legs: In their order. Each has `from_step`, the optimiser step that it began at, and `seconds` of training
                (None: an earlier version trained it, which did not write them). If the run could not go on from a
                newer checkpoint, it has `spoilt`: checkpoint -> what was wrong with its files.
        """
        write_whole(self.legs, json.dumps(legs, indent=1))

    def read_legs(self) -> list[dict[str, Any]]:
        """Read the legs of a run; empty if it has saved no checkpoint, or an earlier version made it."""
        legs = read_records(self.legs, self.cure) if exists(self.legs) else []
        for leg in legs:
            leg.check({"from_step": int, "seconds": int | float | None})
        return [dict(leg) for leg in legs]

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write the results; from then on the run is finished."""
        write_whole(self.results, json.dumps(results, indent=1))

    def read_results(self) -> Record:
        """Read `results.json`.

        Raises:
            FileError: If the run is not finished, or the file cannot be used.
        """
        return read_json(self.results, self.cure)
