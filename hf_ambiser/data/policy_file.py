"""A label policy from a YAML file, or by name: `--policy my_policy.yaml`, `build(..., policy="my_policy.yaml")`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_ambiser.data.ratings.class_map import checked_class_map
from hf_ambiser.files.read import FileError, read_yaml
from hf_ambiser.files.tables import composed
from hf_ambiser.labels.policies import LabelPolicy, available_policies, get_policy


ENDINGS = (".yaml", ".yml")
FIELDS = tuple(field.name for field in dataclasses.fields(LabelPolicy))
CURE = (
    "A label policy is a YAML file with class_map (`label: class`, or `label: null`), and if they are not the"
    f" defaults {', '.join(name for name in FIELDS if name != 'class_map')}."
)
# What a field holds, if it is not a text.
_KINDS: dict[str, type] = {"self_reports": bool, "classes": list, "ratings": list, "aggregation_options": dict}


def policy_of(policy: LabelPolicy | Path | str, **changes: Any) -> LabelPolicy:
    """Return a label policy: itself, from a YAML file, or by name; `changes` replace some of its fields.

    Raises:
        FileError: If the file cannot be used.
        ValueError: If there is no such policy or field, or if a value is not allowed.
    """
    if isinstance(policy, str) and not is_policy_file(policy):
        return get_policy(policy, **changes)
    found = policy if isinstance(policy, LabelPolicy) else read_policy(Path(policy))
    return found.with_(**changes) if changes else found


def is_policy_file(policy: Path | str) -> bool:
    """Whether a policy is a file, by its name: no policy of the package ends so."""
    return isinstance(policy, Path) or policy.lower().endswith(ENDINGS)


def checked_policy_name(text: str) -> str:
    """Return a word of the command line that names a policy or a file.

    Raises:
        ValueError: If there is no policy of that name.
    """
    if not is_policy_file(text) and text not in available_policies():
        raise ValueError(f"{text!r} is neither one of {available_policies()} nor a YAML file")
    return text


def read_policy(path: Path) -> LabelPolicy:
    """Read a policy; its name is that of the file, and its classes stand in the order of the class map, if not given.

    Raises:
        FileError: If the file cannot be read, has a field that does not exist, or a value that is not allowed.
    """
    fields: dict[str, Any] = read_yaml(path, CURE)
    if unknown := [name for name in fields if name not in FIELDS]:
        raise FileError(path, f"has the field {unknown[0]!r}, which a label policy does not have", CURE)
    for name, value in fields.items():
        kind = _KINDS.get(name, Mapping if name == "class_map" else str)
        if not isinstance(value, kind):
            raise FileError(path, f"has {name}: {value!r:.50}, and it must be a {kind.__name__.lower()}", CURE)
    if "class_map" not in fields:
        raise FileError(path, "has no class_map", CURE)
    class_map = checked_class_map(fields["class_map"], path)
    targets = [target for target in class_map.values() if target is not None]
    classes = tuple(composed(" ".join(str(one).split())) for one in fields.get("classes", dict.fromkeys(targets)))
    given = {"name": path.stem, **fields, "classes": classes, "class_map": class_map}
    given["ratings"] = tuple(fields.get("ratings", ()))
    try:
        return LabelPolicy(**given)
    except (ValueError, TypeError) as error:
        raise FileError(path, f"is no label policy ({error})", CURE) from error
