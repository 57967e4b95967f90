"""Training side by side: `hard_vote` against the plain Trainer, a method against itself without it, two precisions."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator
from transformers.trainer_callback import PrinterCallback

from hf_ambiser.benchmark.against.models import SameEncoder
from hf_ambiser.benchmark.against.rows import Measured, Settings
from hf_ambiser.benchmark.against.speech import Spoken, as_split
from hf_ambiser.benchmark.against.turns import Clock, Spent, in_turns
from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.methods import load_method
from hf_ambiser.training.augment import Augmenter
from hf_ambiser.training.dataset import TrainingSet
from hf_ambiser.training.trainer import AmbiSERTrainer


BATCH = 8  # utterances in a step
SEEDS = 3  # whose loss curves are compared in the two precisions
# Arguments under which a method corrects labels soon, and the first epoch in which it does: IPR has a warm-up.
METHODS: dict[str, dict[str, Any]] = {
    "ipr": {"warmup_epochs": 1, "num_train_epochs": 2},
    "slc": {"finetune_epochs": 0},
    "meta": {"num_train_epochs": 2},  # an epoch of the network, an epoch of the labels
}
_FIRST_EPOCH = {"ipr": 1}
# What a method decides about labels, loss and state; the rest of a method is how steps are made.
_HOOKS = ("correct", "row_loss", "extra_loss", "observe", "update_state", "epoch_finished", "balanced_rows")
_SAME: dict[str, Any] = {
    "num_train_epochs": 1, "learning_rate": 1e-5, "lr_scheduler_type": "constant", "max_grad_norm": 0.0,
    "weight_decay": 0.0, "use_cpu": True, "save_strategy": "no", "eval_strategy": "no", "report_to": "none",
    "logging_strategy": "steps", "logging_steps": 1, "disable_tqdm": True, "remove_unused_columns": False, "seed": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """What a training took, and the loss of each of its steps."""

    spent: Spent
    losses: list[float]


class _Steps(TrainerCallback):
    """Adds up what epochs took, each from its beginning to the end of its last step, loading included.

    Args:
        first: Epochs before this one are not counted.
    """

    def __init__(self, first: int) -> None:
        self._first, self._epoch = first, -1
        self._earlier = self.spent = Spent()
        self._clock = Clock()

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._epoch += 1
        self._earlier, self._clock = self.spent, Clock()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Read the clock; the last reading of an epoch stays."""
        if self._epoch >= self._first:
            self.spent = self._earlier + self._clock.read()


def _train(make: Callable[[Any, str], Trainer], model: Any, seed: int, first: int = 0) -> Trained:
    """Train a copy of a model in a folder that is thrown away.

    A copy, so that each run begins with the same weights, and because accelerate wraps `forward` for bfloat16: a
    later run of the same model in float32 would still be in bfloat16.
    """
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer, steps = make(copy.deepcopy(model), folder), _Steps(first)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(steps)
        trainer.train()
        return Trained(steps.spent, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


class Ours:
    """Trains our classifier by a method; what is prepared once (decoded utterances) is kept.

    Args:
        pair: Its model is trained, all of it.
        labelled: Utterances with labels.
        ambiguous: Ambiguous ones, for methods that take them.
        method: Name of the method.
        **fields: Of the method's arguments.
    """

    def __init__(
        self,
        pair: SameEncoder,
        labelled: list[Spoken],
        ambiguous: list[Spoken],
        method: str = "hard_vote",
        **fields: Any,
    ) -> None:
        self._pair, self._method = pair, load_method(method)
        self._fields = fields
        takes = self._method.needs_ambiguous
        self._data = TrainingSet(
            as_split(labelled, "a"),
            as_split(ambiguous, "b") if takes else None,
            target=self._method.target,
            ambiguous_target=self._method.ambiguous_target,
            augment=Augmenter() if self._method.needs_augmented else None,
        )

    def train(self, corrected: bool = True, seed: int = 0, **fields: Any) -> Trained:
        """Train once; without `corrected`, with the same steps and the labels as they are."""
        method = self._method if corrected else without_correction(self._method)

        def make(model: Any, folder: str) -> Trainer:
            given = {**_SAME, "per_device_train_batch_size": BATCH, **self._fields, **fields, "seed": seed}
            arguments = method.arguments_class(output_dir=folder, **given)
            return method(model, arguments, self._data, feature_extractor=self._pair.extractor)

        return _train(make, self._pair.ours, seed, _FIRST_EPOCH.get(self._method.name, 0))


def without_correction(method: type[AmbiSERTrainer]) -> type[AmbiSERTrainer]:
    """Return a method with the base class's labels, loss and state: the same batches, forward and backward passes."""
    hooks = {name: getattr(AmbiSERTrainer, name) for name in _HOOKS}
    return type(f"{method.__name__}WithoutCorrection", (method,), hooks)


class Theirs:
    """Trains transformers' classifier by the plain Trainer; features are computed once and kept in memory.

    Args:
        pair: Its `theirs` is trained, all of it.
        labelled: Utterances with labels.
    """

    def __init__(self, pair: SameEncoder, labelled: list[Spoken]) -> None:
        self._pair, extractor = pair, pair.their_extractor
        self._name = extractor.model_input_names[0]
        self._rows = []
        for one in labelled:
            features = extractor(one.samples, sampling_rate=SAMPLING_RATE, return_tensors="np")
            self._rows.append({self._name: features[self._name][0], "labels": one.label})

    def train(self, seed: int = 0, **fields: Any) -> Trained:
        """Train once."""

        def make(model: Any, folder: str) -> Trainer:
            given = {**_SAME, "per_device_train_batch_size": BATCH, **fields, "seed": seed}
            # Spectrograms of Whisper are all as long; waveforms are padded by the extractor.
            collator = default_data_collator if self._name == "input_features" else None
            return Trainer(
                model,
                TrainingArguments(output_dir=folder, **given),
                data_collator=collator,
                train_dataset=self._rows,  # type: ignore[arg-type]
                processing_class=self._pair.their_extractor,
            )

        return _train(make, self._pair.theirs, seed)


def against_trainer(pair: SameEncoder, settings: Settings, mixed: bool) -> Measured:
    """`hard_vote` against the plain Trainer with transformers' classifier, one epoch a round.

    Args:
        pair: The classifiers.
        settings: How long and how much.
        mixed: Whether lengths are mixed, or those of the corpus.
    """
    is_whisper = pair.their_class.startswith("Whisper")
    n = settings.few or (16 if is_whisper else 64 if mixed else 32)
    n = max(n, BATCH) // BATCH * BATCH
    spoken = settings.speech.mixed(n, *settings.lengths) if mixed else settings.similar(n)
    ours, theirs = Ours(pair, spoken, []), Theirs(pair, spoken)
    ways = {"hard_vote": lambda: ours.train().spent, "Trainer": lambda: theirs.train().spent}
    in_turns(ways, 0, 1, 1)  # decodes, and warms up
    rounds = in_turns(ways, settings.seconds, settings.least)
    return Measured(pair.encoder, f"Trainer, {pair.their_class}", n, rounds, ways)


def correction(pair: SameEncoder, settings: Settings, method: str) -> Measured:
    """A method against itself with the labels as they are: what correction costs beside the same passes."""
    n = settings.few or 16
    n = max(n, BATCH) // BATCH * BATCH
    spoken = settings.similar(2 * n)
    ours = Ours(pair, spoken[:n], spoken[n:], method, **METHODS[method])
    ways = {method: lambda: ours.train().spent, "without": lambda: ours.train(corrected=False).spent}
    in_turns(ways, 0, 1, 1)
    rounds = in_turns(ways, settings.seconds, settings.least)
    return Measured(pair.encoder, "the same passes without it", n, rounds, ways)


def bfloat16(pair: SameEncoder, settings: Settings) -> Measured:
    """Training under bf16 autocast against float32, and whether the loss curves are the same within seeds.

    The curve of a run is its mean loss in each epoch. The distance of the two precisions of one seed is compared with
    the distance of two seeds in float32, both as the root mean square over epochs and pairs.
    """
    n, epochs = max(settings.few or 24, BATCH) // BATCH * BATCH, 2 if settings.few else 3
    spoken = settings.similar(n)
    ours = Ours(pair, spoken, [], num_train_epochs=epochs, learning_rate=1e-4)
    curves: dict[str, list[np.ndarray]] = {"bfloat16": [], "float32": []}

    def way(name: str) -> Callable[[], Spent]:
        def once() -> Spent:
            trained = ours.train(seed=len(curves[name]) % SEEDS, bf16=name == "bfloat16")
            curves[name].append(np.array(trained.losses).reshape(epochs, -1).mean(axis=1))
            return trained.spent

        return once

    ways = {name: way(name) for name in curves}
    rounds = in_turns(ways, settings.seconds, max(settings.least, SEEDS))
    exact, low = np.array(curves["float32"][:SEEDS]), np.array(curves["bfloat16"][:SEEDS])
    between = np.sqrt(np.mean([(exact[i] - exact[j]) ** 2 for i in range(SEEDS) for j in range(i)]))
    precision = np.sqrt(np.mean((exact - low) ** 2))
    note = (
        f"loss curves: the two precisions of a seed differ by {precision:.4f}, two seeds by {between:.4f}; last loss"
        f" {exact[:, -1].mean():.3f} (float32), {low[:, -1].mean():.3f} (bfloat16); this processor has"
        f" {processor_bfloat16()}"
    )
    return Measured(
        pair.encoder,
        "float32",
        n * epochs,
        rounds,
        ways,
        note,
        {"precision": float(precision), "seeds": float(between)},
    )


def processor_bfloat16() -> str:
    """Say which instructions for bfloat16 the processor has, as Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((set(line.split()) for line in file if line.startswith("flags")), set())
    except OSError:
        return "unknown instructions (no /proc/cpuinfo)"
    found = [name for name in ("amx_bf16", "avx512_bf16") if name in flags]
    missing = [name for name in ("amx_bf16", "avx512_bf16") if name not in flags]
    return " and ".join(found or ["neither"]) + (f", not {' nor '.join(missing)}" if found and missing else "")
