"""The one reader of a finished run: for cards, reports, pushes and comparisons of runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.files.read import FileError, exists, read_json
from hf_ambiser.run_folder.decision import DECISION, check_decision
from hf_ambiser.run_folder.layout import CHECKPOINT, RunFolder, is_name
from hf_ambiser.run_folder.predictions import WITHOUT_EMBEDDING, check_rows, read_predictions


_OBJECTS = (
    "data",
    "environment",
    "defaults",
    "training",
    "best_epochs",
    "held_out_rows",
    "code",
    "learnt_from",
    DECISION,
)
_KINDS: dict[str, Any] = {
    **dict.fromkeys((*_OBJECTS, "scores", "scored_clips_cut_at_max_seconds"), dict),
    "method": str,
    "seed": int,
    "parameters": int,
    "best_checkpoint": str | None,
    "learnt_before": str | None,
    "validation_learnt_from": int,
    "log": [dict],
    "held_out_splits": [str],
}
# Arguments that change how a run is watched and stored, and no result.
OF_THE_MACHINE = frozenset(
    "use_cpu disable_tqdm logging_strategy logging_steps save_total_limit save_strategy save_steps"
    " per_device_eval_batch_size audio_cache_gb dataloader_num_workers trajectory_every method system".split()
)
# Arguments that say which run of a system it is, and where files are: what it began with is another run in each fold.
_OF_ONE_RUN = frozenset(
    "seed dataset dataset_config output_dir logging_dir feature_cache pretrained labels_from".split()
)
# An entry of the log with one of these is of an evaluation.
_EVALUATED = {"eval_loss", "eval_js", "eval_wa", "eval_ua"}
_IDENTITY = ("system", "seed", "data", "scores", "environment")
_DATA = ("corpus", "content", "policy", "policy_fingerprint", "split_fingerprint", "split_family", "fold", "protocol")


@dataclass(frozen=True)
class FinishedRun:
    """One finished run. All facts about it are read from its files, never from the names of its folders.

    Args:
        folder: Its folder.
        results: Content of `results.json`.
        joined: Names of sets that are made of several test splits -> these splits. The predictions on such a set are
            those on its splits, each utterance once. `run_scores.complete` adds the scores.
    """

    folder: Path
    results: dict[str, Any] = field(repr=False, hash=False, compare=False)
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False, hash=False, compare=False)
    # The splits whose predictions were found whole. Copies of a run share it: their files are the same.
    _checked: set[str] = field(default_factory=set, repr=False, hash=False, compare=False)

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        """Read the run in a folder.

        Raises:
            ValueError: If it is not a run folder, the run is not finished, or `results.json` cannot be read, lacks
                fields that identify the run, or names a split by a path.
        """
        run = RunFolder(folder)
        if not (run.is_begun or run.is_finished):
            what = f"is not a run folder: it has no {run.arguments.name}" if run.path.exists() else "does not exist"
            raise ValueError(f"{folder} {what}. Give the output_dir of a training run.")
        if not run.is_finished:
            raise ValueError(
                f"the run in {folder} is not finished: it has no {run.results.name}. Start its training command again;"
                " it resumes where it stopped."
            )
        try:
            results = run.read_results()
        except FileError as error:
            raise ValueError(f"{folder} does not hold the results of a run: {error}") from error
        missing = [name for name in _IDENTITY if name not in results]
        results.check({name: kind for name, kind in _KINDS.items() if name in results})
        missing += [f"data.{name}" for name in _DATA if name not in results.get("data", {})]
        if missing:
            raise FileError(run.results, f"lacks {', '.join(missing)}: an older version wrote it", "Run it again.")
        results["scores"].check(dict.fromkeys(results["scores"], {"all": dict}))
        if DECISION in results:
            check_decision(results[DECISION], len(results["data"]["classes"]))
        for split in (*results["scores"], *(results.get("held_out_splits", ()))):
            run.predictions_of(split)
            run.figure_of(split)
        return cls(Path(folder), results)

    @property
    def files(self) -> RunFolder:
        """Its files, by name."""
        return RunFolder(self.folder)

    @property
    def system(self) -> str:
        """Its row in tables."""
        return str(self.results["system"])

    @property
    def seed(self) -> int:
        """Its training seed."""
        return int(self.results["seed"])

    @property
    def fold(self) -> str | None:
        """The held-out fold of its split family; None if the family has no folds."""
        fold = self.results["data"]["fold"]
        return None if fold is None else str(fold)

    @property
    def data(self) -> dict[str, Any]:
        """Its training data, as in `data.json`: corpus, protocol, fingerprints, counts."""
        return self.results["data"]

    @property
    def classes(self) -> list[str]:
        """Class names in the order of their index."""
        return list(self.data["classes"])

    @property
    def splits(self) -> list[str]:
        """The test splits it was scored on."""
        return list(self.results["scores"])

    def scores(self, split: str, part: str = "all") -> dict[str, Any]:
        """Return all figures of one split; see `metrics.evaluate_predictions`."""
        return self.results["scores"][split][part]

    @property
    def decision(self) -> dict[str, Any] | None:
        """When it answers, with what it gives; see `run_folder.decision`. None: it was never calibrated."""
        return self.results.get(DECISION)

    @property
    def chosen_step(self) -> int | None:
        """The step whose model validation chose and the run kept; None if it kept the last one."""
        best = self.results.get("best_checkpoint")  # early stopping counts one, too, and does not load it
        kept = best is not None and self.arguments.get("load_best_model_at_end")
        return int(str(best).rpartition("-")[2]) if kept else None

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """What validation said while it trained: the entries of its log that hold `eval_js`, `eval_wa` and so on."""
        return [entry for entry in self.results.get("log") or [] if _EVALUATED & entry.keys()]

    @property
    def scored_evaluation(self) -> int | None:
        """Place in `evaluations` of the scored model: the chosen one, else the last; None if it is not there."""
        rows, step = self.evaluations, self.chosen_step
        if step is None:
            return len(rows) - 1 if rows else None
        return next((place for place, entry in enumerate(rows) if entry.get("step") == step), None)

    @property
    def max_seconds(self) -> float | None:
        """Where it cut utterances, in seconds; None: nowhere."""
        limit = self.arguments.get("max_seconds", self.results.get("defaults", {}).get("max_seconds"))
        return None if limit is None else float(limit)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments, given or by default, that are the same in all runs of a system."""
        every = {**self.results.get("defaults", {}), **self.arguments}
        # The method is not of the machine: a card names it elsewhere.
        return {n: value for n, value in every.items() if n == "method" or n not in OF_THE_MACHINE | _OF_ONE_RUN}

    def learnt_from(self, split: str) -> int:
        """Number of utterances of a test split, or of the splits that a set is made of, in the run's training set."""
        learnt = self.results.get("learnt_from", {})
        return sum(learnt.get(name, 0) for name in self.joined.get(split, (split,)))

    @property
    def validation_learnt_from(self) -> int:
        """Number of validation utterances that it has learnt from, or the trained model that it began with."""
        return int(self.results.get("validation_learnt_from", 0))

    @cached_property
    def begun_with(self) -> dict[str, Any] | None:
        """What is known of the trained model that it began with; None if there was none, or nothing was recorded."""
        return self.files.read_begun_with()

    @property
    def beginning_unknown(self) -> bool:
        """Whether it began with a trained model of which nobody recorded what that had learnt from."""
        source = self.arguments.get("pretrained")
        # Runs of an earlier version recorded nothing; those that began with a system of their fold are clean.
        unrecorded = source is not None and not is_name(str(source)) and self.begun_with is None
        return unrecorded or self.results.get("learnt_before") == "unknown"

    def figure(self, split: str, name: str, part: str = "all") -> float | None:
        """Return one figure of one split; None if it has no value."""
        return self.scores(split, part)[name]

    def predictions(self, split: str) -> dict[str, np.ndarray]:
        """Read the answer to each utterance (see `write_predictions`), without the embeddings.

        Raises:
            ValueError: If the file of predictions is missing or cannot be used, or its rows are not the utterances
                that were scored.
        """
        return self.columns(split, WITHOUT_EMBEDDING)

    def columns(self, split: str, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read those of the named columns of the predictions that every file of the split has.

        Raises:
            ValueError: As for `predictions`.
        """
        parts = [self._rows(part, names) for part in self.joined.get(split, (split,))]
        if len(parts) == 1:
            return parts[0]
        columns = {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
            if all(name in part for part in parts)
        }
        _, first = np.unique(columns["id"].astype(str), return_index=True)
        return {name: values[np.sort(first)] for name, values in columns.items()}

    def embedding(self, split: str) -> dict[str, np.ndarray]:
        """Read `id`, `consensus` and, if the run kept it, `embedding (N, D)`.

        Raises:
            ValueError: As for `predictions`.
        """
        return self._rows(split, ("id", "consensus", "embedding"))

    def has_predictions(self, split: str) -> bool:
        """Whether the predictions on a split exist."""
        return all(exists(self.files.predictions_of(part)) for part in self.joined.get(split, (split,)))

    def _rows(self, split: str, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read columns of the answers to one test split, after a check that the rows are the scored utterances."""
        path = self.files.predictions_of(split)
        if not exists(path):
            raise ValueError(f"{self.folder} has results but no {path.relative_to(self.folder)}; run it again.")
        if split not in self._checked:
            stored = self.results["scores"].get(split, {}).get("all")
            check_rows(path, stored, self.results.get("held_out_rows", {}).get(split), self.files.cure)
            self._checked.add(split)
        return read_predictions(path, names)

    @property
    def dataset(self) -> str:
        """The folder of the data set, as given to the run; "" if it is not known."""
        return str(self.arguments.get("dataset", ""))

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The arguments that were given to the run."""
        return self.files.read_arguments()

    @cached_property
    def speakers(self) -> dict[str, dict[str, Any]]:
        """Speaker -> what is known of that speaker (`sex`, `age`); empty in runs on data sets that know nothing."""
        return self.files.read_speakers()

    @cached_property
    def adapter(self) -> dict[str, Any] | None:
        """`adapter_config.json` of a LoRA run; None for a whole model."""
        path = self.files.model / "adapter_config.json"
        return read_json(path, self.files.cure) if exists(path) else None

    @property
    def base_model(self) -> Path | None:
        """Folder of the model that an adapter belongs to; None for a whole model."""
        return self.files.base_model if self.adapter is not None else None

    @property
    def model_config(self) -> Path:
        """`config.json` of the model, or of the model that an adapter belongs to; the file may have been deleted."""
        return (self.base_model or self.files.model) / "config.json"


def find_runs(folder: Path, skip: frozenset[str] = frozenset()) -> tuple[list[FinishedRun], list[Path]]:
    """Return the finished runs below a folder (or in it), and the folders of runs that are not finished.

    Args:
        folder: Where to search.
        skip: Names of folders that are not searched.

    Raises:
        ValueError: If there is no such folder, or the results of a run cannot be read.
        OSError: If a folder cannot be looked into, because the runs in it would be missing silently.
    """

    def refuse(error: OSError) -> None:
        raise error

    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; give one with run folders below it.")
    skipped = skip | {part.name for part in RunFolder(folder).parts}
    runs, unfinished = [], []
    for path, folders, _ in os.walk(folder, onerror=refuse):
        run = RunFolder(path)
        if run.is_finished:
            runs.append(FinishedRun.read(run.path))
        elif run.is_begun:
            unfinished.append(run.path)
        inside = run.is_finished or run.is_begun
        folders[:] = [] if inside else sorted(f for f in folders if f not in skipped and not f.startswith(CHECKPOINT))
    return runs, unfinished
