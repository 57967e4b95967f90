"""Checks that the fields of a configuration have the types that its `__init__` declares, and lists them."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from transformers import PreTrainedConfig


_NAMES = {NoneType: "None", bool: "true or false", int: "a whole number", float: "a number"}
_OF_LISTS = {int: "whole numbers", float: "numbers"}


def typed(init: Callable[..., None]) -> Callable[..., None]:
    """Decorate the `__init__` of a configuration: refuse a value that has not the type that the field declares.

    Fields that may be text are left to the configuration's own check, which lists the texts that are allowed; so is
    `encoder_config`. A number must be finite, and a truth value is no number.

    Raises:
        ValueError: When called, for the first such field; the message names it, its value and what is allowed.
    """
    signature = inspect.signature(init)
    declared: dict[str, Any] = {}

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if not declared:
            declared.update(get_type_hints(init))
        given = signature.bind(self, *args, **kwargs).arguments
        for name in own_fields(init):
            if name in given and not _fits(given[name], declared[name]):
                raise ValueError(
                    f"{type(self).__name__}.{name} is {given[name]!r}; allowed: {_described(declared[name])}."
                )
        init(self, *args, **kwargs)

    return checked


def own_fields(init: Callable[..., Any]) -> list[str]:
    """List the fields that an `__init__` declares by name; the encoder's configuration is none of them."""
    parameters = inspect.signature(init).parameters.values()
    return [
        p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in ("self", "encoder_config")
    ]


def all_fields(config_class: type) -> list[str]:
    """List the fields of a configuration of this package, its own first, without those of transformers' base."""
    classes = config_class.__mro__[: config_class.__mro__.index(PreTrainedConfig)]
    inits = [vars(one)["__init__"] for one in classes if "__init__" in vars(one)]
    return list(dict.fromkeys(name for init in inits for name in own_fields(init)))


def _fits(value: Any, declared: Any) -> bool:
    members = get_args(declared)
    if get_origin(declared) in (Union, UnionType):
        return any(_fits(value, member) for member in members)
    if get_origin(declared) is Sequence:
        return isinstance(value, list | tuple) and all(_fits(one, members[0]) for one in value)
    if declared is float:
        return (isinstance(value, float) and math.isfinite(value)) or _fits(value, int)
    if declared is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return declared is str or isinstance(value, declared)


def _described(declared: Any) -> str:
    """Say in words which values fit a type, as `None, or a number`."""
    members = get_args(declared)
    if get_origin(declared) in (Union, UnionType):
        return ", or ".join(sorted(map(_described, members)))  # None sorts first
    if get_origin(declared) is Sequence:
        return f"a list of {_OF_LISTS.get(members[0]) or _described(members[0]).replace('a list', 'lists', 1)}"
    return _NAMES[declared]
