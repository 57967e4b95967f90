"""A model's answer to each utterance of a data set: heard now, or stored by runs that had held the utterance out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_ambiser.data.hub_dataset import dataset_folder
from hf_ambiser.next_ratings.rated_votes import RatedVotes
from hf_ambiser.run_folder.finished import FinishedRun, find_runs
from hf_ambiser.run_folder.layout import RunFolder


if TYPE_CHECKING:
    from hf_ambiser.inference.model_door import OpenedModel

Array = np.ndarray
# Batches whose recordings are read together; no more audio is in memory.
_BATCHES_READ = 4


@dataclass(frozen=True)
class ModelAnswers:
    """Answers to N utterances.

    Args:
        probabilities: `(N, K)`, rows sum to 1; a row of NaN has no answer.
        source: Where they come from, in a few words.
        notes: What the user should know about them, in sentences.
    """

    probabilities: Array
    source: str
    notes: tuple[str, ...] = ()


def hear(
    dataset: Path | str, rated: RatedVotes, opened: OpenedModel, *, batch_size: int = 16, progress: bool = True
) -> ModelAnswers:
    """Let a model hear every utterance of a built data set, as `predict` does.

    Args:
        dataset: Folder or Hub name.
        rated: Its utterances.
        opened: The model.
        batch_size: Windows that are answered together.
        progress: Whether a progress bar is shown on standard error.

    Raises:
        ValueError: If the model lacks a class of the data set.
    """
    from tqdm import tqdm

    from hf_ambiser.inference.predict import predict
    from hf_ambiser.inference.sources import open_source

    columns = _columns(opened.classes, rated.classes, f"model {opened.name}")
    source = open_source(dataset_folder(dataset))
    place = {name: n for n, name in enumerate(rated.ids)}
    all_classes = np.full((len(rated.ids), len(opened.classes)), np.nan)
    without: Counter[str] = Counter()
    step = batch_size * _BATCHES_READ
    with tqdm(total=len(source), unit="utterance", disable=not progress, dynamic_ncols=True) as bar:
        for start in range(0, len(source), step):
            recordings = list(source.recordings(start, min(start + step, len(source))))
            for answer in predict(recordings, opened, batch_size=batch_size, progress=False):
                if answer.probabilities is None:
                    without[answer.status] += 1
                elif answer.recording in place:
                    all_classes[place[answer.recording]] = list(answer.probabilities.values())
            bar.update(len(recordings))
    found, notes = _within(all_classes, columns, opened.classes)
    if without:
        reasons = ", ".join(f"{n} {status}" for status, n in without.most_common())
        notes.append(f"the model has no answer to {sum(without.values())} utterances ({reasons})")
    notes += dict.fromkeys(note for name in opened.names for note in _learnt_here(name, rated))
    return ModelAnswers(found, " + ".join(_called(Path(name)) for name in opened.names), tuple(notes))


def _called(place: Path) -> str:
    """The model of a run is called by its run, because the folder of every one is called `model`."""
    run = RunFolder(place.parent)
    return f"model of {place.parent}" if run.model == place and run.is_finished else f"model {place.name}"


def held_out_answers(folder: Path | str, rated: RatedVotes) -> ModelAnswers:
    """Read what finished runs have answered to the utterances of their test splits, such as the cells of a study.

    An utterance that several runs have answered gets the mean of their distributions.

    Args:
        folder: Holds the folders of runs of one system, at any depth.
        rated: The utterances of the data set that the runs were made on.

    Raises:
        ValueError: If there is no finished run, the runs are of several systems, another data set or other classes,
            or one has learnt from its test split.
    """
    runs, unfinished = find_runs(Path(folder))
    if not runs:
        raise ValueError(f"{folder} holds no finished run; give a folder with the run folders of one system.")
    systems = sorted({run.system for run in runs})
    if len(systems) > 1:
        raise ValueError(f"{folder} holds runs of {len(systems)} systems, {systems}; give the folder of one of them.")
    place = {name: n for n, name in enumerate(rated.ids)}
    total, times = np.zeros((len(place), len(rated.classes))), np.zeros(len(place))
    for run in runs:
        for rows, probabilities in _answers_of(run, place, rated):
            np.add.at(total, rows, probabilities)
            np.add.at(times, rows, 1)
    found = np.full(total.shape, np.nan)
    found[times > 0] = total[times > 0] / times[times > 0, None]
    notes = [f"{int((times == 0).sum())} utterances are in no test split of these runs"] if (times == 0).any() else []
    notes += [f"{len(unfinished)} runs are not finished and do not count"] if unfinished else []
    return ModelAnswers(found, f"test splits of {len(runs)} runs of {systems[0]}", tuple(notes))


def _answers_of(run: FinishedRun, place: dict[str, int], rated: RatedVotes) -> list[tuple[Array, Array]]:
    """Rows and probabilities of the utterances that a run has answered, each once."""
    if rated.content is not None and run.data["content"] != rated.content:
        raise ValueError(
            f"{run.folder} was made on another data set (content {run.data['content']}) than this one"
            f" ({rated.content}). Give the data set that its runs were made on."
        )
    if run.beginning_unknown:
        raise ValueError(
            f"{run.folder} began with a trained model of which nobody recorded what it had learnt from, so its answers"
            " may not be held-out ones. Give runs that began with an encoder, with runs of this machine, or from"
            " scratch."
        )
    columns = _columns(run.classes, rated.classes, f"run {run.folder}")
    answered: set[str] = set()
    found = []
    # A run may have answered splits that it did not score, because nobody agreed there.
    others = [name for name in run.results.get("held_out_splits", ()) if name not in run.splits]
    for split in [*run.splits, *(name for name in others if run.has_predictions(name))]:
        if learnt := run.learnt_from(split):
            raise ValueError(
                f"{run.folder} has learnt from {learnt} utterances of its split {split!r}, so its answers there are"
                " no held-out ones. Give runs with test splits of their own, such as the cells of a cross-validation."
            )
        table = run.predictions(split)
        ids = [str(name) for name in table["id"]]
        new = [i for i, name in enumerate(ids) if name in place and name not in answered]
        answered |= {ids[i] for i in new}
        rows = np.array([place[ids[i]] for i in new], dtype=np.int64)
        found.append((rows, np.asarray(table["probabilities"], dtype=np.float64)[new][:, columns]))
    return found


def _columns(theirs: Sequence[str], ours: Sequence[str], what: str) -> list[int]:
    missing = [name for name in ours if name not in theirs]
    if missing:
        raise ValueError(
            f"{what} has the classes {list(theirs)} and lacks {missing} of the data set. Give a model with all classes"
            f" {list(ours)}, or build the data set with a policy that maps its labels to the model's classes."
        )
    return [list(theirs).index(name) for name in ours]


def _within(all_classes: Array, columns: list[int], classes: Sequence[str]) -> tuple[Array, list[str]]:
    """The distributions within the data set's classes, and how much of them lay outside."""
    found = all_classes[:, columns]
    inside = found.sum(axis=1)
    others = [name for i, name in enumerate(classes) if i not in columns]
    notes = []
    if others and np.isfinite(inside).any():
        outside = 1 - float(np.nanmean(inside))
        notes.append(
            f"the model also knows {', '.join(others)}, which got {100 * outside:.0f} % of its answers; the rest is"
            " divided anew"
        )
    return found / np.where(inside > 0, inside, np.nan)[:, None], notes


def _learnt_here(name: str, rated: RatedVotes) -> list[str]:
    """A warning if the model is that of a run on this very data set."""
    folder = Path(name).parent if Path(name).is_dir() else None
    try:
        run = FinishedRun.read(folder) if folder is not None else None
    except ValueError:  # the model lies in no run folder
        return []
    if run is None or rated.content is None or run.data["content"] != rated.content:
        return []
    return [
        "the model has learnt from this data set: to these votes its answers look better than they are to others. The"
        " held-out answers of a cross-validation do not (--held-out)"
    ]
