"""The parser of a run's command line. Its help shows the package's own fields first, in groups."""

from __future__ import annotations

import argparse
import copy
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, ClassVar, get_type_hints

from transformers import HfArgumentParser, TrainingArguments

from hf_ambiser.methods import available_methods
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.data_arguments import DataArguments
from hf_ambiser.training.model_arguments import ModelArguments


HELP = ("-h", "--help", "--help-all")


@dataclass
class _Run:
    """Options that are read before the parser is made, because they decide which fields it has; shown in the help."""

    _argument_group_name: ClassVar[str] = "run"

    config: str | None = field(
        default=None,
        metadata={
            "help": "YAML file of fields, or the name of a shipped one, for example crema_d/ipr (`hf-ambiser configs`"
            " lists them). Given twice, the later file's fields count."
        },
    )
    method: str | None = field(default=None, metadata={"help": f"One of {available_methods()}."})
    system: str | None = field(
        default=None, metadata={"help": "Name of the run in tables; by default the name of its method."}
    )


def arguments_parser(
    method: str | None, arguments_class: type, sharing: type, prog: str, everything: bool
) -> HfArgumentParser:
    """Make a parser with every field of a run, each with its default.

    Args:
        method: Whose own fields make a group, or None.
        arguments_class: Training arguments, those of the method or those that every method shares.
        sharing: The dataclass of the fields that say where the run is pushed.
        prog: Name of the command.
        everything: Whether the help shows the fields of `transformers.TrainingArguments` as well.
    """
    shared = inspect.get_annotations(AmbiSERTrainingArguments)
    classes = arguments_class.__mro__[: arguments_class.__mro__.index(AmbiSERTrainingArguments)]
    own = [name for one in classes for name in inspect.get_annotations(one)]
    apart = {*shared, *own, *(f.name for f in fields(sharing))}
    inherited = [f.name for f in fields(TrainingArguments) if f.name not in apart]
    groups: list[Any] = [
        _Run,
        _group("data", DataArguments),
        _group("model", ModelArguments),
        _group("training", arguments_class, [name for name in shared if name not in own]),
        _group(f"method {method}", arguments_class, own),
        _group("sharing", sharing),
        _group("transformers.TrainingArguments", arguments_class, inherited, shown=everything),
    ]
    parser = HfArgumentParser(
        groups,
        prog=prog,
        usage=f"{prog} --config NAME_OR_FILE [--field value ...]",
        description="Train and score one run. Fields on the command line override those of the config. The run folder"
        " is --output_dir; the same command again continues a run that was stopped.",
        epilog="Several processes or GPUs: accelerate launch -m hf_ambiser.train --config NAME_OR_FILE ..."
        + ("" if method else " With --method or --config, --help also shows the method's own fields."),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--help-all",
        action="help",
        help="also show the fields of transformers.TrainingArguments: output_dir, seed, num_train_epochs,"
        " learning_rate, per_device_train_batch_size, use_cpu, bf16, ...",
    )
    lists = {f.name for f in fields(DataArguments)}
    for action in parser._actions:
        if action.dest in lists and action.nargs == "+":
            action.nargs = "*"  # an option without a value is an empty list, as `ambiguous_splits: []` is
        if action.default is None:
            action.default = argparse.SUPPRESS  # "(default: None)" says nothing that the help does not
        if action.nargs == 0 and action.option_strings[0].startswith("--no_"):
            action.help = argparse.SUPPRESS  # `--no_x` beside every `--x` that is true by default
        if action.nargs != 0:
            # One spelling is enough for the help; the parser keeps knowing both.
            action.option_strings, action.metavar = action.option_strings[:1], "VALUE"
    return parser


def _group(title: str, owner: type, names: Iterable[str] | None = None, shown: bool = True) -> type:
    """Make a dataclass of some or all fields of another one. The help shows them under the title, or hides them."""
    hints, chosen = get_type_hints(owner), []
    for one in fields(owner):  # type: ignore[arg-type]
        if one.init and (names is None or one.name in set(names)):
            one = copy.copy(one)
            if not shown:
                one.metadata = {**one.metadata, "help": argparse.SUPPRESS}  # type: ignore[assignment]
            chosen.append((one.name, hints[one.name], one))
    # HfArgumentParser makes a group of a dataclass that has this attribute.
    return make_dataclass("Group", chosen, namespace={"_argument_group_name": title})
