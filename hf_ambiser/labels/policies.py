"""What a label policy says, and the named ones that ship with the package.

A policy is data: adding one is adding an entry here, or `get_policy("iemocap-4", rule="majority")` for a variant.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from hf_ambiser.labels.aggregation import checked_options


Rule = Literal["plurality", "majority", "all_inclusive"]
MultiLabel = Literal["first", "each", "fractional"]
AgreementOver = Literal["all", "mapped"]
Merge = Literal["before", "after"]

IEMOCAP_LABELS = (
    "anger",
    "disgust",
    "excited",
    "fear",
    "frustration",
    "happiness",
    "neutral",
    "other",
    "sadness",
    "surprise",
)
FOUR = ("anger", "happiness", "sadness", "neutral")
CREMA_D_CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")


@dataclass(frozen=True)
class LabelPolicy:
    """How ratings become votes, and votes a consensus label.

    Args:
        name: Short name, written into every result.
        classes: The K classes; their order is the class index everywhere.
        class_map: Raw label (lower case) to class, or to `None` for a label that is known but left out.
        rule: `plurality`: the class with the most votes, none on a tie. `majority`: more than half of the votes.
            `all_inclusive`: every utterance with a vote is kept; its label is the plurality's where there is one.
        multi_label: What several labels by one rater count: `first` only the first; `each` one vote each (at most one
            a class and rater); `fractional` 1/n each.
        self_reports: Whether the actors' ratings of themselves are votes.
        agreement_over: What agreement is a share of, and among what the consensus is sought: `all` votes, those for
            classes left out included, or only the votes for `mapped` classes.
        merge: Whether raw labels that map to one class are merged `before` the consensus is sought, or `after` (the
            raw label with the most votes wins and is mapped then: IEMOCAP's usual 5531 utterances are made this way).
        aggregation: Where `label` and `soft_label` come from: `shares` of the votes, or the posterior of a model of
            the raters, `dawid_skene`, `glad` or `mace` (`labels.aggregation`). Votes, agreement and what is kept do
            not depend on it.
        aggregation_options: Iterations, seed ... of that model; see `aggregation.DEFAULTS`, which fill the gaps.

    Raises:
        ValueError: A value that is not allowed, or `multi_label="fractional"` with a model: it takes whole answers.
    """

    name: str
    classes: tuple[str, ...]
    class_map: Mapping[str, str | None]
    rule: str = "plurality"
    multi_label: str = "first"
    self_reports: bool = False
    agreement_over: str = "all"
    merge: str = "before"
    aggregation: str = "shares"
    aggregation_options: Mapping[str, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("rule", get_args(Rule)),
            ("multi_label", get_args(MultiLabel)),
            ("agreement_over", get_args(AgreementOver)),
            ("merge", get_args(Merge)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"label policy {self.name!r}: {name}={getattr(self, name)!r} is not one of {list(allowed)}."
                )
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"label policy {self.name!r}: classes={self.classes} must be at least two different names."
            )
        for raw, target in self.class_map.items():
            if raw != raw.lower():
                raise ValueError(f"label policy {self.name!r}: class_map key {raw!r} must be lower case.")
            if target is not None and target not in self.classes:
                raise ValueError(
                    f"label policy {self.name!r}: class_map sends {raw!r} to {target!r}, which is not one of the"
                    f" classes {list(self.classes)}. Map it to one of them, or to None to leave it out."
                )
        missing = [c for c in self.classes if c not in self.class_map.values()]
        if missing:
            raise ValueError(f"label policy {self.name!r}: no raw label maps to class(es) {missing}.")
        try:
            options = checked_options(self.aggregation, self.aggregation_options)
        except ValueError as error:
            raise ValueError(f"label policy {self.name!r}: {error}") from None
        object.__setattr__(self, "aggregation_options", options)
        if self.aggregation != "shares" and self.multi_label == "fractional":
            raise ValueError(
                f"label policy {self.name!r}: aggregation={self.aggregation!r} models whole answers, so it cannot take"
                " multi_label='fractional'. Use 'first', or 'each' (every label an answer of its own)."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form; `from_dict` is its inverse."""
        values = {**dataclasses.asdict(self), "classes": list(self.classes), "class_map": dict(self.class_map)}
        return {**values, "aggregation_options": dict(self.aggregation_options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelPolicy:
        """Inverse of `to_dict`."""
        return cls(**{**values, "classes": tuple(values["classes"])})

    def with_(self, **changes: Any) -> LabelPolicy:
        """A copy with some fields changed; a changed policy has another fingerprint.

        Another `aggregation` comes with its own default options unless they are given, too.
        """
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(self)})
        if unknown:
            allowed = [f.name for f in dataclasses.fields(self)]
            raise ValueError(f"label policy {self.name!r} has no field {unknown}; its fields are {allowed}.")
        if changes.get("aggregation", self.aggregation) != self.aggregation:
            changes = {"aggregation_options": {}, **changes}
        return dataclasses.replace(self, **changes)

    def fingerprint(self) -> str:
        """Twelve hex digits over everything that decides a label (the name does not, so it is left out)."""
        content = {k: v for k, v in self.to_dict().items() if k != "name"}
        if self.aggregation == "shares":  # fingerprints are older than the other aggregations, and stay
            del content["aggregation"], content["aggregation_options"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _keep(labels: tuple[str, ...], classes: tuple[str, ...], **renamed: str) -> dict[str, str | None]:
    """Class map that keeps `classes`, renames some labels and leaves the others out."""
    return {label: renamed.get(label, label if label in classes else None) for label in labels}


_POLICIES: dict[str, dict[str, Any]] = {
    # The field's usual four; excitement is merged into happiness after the majority, which gives the 5531 utterances.
    "iemocap-4": {
        "classes": FOUR,
        "class_map": _keep(IEMOCAP_LABELS, FOUR, excited="happiness"),
        "merge": "after",
    },
    # Fujioka et al. leave excitement out: 4490 utterances.
    "iemocap-4-no-excitement": {"classes": FOUR, "class_map": _keep(IEMOCAP_LABELS, FOUR), "merge": "after"},
    "iemocap-all": {"classes": IEMOCAP_LABELS, "class_map": _keep(IEMOCAP_LABELS, IEMOCAP_LABELS)},
    "crema-d-6": {"classes": CREMA_D_CLASSES, "class_map": _keep(CREMA_D_CLASSES, CREMA_D_CLASSES)},
    "crema-d-4": {"classes": FOUR, "class_map": _keep(CREMA_D_CLASSES, FOUR)},
    "simulated-4": {"classes": FOUR, "class_map": _keep(FOUR, FOUR)},
}


def available_policies() -> list[str]:
    """Names that `get_policy` knows."""
    return sorted(_POLICIES)


def get_policy(name: str, **changes: Any) -> LabelPolicy:
    """The policy of that name, with some fields changed if asked.

    Raises:
        ValueError: If there is no such policy or field.
    """
    if name not in _POLICIES:
        raise ValueError(f"there is no label policy {name!r}; choose one of {available_policies()}.")
    policy = LabelPolicy(name=name, **_POLICIES[name])
    return policy.with_(**changes) if changes else policy
