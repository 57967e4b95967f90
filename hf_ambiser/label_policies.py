"""The named label policies that ship with the package.

A policy is data: adding one is adding an entry here, or `get_policy("iemocap-4", rule="majority")` for a variant.
"""

from __future__ import annotations

from typing import Any

from hf_ambiser.labels import LabelPolicy


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
