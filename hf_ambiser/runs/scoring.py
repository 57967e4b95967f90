"""Scoring a trained model on a split of a built data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.files.read import check_tensors, exists, read_json
from hf_ambiser.run_folder.predictions import write_predictions
from hf_ambiser.run_folder.published import check_shards
from hf_ambiser.runs.base_model import base_of
from hf_ambiser.training.collator import UtteranceCollator
from hf_ambiser.training.dataset import EvaluationSet
from hf_ambiser.training.validation import softmax
from hf_ambiser.untrusted.code_fields import in_our_words, refuse_code


_CURE = "Restore it from a copy, or train the model again."


def load_for_scoring(model: str, dataset: Path, config: str, split: str) -> tuple[Any, Any, EvaluationSet, Any]:
    """Return model in evaluation mode, feature extractor, utterances and `read_dataset_info` of a split.

    Raises:
        ValueError: If the split is unknown, or the model's classes are not those of the data set in the same order.
    """
    loaded, extractor, info = load_with_classes(model, dataset)
    return loaded, extractor, EvaluationSet(load_split(dataset, config, split)), info


def load_with_classes(model: str, dataset: Path) -> tuple[Any, Any, Any]:
    """Return model in evaluation mode, feature extractor and `read_dataset_info` of a data set with its classes.

    Raises:
        ValueError: If the model's classes are not those of the data set in the same order.
    """
    from transformers import AutoFeatureExtractor

    info = read_dataset_info(dataset)
    loaded = load_model(model, info["classes"])
    classes = [loaded.config.id2label[i] for i in range(loaded.config.num_labels)]
    if classes != info["classes"]:
        raise ValueError(
            f"{model} has the classes {classes}, but {dataset} has {info['classes']}; they must be the same, in the"
            " same order. Build the data set with the policy that the model was trained with."
        )
    return loaded.eval(), AutoFeatureExtractor.from_pretrained(model, trust_remote_code=False), info


def load_model(model: str, classes: list[str] | None = None) -> Any:
    """Load a trained model from its folder or Hub name; an adapter is merged into the model that it belongs to.

    Args:
        model: Folder or name.
        classes: Class names of an adapter's model; None: those of its base model.

    Raises:
        ValueError: If there is no such model, a file of it cannot be used, or the base of an adapter is another.
    """
    from transformers import AutoModelForAudioClassification

    adapter = Path(model) / "adapter_config.json"
    try:
        _check_files(Path(model))
        if not exists(adapter):
            return AutoModelForAudioClassification.from_pretrained(model, trust_remote_code=False)
        _check_adapter(adapter)
        from peft import PeftConfig, PeftModel

        names: dict[str, Any] = {} if classes is None else {"id2label": dict(enumerate(classes))}
        with base_of(Path(model)) as base:
            _check_files(Path(base))
            if not Path(base).is_dir() and (revision := PeftConfig.from_pretrained(model).revision):
                names["revision"] = revision  # other adapters may have pushed a base of that name since
            whole = AutoModelForAudioClassification.from_pretrained(base, trust_remote_code=False, **names)
        return PeftModel.from_pretrained(whole, model).merge_and_unload()
    except ValueError as error:
        raise in_our_words(error, f"model {model!r}") from None
    except OSError as error:
        raise ValueError(
            f"model {model!r} cannot be loaded: it is neither a folder with a trained model nor a Hub model that can"
            " be reached from here. Give one of them; a finished run writes <output_dir>/model."
        ) from error


def _check_files(model: Path) -> None:
    """Check the files of a local model: transformers and peft do not name the one that is spoilt.

    Raises:
        ValueError: If one cannot be used, or if the index of the weights names a file that is none of them.
    """
    for path in sorted([*model.glob("*config.json"), *model.glob("*.index.json")]):
        read_json(path, _CURE)
    check_shards(model)
    for path in sorted(model.glob("*.safetensors")):
        check_tensors(path, _CURE)


def _check_adapter(path: Path) -> None:
    """Refuse an adapter whose configuration would import a module.

    Raises:
        ValueError: If it would, or if it cannot be read.
    """
    # peft always writes these two; without `megatron_config` it imports nothing by them when an adapter is loaded.
    unused = ("auto_mapping", "megatron_core")
    fields = read_json(path, _CURE)
    refuse_code({name: value for name, value in fields.items() if value and name not in unused}, str(path))


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
