"""A tiny simulated data set built for runs, and the fields of a tiny run on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from hf_ambiser.data.build import build
from hf_ambiser.data.corpora import simulated
from hf_ambiser.runs import run as run_module


TINY = {"conv_channels": [4, 8], "conv_strides": [[2, 2], [2, 2]], "hidden_size": 16, "n_mels": 16, "dropout": 0.1}


def built(folder: Path, n: int = 60, configs: tuple[str, ...] = ("ipr-strict",)) -> Path:
    simulated.generate(folder / "corpus", n_utterances=n, n_speakers=10, seed=0)
    of_ipr = {"d1_quota": "per_class", "min_per_class": 1} if any(name.startswith("ipr-") for name in configs) else {}
    build("simulated", folder / "corpus", folder / "dataset", configs=configs, seed=0, progress=False, **of_ipr)
    return folder / "dataset"


def fields(dataset: Path, out: Path, /, **changes: Any) -> dict[str, Any]:
    """Of a run of three epochs; IPR refines in the last two. A change to `...` takes a field out."""
    given = {
        "method": "ipr",
        "warmup_epochs": 1,
        "dataset": str(dataset),
        "output_dir": str(out),
        "num_train_epochs": 3,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 16,
        "use_cpu": True,
        "disable_tqdm": True,
        "encoder_fields": TINY,
        "model_fields": {"classifier_hidden_size": 16},
        **changes,
    }
    return {name: value for name, value in given.items() if value is not ...}


class _Stop(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.epoch > 1.2:
            raise KeyboardInterrupt


def stopped_in_the_second_epoch(go: Callable[[], Any]) -> None:
    """Do a run whose process ends, as far as a test can end it, after a step of the second epoch."""
    real = run_module.prepare

    def stopping(arguments: Any) -> Any:
        trainer, tests = real(arguments)
        trainer.add_callback(_Stop())
        return trainer, tests

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "prepare", stopping)
        with pytest.raises(KeyboardInterrupt):
            go()
