"""The evidence about raters, against counts over lists, and whom it accuses."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from hf_ambiser.data.simulated import SimulationOptions
from hf_ambiser.next_ratings.belief import fit_belief
from hf_ambiser.next_ratings.rated_votes import RatedVotes
from hf_ambiser.next_ratings.rater_evidence import (
    AS_OTHERS,
    GRID,
    LOOKS_WRONG,
    UNDECIDED,
    rater_evidence,
    reliability_posterior,
)


CLASSES = ("anger", "happiness", "sadness", "neutral")
K = len(CLASSES)
Answers = list[tuple[int, str | None, int]]  # utterance, rater, class


def rated(answers: Answers, n: int) -> RatedVotes:
    names = sorted({name for _, name, _ in answers if name is not None})
    utterance = np.array([u for u, _, _ in answers])
    rater = np.array([names.index(name) if name is not None else -1 for _, name, _ in answers])
    given = np.eye(K)[[k for _, _, k in answers]]
    votes = np.zeros((n, K))
    np.add.at(votes, utterance, given)
    ids = tuple(f"u{i}" for i in range(n))
    return RatedVotes(ids, ids, CLASSES, votes, utterance, rater, given, tuple(names))


def drawn(n: int, raters: dict[str, str], seed: int = 0, per_utterance: int = 5) -> Answers:
    """Answers of raters by kind: `listens`, `neutral` (always), `shifts` (a button too far), `guesses`."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.ones(K) / 3, size=n)
    answers: Answers = []
    for u in range(n):
        for name in rng.choice(list(raters), per_utterance, replace=False):
            heard = int(rng.choice(K, p=truth[u]))
            kind = raters[str(name)]
            said = {"listens": heard, "neutral": 3, "shifts": (heard + 1) % K, "guesses": int(rng.integers(K))}[kind]
            answers.append((u, str(name), said))
    return answers


def test_every_figure_is_the_count_by_hand():
    answers = drawn(14, {"a": "listens", "b": "listens", "c": "neutral", "d": "guesses"}, per_utterance=3)
    answers += [(0, None, 1), (3, None, 2), (14, "a", 0), (14, "b", 0), (15, "a", 2)]  # two raters, one rater
    found = {one.rater: one for one in rater_evidence(rated(answers, 16))}
    assert set(found) == {"a", "b", "c", "d"}
    of = {u: [(name, k) for v, name, k in answers if v == u] for u in range(16)}
    counts = np.array([[sum(k == c for _, k in of[u]) for c in range(K)] for u in range(16)], dtype=float)
    belief = fit_belief(np.full((16, K), np.nan), counts)
    for name, one in found.items():
        rows = [(u, k) for u, who, k in answers if who == name and len(of[u]) >= 3]
        others = {u: [k for who, k in of[u] if who != name] for u, _ in rows}
        assert one.n_answers == sum(who == name for _, who, _ in answers) and one.n_compared == len(rows)
        agree = [np.mean([k == other for other in others[u]]) for u, k in rows]
        assert one.agreement == pytest.approx(np.mean(agree))
        chance = [np.mean([k == other for other in others[v]]) for (u, k), (v, _) in permutations(rows, 2)]
        assert one.chance == pytest.approx(np.mean(chance))
        pairs = [np.mean([x == y for x, y in permutations(others[u], 2)]) for u, _ in rows]
        assert one.others == pytest.approx(np.mean(pairs))
        apart = [np.mean([x == y for x in others[u] for y in others[v]]) for (u, _), (v, _) in permutations(rows, 2)]
        assert one.others_chance == pytest.approx(np.mean(apart))
        # The posterior, value by value.
        heard_so = [belief.of_rows(np.array([u]), counts[[u]] - np.eye(K)[[k]]).expected()[0, k] for u, k in rows]
        own = [(sum(j == k for _, j in rows) - 1 + belief.class_shares[k]) / len(rows) for _, k in rows]
        log_posterior = [
            sum(math.log(rho * a + (1 - rho) * b) for a, b in zip(heard_so, own, strict=True)) for rho in GRID.tolist()
        ]
        posterior = [math.exp(x - max(log_posterior)) for x in log_posterior]
        posterior = [x / sum(posterior) for x in posterior]
        assert one.reliability == pytest.approx(sum(x * rho for x, rho in zip(posterior, GRID, strict=True)))
        tail = 0.05 / 2 / 4
        for end, p in ((one.low, tail), (one.high, 1 - tail)):
            below = sum(x for x, rho in zip(posterior, GRID, strict=True) if rho < end)
            assert below < p <= below + posterior[int(end * len(GRID))] + 1e-9
        # The confusion with the largest excess over what all others do.
        excess = {}
        for t, y in permutations(range(K), 2):
            heard = sum(np.mean([k == t for k in others[u]]) for u, _ in rows)
            said = sum(np.mean([k == t for k in others[u]]) for u, k in rows if k == y)
            rest = [
                (np.mean([j == t for who, j in of[u] if who != name2]), k)
                for name2 in found if name2 != name
                for u, who2, k in answers if who2 == name2 and len(of[u]) >= 3
            ]  # fmt: skip
            usual = sum(x for x, k in rest if k == y) / sum(x for x, _ in rest)
            excess[t, y] = (said - heard * usual, said / heard if heard else 0.0, usual, heard)
        t, y = max(excess, key=lambda pair: excess[pair][0])
        assert (one.heard, one.said) == (CLASSES[t], CLASSES[y])
        figures = (one.said_share, one.said_share_of_others, one.n_heard)
        assert figures == pytest.approx(excess[t, y][1:])


def test_careless_raters_are_found_and_those_who_listen_are_not_accused():
    kinds = {f"r{i}": "listens" for i in range(9)} | {"same": "neutral", "shifts": "shifts", "dice": "guesses"}
    found = rater_evidence(rated(drawn(360, kinds), 360))
    verdicts = {one.rater: one.verdict for one in found}
    assert {name for name, verdict in verdicts.items() if verdict == LOOKS_WRONG} == {"same", "shifts", "dice"}
    assert all(verdict == AS_OTHERS for name, verdict in verdicts.items() if kinds[name] == "listens")
    assert [one.rater in ("same", "shifts", "dice") for one in found] == [True] * 3 + [False] * 9  # the worst first
    by_name = {one.rater: one for one in found}
    shifts = by_name["shifts"]
    assert CLASSES[(CLASSES.index(shifts.heard) + 1) % K] == shifts.said and shifts.said_share > 0.5
    assert "says neutral in 100 %" in by_name["same"].reason
    assert by_name["same"].agreement == pytest.approx(by_name["same"].chance, abs=0.03)


def test_a_rater_with_three_answers_is_not_accused_whatever_they_are():
    answers = [(u, name, 0) for u in range(60) for name in ("a", "b", "c", "d")]
    answers += [(u, "few", 1) for u in range(3)] + [(u, "many", 1) for u in range(20)]
    found = {one.rater: one for one in rater_evidence(rated(answers, 60))}
    assert found["few"].verdict == UNDECIDED and found["few"].high > 0.5
    assert found["many"].verdict == LOOKS_WRONG


def test_no_honest_rater_of_a_simulated_pool_is_accused():
    options = SimulationOptions(n_utterances=400, n_raters=20, votes_per_utterance=4, seed=3, spammers=0.0)
    truth = np.array([options.mixture.draw(K, options.seed, i)[0] for i in range(400)])
    ids = [f"u{i}" for i in range(400)]
    made = options.raters().rate(truth, ids, 4, options.seed)
    answers = [
        (int(u), made.raters[r], int(k)) for u, r, k in zip(made.utterance, made.rater, made.label, strict=True)
    ]
    assert all(one.verdict != LOOKS_WRONG for one in rater_evidence(rated(answers, 400)))


def test_what_cannot_be_compared_says_nothing():
    found = rater_evidence(rated([(0, "a", 0), (0, "b", 1), (1, "a", 2)], 2))
    assert [one.verdict for one in found] == [UNDECIDED] * 2
    assert found[0].reliability == pytest.approx(0.5) and found[0].agreement is None
    assert found[0].reason == "no answer to an utterance that two others rated"
    assert rater_evidence(rated([(0, None, 0), (0, None, 1)], 1)) == []
    one_answer = rater_evidence(rated([(0, "a", 0), (0, "b", 0), (0, "c", 0)], 1))
    assert one_answer[0].chance is None and "chance" not in one_answer[0].reason
    for confidence in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="confidence is"):
            rater_evidence(rated([(0, "a", 0)], 1), confidence)


def test_an_answer_of_two_classes_counts_by_its_shares():
    half = np.array([[0.5, 0.5, 0.0, 0.0]])
    q = np.array([[0.4, 0.3, 0.2, 0.1]])
    shares = np.full(K, 0.25)
    posterior = reliability_posterior(half, q, shares)
    by_hand = [math.sqrt((rho * 0.4 + (1 - rho) / 4) * (rho * 0.3 + (1 - rho) / 4)) for rho in GRID.tolist()]
    np.testing.assert_allclose(posterior, np.array(by_hand) / sum(by_hand))
