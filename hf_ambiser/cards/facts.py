"""The facts that a card is written from: a finished run, and what the package knows of its method and corpus."""

from __future__ import annotations

from copy import copy
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig

from hf_ambiser.data.rating_kinds import speech_of
from hf_ambiser.data.ratings.corpus_facts import known_corpus
from hf_ambiser.files.read import exists, read_json
from hf_ambiser.methods import load_method
from hf_ambiser.run_folder.decision import DECISION, in_config
from hf_ambiser.run_folder.finished import OF_THE_MACHINE, FinishedRun
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.run_scores.complete import complete_runs
from hf_ambiser.untrusted.markdown import as_text, as_texts


if TYPE_CHECKING:
    from hf_ambiser.training.trainer import AmbiSERTrainer

# Fields of the arguments that hold paths on this machine; they are never in a card.
PLACES = ("output_dir", "dataset", "logging_dir")
# Parts of the results that a card shows as code, or not at all.
_AS_THEY_ARE = ("defaults", "log", "code")
# What cards listed before runs wrote down their defaults. Of such a run today's other arguments say nothing.
_LISTED_BEFORE = frozenset(
    """
    adam_beta1 adam_beta2 adam_epsilon alpha ambiguous_per_labelled ambiguous_splits augmentation beta beta_max bf16
    class_weights contrast_temperature contrastive correct_from dataset_config early_stopping_patience encoder
    encoder_fields finetune_epochs forget_rate fp16 freeze gamma gradient_accumulation_steps initial_labels
    initial_weights inter_class_form inter_class_label keep_balance label_learning_rate label_scale labels_from
    learn_labels learn_weights learning_rate length_grouping load_best_model_at_end lora lr_scheduler_type
    max_grad_norm max_seconds metric_for_best_model model_family model_fields mu num_train_epochs objective optim
    per_device_train_batch_size pretrained prototype_update pseudo_label ramp_base ramp_epochs reveal_splits sampling
    seed select sharpening state_optimizer test_splits train_splits validation_split warmup_epochs warmup_steps
    weight_decay weight_decay_form weight_learning_rate
    """.split()
)


@dataclass(frozen=True)
class Facts:
    """The facts that a card is written from.

    Args:
        run: The finished run.
        given: The arguments as given, without places on this machine.
        method: The trainer class.
        corpus: The corpus' module, for a corpus of somebody's own made from what the run has stored; None if nothing
            is known of it.
        config: The model's configuration (of the base model under an adapter).
    """

    run: FinishedRun
    given: dict[str, Any]
    method: type[AmbiSERTrainer]
    corpus: ModuleType | None
    config: Any

    def as_texts(self) -> Facts:
        """The same facts for Markdown: every name and text of `results.json` and `speakers.json` is escaped."""

        def shown(run: FinishedRun) -> FinishedRun:
            results = copy(run.results)  # of the same kind: it names the file where something is missing
            results.update((name, as_texts(value)) for name, value in results.items() if name not in _AS_THEY_ARE)
            # A split is found by its escaped name, too.
            parts = {**{split: (split,) for split in run.splits}, **run.joined}
            return replace(run, results=results, joined={as_text(name): splits for name, splits in parts.items()})

        run, whole = self.completed
        facts = replace(self, run=shown(self.run))
        facts.__dict__["completed"] = (shown(run), as_text(whole))
        facts.run.__dict__["speakers"] = {name: as_texts(about) for name, about in self.run.speakers.items()}
        return facts

    @property
    def results(self) -> dict[str, Any]:
        """Content of `results.json`."""
        return self.run.results

    @cached_property
    def completed(self) -> tuple[FinishedRun, str]:
        """The run with every figure that its predictions give, and the name of its set of all test utterances."""
        (run,), whole = complete_runs([self.run])
        return run, whole

    @property
    def scored(self) -> FinishedRun:
        """The run with every figure that its predictions give, also those that it did not store."""
        return self.completed[0]

    @property
    def scores(self) -> dict[str, Any]:
        """All figures of each test split, and first those of all test utterances together."""
        return self.scored.results["scores"]

    @property
    def whole(self) -> str:
        """The split, or the set of several splits, that has every test utterance; "" if it is not known."""
        return self.completed[1]

    @property
    def files(self) -> RunFolder:
        """The run's files, by name."""
        return self.run.files

    @property
    def adapter(self) -> dict[str, Any] | None:
        """`adapter_config.json` of a LoRA run; None for a whole model."""
        return self.run.adapter

    @property
    def data(self) -> dict[str, Any]:
        """The data that the model was trained on: corpus, protocol, fingerprints, counts."""
        return self.run.data

    @property
    def classes(self) -> list[str]:
        """Class names in the order of their index."""
        return self.run.classes

    @property
    def encoder(self) -> str:
        """Name of the pretrained encoder, or of its folder if it is local; "" if the encoder began from scratch."""
        return str(self.given.get("encoder") or "")

    @property
    def pretrained(self) -> str:
        """Name of the trained model that the run began with, or of its folder or system; "" if there was none."""
        return str(self.given.get("pretrained") or "")

    @property
    def encoder_on_hub(self) -> str:
        """The pretrained encoder's repository on the Hub; "" if it has none."""
        return self.encoder if self.encoder.count("/") == 1 else ""

    @property
    def base_on_hub(self) -> str:
        """The repository on the Hub of what the run began with, a trained model or an encoder; "" if it has none."""
        if self.pretrained:
            begun = self.run.begun_with
            return self.pretrained if begun and begun["on_hub"] else ""
        return self.encoder_on_hub

    @property
    def kind(self) -> str:
        """The encoder's `model_type`, or the model's family if it has no encoder."""
        inner = getattr(self.config, "encoder_config", self.config)
        return inner.model_type.removeprefix("ambiser_")

    @property
    def speakers(self) -> str:
        """Who speaks in the corpus, or words for a corpus that the package does not know."""
        if self.corpus is None:
            return "speech that this package knows nothing of"
        return speech_of(self.corpus, self.data.get("ratings", ()))

    def arguments(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments that differ from their defaults, and the others of the method and of this package."""
        defaults = self.results.get("defaults")  # as they were when it was run
        if defaults is None:
            today = argument_defaults(self.method.arguments_class)
            defaults = {name: value for name, value in today.items() if name in _LISTED_BEFORE}
        given = {name: value for name, value in self.given.items() if name not in OF_THE_MACHINE}
        changed = {name: value for name, value in given.items() if name not in defaults or defaults[name] != value}
        return changed, {name: value for name, value in defaults.items() if name not in {*changed, *OF_THE_MACHINE}}


def read_facts(run: Path) -> Facts:
    """Read a finished run folder.

    Raises:
        ValueError: If it is no run folder, or of a run that never finished.
    """
    finished = FinishedRun.read(run)
    if not exists(finished.model_config):
        raise ValueError(
            f"{run} has no trained model any more: its config.json is gone, so there is nothing to share."
        )
    stored = read_json(finished.model_config, finished.files.cure)
    stored["model_type"]  # transformers says less about a spoilt file
    if stored.get(DECISION) != in_config(finished.decision):
        raise ValueError(
            f"{finished.model_config} and {finished.files.results} do not hold the same decision (temperature,"
            f" threshold, sets, balance). Give `hf-ambiser calibrate {run}` again with what you want, or with --none."
        )
    return Facts(
        run=finished,
        given=_placeless(finished),
        method=load_method(finished.results["method"]),
        corpus=known_corpus(finished.data),
        config=_config(finished.model_config),
    )


def _config(path: Path) -> Any:
    """Read the model's configuration; no code beside it is run.

    Raises:
        ValueError: If it is not one that this package or transformers knows.
    """
    try:
        return AutoConfig.from_pretrained(path.parent, trust_remote_code=False)
    except Exception as error:  # transformers, and our classes, let through whatever a wrong value leads to
        raise ValueError(
            f"{path} is not the configuration of a model that this version of hf_ambiser knows, and code beside it is"
            f" never run ({' '.join(str(error).split())[:200]}). Train again, or use the version that wrote it."
        ) from None


def _placeless(finished: FinishedRun) -> dict[str, Any]:
    """The arguments of a run; of an encoder or a model in a folder of this machine only a name."""
    given = {name: value for name, value in finished.arguments.items() if name not in PLACES}
    if encoder := given.get("encoder"):
        local = str(encoder).count("/") != 1 or str(encoder)[0] in "/.~$" or Path(encoder).is_dir()
        given["encoder"] = Path(encoder).name if local else encoder
    if given.get("pretrained"):
        begun = finished.begun_with  # an earlier version did not write it, and knew systems and folders
        given["pretrained"] = begun["name"] if begun else Path(given["pretrained"]).name or "a model of that machine"
    return given


def argument_defaults(arguments_class: type) -> dict[str, Any]:
    """The defaults of this package's and the method's fields, and of the Trainer's fields that influence a result.

    A run writes them into its results, because a later version of the package may have others.
    """
    from transformers import TrainingArguments

    from hf_ambiser.training.data_arguments import DataArguments
    from hf_ambiser.training.model_arguments import ModelArguments

    inherited = {f.name for f in fields(TrainingArguments)}
    shown = {"learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "per_device_train_batch_size"}
    shown |= {"gradient_accumulation_steps", "weight_decay", "max_grad_norm", "optim", "adam_beta1", "adam_beta2"}
    shown |= {"adam_epsilon", "seed", "bf16", "fp16", "load_best_model_at_end", "metric_for_best_model"}
    defaults = {}
    for kind in (DataArguments, ModelArguments, arguments_class):
        for f in fields(kind):
            if f.name in PLACES or (f.name in inherited and f.name not in shown):
                continue
            value = f.default_factory() if f.default_factory is not MISSING else f.default
            defaults[f.name] = getattr(value, "value", value)  # an enumeration's own value
    return defaults
