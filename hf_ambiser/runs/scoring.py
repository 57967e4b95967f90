"""Scoring a model on a split: predictions with their utterance ids, and the figures of `metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
from transformers import EvalPrediction

from hf_ambiser.columns import read_columns, write_columns
from hf_ambiser.data.collator import ClipCollator
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.data.splits import CLEAR_AGREEMENT
from hf_ambiser.data.training_set import EvaluationSet
from hf_ambiser.labels import soft_labels
from hf_ambiser.metrics import evaluate_predictions


# Shown after every epoch; the whole table is computed at the end.
HEADLINES = ("wa", "ua", "macro_f1", "js", "kl", "brier", "entropy_pearson", "ece")
_TITLES = {
    "n": "clips",
    "wa": "WA",
    "ua": "UA",
    "macro_f1": "macro-F1",
    "js": "JS (bit)",
    "kl": "KL (nat)",
    "brier": "Brier",
    "cosine": "cosine",
    "entropy_pearson": "entropy r",
    "entropy_spearman": "entropy rho",
    "ece": "ECE, consensus",
    "ece_votes": "ECE, votes",
}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of `(N, K)` logits as float64 probabilities."""
    return scipy.special.softmax(np.asarray(logits, dtype=np.float64), axis=1)


def score(
    logits: np.ndarray,
    votes: np.ndarray,
    consensus: np.ndarray,
    classes: list[str],
    agreement: np.ndarray | None = None,
) -> dict[str, Any]:
    """All figures of `metrics.evaluate_predictions`, clear meaning an agreement of 2/3 or more.

    `agreement` is the data set's own, which may count votes for classes left out; None: the top share of these votes.
    """
    if agreement is None:
        agreement = soft_labels(votes).max(axis=1, initial=0.0)
    return evaluate_predictions(
        softmax(logits), votes, consensus, classes, agreement=agreement, threshold=CLEAR_AGREEMENT
    )


class ValidationMetrics:
    """`compute_metrics` of the trainer: the headline figures over all validation clips that have a value."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Headline figures by name."""
        labels: Any = prediction.label_ids  # a pair, though typed as an array or a tuple of one
        votes, consensus = labels
        logits: Any = prediction.predictions
        logits = logits[0] if isinstance(logits, tuple) else logits  # the second is the embedding, where asked for
        figures = score(np.asarray(logits), votes, consensus, self.classes)["all"]
        return {name: figures[name] for name in HEADLINES if figures[name] is not None}


def write_predictions(
    path: Path, data: EvaluationSet, logits: np.ndarray, embedding: np.ndarray | None = None
) -> Path:
    """One row a clip: `id, speaker, probabilities, votes, consensus` and, where given, `embedding (N, D)` float32."""
    columns: dict[str, Any] = {
        "id": list(data.ids),
        "speaker": list(data.speakers),
        "probabilities": softmax(logits),
        "votes": data.votes,
        "consensus": data.consensus,
    }
    if embedding is not None:
        columns["embedding"] = np.asarray(embedding, dtype=np.float32)
    return write_columns(path, columns)


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Inverse of `write_predictions`: `id (N,)`, `speaker (N,)`, `probabilities (N, K)`, `votes`, `consensus (N,)`.

    `embedding (N, D)` is there where it was written.
    """
    return read_columns(path)


def load_for_scoring(model: str, dataset: Path, config: str, split: str) -> tuple[Any, Any, EvaluationSet, Any]:
    """Model in evaluation mode, feature extractor, clips and `read_dataset_info` of a split.

    Raises:
        ValueError: If the split is unknown, or the model's classes are not the data set's, in the same order.
    """
    from transformers import AutoFeatureExtractor

    info = read_dataset_info(dataset)
    loaded = load_model(model, info["classes"])
    data = EvaluationSet(load_split(dataset, config, split))
    classes = [loaded.config.id2label[i] for i in range(loaded.config.num_labels)]
    if classes != info["classes"]:
        raise ValueError(
            f"{model} answers {classes}, but {dataset} has the classes {info['classes']} (order matters)."
        )
    return loaded.eval(), AutoFeatureExtractor.from_pretrained(model), data, info


def load_model(model: str, classes: list[str] | None = None) -> Any:
    """A trained model from its folder or Hub name; an adapter is merged into the model it belongs to.

    Args:
        model: Folder or name.
        classes: What an adapter's model answers; None: what the base model says it does.

    Raises:
        ValueError: If there is no such model, or an adapter does not name its base.
    """
    from transformers import AutoModelForAudioClassification

    try:
        if not (Path(model) / "adapter_config.json").is_file():
            return AutoModelForAudioClassification.from_pretrained(model)
        from peft import PeftConfig, PeftModel

        base = PeftConfig.from_pretrained(model).base_model_name_or_path
        if not base:
            raise ValueError(f"{model} is an adapter that does not say which model it belongs to.")
        names = {} if classes is None else {"id2label": dict(enumerate(classes))}
        whole = AutoModelForAudioClassification.from_pretrained(base, **names)
        return PeftModel.from_pretrained(whole, model).merge_and_unload()
    except OSError as error:
        raise ValueError(
            f"model {model!r} cannot be loaded: it is no folder with a trained model (a finished run writes"
            f" <output_dir>/model), and no model of the Hub that can be reached from here."
        ) from error


def predict_logits(model: Any, feature_extractor: Any, data: EvaluationSet, batch_size: int = 32) -> np.ndarray:
    """`(N, K)` float32 logits of all clips in their order; batches hold clips of similar length."""
    import torch
    from tqdm import tqdm

    collate = ClipCollator(feature_extractor)
    order = np.argsort(data.durations, kind="stable")
    logits = np.zeros((len(data), model.config.num_labels), dtype=np.float32)
    device = next(model.parameters()).device
    with torch.no_grad(), tqdm(total=len(data), unit="clip") as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = collate([data[int(i)] for i in rows])
            outputs = model(**{name: batch[name].to(device) for name in feature_extractor.model_input_names})
            logits[rows] = outputs.logits.float().cpu().numpy()
            bar.update(len(rows))
    return logits


def describe_scores(scores: dict[str, Any]) -> str:
    """The figures as Markdown: all, clear and ambiguous clips side by side, baselines and ceiling, then per class."""
    parts = ("all", "clear", "ambiguous")
    lines = ["| | all | clear | ambiguous |", "|---|---|---|---|"]
    for name, title in _TITLES.items():
        lines.append(f"| {title} | " + " | ".join(_shown(scores[part][name]) for part in parts) + " |")
    for title, key in (("majority class", "majority_baseline"), ("rater ceiling", "rater_ceiling")):
        for name in ("wa", "ua", "macro_f1", "js"):
            cells = [_shown(scores[part][key].get(name) if scores[part][key] else None) for part in parts]
            lines.append(f"| {title}: {_TITLES[name]} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| class | clips | precision | recall | F1 | recall, clear (clips) | recall, ambiguous (clips) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in scores["all"]["per_class"].items():
        shown = [_shown(values[key]) for key in ("precision", "recall", "f1")]
        for part in ("clear", "ambiguous"):
            apart = scores[part]["per_class"][name]
            shown.append(f"{_shown(apart['recall'])} ({apart['support']})")
        lines.append(f"| {name} | {values['support']} | " + " | ".join(shown) + " |")
    empty = [part for part in parts if not scores[part]["n"]]
    reasons = {(part, why) for part in parts if part not in empty for why in scores[part]["undefined"].values()}
    why = [f"{part} (-): there is no such clip." for part in empty]
    why += [f"{part} (-): {reason}." for part, reason in sorted(reasons)]
    return "\n".join([*lines, *(["", *why] if why else [])])


def _shown(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
