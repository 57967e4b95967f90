"""Ambiguous speech emotion recognition: from the raters' votes to an emotion distribution.

Names are imported when they are first used, so that `import hf_ambiser` waits for nothing. It makes `AutoConfig`,
`AutoModel`, `AutoModelForAudioClassification` and `AutoFeatureExtractor` of transformers know the models.

Trainers and arguments of all methods (`IPRTrainer`, `IPRArguments`, ...) and classes of all model families
(`PrototypeForAudioClassification`, `PrototypeConfig`, ...) are names of this module, too; they are found by listing
`hf_ambiser/methods` and `hf_ambiser/models`.
"""

from __future__ import annotations

import importlib
from typing import Any

from hf_ambiser.models import register
from hf_ambiser.models.auto_classes import register_when_looked_up


__version__ = "0.1.0"

# Public name -> the module that defines it.
_PLACES = {
    "AmbiSERTrainer": "training.trainer",
    "AmbiSERTrainingArguments": "training.arguments",
    "EvaluationSet": "training.dataset",
    "LabelPolicy": "labels.policies",
    "RatingArrays": "labels.votes",
    "RunArguments": "runs.arguments",
    "StreamingClassifier": "inference.streaming",
    "TrainingSet": "training.dataset",
    "VoteTable": "labels.votes",
    "annotate": "inference.annotate",
    "available_corpora": "data.corpora",
    "available_families": "models",
    "available_methods": "methods",
    "available_policies": "labels.policies",
    "build": "data.build",
    "build_from_ratings": "data.ratings.from_ratings",
    "calibrate_model": "runs.calibrate",
    "calibrate_run": "runs.calibrate",
    "evaluate_predictions": "metrics",
    "export_model": "inference.export",
    "get_policy": "labels.policies",
    "load_family": "models",
    "load_method": "methods",
    "load_split": "data.loading",
    "open_model": "inference.model_door",
    "predict": "inference.predict",
    "preview_ratings": "data.ratings.from_ratings",
    "push_annotation": "inference.annotation_push",
    "push_dataset": "data.push",
    "push_run": "runs.push",
    "rater_equivalence": "metrics",
    "read_dataset_info": "data.loading",
    "remove_decision": "runs.calibrate",
    "run": "runs.run",
    "save_run": "runs.run",
    "serve_app": "app.serve",
    "soft_labels": "labels.votes",
    "suggest": "next_ratings.suggest",
    "tally": "labels.votes",
    "trained_model": "runs.begun_model",
    "write_card": "cards",
    "write_report": "report.write",
}
__all__ = sorted(_PLACES)

register_when_looked_up(register)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    if name.endswith(("Trainer", "Arguments")):
        from hf_ambiser.methods import available_methods

        for method in available_methods():
            module = importlib.import_module(f"{__name__}.methods.{method}")
            if hasattr(module, name):
                return getattr(module, name)
    if name[:1].isupper():
        try:
            return getattr(importlib.import_module(f"{__name__}.models"), name)
        except AttributeError:
            pass
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
