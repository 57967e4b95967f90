"""Scoring a trained model on a split of a built data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.inference.load_model import load_extractor, load_model, place_of
from hf_ambiser.inference.several_models import same_place
from hf_ambiser.models import class_names
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_folder.predictions import write_predictions
from hf_ambiser.training.collator import UtteranceCollator
from hf_ambiser.training.dataset import EvaluationSet
from hf_ambiser.training.validation import softmax


def load_for_scoring(model: str, dataset: Path, config: str, split: str) -> tuple[Any, Any, EvaluationSet, Any]:
    """Return model in evaluation mode, feature extractor, utterances and `read_dataset_info` of a split.

    Where the model is that of a finished run, utterances are cut as the run cut them (`max_seconds`).

    Raises:
        ValueError: If the split is unknown, or the model's classes are not those of the data set in the same order.
    """
    loaded, extractor, info = load_with_classes(model, dataset)
    return loaded, extractor, EvaluationSet(load_split(dataset, config, split), limit_of(model)), info


def answers_of(
    models: Sequence[str], dataset: Path, config: str, split: str, batch_size: int = 32
) -> tuple[np.ndarray, EvaluationSet, Any]:
    """Score one model, or several whose distributions are averaged.

    Returns:
        `(N, K)` logits of the model, or the logarithms of the mean distributions; the utterances; `read_dataset_info`.

    Raises:
        ValueError: As for `load_for_scoring`, or if a model is given twice, or two models' runs cut utterances
            at different lengths.
    """
    places = [place_of(model) for model in models]
    for number, place in enumerate(places):
        if any(same_place(place, other) for other in places[:number]):
            raise ValueError(f"model {place} is given twice, so it would count twice. Name it once.")
    limits = {model: limit_of(model) for model in models}
    if len(set(limits.values())) > 1:
        said = ", ".join(f"{model}: {'nowhere' if s is None else f'{s:g} s'}" for model, s in limits.items())
        raise ValueError(
            f"the runs of these models cut utterances at different lengths (max_seconds; {said}), so they did not hear"
            " the same. Score them one by one, or train them with one max_seconds."
        )
    loaded, extractor, data, info = load_for_scoring(models[0], dataset, config, split)
    answers = [predict_logits(loaded, extractor, data, batch_size)]
    for model in models[1:]:
        loaded, extractor, _ = load_with_classes(model, dataset)
        answers.append(predict_logits(loaded, extractor, data, batch_size))
    if len(answers) == 1:
        return answers[0], data, info
    mean = np.mean([softmax(logits) for logits in answers], axis=0)
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny)), data, info


def limit_of(model: str) -> float | None:
    """Where the run of a model cut utterances, in seconds; None: nowhere, or the model does not lie in its run."""
    place = Path(place_of(model))
    run = RunFolder(place.parent)
    if run.model != place or not run.is_finished:
        return None
    # Not `FinishedRun.read`, which wants more of a run than a score of its model needs.
    return FinishedRun(run.path, run.read_results()).max_seconds


def load_with_classes(model: str, dataset: Path) -> tuple[Any, Any, Any]:
    """Return model in evaluation mode, feature extractor and `read_dataset_info` of a data set with its classes.

    Raises:
        ValueError: If the model's classes are not those of the data set in the same order.
    """
    info = read_dataset_info(dataset)
    model = place_of(model)
    loaded = load_model(model, info["classes"])
    classes = class_names(loaded.config)
    if classes != info["classes"]:
        raise ValueError(
            f"{model} has the classes {classes}, but {dataset} has {info['classes']}; they must be the same, in the"
            " same order. Build the data set with the policy that the model was trained with."
        )
    return loaded.eval(), load_extractor(model), info


def predict_logits(model: Any, feature_extractor: Any, data: EvaluationSet, batch_size: int = 32) -> np.ndarray:
    """Return `(N, K)` float32 logits of all utterances in their order; a batch holds utterances of similar length."""
    import torch
    from tqdm import tqdm

    collate = UtteranceCollator(feature_extractor)
    order = np.argsort(data.durations, kind="stable")
    logits = np.zeros((len(data), model.config.num_labels), dtype=np.float32)
    device = next(model.parameters()).device
    with torch.no_grad(), tqdm(total=len(data), unit="utterance") as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = collate([data[int(i)] for i in rows])
            outputs = model(**{name: batch[name].to(device) for name in feature_extractor.model_input_names})
            logits[rows] = outputs.logits.float().cpu().numpy()
            bar.update(len(rows))
    return logits


def save_predictions(path: Path, data: EvaluationSet, logits: np.ndarray, embedding: np.ndarray | None = None) -> Path:
    """Write a model's answers to a split, beside the raters' votes; see `write_predictions`.

    Args:
        path: Parquet file.
        data: The N utterances of the split.
        logits: `(N, K)`.
        embedding: `(N, D)`, or None.
    """
    answers = (softmax(logits), data.votes, data.consensus, embedding, data.agreement)
    return write_predictions(path, data.ids, data.speakers, *answers)
