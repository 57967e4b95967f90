"""The report's table of decisions in which the classes count more alike: WA and UA of the same distributions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from hf_ambiser.metrics.balanced import balanced_lead
from hf_ambiser.metrics.classification import wa_and_ua
from hf_ambiser.metrics.display import COLUMNS
from hf_ambiser.metrics.significance import holm
from hf_ambiser.report.groups import Group
from hf_ambiser.report.results import p_entry, t_entry
from hf_ambiser.report.statistics import over_folds, spread
from hf_ambiser.report.table import Entry, Table, file_name
from hf_ambiser.run_folder.finished import FinishedRun


TAUS = (0.0, 0.25, 0.5, 0.75, 1.0)
HALF, ALIKE = 0.5, 1.0
NOTE = (
    "A cell is WA / UA in %, as means over folds of the means over seeds, if the answer is the class with the largest"
    " p_k / m_k^tau (logit adjustment after training, Menon et al. 2021). p is the distribution that was answered, and"
    " m the mean of the run's answers to the test utterances of its fold, so no label is used. At tau 0 the answer is"
    " the leading class, as in all other tables; at tau 1 a class is asked for where it is likelier than usual. The"
    " distribution, and with it JS and the worth in raters, is the same in all columns. No tau was chosen. A system"
    " that has more UA than another one at tau 0 may only answer rare classes more often: compare the columns."
)


def balanced_decisions_table(group: Group, split: str, reference: str | None) -> Table | None:
    """WA and UA of every system whose predictions are there, for each of `TAUS`; None without any."""
    found = {run.folder: figures for run in group.runs if (figures := _figures(run, split)) is not None}
    systems = {s: kept for s, runs in group.systems.items() if (kept := [run for run in runs if run.folder in found])}
    if not systems:
        return None

    def value(tau: float, place: int, run: FinishedRun) -> float | None:
        return found[run.folder][tau][place]

    ua = partial(value, ALIKE, 1)
    others = [system for system in systems if system != reference] if reference in systems else []
    tests = {system: over_folds(systems[str(reference)], systems[system], ua) for system in others}
    p_values = {system: None if test.t is None else test.t.p for system, test in tests.items()}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    rows: list[list[Entry | str]] = []
    for system, runs in systems.items():
        row: list[Entry | str] = [system]
        for tau in TAUS:
            means = [spread(runs, partial(value, tau, place)).t for place in (0, 1)]
            row.append(pair_entry([one.mean for one in means if one is not None]))
        if others and system == reference:
            row += ["the reference", "-", "-"]
        elif others:
            test = tests[system]
            row += [t_entry(test.t, test.test, COLUMNS["ua"]), p_entry(p_values[system]), p_entry(corrected[system])]
        rows.append(row)
    heads = ["balanced decision: WA / UA %", *(f"tau {tau:g}" for tau in TAUS)]
    heads += [f"UA % at tau {ALIKE:g}, {reference} minus: difference [95 %]", "p", "Holm p"] if others else []
    return Table(file_name(group.name, split, "balanced"), heads, rows, NOTE)


def pair_entry(means: Sequence[float]) -> Entry:
    """Format WA and UA, shares of 1, as `WA / UA` in %; "undefined" without them."""
    if len(means) < 2:
        return Entry("undefined")
    scaled = {name: 100 * mean for name, mean in zip(("WA", "UA"), means, strict=True)}
    return Entry(" / ".join(f"{mean:.1f}" for mean in scaled.values()), parts=scaled)


def balanced_wa_and_ua(probabilities: np.ndarray, consensus: np.ndarray, tau: float) -> tuple[float, float]:
    """WA and UA, shares of 1, of the balanced decision over the utterances with a consensus label.

    Args:
        probabilities: `(N, K)`.
        consensus: `(N,)`, -1 without a consensus.
        tau: See `balanced_lead`; the shares are those of the mean answer.
    """
    lead = balanced_lead(probabilities, probabilities.mean(axis=0), tau)
    return wa_and_ua(consensus, lead, probabilities.shape[1])


def _figures(run: FinishedRun, split: str) -> dict[float, tuple[float, float]] | None:
    """WA and UA for each tau; None if the predictions are gone, or no utterance has a consensus label."""
    if not run.has_predictions(split):
        return None
    table = run.columns(split, ("id", "probabilities", "consensus"))
    answers, consensus = np.asarray(table["probabilities"], dtype=np.float64), np.asarray(table["consensus"])
    if not (consensus >= 0).any():
        return None
    return {tau: balanced_wa_and_ua(answers, consensus, tau) for tau in TAUS}
