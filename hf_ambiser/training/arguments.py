"""Training arguments that every method shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from transformers import TrainingArguments

from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.files.json_words import from_json
from hf_ambiser.training.augment import OPERATIONS, AugmentConfig
from hf_ambiser.training.class_weights import FORMS
from hf_ambiser.training.frame_cache import DTYPES
from hf_ambiser.training.inherited_arguments import check_inherited, more_is_better


@dataclass
class AmbiSERTrainingArguments(TrainingArguments):
    """`TrainingArguments` plus what learning from ambiguous speech needs.

    These inherited defaults are changed, for these reasons:

    - `lr_scheduler_type` `"constant"` and `max_grad_norm` 0 (no clipping): none of the three papers mentions a
      decay or clipping, and the Trainer's own defaults (linear decay, clipping at 1.0) would silently apply both.
    - `remove_unused_columns` False: the collator makes the batch and needs the utterance's index, which the Trainer
      would remove.
    - `save_strategy` and `eval_strategy` `"epoch"`, `save_total_limit` 2, `report_to` none.
    - `restore_callback_states_from_checkpoint` True: the patience of early stopping survives a resume.
    - `greater_is_better` follows `metric_for_best_model`: of `js`, `kl`, `brier` and `ece`, less is better. The
      Trainer itself takes the greatest value of every figure that is no loss.
    """

    # Arguments that may name another system of a study. That system's run of the same fold and seed comes first.
    of_system: ClassVar[tuple[str, ...]] = ()
    # Arguments whose default has changed -> the default before. A run that was begun before keeps it.
    earlier_defaults: ClassVar[Mapping[str, Any]] = {}

    lr_scheduler_type: str = field(default="constant", metadata={"help": "Learning-rate schedule."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Gradient clipping norm; 0 does not clip."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay False."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate on the validation split."})
    save_total_limit: int | None = field(default=2, metadata={"help": "How many checkpoints to keep."})
    restore_callback_states_from_checkpoint: bool = field(default=True, metadata={"help": "Keep patience on resume."})

    ambiguous_per_labelled: float | None = field(
        default=None,
        metadata={
            "help": "Ambiguous utterances per labelled one in a step, for methods that learn from both. Default: so"
            " many that one epoch passes once over both splits (IPR's 3421 / 1710 = 2)."
        },
    )
    drop_raters: float = field(
        default=0.0,
        metadata={
            "help": "Label augmentation for methods that learn from vote shares: the probability with which each vote"
            " is left out of an utterance's soft label, drawn anew in each epoch. At least one vote stays."
        },
    )
    encoder_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the encoder; None: the same as `learning_rate`, which is then the head's."
        },
    )
    layer_decay: float = field(
        default=1.0,
        metadata={
            "help": "Each layer of the encoder learns at this factor, in (0, 1], times the rate of the layer above it;"
            " what stands below all layers has one factor more. The topmost layer has the encoder's rate."
        },
    )
    head_warmup_epochs: float = field(
        default=0.0,
        metadata={
            "help": "Epochs, or a fraction, at the beginning in which the encoder (with LoRA adapters inside it) does"
            " not learn: its gradients are dropped before the optimiser's step."
        },
    )
    average_weights: float = field(
        default=0.0,
        metadata={
            "help": "Decay, in (0, 1), of a moving average of the weights over the steps; it remembers a ninth of"
            " them, and with 0.99 at most 100. Validation and tests score the average, and it is what checkpoints and"
            " the finished run hold; learning goes on with the last weights. 0: none."
        },
    )
    length_grouping: bool = field(
        default=True, metadata={"help": "Whether a step holds utterances of similar length."}
    )
    class_weights: str = field(
        default="none",
        metadata={
            "help": "`inverse_frequency` weighs labelled utterances by the inverse of their class's share (the mean"
            " weight is 1; a soft label gets the expectation under it); `none` gives all the same weight."
        },
    )
    class_weight_form: str = field(
        default="utterance",
        metadata={
            "help": "What a class weight does to a soft label: `utterance` weighs its whole loss by the expected"
            " weight, which leaves the best answer at the label; `class` weighs the term of each class, as torch's"
            " `weight=` does, which moves it. One-hot labels make no difference."
        },
    )
    logit_adjustment: float = field(
        default=0.0,
        metadata={
            "help": "tau > 0 adds tau * log(class share) to the logits of labelled utterances in the training loss, in"
            " place of class weights (Menon et al. 2021; 1 is their choice); 0: none."
        },
    )
    augmentation: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "For methods that learn from augmented copies of ambiguous utterances: the fields of"
            " `AugmentConfig` that differ from its defaults, as a mapping (JSON on the CLI)."
        },
    )
    labelled_augmentation: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Changes labelled utterances anew in each epoch of training (speed, tempo, pitch, reverberation,"
            " noise, gain): the fields of `AugmentConfig` that differ from its defaults, as a mapping; None: nothing."
        },
    )
    max_seconds: float | None = field(
        default=None, metadata={"help": "Cut longer utterances at their end; they are counted."}
    )
    audio_cache_gb: float = field(default=2.0, metadata={"help": "Memory for decoded audio, per process."})
    feature_cache: str = field(
        default="auto",
        metadata={
            "help": "Where the frames of a frozen encoder are kept, which are computed once: `auto` (in HF_HOME), a"
            " folder, or `none` (each epoch encodes anew)."
        },
    )
    feature_cache_dtype: str = field(
        default="float32",
        metadata={"help": "Type of these frames on disk: `float32`, or `float16` for half the size."},
    )
    cached_copies: int | None = field(
        default=None,
        metadata={
            "help": "How many augmented copies of an utterance have such frames, for runs that augment; the epochs"
            " take turns with them (default 4)."
        },
    )
    trajectory_every: int = field(
        default=1, metadata={"help": "Write every utterance's target and weight after each n-th epoch; 0: never."}
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after this many evaluations without a better `metric_for_best_model`; None: never."},
    )

    def __post_init__(self) -> None:
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = more_is_better(self.metric_for_best_model)
        super().__post_init__()
        check_inherited(self)
        self._check_finite()
        self.augmentation = _augmentation("augmentation", self.augmentation)
        self.labelled_augmentation = _augmentation("labelled_augmentation", self.labelled_augmentation)
        if self.encoder_learning_rate is not None and self.encoder_learning_rate <= 0:
            raise ValueError(
                f"encoder_learning_rate={self.encoder_learning_rate} must be above 0, or None for learning_rate. To"
                " leave the encoder as it is, freeze it (freeze: encoder)."
            )
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"layer_decay={self.layer_decay} must be above 0 and at most 1, which gives all layers one rate."
            )
        if self.head_warmup_epochs < 0:
            raise ValueError(f"head_warmup_epochs={self.head_warmup_epochs} must be 0 or more.")
        if self.head_warmup_epochs and self.max_steps <= 0 and self.head_warmup_epochs >= self.num_train_epochs:
            raise ValueError(
                f"head_warmup_epochs={self.head_warmup_epochs} leaves no epoch of"
                f" num_train_epochs={self.num_train_epochs:g} in which the encoder learns. Make the warm-up shorter,"
                " or freeze the encoder (freeze: encoder)."
            )
        if not 0 <= self.average_weights < 1:
            raise ValueError(
                f"average_weights={self.average_weights} is the decay of a moving average: above 0 and less than 1,"
                " for example 0.99, or 0 for none."
            )
        if not 0 <= self.drop_raters < 1:
            raise ValueError(f"drop_raters={self.drop_raters} is a probability; it must be 0 or more and less than 1.")
        if self.ambiguous_per_labelled is not None and self.ambiguous_per_labelled < 0:
            raise ValueError(f"ambiguous_per_labelled={self.ambiguous_per_labelled} must be 0 or more, or None.")
        self.check_choices({"class_weights": ("none", "inverse_frequency")})
        self.check_choices({"feature_cache_dtype": DTYPES})
        self.feature_cache = "none" if self.feature_cache is None else str(self.feature_cache)  # YAML: null, off
        if self.feature_cache.lower() in ("", "off", "no", "false", "on", "yes", "true", "0", "1"):
            raise ValueError(
                f"feature_cache={self.feature_cache!r} looks like a switch; allowed: auto, none, or a folder (one of"
                " that name is written ./off)."
            )
        if self.max_seconds is not None and self.max_seconds <= 0:
            raise ValueError(f"max_seconds={self.max_seconds} must be above 0, or None, which cuts nothing.")
        if self.audio_cache_gb < 0:
            raise ValueError(f"audio_cache_gb={self.audio_cache_gb} must be 0 (no cache) or more.")
        if self.trajectory_every < 0:
            raise ValueError(f"trajectory_every={self.trajectory_every} must be 0 (never) or more.")
        if self.cached_copies is not None and self.cached_copies < 1:
            raise ValueError(f"cached_copies={self.cached_copies} must be 1 or more.")
        self.check_choices({"class_weight_form": FORMS})
        if self.class_weight_form != "utterance" and self.class_weights == "none":
            raise ValueError(
                f"class_weight_form={self.class_weight_form!r} says how class weights act, and there are none. Set"
                " class_weights='inverse_frequency', or leave the form at 'utterance'."
            )
        if self.logit_adjustment < 0:
            raise ValueError(f"logit_adjustment={self.logit_adjustment} must be 0 or more.")
        if self.logit_adjustment and self.class_weights != "none":
            raise ValueError(
                f"logit_adjustment={self.logit_adjustment} and class_weights={self.class_weights!r} would balance the"
                " classes twice. Set class_weights='none', or logit_adjustment to 0."
            )
        if self.early_stopping_patience is not None and self.early_stopping_patience < 1:
            raise ValueError(
                f"early_stopping_patience={self.early_stopping_patience} must be 1 or more, or None, which"
                " never stops."
            )
        # Name the label columns of an evaluation batch; the Trainer would guess them from the model's signature.
        self.label_names = ["votes", "consensus"]
        if self.early_stopping_patience is not None and self.metric_for_best_model is None:
            raise ValueError("early_stopping_patience needs metric_for_best_model, for example 'ua'.")

    def _check_finite(self) -> None:
        """Refuse nan and inf in every field, a method's own ones included: most comparisons let them through."""
        for own in fields(self):
            value = getattr(self, own.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{own.name}={value} is no number to compute with; give a finite one.")

    def refuse_idle(self, field_name: str, value: str | Sequence[str], *names: str) -> None:
        """Refuse arguments that only some values of another give a part, where that one has another value.

        Args:
            field_name: The argument that chooses, for example `divergence`.
            value: Its value, or values, with which `names` act.
            names: Arguments that must be at their defaults otherwise.

        Raises:
            ValueError: If `field_name` has another value and one of `names` is not at its default.
        """
        chosen, values = getattr(self, field_name), [value] if isinstance(value, str) else value
        if chosen in values:
            return
        wanted = " or ".join(map(repr, values))
        defaults = {own.name: own.default for own in fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} acts with {field_name}={wanted} alone, and {field_name} is"
                    f" {chosen!r}. Leave {name} out, or set {field_name}={wanted}."
                )

    def check_choices(self, choices: Mapping[str, Sequence[str]]) -> None:
        """Check that fields have one of their values.

        Args:
            choices: Name of a field -> its values.

        Raises:
            ValueError: If a field has another one.
        """
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {list(allowed)}.")

    @property
    def target(self) -> str | None:
        """Label column to learn from, if an argument decides it; None: the method's `target`."""
        return None


def _augmentation(name: str, value: Any) -> dict[str, Any] | None:
    """Return the fields of an `AugmentConfig`, checked; None is None.

    Args:
        name: Name of the argument.
        value: A mapping, or its JSON.

    Raises:
        ValueError: If it is neither, or its fields make no `AugmentConfig`.
    """
    fix = 'give a mapping of AugmentConfig\'s fields, for example {"kind": "noise"}.'
    given, value = value, from_json(name, value, fix)
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={given!r} is not a mapping; {fix}")
    try:
        config = AugmentConfig.from_dict(value)
    except ValueError as error:
        raise ValueError(f"{name}={given!r}: {error}") from error
    # The defaults of a field may be given; a range or a probability that decides nothing is a mistake.
    chances = {f"{one}_probability" for one in OPERATIONS if config.kind == "mixed"}
    idle = sorted(set(value) - set(config.acting()) - chances)
    if idle:
        raise ValueError(
            f"{name}={given!r}: {', '.join(idle)} would decide nothing, because with kind={config.kind!r} and these"
            " probabilities that augmentation is never applied. Leave it out, or give the augmentation a probability"
            " above 0 (speed and tempo have 0 by default)."
        )
    if config.sampling_rate != SAMPLING_RATE:
        raise ValueError(
            f"{name}={given!r}: sampling_rate must be {SAMPLING_RATE} Hz, at which utterances are read. Leave it out."
        )
    return dict(value)
