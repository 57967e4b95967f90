"""Votes, consensus and agreement against a literal count, utterance by utterance, in exact fractions."""

import json
import os
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from hf_ambiser.labels.policies import LabelPolicy, available_policies, get_policy
from hf_ambiser.labels.votes import RatingArrays, entropy_bits, fleiss_kappa, soft_labels, tally


RULES = ("plurality", "majority", "all_inclusive")
MULTI = ("first", "each", "fractional")
OVER = ("all", "mapped")
MERGE = ("before", "after")
EVERY_COMBINATION = list(product(RULES, MULTI, (False, True), OVER, MERGE))
# Two raw labels that are merged, two that are left out.
CLASS_MAP = {"ang": "anger", "hap": "joy", "exc": "joy", "neu": "calm", "fru": None, "oth": None}


def policy(**changes) -> LabelPolicy:
    return LabelPolicy(**{"name": "made", "classes": ("joy", "anger", "calm"), "class_map": CLASS_MAP, **changes})


def random_ratings(n: int, seed: int) -> list[list[tuple[list[str], bool]]]:
    """0 to 8 raters an utterance, 0 to 3 labels a rater (also the same twice), some of them the speaker."""
    rng = np.random.default_rng(seed)
    vocabulary = list(CLASS_MAP)
    utterances = []
    for _ in range(n):
        favourite = rng.dirichlet(np.full(len(vocabulary), 0.8))
        utterances.append(
            [
                (list(rng.choice(vocabulary, rng.choice([0, 1, 1, 1, 2, 3]), p=favourite)), bool(rng.random() < 0.25))
                for _ in range(rng.integers(0, 9))
            ]
        )
    return utterances


def literal(p: LabelPolicy, ratings: list[tuple[list[str], bool]]):
    """One utterance: votes by class, outside, label, agreement, kept, votes in, excluded by reason."""
    votes_in, excluded, raw = Fraction(0), Counter(), Counter()
    for labels, is_self in ratings:
        heard = set()
        for position, label in enumerate(labels):
            weight = Fraction(1, len(labels)) if p.multi_label == "fractional" else Fraction(1)
            votes_in += weight
            voice = p.class_map[label] or f"left out: {label}"
            if is_self and not p.self_reports:
                excluded["self-report"] += weight
            elif p.multi_label == "first" and position > 0:
                excluded["second label of a rater"] += weight
            elif p.multi_label == "each" and voice in heard:
                excluded["same class twice by one rater"] += weight
            else:
                heard.add(voice)
                raw[label] += weight

    votes, outside = {c: Fraction(0) for c in p.classes}, Fraction(0)
    for label, weight in raw.items():
        if p.class_map[label] is None:
            outside += weight
            excluded[f"outside the classes: {label}"] += weight
        else:
            votes[p.class_map[label]] += weight

    # Candidates: (votes, class or None).
    if p.merge == "after":
        candidates = [(weight, p.class_map[label]) for label, weight in raw.items()]
    else:
        candidates = [(weight, c) for c, weight in votes.items()]
        candidates += [(weight, None) for label, weight in raw.items() if p.class_map[label] is None]
    if p.agreement_over == "mapped":
        candidates = [(weight, c) for weight, c in candidates if c is not None]
    total = sum(votes.values()) + (outside if p.agreement_over == "all" else 0)

    best = max((weight for weight, _ in candidates), default=Fraction(0))
    winners = [c for weight, c in candidates if weight == best]
    label = -1
    if best > 0 and len(winners) == 1 and winners[0] is not None:
        label = p.classes.index(winners[0])
    if p.rule == "majority" and not best > total / 2:
        label = -1
    share = votes[p.classes[label]] if label >= 0 else max(votes.values())
    agreement = share / total if total else Fraction(0)
    kept = sum(votes.values()) > 0 and (label >= 0 or p.rule == "all_inclusive")
    return [votes[c] for c in p.classes], outside, label, agreement, kept, votes_in, excluded


RATINGS = random_ratings(250, seed=1)
# Anger has the most votes of any raw label, joy the most of any class.
RATINGS.append([([label], False) for label in ("ang", "ang", "ang", "hap", "hap", "exc", "exc", "fru")])


@pytest.mark.parametrize(
    "rule,multi_label,self_reports,over,merge", [*product(RULES, MULTI, (False, True), OVER, MERGE)]
)
def test_tally_is_the_literal_count(rule, multi_label, self_reports, over, merge):
    p = policy(rule=rule, multi_label=multi_label, self_reports=self_reports, agreement_over=over, merge=merge)
    table = tally(p, RatingArrays.from_lists(RATINGS))
    votes_in, excluded = Fraction(0), Counter()
    for i, ratings in enumerate(RATINGS):
        votes, outside, label, agreement, kept, came_in, left_out = literal(p, ratings)
        np.testing.assert_allclose(table.votes[i], [float(v) for v in votes], atol=1e-12)
        assert table.outside[i] == pytest.approx(float(outside))
        assert (table.label[i], table.kept[i]) == (label, kept), (i, ratings)
        assert table.agreement[i] == pytest.approx(float(agreement))
        votes_in, excluded = votes_in + came_in, excluded + left_out
    assert table.votes_in == pytest.approx(float(votes_in))
    assert table.excluded == pytest.approx({reason: float(weight) for reason, weight in excluded.items()})
    assert table.votes_in == pytest.approx(table.votes.sum() + sum(table.excluded.values()))
    assert table.votes.shape == (len(RATINGS), 3) and table.label.dtype == np.int64


def test_the_random_ratings_hold_what_they_are_to_test():
    plain = [literal(policy(), r) for r in RATINGS]
    assert sum(not any(v[0]) for v in plain) > 10  # nobody voted for a class
    assert sum(v[2] == -1 and any(v[0]) for v in plain) > 10  # ties, or a winner that is left out
    after = [literal(policy(merge="after"), r)[2] for r in RATINGS]
    votes, _, label, agreement, *_ = literal(policy(merge="after"), RATINGS[-1])
    assert (votes, label, agreement) == ([4, 3, 0], 1, Fraction(3, 8))
    assert sum(a != b[2] for a, b in zip(after, plain, strict=True)) > 3  # merging before or after matters
    each = sum((literal(policy(multi_label="each"), r)[6] for r in RATINGS), Counter())
    assert each["same class twice by one rater"] > 10


@pytest.mark.parametrize("multi_label,merge", [*product(MULTI, MERGE)])
def test_the_order_of_rows_does_not_matter(multi_label, merge):
    p = policy(multi_label=multi_label, merge=merge)
    arrays = RatingArrays.from_lists(RATINGS)
    order = np.random.default_rng(0).permutation(len(arrays.label))
    names = ("utterance", "rating", "label", "position", "self_report")
    mixed = replace(arrays, **{name: getattr(arrays, name)[order] for name in names})
    a, b = tally(p, arrays), tally(p, mixed)
    np.testing.assert_allclose(a.votes, b.votes, atol=1e-12)
    assert (a.label == b.label).all()
    assert a.agreement == pytest.approx(b.agreement) and a.excluded == pytest.approx(b.excluded)


def test_six_thirds_tie_with_two_whole_votes():
    thirds = [(["ang", "hap", "oth"], False), (["ang", "hap", "fru"], False), (["ang", "oth", "fru"], False)] * 2
    calm = [(["neu"], False)]
    assert sum([1 / 3] * 6) < 2  # in floating point
    ratings = RatingArrays.from_lists([thirds + calm, thirds + 2 * calm, thirds + 3 * calm])
    table = tally(policy(multi_label="fractional"), ratings)
    assert table.label.tolist() == [1, -1, 2]
    np.testing.assert_allclose(table.votes[:, 1:], [[2, 1], [2, 2], [2, 3]])
    # Two of four votes are no majority, however the others add up.
    half = RatingArrays.from_lists([[(["ang", "hap", "oth"], False)] * 2 + 2 * calm])
    assert tally(policy(multi_label="fractional"), half).label.tolist() == [2]
    assert tally(policy(multi_label="fractional", rule="majority"), half).label.tolist() == [-1]


def test_merging_excitement_before_or_after_the_majority():
    ratings = RatingArrays.from_lists([[(["exc"], False), (["hap"], False), (["ang"], False), (["ang"], False)]])
    before, after = tally(policy(merge="before"), ratings), tally(policy(merge="after"), ratings)
    assert before.label.tolist() == [-1] and after.label.tolist() == [1]  # two against two; anger alone has two
    assert before.votes.tolist() == after.votes.tolist() == [[2, 2, 0]]


def test_an_utterance_won_by_a_class_left_out_has_no_label():
    ratings = RatingArrays.from_lists([[(["fru"], False), (["fru"], False), (["ang"], False)]])
    over_all, mapped = tally(policy(), ratings), tally(policy(agreement_over="mapped"), ratings)
    assert over_all.label.tolist() == [-1] and over_all.agreement.tolist() == pytest.approx([1 / 3])
    assert mapped.label.tolist() == [1] and mapped.agreement.tolist() == [1.0]
    assert not over_all.kept[0] and mapped.kept[0]
    assert tally(policy(rule="all_inclusive"), ratings).kept.tolist() == [True]


def test_soft_label_and_entropy_of_a_table():
    table = tally(policy(), RatingArrays.from_lists(RATINGS))
    for votes, soft, entropy in zip(table.votes, table.soft_label, table.entropy, strict=True):
        n = votes.sum()
        share = [v / n if n else 0.0 for v in votes]
        np.testing.assert_allclose(soft, share)
        assert entropy == pytest.approx(-sum(p * np.log2(p) for p in share if p > 0))
        assert not np.signbit(entropy)
    assert entropy_bits(np.full(8, 1 / 8)) == pytest.approx(3)
    assert soft_labels(np.zeros((2, 3))).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("ratings", [[], [[]], [[], [([], False)]]])
@pytest.mark.parametrize("merge", MERGE)
def test_nothing_to_count(ratings, merge):
    table = tally(policy(merge=merge), RatingArrays.from_lists(ratings))
    n = len(ratings)
    assert table.votes.shape == (n, 3) and not table.votes.any() and table.votes_in == 0
    assert table.label.tolist() == [-1] * n and table.kept.tolist() == [False] * n
    assert table.agreement.tolist() == table.entropy.tolist() == [0] * n


def test_raw_labels_are_read_in_any_case():
    table = tally(policy(), RatingArrays.from_lists([[(["Ang"], False), (["ANG"], False), (["hap"], False)]]))
    assert table.votes.tolist() == [[1, 2, 0]] and table.label.tolist() == [1]


# ---- policies ------------------------------------------------------------------------------------------------------


def test_a_fingerprint_changes_exactly_when_what_decides_a_label_changes():
    base = policy()
    same = [
        base.with_(name="another"),
        base.with_(class_map=dict(reversed(CLASS_MAP.items()))),
        LabelPolicy.from_dict(json.loads(json.dumps(base.to_dict()))),
        policy(),
    ]
    assert {p.fingerprint() for p in same} == {base.fingerprint()}
    changed = [
        base.with_(rule="majority"),
        base.with_(rule="all_inclusive"),
        base.with_(multi_label="each"),
        base.with_(multi_label="fractional"),
        base.with_(self_reports=True),
        base.with_(agreement_over="mapped"),
        base.with_(merge="after"),
        base.with_(classes=("anger", "joy", "calm")),  # another order is another class index
        base.with_(class_map={**CLASS_MAP, "exc": None}),
        base.with_(class_map={**CLASS_MAP, "fea": None}),
    ]
    prints = [p.fingerprint() for p in [base, *changed]]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 12 and int(p, 16) >= 0 for p in prints)
    assert LabelPolicy.from_dict(json.loads(json.dumps(base.to_dict()))) == base


def test_shipped_policies():
    assert get_policy("iemocap-4").classes == ("anger", "happiness", "sadness", "neutral")
    assert get_policy("crema-d-6").classes == ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    four, without = get_policy("iemocap-4"), get_policy("iemocap-4-no-excitement")
    assert (four.class_map["excited"], without.class_map["excited"]) == ("happiness", None)
    assert four.class_map["frustration"] is None
    prints = {name: get_policy(name).fingerprint() for name in available_policies()}
    assert len(set(prints.values())) == len(prints) >= 6
    assert get_policy("iemocap-4", rule="majority").fingerprint() != prints["iemocap-4"]


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"rule": "mode"}, ["made", "rule='mode'", "plurality", "majority", "all_inclusive"]),
        ({"multi_label": "all"}, ["multi_label='all'", "fractional"]),
        ({"agreement_over": "some"}, ["agreement_over='some'", "mapped"]),
        ({"merge": "never"}, ["merge='never'", "before", "after"]),
        ({"classes": ("joy",)}, ["joy", "at least two different"]),
        ({"classes": ("joy", "joy")}, ["at least two different"]),
        ({"class_map": {**CLASS_MAP, "Sad": None}}, ["'Sad'", "lower case"]),
        ({"class_map": {**CLASS_MAP, "sad": "sadness"}}, ["'sad'", "'sadness'", "joy", "None to leave it out"]),
        ({"class_map": {"ang": "anger", "hap": "joy"}}, ["no raw label maps", "calm"]),
    ],
)
def test_a_wrong_policy_is_refused_with_what_is_allowed(changes, words):
    with pytest.raises(ValueError) as error:
        policy(**changes)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match="no label policy 'iemocap'; choose one of .*iemocap-4"):
        get_policy("iemocap")
    with pytest.raises(ValueError, match=r"no field \['rules'\]; its fields are .*'rule'"):
        policy().with_(rules="majority")
    with pytest.raises(ValueError, match=r"\['sad'\].*policy 'made'.*\['ang'.*to None to leave it out"):
        tally(policy(), RatingArrays.from_lists([[(["sad"], False)]]))


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"label": np.array([0, 2])}, ["label", "2", "vocabulary"]),
        ({"label": np.array([-1, 0])}, ["label", "-1"]),
        ({"utterance": np.array([0, 5])}, ["utterance", "5"]),
        ({"position": np.array([0])}, ["position", "1", "2"]),
        ({"vocabulary": ("ang", "Ang")}, ["vocabulary", "lower case"]),
        ({"vocabulary": ("ang", "ang")}, ["vocabulary", "ang"]),
    ],
)
def test_arrays_that_would_be_counted_wrongly_are_refused(changes, words):
    good = RatingArrays.from_lists([[(["ang"], False)], [(["hap"], False)]])
    with pytest.raises(ValueError) as error:
        replace(good, **changes)
    assert all(word in str(error.value) for word in words), str(error.value)


# ---- agreement between raters --------------------------------------------------------------------------------------


def literal_kappa(votes):
    """Pairs of raters counted one by one."""
    observed, pooled = [], Counter()
    for row in votes:
        raters = [c for c, n in enumerate(row) for _ in range(int(n))]
        if len(raters) < 2:
            continue
        pairs = [(a, b) for i, a in enumerate(raters) for j, b in enumerate(raters) if i != j]
        observed.append(Fraction(sum(a == b for a, b in pairs), len(pairs)))
        pooled.update(raters)
    p = sum(observed) / len(observed)
    chance = sum(Fraction(n, sum(pooled.values())) ** 2 for n in pooled.values())
    return float((p - chance) / (1 - chance))


def test_kappa_is_the_literal_one_for_any_number_of_raters():
    votes = np.random.default_rng(3).poisson(0.8, (60, 4))
    assert (votes.sum(axis=1) < 2).any() and len(set(votes.sum(axis=1))) > 4
    assert fleiss_kappa(votes) == pytest.approx(literal_kappa(votes))


def test_kappa_of_the_published_example():
    # The worked example that textbooks give: 10 subjects, 14 raters, 5 categories, kappa 0.210.
    rows = ["0 0 0 0 14", "0 2 6 4 2", "0 0 3 5 6", "0 3 9 2 0", "2 2 8 1 1"]
    rows += ["7 7 0 0 0", "3 2 6 3 0", "2 5 3 2 2", "6 5 2 1 0", "0 2 2 3 7"]
    assert fleiss_kappa(np.array([[int(n) for n in row.split()] for row in rows])) == pytest.approx(0.210, abs=5e-4)


def test_kappa_at_its_ends():
    assert fleiss_kappa(np.array([[3, 0], [0, 2]])) == pytest.approx(1)
    assert fleiss_kappa(np.array([[3, 0], [2, 0]])) == 1  # one class only: nothing but agreement
    with pytest.raises(ValueError, match="two votes"):
        fleiss_kappa(np.array([[1, 0], [0, 1]]))


# ---- size, and a real corpus ---------------------------------------------------------------------------------------


def big(n: int) -> RatingArrays:
    rng = np.random.default_rng(0)
    utterance = np.repeat(np.arange(n), 3)
    rows = len(utterance)
    return RatingArrays(
        n,
        utterance,
        np.arange(rows),
        rng.integers(0, 6, rows),
        np.zeros(rows, int),
        np.zeros(rows, bool),
        (*CLASS_MAP,),
    )


@pytest.mark.parametrize("n,seconds", [(200_000, 1.0), pytest.param(1_000_000, 5.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("multi_label", MULTI)
def test_many_utterances_take_little_time(n, seconds, multi_label):
    arrays, p = big(n), policy(multi_label=multi_label, merge="after")
    start = time.process_time()
    table = tally(p, arrays)
    took = time.process_time() - start
    assert table.votes.sum() + table.outside.sum() == 3 * n
    assert took < seconds  # takes about a tenth of that on one core


def test_crema_d_counts():
    root = os.environ.get("CREMA_D_ROOT")
    if not root:
        pytest.skip("CREMA_D_ROOT is not set")
    from hf_ambiser.data.corpora import load_corpus

    scan = load_corpus("crema_d").scan(root)
    table = tally(get_policy("crema-d-6"), scan.ratings())
    assert len(table.label) == 3760  # clips with voice-only ratings in this copy of the release
    ties = [np.sum(row == row.max()) > 1 for row in table.votes]
    assert sum(ties) == int((table.label == -1).sum()) == 303
    assert table.votes_in == table.votes.sum() and not table.excluded
    assert 0 < fleiss_kappa(table.votes) < 1
