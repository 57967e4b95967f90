"""The label policy (`LabelPolicy`) and the named policies that ship with the package.

A policy is data: add an entry below for a new one, or call `get_policy("iemocap-4", rule="majority")` for a variant.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from hf_ambiser.entry_points import POLICIES, load, offered
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
# A rater of MSP-Podcast chooses one of the first nine as primary emotion, and any of all as secondary ones.
MSP_PODCAST_LABELS = (
    "angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral", "other",
    "amused", "annoyed", "concerned", "confused", "depressed", "disappointed", "excited", "frustrated",
)  # fmt: skip
MSP_IMPROV_LABELS = (
    "angry", "sad", "happy", "neutral", "other",
    "depressed", "disgust", "excited", "fear", "frustrated", "surprise",
)  # fmt: skip
MSP_PODCAST_CLASSES = ("anger", "sadness", "happiness", "surprise", "fear", "disgust", "contempt", "neutral")
MELD_LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
RAVDESS_LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
EMO_DB_CLASSES = ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral")
NEMO_LABELS = ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
NNIME_LABELS = (
    "angry", "frustrated", "disappointed", "sad", "fear", "neutral", "surprise", "excited", "happy", "relax", "joy",
)  # fmt: skip
# The words of the label files that EMO-SUPERB published, for all of its corpora.
EMO_SUPERB_LABELS = tuple(dict.fromkeys([*NNIME_LABELS, *MSP_PODCAST_LABELS]))
# Adjectives that several corpora have where the classes are nouns.
_NOUNS = {"angry": "anger", "sad": "sadness", "happy": "happiness"}


@dataclass(frozen=True)
class LabelPolicy:
    """The rules that turn ratings into votes and votes into a consensus label.

    Args:
        name: Short name, written into every result.
        classes: The K classes; their order is the class index everywhere.
        class_map: Raw label (lower case) to class, or to `None` for a known label that is left out.
        rule: `plurality`: the class with the most votes; a tie gives no label. `majority`: more than half of the
            votes. `all_inclusive`: as `plurality`, but every utterance with a vote is kept, also without a label.
        multi_label: How several labels by one rater count: `first`: only the first one; `each`: one vote each (at most
            one per class and rater); `fractional`: 1/n each.
        self_reports: Whether the actors' ratings of themselves count as votes.
        agreement_over: Which votes the consensus and the agreement consider: `all` votes, including those for classes
            that are left out, or only the votes for `mapped` classes.
        merge: When raw labels of one class are merged: `before` the consensus is sought, or `after` it (the raw label
            with the most votes wins and is then mapped; IEMOCAP's usual 5531 utterances are selected this way).
        aggregation: Where `label` and `soft_label` come from: the `shares` of the votes, or the posterior of a model
            of the raters, `dawid_skene`, `glad` or `mace` (`labels.aggregation`). Votes, agreement and the choice of
            utterances do not depend on it.
        aggregation_options: Options of that model, for example its iterations; `aggregation.DEFAULTS` has the rest.
        ratings: Which kinds of ratings count, where a corpus has several, for example `("face", "voice")` of CREMA-D:
            what the raters were shown. Their order does not matter. (): those that the corpus counts by default.

    Raises:
        ValueError: If a value is not allowed, or if `multi_label="fractional"` meets a model, which needs whole
            answers.
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
    ratings: tuple[str, ...] = ()

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
                    f" classes {list(self.classes)}. Map it to one of the classes, or to None to leave it out."
                )
        missing = [c for c in self.classes if c not in self.class_map.values()]
        if missing:
            raise ValueError(
                f"label policy {self.name!r}: no raw label maps to class(es) {missing}. Map one to each in class_map,"
                " or remove the class from classes."
            )
        if isinstance(self.ratings, str) or len(set(self.ratings)) != len(self.ratings):
            raise ValueError(
                f"label policy {self.name!r}: ratings={self.ratings!r} must be a tuple of different names, for example"
                " ('face', 'voice')."
            )
        object.__setattr__(self, "ratings", tuple(sorted(self.ratings)))  # one order, so one fingerprint
        try:
            options = checked_options(self.aggregation, self.aggregation_options)
        except ValueError as error:
            raise ValueError(f"label policy {self.name!r}: {error}") from None
        object.__setattr__(self, "aggregation_options", options)
        if self.aggregation != "shares" and self.multi_label == "fractional":
            raise ValueError(
                f"label policy {self.name!r}: aggregation={self.aggregation!r} models whole answers, so it cannot take"
                " multi_label='fractional'. Use 'first', or 'each' (every label is an answer of its own)."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict; `from_dict` is the inverse."""
        values = {**dataclasses.asdict(self), "classes": list(self.classes), "class_map": dict(self.class_map)}
        values["aggregation_options"] = dict(self.aggregation_options)
        # A policy that names no ratings is written, and has the fingerprint, as before there was this field.
        del values["ratings"]
        return {**values, "ratings": list(self.ratings)} if self.ratings else values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelPolicy:
        """Make the policy that `to_dict` described."""
        return cls(**{**values, "classes": tuple(values["classes"]), "ratings": tuple(values.get("ratings", ()))})

    def with_(self, **changes: Any) -> LabelPolicy:
        """Return a copy with some fields changed; a changed policy has another fingerprint.

        A new `aggregation` takes its own default options, unless `aggregation_options` is given too.

        Raises:
            ValueError: If there is no such field, or if a value is not allowed.
        """
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(self)})
        if unknown:
            allowed = [f.name for f in dataclasses.fields(self)]
            raise ValueError(f"label policy {self.name!r} has no field {unknown}; its fields are {allowed}.")
        if changes.get("aggregation", self.aggregation) != self.aggregation:
            changes = {"aggregation_options": {}, **changes}
        return dataclasses.replace(self, **changes)

    def fingerprint(self) -> str:
        """Twelve hex digits over everything that decides a label, so not over the name."""
        content = {k: v for k, v in self.to_dict().items() if k != "name"}
        if self.aggregation == "shares":  # keeps the fingerprints from before there were other aggregations
            del content["aggregation"], content["aggregation_options"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _keep(labels: tuple[str, ...], classes: tuple[str, ...], **renamed: str) -> dict[str, str | None]:
    """Make a class map that keeps `classes`, renames some labels and leaves the others out."""
    return {label: renamed.get(label, label if label in classes else None) for label in labels}


_POLICIES: dict[str, dict[str, Any]] = {
    # The field's usual four classes. Merging excitement into happiness after the consensus gives the 5531 utterances.
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
    # Secondary emotions that are no class count only if `multi_label` says that secondary emotions count.
    "msp-podcast-8": {
        "classes": MSP_PODCAST_CLASSES,
        "class_map": _keep(MSP_PODCAST_LABELS, MSP_PODCAST_CLASSES, **_NOUNS),
    },
    "msp-podcast-4": {
        "classes": FOUR,
        "class_map": _keep(MSP_PODCAST_LABELS, FOUR, **_NOUNS),
    },
    "msp-improv-4": {
        "classes": FOUR,
        "class_map": _keep(MSP_IMPROV_LABELS, FOUR, **_NOUNS),
    },
    "meld-7": {
        "classes": ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
        "class_map": _keep(MELD_LABELS, MELD_LABELS, joy="happiness"),
    },
    "ravdess-8": {
        "classes": ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"),
        "class_map": _keep(
            RAVDESS_LABELS, ("neutral", "calm", "disgust"), **_NOUNS, fearful="fear", surprised="surprise"
        ),
    },
    # Listeners who did not recognize the intended emotion heard something else, and nobody knows what.
    "emo-db-7": {"classes": EMO_DB_CLASSES, "class_map": _keep((*EMO_DB_CLASSES, "other"), EMO_DB_CLASSES)},
    "nemo-6": {
        "classes": ("anger", "fear", "happiness", "neutral", "sadness", "surprise"),
        "class_map": _keep(NEMO_LABELS, NEMO_LABELS[:-1], surprised="surprise"),
    },
    "nnime-11": {"classes": NNIME_LABELS, "class_map": _keep(NNIME_LABELS, NNIME_LABELS)},
    "emo-superb-4": {
        "classes": FOUR,
        "class_map": _keep(EMO_SUPERB_LABELS, FOUR, **_NOUNS),
    },
    "simulated-4": {"classes": FOUR, "class_map": _keep(FOUR, FOUR)},
}

# Every label of these corpora, in lower case.
KNOWN_LABELS = frozenset(label for policy in _POLICIES.values() for label in policy["class_map"])


def available_policies() -> list[str]:
    """The names that `get_policy` accepts, sorted: of this package, and of others that offer one."""
    return sorted({*_POLICIES, *offered(POLICIES)})


def get_policy(name: str, **changes: Any) -> LabelPolicy:
    """Look a policy up by name; `changes` replace some of its fields.

    Raises:
        ValueError: If there is no such policy or field, if a value is not allowed, or if another package offers the
            policy and it cannot be used.
    """
    if name not in available_policies():
        raise ValueError(f"there is no label policy {name!r}; choose one of {available_policies()}.")
    policy = _of_others(name) if name in offered(POLICIES) else LabelPolicy(name=name, **_POLICIES[name])
    return policy.with_(**changes) if changes else policy


def _of_others(name: str) -> LabelPolicy:
    """Load the policy that another package offers.

    Raises:
        ValueError: If it cannot be loaded, is no policy, or has another name; the message names the package.
    """
    found, said = load(POLICIES, name, own=name in _POLICIES)
    try:
        policy = LabelPolicy.from_dict({"name": name, **found}) if isinstance(found, Mapping) else found
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{said} is no label policy: {type(error).__name__}: {error}") from error
    if not isinstance(policy, LabelPolicy):
        raise ValueError(f"{said} is a {type(policy).__name__}, and must be a LabelPolicy or a mapping of its fields.")
    if policy.name != name:
        raise ValueError(f"{said} is called {policy.name!r}; a policy has the name of its entry point.")
    return policy
