"""The arguments of one run (data, model, method, training), read from a YAML file and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from types import NoneType, UnionType
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from hf_ambiser.files.command_parser import in_plain_words, nearest
from hf_ambiser.methods import available_methods, load_method
from hf_ambiser.runs.arguments_parser import HELP, arguments_parser
from hf_ambiser.runs.config_files import read_config
from hf_ambiser.training.arguments import AmbiSERTrainingArguments
from hf_ambiser.training.data_arguments import DataArguments
from hf_ambiser.training.model_arguments import ModelArguments


@dataclass
class SharingArguments:
    """Whether and where the finished run is pushed. These fields may change at any time; they do not define a run.

    They have the names of fields of `TrainingArguments`, but the Trainer does not push.
    """

    push_to_hub: bool = field(default=False, metadata={"help": "Push the finished run to the Hub."})
    hub_model_id: str | None = field(default=None, metadata={"help": "Repository, <account>/<name>."})
    hub_private_repo: bool | None = field(default=None, metadata={"help": "Make the repository private."})

    def __post_init__(self) -> None:
        if self.push_to_hub and not self.hub_model_id:
            raise ValueError("push_to_hub needs hub_model_id: the repository, <account>/<name>.")


# Fields that cannot be set, and why: they would push something else, or write a secret into the run folder.
_NOT_HERE = {
    "hub_token": "set HF_TOKEN, or run `hf auth login`: a token in a configuration ends up in the run folder",
    "hub_strategy": "a run is pushed once, when it is finished and whole",
    "hub_always_push": "a run is pushed once, when it is finished and whole",
    "hub_revision": "a run goes to the main branch, and its content gets a tag",
}


@dataclass
class RunArguments:
    """One run: its method, data, model and training arguments. `sharing` does not define a run.

    `system` is the name of the run's row in tables; by default it is the method's name. `given` holds the fields that
    were set, by name.
    """

    method: str
    system: str
    data: DataArguments
    model: ModelArguments
    training: AmbiSERTrainingArguments
    sharing: SharingArguments
    given: dict[str, Any]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunArguments:
        """Make the arguments from flat fields, as a config file has them.

        Raises:
            ValueError: If `method` is missing or a field is unknown; the message lists what is meant or allowed.
        """
        values = dict(values)
        sharing = _sharing(values)
        given = given_fields(values)
        owners = _owners(given["method"])
        kinds: tuple[Any, ...] = (DataArguments, ModelArguments, load_method(given["method"]).arguments_class)
        data, model, training = (kind(**{k: v for k, v in given.items() if owners.get(k) is kind}) for kind in kinds)
        return cls(given["method"], given.get("system", given["method"]), data, model, training, sharing, given)

    @classmethod
    def from_command_line(cls, argv: Sequence[str], prog: str = "train.py") -> RunArguments:
        """Make the arguments from `--config NAME_OR_FILE` and `--field value` pairs, which override the file.

        `--help` needs no method. It prints the package's own fields; `--help-all` also prints those of the Trainer.

        Args:
            argv: The words of the command line.
            prog: Name of the command, for its help.

        Raises:
            ValueError: In one line: what is wrong with a word, a file or a field.
            SystemExit: After the help, with status 0.
        """
        argv = list(argv)
        values: dict[str, Any] = {}
        while (name := _take(argv, "--config", "a file")) is not None:
            values |= read_config(name)
        while (method := _take(argv, "--method", f"one of {available_methods()}")) is not None:
            values["method"] = method
        while (system := _take(argv, "--system", "a name")) is not None:
            values["system"] = system
        asks_for_help = not set(HELP).isdisjoint(argv)
        if "method" not in values and not asks_for_help:
            raise ValueError(f"give --config FILE, or --method with one of {available_methods()}.")
        method = values.get("method")
        arguments_class = AmbiSERTrainingArguments if method is None else load_method(method).arguments_class
        parser = arguments_parser(method, arguments_class, SharingArguments, prog, "--help-all" in argv)
        # A mistake gets one line. argparse would print a page with all arguments.
        parser.error = partial(_refuse, method=method, options=parser._option_string_actions)  # type: ignore[method-assign]
        if not asks_for_help:
            # Without defaults in the parser, only what stands on the command line overrides the file.
            parser.set_defaults(**dict.fromkeys(vars(parser.parse_args([]))))
        given = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
        return cls.from_mapping({**values, **given})


def _sharing(values: dict[str, Any]) -> SharingArguments:
    """Take the fields about sharing out of `values`: a Trainer that saw them would push by itself.

    Raises:
        ValueError: If one of them cannot be set.
    """
    for f in [f for f in fields(AmbiSERTrainingArguments) if f.name in _NOT_HERE]:
        if values.get(f.name, f.default) != f.default:
            raise ValueError(f"{f.name} cannot be set: {_NOT_HERE[f.name]}.")
    declared = get_type_hints(SharingArguments)
    own = {f.name: values.pop(f.name) for f in fields(SharingArguments) if f.name in values}
    return SharingArguments(**{name: _as_declared(name, value, declared[name]) for name, value in own.items()})


def given_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give a run's fields their declared types, without making the arguments, which may need a GPU.

    Raises:
        ValueError: If `method` is missing, a field is unknown or of another type.
    """
    method, system = values.get("method"), values.get("system")
    if method is None:
        raise ValueError(f"a run needs a method: set `method` to one of {available_methods()}.")
    if not isinstance(system, str | None) or system == "":
        raise ValueError(f"system={system!r} must be a name: what the run is called in tables.")
    owners = _owners(method)
    unknown = sorted(set(values) - set(owners) - {"method", "system"})
    if unknown:
        for name in unknown:
            _refuse_of_another(name, method)
        raise ValueError(
            f"unknown field(s) {unknown}{nearest(unknown[0], owners)} for method {method!r}. Its own are"
            f" {_own_fields(load_method(method).arguments_class)}; beside them the fields of DataArguments,"
            " ModelArguments and transformers.TrainingArguments."
        )
    declared = {kind: get_type_hints(kind) for kind in set(owners.values())}
    typed = {k: _as_declared(k, v, declared[owners[k]][k]) for k, v in values.items() if k in owners}
    return {"method": method, **({} if system is None else {"system": system}), **typed}


def _owners(method: str) -> dict[str, type]:
    """Map every field of a run to the class that declares it."""
    kinds: tuple[Any, ...] = (DataArguments, ModelArguments, load_method(method).arguments_class)
    return {f.name: kind for kind in kinds for f in fields(kind) if f.init}


def _take(argv: list[str], option: str, what: str) -> str | None:
    """Take the first `option VALUE` or `option=VALUE` out of `argv` and return its value, or None."""
    for at, word in enumerate(argv):
        if word.startswith(option + "="):
            return argv.pop(at).removeprefix(option + "=")
        if word == option:
            if at + 1 == len(argv):
                raise ValueError(f"{option} needs {what}.")
            del argv[at]
            return argv.pop(at)
    return None


def _as_declared(name: str, value: Any, declared: Any) -> Any:
    """Return the value if it has the field's type. Text that means a number (YAML's `1e-3`) becomes a number.

    Raises:
        ValueError: If it is of another plain type.
    """
    members = get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)
    kinds = {get_origin(kind) or kind for kind in members}
    plain = {bool, int, float, str, list, dict, NoneType}
    if type(value) in kinds or not {type(value), *kinds} <= plain or (type(value) is int and float in kinds):
        return value
    if isinstance(value, str) and float in kinds:
        try:
            return float(value)
        except ValueError:
            pass
    allowed = " or ".join(sorted("nothing" if kind is NoneType else kind.__name__ for kind in kinds))
    raise ValueError(f"{name}={value!r} is of type {type(value).__name__}; it must be of type {allowed}.")


def _refuse(message: str, method: str | None, options: Iterable[str]) -> NoReturn:
    """Raise argparse's message in plain words; for an option of other methods, with those."""
    unknown = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
    for word in unknown:
        _refuse_of_another(word.partition("=")[0].removeprefix("--").replace("-", "_"), method, "--")
    raise ValueError(in_plain_words(message, options))


def _refuse_of_another(name: str, method: str | None, option: str = "") -> None:
    """Raise a ValueError if a field that this method does not have is one that other methods have."""
    others = [one for one in available_methods() if name in _own_fields(load_method(one).arguments_class)]
    if method is not None and others and method not in others:
        raise ValueError(
            f"{option}{name} is an argument of {', '.join(others)}, not of {method}; leave it out, or choose"
            f" {option}method {' or '.join(others)}. Arguments of {method} alone:"
            f" {', '.join(_beside_the_shared(method)) or 'none'}."
        )


def _beside_the_shared(method: str) -> list[str]:
    shared = {f.name for f in fields(AmbiSERTrainingArguments)}
    return [name for name in _own_fields(load_method(method).arguments_class) if name not in shared]


def _own_fields(arguments_class: type) -> list[str]:
    from transformers import TrainingArguments

    inherited = {f.name for f in fields(TrainingArguments)}
    return sorted(f.name for f in fields(arguments_class) if f.name not in inherited)
