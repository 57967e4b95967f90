"""Temperature, threshold and prediction sets, against slow and literal twins."""

from __future__ import annotations

import contextlib
import json
import math
from fractions import Fraction

import numpy as np
import pytest

from hf_ambiser.metrics import UndefinedMetric
from hf_ambiser.metrics.decision import Decision, choose_decision, curve_of_answers, decision_figures
from hf_ambiser.metrics.prediction_sets import threshold_of_sets
from hf_ambiser.metrics.risk_threshold import ROOM, threshold_for_risk, upper_bound
from hf_ambiser.metrics.temperature import fit_temperature, with_temperature


def made(n: int = 60, seed: int = 0, k: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that lean towards five votes, the votes, and the consensus, which some lack."""
    rng = np.random.default_rng(seed)
    votes = np.stack([rng.multinomial(5, rng.dirichlet(np.ones(k))) for _ in range(n)]).astype(float)
    top = votes.max(axis=1, keepdims=True)
    unique = (votes == top).sum(axis=1) == 1
    return votes + rng.normal(size=(n, k)), votes, np.where(unique, votes.argmax(axis=1), -1)


def slow_softmax(row, t: float = 1.0) -> list[float]:
    powers = [math.exp((z - max(row)) / t) for z in row]
    return [power / sum(powers) for power in powers]


def slow_cross_entropy(logits, votes, t: float) -> float:
    total = 0.0
    for row, counts in zip(logits, votes, strict=True):
        answer = slow_softmax(row, t)
        total -= sum(count / sum(counts) * math.log(q) for count, q in zip(counts, answer, strict=True) if count)
    return total / len(logits)


# ---- temperature ---------------------------------------------------------------------------------------------------


def test_the_temperature_is_where_the_cross_entropy_is_least():
    logits, votes, _ = made()
    low, high = 0.05, 20.0
    for _ in range(80):  # thirds of an interval: the cross-entropy has one minimum
        a, b = low * (high / low) ** (1 / 3), low * (high / low) ** (2 / 3)
        low, high = (
            (low, b) if slow_cross_entropy(logits, votes, a) < slow_cross_entropy(logits, votes, b) else (a, high)
        )
    found = fit_temperature(logits, votes / 5)
    assert found == pytest.approx(low, rel=1e-4) and not found == pytest.approx(1, rel=0.05)


def test_logits_that_are_three_times_too_large_get_the_temperature_three():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(4), size=200)
    assert fit_temperature(3 * np.log(truth), truth) == pytest.approx(3, rel=1e-4)


def test_a_temperature_needs_no_logits():
    logits, _, _ = made()
    p = np.array([slow_softmax(row) for row in logits])
    for t in (0.3, 1.0, 4.0):
        np.testing.assert_allclose(with_temperature(p, t), [slow_softmax(row, t) for row in logits])
    assert with_temperature(np.array([[1.0, 0.0]]), 2.0).tolist() == [[1.0, 0.0]]


def test_where_no_temperature_is_best_none_is_given():
    shares = np.array([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(UndefinedMetric, match="falls up to 100, which would make all answers alike"):
        fit_temperature(-np.log(shares + 0.1), shares)  # always wrong
    with pytest.raises(UndefinedMetric, match="falls up to 0.01, which would make all answers certain"):
        fit_temperature(shares, shares)


# ---- threshold -----------------------------------------------------------------------------------------------------


def slow_bound(wrong: int, answered: int, failure: float) -> float:
    """The b at which as few as `wrong` of `answered` are wrong with probability `failure`, by halving."""

    def as_few(b: float) -> float:
        return sum(math.comb(answered, j) * b**j * (1 - b) ** (answered - j) for j in range(wrong + 1))

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if as_few(middle) > failure else (low, middle)
    return high


@pytest.mark.parametrize("wrong,answered", [(0, 1), (0, 10), (3, 10), (10, 10), (17, 120), (119, 120)])
def test_the_bound_is_that_of_the_binomial_sum(wrong, answered):
    assert upper_bound(wrong, answered, 0.05) == pytest.approx(slow_bound(wrong, answered, 0.05), abs=1e-9)


def slow_guaranteed(confidences, wrongs, risk: float, delta: float):
    """Geifman and El-Yaniv's Algorithm 1 over the distinct confidences, which also tries to answer everything.

    Returns the threshold, or None, and all bounds that were tried.
    """
    levels = sorted(set(confidences))  # z = 0 answers everything, z = len(levels) nothing
    k = math.ceil(math.log2(len(levels) + 1))
    z_min, z_max, best, tried = 0, len(levels), None, []
    while z_min < z_max:
        z = (z_min + z_max - 1) // 2
        theta = levels[z]
        mine = [w for c, w in zip(confidences, wrongs, strict=True) if c >= theta]
        tried.append(slow_bound(sum(mine), len(mine), delta / k))
        if tried[-1] <= risk:
            best, z_max = theta, z
        else:
            z_min = z + 1
    assert len(tried) <= k
    return best, tried


def slow_empirical(confidences, wrongs, risk: float):
    best = None
    for theta in sorted(set(confidences), reverse=True):
        mine = [w for c, w in zip(confidences, wrongs, strict=True) if c >= theta]
        best = theta if sum(mine) <= risk * len(mine) + 1e-12 else best
    return best


@pytest.mark.parametrize("digits", [1, 2, 9])  # many ties, next to none
def test_thresholds_against_literal_searches(digits):
    compared = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(5, 90))
        top = np.round(rng.uniform(0.5, 1, n), digits)
        answers = np.stack([top, 1 - top], axis=1)
        consensus = np.where(rng.random(n) < top**2, 0, rng.integers(-1, 2, n))
        wrongs = [
            int(c != (0 if p >= q else 1)) for (p, q), c in zip(answers.tolist(), consensus.tolist(), strict=True)
        ]
        confidences = answers.max(axis=1).tolist()
        for risk in (0.1, 0.3, 0.5):
            literal = {"empirical": (slow_empirical(confidences, wrongs, risk), None)}
            literal["bound"] = slow_guaranteed(confidences, wrongs, risk, 0.1)
            for rule, (theta, tried) in literal.items():
                if theta is None:
                    with pytest.raises(ValueError, match=rf"reaches a risk of {risk:g}.*the least risk") as caught:
                        threshold_for_risk(answers, consensus, risk, rule, 0.9)
                    if tried:
                        assert f" is {math.ceil(1e4 * min(tried)) / 1e4:g}. " in str(caught.value)
                    continue
                found = threshold_for_risk(answers, consensus, risk, rule, 0.9)
                mine = [w for c, w in zip(confidences, wrongs, strict=True) if c >= theta]
                assert found.threshold == theta * (1 - ROOM)
                assert (found.coverage, found.risk) == (len(mine) / n, sum(mine) / len(mine))
                compared += 1
    assert compared > 20


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"set_coverage": 0.9, "rule": "empirical"}, "rule='empirical' is of the threshold that keeps a risk"),
        ({"temperature": True, "confidence": 0.99}, "confidence=0.99 is of the threshold.*give a risk"),
        ({"risk": 0.5, "rule": "empirical", "confidence": 0.9}, "confidence=0.9 is of the rule 'bound'"),
        ({"risk": 0.5, "rule": "best"}, "rule is 'best'; allowed are bound, empirical"),
    ],
)
def test_what_would_change_nothing_is_refused(asked, said):
    votes = np.eye(3)[[0, 1, 2, 0]]
    with pytest.raises(ValueError, match=said):
        choose_decision(5 * votes, votes, votes.argmax(axis=1), **asked)


def test_the_least_risk_that_is_named_can_be_had():
    logits, votes, consensus = made(40)
    answers = np.array([slow_softmax(row) for row in logits])
    for rule in ("bound", "empirical"):
        answers = answers if rule == "bound" else answers[consensus != answers.argmax(axis=1)]  # all wrong
        label = consensus if rule == "bound" else np.full(len(answers), -1)
        with pytest.raises(ValueError, match="no coverage of these") as caught:
            threshold_for_risk(answers, label, 0.01, rule)
        least = float(str(caught.value).split("can be reached is ")[1].split(". Ask")[0])
        if rule == "empirical":
            assert least == 1.0
        else:
            assert threshold_for_risk(answers, label, least, rule).bound <= least
            with pytest.raises(ValueError, match="no coverage"):
                threshold_for_risk(answers, label, least - 2e-4, rule)


def test_without_a_consensus_every_answer_is_wrong():
    answers = np.tile([0.8, 0.2], (10, 1))
    label = np.repeat([0, -1], [7, 3])
    assert threshold_for_risk(answers, label, 0.3, "empirical").risk == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"risk of 0.29 on these utterances; the least.* is 0.3\. "):
        threshold_for_risk(answers, label, 0.29, "empirical")


def test_the_bound_holds_as_often_as_it_says_and_the_risk_itself_does_not():
    """Confidence c is right with probability c, so the true risk above theta is (1 - theta) / 2."""
    rng = np.random.default_rng(0)
    missed, found = {"bound": 0, "empirical": 0}, {"bound": 0, "empirical": 0}
    for _ in range(150):
        top = rng.uniform(0.5, 1, 500)
        answers, label = np.stack([top, 1 - top], axis=1), (rng.random(500) > top).astype(int)
        for rule in missed:
            with contextlib.suppress(ValueError):  # the bound refuses some draws, which breaks no promise
                theta = threshold_for_risk(answers, label, 0.2, rule, 0.9).threshold
                missed[rule] += (1 - theta) / 2 > 0.2
                found[rule] += 1
    assert missed["bound"] <= 15 and missed["empirical"] > 50 and min(found.values()) > 120


# ---- prediction sets -----------------------------------------------------------------------------------------------


def slow_sets(answers, votes, coverage: str):
    """The largest probability with sum_i w_i(q) >= (n + 1) coverage, in fractions, over all candidates."""
    n, wanted = len(answers), Fraction(coverage)
    for q in sorted({p for row, v in zip(answers, votes, strict=True) for p, c in zip(row, v, strict=True) if c})[
        ::-1
    ]:
        total = Fraction(0)
        for row, counts in zip(answers, votes, strict=True):
            inside = sum(int(count) for p, count in zip(row, counts, strict=True) if p >= q)
            total += Fraction(inside, int(sum(counts)))
        if total >= (n + 1) * wanted:
            return q
    return None


@pytest.mark.parametrize("coverage", ["0.5", "0.8", "0.9"])
def test_sets_against_fractions(coverage):
    for seed in range(8):
        logits, votes, _ = made(9 + 7 * seed, seed)
        answers = np.array([slow_softmax(row) for row in logits])
        answers = np.round(answers, 2 if seed % 2 else 12)
        answers /= answers.sum(axis=1, keepdims=True)
        literal = slow_sets(answers.tolist(), votes.tolist(), coverage)
        assert threshold_of_sets(answers, votes / 5, float(coverage)) == pytest.approx(literal * (1 - ROOM), rel=1e-12)


def test_with_one_vote_each_it_is_the_usual_quantile():
    logits, _, _ = made(57, 3)
    answers = np.array([slow_softmax(row) for row in logits])
    label = np.arange(57) % 4
    scores = sorted(1 - answers[np.arange(57), label])
    usual = 1 - scores[math.ceil(58 * 0.8) - 1]
    assert threshold_of_sets(answers, np.eye(4)[label], 0.8) == pytest.approx(usual * (1 - ROOM))


def test_sets_hold_the_votes_of_new_utterances_on_average():
    """Of 29 utterances, many times: the mean over calibrations and new utterances, which is what is promised."""
    held = []
    for seed in range(150):
        logits, votes, _ = made(29 + 200, seed)
        answers, shares = np.array([slow_softmax(row) for row in logits]), votes / 5
        q = threshold_of_sets(answers[:29], shares[:29], 0.9)
        held.append(float((shares[29:] * (answers[29:] >= q)).sum(axis=1).mean()))
    assert 0.9 - 0.005 < np.mean(held) < 0.9 + 1 / 30


def test_too_few_utterances_are_told_how_many_it_takes():
    answers, shares = np.tile([0.7, 0.3], (9, 1)), np.tile([1.0, 0.0], (9, 1))
    assert threshold_of_sets(answers, shares, 0.9) == 0.7 * (1 - ROOM)
    with pytest.raises(ValueError, match="0.9 need at least 9 utterances with votes, and there are 8. Ask.*0.8889"):
        threshold_of_sets(answers[:8], shares[:8], 0.9)
    with pytest.raises(ValueError, match="0.99 need at least 99 utterances"):
        threshold_of_sets(answers, shares, 0.99)


# ---- what a decision gives -----------------------------------------------------------------------------------------


def slow_lead(row: list[float], d: Decision) -> int:
    if d.balance is None:
        return row.index(max(row))
    beside = [p / share**d.balance.tau for p, share in zip(row, d.balance.shares, strict=True)]
    return beside.index(max(beside))


def slow_threshold(rows: list[list[float]], leads: list[int], consensus, risk: float) -> float:
    """The smallest probability of an answer from which on at most that share of the answers is wrong."""
    sure = [row[lead] for row, lead in zip(rows, leads, strict=True)]
    fine = []
    for level in sure:
        answered = [lead == label for p, lead, label in zip(sure, leads, consensus, strict=True) if p >= level]
        if answered.count(False) / len(answered) <= risk:
            fine.append(level)
    return min(fine)


def slow_area(rows: list[list[float]], leads: list[int], consensus: list[int]) -> float:
    """The mean, over numbers of answers, of the share of wrong ones among the surest."""
    order = sorted(range(len(rows)), key=lambda n: -rows[n][leads[n]])
    wrong = [leads[n] != consensus[n] for n in order]
    return sum(sum(wrong[:n]) / n for n in range(1, len(wrong) + 1)) / len(wrong)


def slow_figures(answers, votes, consensus, d: Decision) -> dict:
    after = [[p ** (1 / d.temperature) for p in row] for row in answers]
    after = [[p / sum(row) for p in row] for row in after]
    n, answered, wrong, held, label_held, sizes = 0, 0, 0, [], [], []
    for row, counts, label in zip(after, votes, consensus, strict=True):
        if not sum(counts):
            continue
        n += 1
        lead = slow_lead(row, d)
        if row[lead] >= d.threshold:
            answered += 1
            wrong += lead != label
        inside = [k for k, p in enumerate(row) if p >= d.set_threshold]
        sizes.append(len(inside))
        held.append(sum(counts[k] for k in inside) / sum(counts))
        if label >= 0:
            label_held.append(label in inside)
    return {
        "n": n, "answered": answered, "coverage": answered / n, "risk": wrong / answered,
        "set_coverage_votes": sum(held) / n, "set_coverage_consensus": sum(label_held) / len(label_held),
        "set_size": sum(sizes) / n,
    }  # fmt: skip


@pytest.mark.parametrize("balance", [None, 0.7])
def test_the_figures_of_a_decision_against_a_count_by_hand(balance):
    logits, votes, consensus = made(80, 5)
    logits[:, 0] += 2.0  # a class that leads too often, so that a balance changes answers
    votes[:3], consensus[:3] = 0, -1
    answers = np.array([slow_softmax(row) for row in logits])
    decision = choose_decision(
        logits, votes, consensus, risk=0.3, set_coverage=0.8, temperature=True, balance=balance, rule="empirical"
    )
    found = decision_figures(answers, votes, consensus, decision)
    literal = slow_figures(answers.tolist(), votes.tolist(), consensus.tolist(), decision)
    assert {name: found[name] for name in literal} == pytest.approx(literal)
    assert found["risk"] <= 0.3 and found["set_coverage_votes"] >= 0.8 and found["n_without_votes"] == 3
    voted = votes.sum(axis=1) > 0
    for name, t in (("cross_entropy", decision.temperature), ("cross_entropy_before", 1.0)):
        assert found[name] == pytest.approx(slow_cross_entropy(logits[voted], votes[voted], t))
    assert found["cross_entropy"] < found["cross_entropy_before"]
    curve = curve_of_answers(answers, votes, consensus, decision)
    assert found["aurc"] == curve.aurc and curve.risk[-1] == pytest.approx(found["risk_of_all"])
    at = round(found["coverage"] * found["n"]) - 1
    assert (curve.coverage[at], curve.risk[at]) == pytest.approx((found["coverage"], found["risk"]))
    json.dumps(found, allow_nan=False)
    after = np.array([slow_softmax(row, decision.temperature) for row in logits])[voted]
    leads = np.array([slow_lead(row, decision) for row in after.tolist()])
    assert ((leads != after.argmax(axis=1)).sum() > 5) == (balance is not None)
    least = slow_threshold(after.tolist(), leads.tolist(), consensus[voted], 0.3)
    assert decision.threshold == pytest.approx(least * (1 - ROOM), rel=1e-9)
    assert found["aurc"] == pytest.approx(slow_area(after.tolist(), leads.tolist(), consensus[voted].tolist()))
    assert (found["ua"] is None) == (balance is None) == (found["wa_before"] is None)


def test_a_balance_has_the_mean_answer_and_its_figures_are_counted_by_hand():
    logits, votes, consensus = made(90, 3)
    logits[:, 0] += 1.5  # a class that leads too often
    votes[:4], consensus[:4] = 0, -1
    d = choose_decision(logits, votes, consensus, temperature=True, balance=0.8)
    assert (d.threshold, d.set_threshold, d.balance.tau) == (None, None, 0.8)
    after = [slow_softmax(row, d.temperature) for row in logits]
    assert d.balance.shares == pytest.approx([sum(row[k] for row in after[4:]) / 86 for k in range(4)])
    found = decision_figures(np.array([slow_softmax(row) for row in logits]), votes, consensus, d)
    for name, plan in (("", d), ("_before", Decision())):
        right = [[] for _ in range(4)]
        for row, label in zip(after, consensus.tolist(), strict=True):
            if label >= 0:
                right[label].append(slow_lead(row, plan) == label)
        assert found[f"wa{name}"] == pytest.approx(sum(map(sum, right)) / sum(map(len, right)))
        assert found[f"ua{name}"] == pytest.approx(sum(sum(each) / len(each) for each in right) / 4)
    assert found["ua"] > found["ua_before"] and found["risk"] is None
    assert Decision.of(json.loads(json.dumps(d.to_dict()))) == d
    old = {name: value for name, value in d.to_dict().items() if name != "balance"}
    assert Decision.of(old) == Decision(d.temperature)  # written before there was a balance


def test_what_was_chosen_holds_where_it_was_chosen_in_single_precision_too():
    for seed in range(20):
        logits, votes, consensus = made(50, seed)
        for temperature in (False, True):
            d = choose_decision(
                logits, votes, consensus, risk=0.35, set_coverage=0.8, temperature=temperature, rule="empirical"
            )
            z = logits.astype(np.float32) / np.float32(d.temperature)
            single = np.exp(z - z.max(axis=1, keepdims=True))
            single /= single.sum(axis=1, keepdims=True)
            base = np.array([slow_softmax(row) for row in logits])
            whole = decision_figures(base, votes, consensus, d)
            assert whole["answered"] == int((single.max(axis=1) >= d.threshold).sum())
            assert whole["risk"] <= 0.35 + 1e-9 and whole["set_coverage_votes"] >= 0.8 * 51 / 50 - 1e-9
            assert whole["set_size"] == pytest.approx((single >= d.set_threshold).sum(axis=1).mean())


def test_without_a_temperature_no_figure_differs_from_that_before():
    for seed in range(20):
        logits, votes, consensus = made(50, seed)
        answers = np.array([slow_softmax(row) for row in logits]).astype(np.float32)
        found = decision_figures(answers, votes, consensus, Decision())
        assert found["ece"] == found["ece_before"] and found["cross_entropy"] == found["cross_entropy_before"]


def test_only_what_was_asked_for_is_chosen():
    logits, votes, consensus = made()
    one = choose_decision(logits, votes, consensus, set_coverage=0.8)
    assert (one.temperature, one.threshold, one.risk) == (1.0, None, None) and one.set_threshold > 0
    found = decision_figures(np.array([slow_softmax(row) for row in logits]), votes, consensus, one)
    assert found["coverage"] is None and found["risk"] is None and found["cross_entropy"] > 0
    nobody = decision_figures(np.full((3, 4), 0.25), np.ones((3, 4)), np.full(3, -1), Decision(threshold=0.5))
    assert (nobody["answered"], nobody["risk"], nobody["ece"], nobody["risk_of_all"]) == (0, None, None, 1.0)


@pytest.mark.parametrize(
    "change,message",
    [
        ({}, "nothing is asked for"),
        ({"risk": 0.0}, "risk is 0; allowed"),
        ({"risk": 1.5}, "risk is 1.5; allowed"),
        ({"set_coverage": 1.0}, "set_coverage is 1; allowed"),
        ({"balance": -0.5}, "balance is -0.5; allowed is a tau of 0 or more"),
        ({"balance": True}, "balance is True; allowed is a tau"),
        ({"balance": "0.5"}, "balance is '0.5'; allowed is a tau"),
        ({"balance": math.inf}, "balance is inf; allowed"),
        ({"risk": 0.3, "rule": "best"}, "rule is 'best'; allowed are bound, empirical"),
        ({"risk": 0.3, "confidence": 95.0}, "confidence is 95; allowed"),
    ],
)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        choose_decision(*made(), **change)


def test_arrays_that_do_not_fit_are_refused():
    logits, votes, consensus = made(10)
    answers = np.array([slow_softmax(row) for row in logits])
    with pytest.raises(ValueError, match="9 consensus labels for 10 rows"):
        decision_figures(answers, votes, consensus[:9], Decision())
    with pytest.raises(ValueError, match="the shapes must be equal"):
        decision_figures(answers[:9], votes, consensus, Decision())
    with pytest.raises(UndefinedMetric, match="no utterance has votes"):
        decision_figures(answers, np.zeros((10, 4)), np.full(10, -1), Decision())
    with pytest.raises(ValueError, match="temperature is 0; allowed"):
        with_temperature(answers, 0)
    with pytest.raises(ValueError, match="the shapes must be equal"):
        fit_temperature(logits[:, :3], votes / 5)
    with pytest.raises(ValueError, match="no numbers"):
        fit_temperature(np.full((10, 4), np.nan), votes / 5)
