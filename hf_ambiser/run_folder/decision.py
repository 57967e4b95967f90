"""A run's decision: in its model's `config.json` for whoever loads the model, and with its figures in `results.json`.

`decision` in `config.json` has `FIELDS`, and `balance`, which one of before there was a balance lacks. In
`results.json` it also has `rule` and `confidence` (how the threshold was chosen; None without one), `validation` (what
it gives where it was chosen) and `test` (the same of each test split).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from hf_ambiser.files.read import FileError, Record, read_json
from hf_ambiser.run_folder.layout import write_whole


DECISION = "decision"
_NUMBER = int | float | None
FIELDS: dict[str, Any] = {
    "temperature": int | float,
    **dict.fromkeys(("threshold", "risk", "set_threshold", "set_coverage"), _NUMBER),
    "chosen_on": dict,
}
_BALANCE = "balance"
BALANCE: dict[str, Any] = {"tau": int | float, "shares": [int | float]}
_CHOSEN_ON: dict[str, Any] = {"content": str, "dataset_config": str, "split": str, "utterances": int}
_IN_RESULTS: dict[str, Any] = {"rule": str | None, "confidence": _NUMBER, "validation": dict, "test": dict}


def check_decision(decision: Record, classes: int) -> None:
    """Check the decision in `results.json`, with its figures.

    Args:
        decision: The decision.
        classes: Number of the run's classes.

    Raises:
        FileError: If it lacks something, or something is of another kind or out of range.
    """
    decision.check({**FIELDS, **_IN_RESULTS})
    decision["chosen_on"].check(_CHOSEN_ON)
    if decision.get(_BALANCE) is not None:
        decision.check({_BALANCE: BALANCE})
        _check_balance(decision, classes)
    decision["test"].check(dict.fromkeys(decision["test"], dict))
    for figures in (decision["validation"], *decision["test"].values()):
        figures.check({"n": int, **dict.fromkeys(figures, _NUMBER)})


def is_balance(value: Any, classes: int) -> bool:
    """Whether a value can be a stored balance: tau and a share for each class, all 0 or more, and not all shares 0."""
    given: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
    tau: Any = given.get("tau")
    shares: Any = given.get("shares")
    if not (isinstance(shares, list | tuple) and len(shares) == classes and all(map(is_number, (tau, *shares)))):
        return False
    return bool(tau >= 0 and min(shares) >= 0 and max(shares) > 0)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, of Python or of numpy; true and false are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _check_balance(decision: Record, classes: int) -> None:
    tau, shares = decision[_BALANCE]["tau"], decision[_BALANCE]["shares"]
    if not is_balance(decision[_BALANCE], classes):
        allowed = f"a tau of 0 or more and {classes} shares of 0 or more"
        raise FileError(
            decision.path, f"must hold {allowed} under 'balance', not {tau!r} and {shares!r:.60}", decision.cure
        )


def in_config(decision: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What of the decision in `results.json` stands in `config.json`; None for None."""
    if decision is None:
        return None
    return {name: decision[name] for name in (*FIELDS, _BALANCE) if name != _BALANCE or name in decision}


def write_decision(config: Path, decision: Mapping[str, Any] | None, cure: str) -> None:
    """Write the decision into a model's `config.json`, or take it out (None); the file is written whole.

    All else in the file stays, in the form in which transformers writes it, so that a decision that is written and
    taken out again leaves the same bytes.

    Raises:
        FileError: If the file cannot be used; `cure` says what to do then.
    """
    fields = {name: value for name, value in read_json(config, cure).items() if name != DECISION}
    if decision is not None:
        fields[DECISION] = dict(decision)
    write_whole(config, json.dumps(fields, indent=2, sort_keys=True) + "\n")
