"""Models of raters: against a literal Dawid-Skene, by recovery, by what must not matter, in policy and data set."""

import json
import sys
from dataclasses import replace
from importlib import metadata
from math import log, prod
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from hf_ambiser.data.build_cli import main
from hf_ambiser.data.loading import load_split, read_dataset_info
from hf_ambiser.data.simulated import Raters, SimulationOptions
from hf_ambiser.data.simulated.corpus import utterance_id
from hf_ambiser.labels import aggregation
from hf_ambiser.labels.aggregation import AggregationError, posterior
from hf_ambiser.labels.policies import LabelPolicy, available_policies, get_policy
from hf_ambiser.labels.votes import RatingArrays, entropy_bits, soft_labels, tally


pytest.importorskip("crowdkit", reason="crowd-kit is not installed")
MODELS = ("dawid_skene", "glad", "mace")
GLAD_IS_SLOW = ["dawid_skene", pytest.param("glad", marks=pytest.mark.slow), "mace"]
QUICK = {"dawid_skene": {"iterations": 10}, "glad": {"iterations": 2}, "mace": {"iterations": 10, "restarts": 2}}
VOTES_ALONE = ("votes", "outside", "vote_label", "agreement", "kept", "votes_in", "excluded")


def answers(n: int, skill: list[float], per_utterance: int, k: int, seed: int):
    """One true class an utterance; raters who know it with their own probability and guess otherwise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    utterance = np.repeat(np.arange(n), per_utterance)
    rater = np.concatenate([rng.choice(len(skill), per_utterance, replace=False) for _ in range(n)])
    knows = rng.random(len(rater)) < np.array(skill)[rater]
    return truth, utterance, rater, np.where(knows, truth[utterance], rng.integers(0, k, len(rater)))


# ---- the models ----------------------------------------------------------------------------------------------------


def literal_dawid_skene(rows: list[tuple[int, int, int]], n: int, k: int, iterations: int, tolerance: float = 1e-5):
    """EM of Dawid and Skene (1979), eqs. 2.3 to 2.5, begun with the vote shares, one product after the other."""
    voted = sorted({i for i, _, _ in rows})
    belief = {i: [sum(a == c for j, _, a in rows if j == i) for c in range(k)] for i in voted}
    belief = {i: [x / sum(b) for x in b] for i, b in belief.items()}
    raters = sorted({r for _, r, _ in rows})

    def parameters():
        prior = [sum(belief[i][c] for i in voted) / len(voted) for c in range(k)]
        error = {}
        for r in raters:
            mine = [(i, a) for i, who, a in rows if who == r]
            given = sorted({a for _, a in mine})
            for c in range(k):
                counts = {a: max(sum(belief[i][c] for i, b in mine if b == a), 1e-10) for a in given}
                error |= {(r, a, c): counts[a] / sum(counts.values()) for a in given}
        return prior, error

    prior, error = parameters()
    last = -np.inf
    for _ in range(iterations):
        for i in voted:
            joint = [max(prior[c], 1e-10) * prod(error[r, a, c] for j, r, a in rows if j == i) for c in range(k)]
            belief[i] = [x / sum(joint) for x in joint]
        prior, error = parameters()
        # What crowd-kit stops by: it counts log prior once an answer.
        bound = sum(
            belief[i][c] * (log(error[r, a, c]) + log(max(prior[c], 1e-10))) for i, r, a in rows for c in range(k)
        )
        bound -= sum(max(p, 1e-10) * log(max(p, 1e-10)) for b in belief.values() for p in b)
        if bound / len(rows) - last < tolerance:
            break
        last = bound / len(rows)
    # crowd-kit returns nothing below 1e-10.
    return np.array([[max(p, 1e-10) for p in belief[i]] if i in belief else [0.0] * k for i in range(n)])


@pytest.mark.parametrize("seed,per_utterance,k", [(0, 1, 3), (1, 2, 3), (2, 3, 4), (3, 4, 2)])
@pytest.mark.parametrize("iterations", [2, 100])
def test_dawid_skene_is_the_literal_one(seed, per_utterance, k, iterations):
    _, utterance, rater, answer = answers(40, [0.9, 0.8, 0.6, 0.4, 0.2], per_utterance, k, seed)
    # Utterances nobody rated, one with a single answer, a rater with a single answer, a rater who answers twice.
    utterance = np.append(utterance, [41, 42, 42])
    rater, answer = np.append(rater, [5, 0, 0]), np.append(answer, [0, 0, 1])
    found = posterior("dawid_skene", {"iterations": iterations}, utterance, rater, answer, (44, k))
    expected = literal_dawid_skene(list(zip(utterance, rater, answer, strict=True)), 44, k, iterations)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found[40].sum() == found[43].sum() == 0 and found.sum() == pytest.approx(42)


@pytest.mark.parametrize("model", MODELS)
def test_the_better_raters_are_found_and_followed(model):
    skill = [0.95, 0.9, 0.85, 0.5, 0.3, 0.2, 0.1, 0.05]
    truth, utterance, rater, answer = answers(200, skill, 5, 4, seed=1)
    found = posterior(
        model, QUICK[model] | ({"iterations": 30} if model == "mace" else {}), utterance, rater, answer, (200, 4)
    )
    believed = [found[utterance[rater == r], answer[rater == r]].mean() for r in range(len(skill))]
    assert spearmanr(believed, skill).statistic > 0.85
    votes = np.zeros((200, 4))
    np.add.at(votes, (utterance, answer), 1)
    tops = soft_labels((votes == votes.max(axis=1, keepdims=True)).astype(float))
    by_votes = tops[np.arange(200), truth].mean()
    assert (found.argmax(axis=1) == truth).mean() > by_votes + 0.03


@pytest.mark.parametrize("model", GLAD_IS_SLOW)
def test_neither_the_order_of_rows_nor_the_numbering_of_utterances_matters(model):
    _, utterance, rater, answer = answers(40, [0.9, 0.7, 0.5, 0.3], 3, 3, seed=2)
    before = posterior(model, QUICK[model], utterance, rater, answer, (40, 3))
    rng = np.random.default_rng(0)
    rows, number = rng.permutation(len(answer)), rng.permutation(40)
    after = posterior(model, QUICK[model], number[utterance[rows]], rater[rows], answer[rows], (40, 3))
    np.testing.assert_allclose(after[number], before, atol=1e-6)
    again = posterior(model, QUICK[model], utterance, rater, answer, (40, 3))
    assert (again == before).all()
    # Numbers of categories are names, too: an unused one in between has probability 0 and changes nothing.
    spread = posterior(model, QUICK[model], utterance, rater, answer + (answer > 0), (40, 4))
    np.testing.assert_allclose(spread[:, [0, 2, 3]], before, atol=1e-6)
    assert (spread[:, 1] == 0).all()


def test_every_restart_of_mace_begins_elsewhere(monkeypatch):
    from crowdkit.aggregation import MACE

    starts, initialize = [], MACE._initialize

    def spy(self, *args):
        initialize(self, *args)
        starts.append(self.thetas_.copy())

    monkeypatch.setattr(MACE, "_initialize", spy)
    _, *rows = answers(30, [0.9, 0.7, 0.5], 2, 3, seed=3)
    for seed in (0, 0, 1):
        posterior("mace", {"restarts": 3, "iterations": 2, "seed": seed}, *rows, (30, 3))
    assert all(not np.allclose(starts[a], starts[b]) for a, b in [(0, 1), (1, 2), (0, 6)])
    assert np.allclose(starts[:3], starts[3:6])


@pytest.mark.parametrize("model", GLAD_IS_SLOW)
def test_within_groups_no_answer_reaches_another_group(model):
    _, utterance, rater, answer = answers(30, [0.9, 0.7, 0.5, 0.2], 3, 3, seed=4)
    group = np.arange(30) % 2
    other = np.where(group[utterance] == 1, np.random.default_rng(0).integers(0, 3, len(answer)), answer)
    within = {**QUICK[model], "within": "group"}
    a, b = (posterior(model, within, utterance, rater, x, (30, 3), group) for x in (answer, other))
    assert (a[group == 0] == b[group == 0]).all() and not np.allclose(a[group == 1], b[group == 1])
    a, b = (posterior(model, QUICK[model], utterance, rater, x, (30, 3)) for x in (answer, other))
    assert not np.allclose(a[group == 0], b[group == 0])
    with pytest.raises(AggregationError, match="within='group' needs to know each utterance's group"):
        posterior(model, within, utterance, rater, answer, (30, 3))


class Diverging:
    def __init__(self, error):
        self.error = error

    def fit_predict_proba(self, frame):
        import pandas as pd

        if self.error:
            raise self.error
        return pd.DataFrame(np.full((frame.task.nunique(), 2), np.nan))


@pytest.mark.parametrize("error", [None, UnboundLocalError("best_thetas"), ZeroDivisionError()])
def test_a_model_that_diverges_is_one_clear_line(monkeypatch, error):
    monkeypatch.setattr(aggregation, "_model", lambda *_: Diverging(error))
    with pytest.raises(AggregationError, match="aggregation='mace' diverged.* 2 utterances by 1 raters.*'shares'"):
        posterior("mace", {}, np.array([0, 1]), np.array([0, 0]), np.array([0, 1]), (2, 2))


def test_what_cannot_be_modelled_is_refused(monkeypatch):
    one = (np.array([0, 1]), np.array([0, 1]), np.array([1, 1]), (2, 3))
    with pytest.raises(AggregationError, match="at least two kinds; all 2 are the same"):
        posterior("glad", {}, *one)

    def missing(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(aggregation.metadata, "version", missing)
    with pytest.raises(AggregationError, match="needs crowd-kit, which is not installed: pip install"):
        posterior("glad", {}, *one)


# ---- the policy ----------------------------------------------------------------------------------------------------


def test_fingerprints_of_policies_without_a_model_are_what_they_were():
    assert {name: get_policy(name).fingerprint() for name in available_policies()} == {
        "crema-d-4": "51cb53165229",
        "crema-d-6": "90e3efd71277",
        "emo-db-7": "fd60061bbe16",
        "emo-superb-4": "c81818237b1d",
        "iemocap-4": "cb4bac856389",
        "iemocap-4-no-excitement": "dd8c77065f0f",
        "iemocap-all": "3bc33edcf9a9",
        "meld-7": "d07960dcb348",
        "msp-improv-4": "631071033e3b",
        "msp-podcast-4": "9a383c442374",
        "msp-podcast-8": "9e86ddbe9e74",
        "nemo-6": "73b5ae93b853",
        "nnime-11": "e9f2b1d62446",
        "ravdess-8": "b21085484e77",
        "simulated-4": "1050e2403804",
    }


def test_every_model_and_option_has_a_fingerprint_of_its_own():
    base = get_policy("simulated-4")
    policies = [base, *(base.with_(aggregation=model) for model in MODELS)]
    policies.append(base.with_(aggregation="mace", aggregation_options={"seed": 1}))
    policies.append(base.with_(aggregation="mace", aggregation_options={"restarts": 9}))
    policies.append(base.with_(aggregation="glad", aggregation_options={"iterations": 9}))
    policies.append(base.with_(aggregation="glad", aggregation_options={"within": "group"}))
    assert len({p.fingerprint() for p in policies}) == len(policies)
    for p in policies:
        assert LabelPolicy.from_dict(json.loads(json.dumps(p.to_dict()))) == p
    spelled = base.with_(aggregation="mace", aggregation_options=aggregation.DEFAULTS["mace"])
    assert spelled.fingerprint() == base.with_(aggregation="mace").fingerprint()
    # Another model's options are not carried along, a variant of the same model keeps them.
    assert (
        policies[4].with_(aggregation="dawid_skene") == policies[1] and policies[4].with_(aggregation="shares") == base
    )
    assert policies[4].with_(rule="majority").aggregation_options["seed"] == 1


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"aggregation": "vote"}, ["simulated-4", "aggregation='vote'", "shares", "dawid_skene", "glad", "mace"]),
        ({"aggregation_options": {"seed": 1}}, ["'shares' has no option ['seed']", "[]"]),
        ({"aggregation": "glad", "aggregation_options": {"seed": 1}}, ["no option ['seed']", "iterations", "within"]),
        ({"aggregation": "mace", "aggregation_options": {"iterations": 1}}, ["iterations=1", "from 2 on"]),
        ({"aggregation": "mace", "aggregation_options": {"seed": "a"}}, ["seed='a'", "from 0 on"]),
        ({"aggregation": "mace", "aggregation_options": {"within": "clip"}}, ["within='clip'", "corpus", "group"]),
        ({"aggregation": "mace", "multi_label": "fractional"}, ["whole answers", "'fractional'", "'first'", "'each'"]),
    ],
)
def test_a_wrong_aggregation_is_refused_with_what_is_allowed(changes, words):
    with pytest.raises(ValueError) as error:
        get_policy("simulated-4", **changes)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), str(error.value)


# ---- votes, labels -------------------------------------------------------------------------------------------------

MADE = LabelPolicy(
    "made", ("joy", "anger", "calm"), {"ang": "anger", "hap": "joy", "exc": "joy", "neu": "calm", "fru": None}
)


def made_ratings(seed: int = 0, n: int = 60) -> list[list[tuple[list[str], bool, str]]]:
    """0 to 4 named raters an utterance, 1 or 2 labels a rater, sometimes the speaker; `z1` hardly listens."""
    rng, names = np.random.default_rng(seed), [f"r{i}" for i in range(6)] + ["z1"]
    made = []
    for _ in range(n):
        labels = list(MADE.class_map)
        favourite = rng.dirichlet(np.full(len(labels), 0.4))
        made.append(
            [
                (list(rng.choice(labels, rng.choice([1, 1, 2]), p=favourite if who != "z1" else None)), False, who)
                for who in rng.permutation(names)[: rng.integers(0, 5)]
            ]
            + ([(["ang"], True, "actor")] if rng.random() < 0.2 else [])
        )
    return made


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("multi_label,over,merge,rule", [
    ("first", "all", "before", "plurality"),
    ("each", "mapped", "after", "majority"),
    ("each", "all", "after", "all_inclusive"),
])  # fmt: skip
def test_a_model_changes_labels_and_nothing_else(model, multi_label, over, merge, rule):
    ratings = RatingArrays.from_lists(made_ratings())
    plain = MADE.with_(multi_label=multi_label, agreement_over=over, merge=merge, rule=rule)
    votes = tally(plain, ratings)
    table = tally(plain.with_(aggregation=model, aggregation_options=QUICK[model]), ratings)
    for name in VOTES_ALONE:
        np.testing.assert_equal(getattr(table, name), getattr(votes, name))
    assert (votes.label == votes.vote_label).all() and (votes.soft_label == soft_labels(votes.votes)).all()
    voted = votes.votes.sum(axis=1) > 0
    assert voted.any() and not voted.all()
    given = table.soft_label.sum(axis=1)
    np.testing.assert_allclose(given[given > 0], 1)
    assert (voted[given > 0]).all() and (table.label[given == 0] == -1).all()
    assert (over == "all") or (given[voted] > 0).all()
    assert (table.label[~voted] == -1).all() and (table.label[voted] >= 0).any()
    assert not np.allclose(table.soft_label, votes.soft_label)
    np.testing.assert_allclose(table.entropy, entropy_bits(table.soft_label))
    if over == "mapped" and merge == "before":
        led = table.label >= 0
        assert (table.label[led] == table.soft_label[led].argmax(axis=1)).all()


def by_hand(policy: LabelPolicy, ratings):
    """Label and soft label: answers, categories and sums as the documentation says them, in plain Python."""
    names = sorted({who for rated in ratings for _, _, who in rated})
    category: dict[str, int] = {}
    for raw in MADE.class_map:
        target = policy.class_map[raw]
        if target is None and policy.agreement_over == "mapped":
            continue
        key = target if policy.merge == "before" and target is not None else raw
        category.setdefault(key, len(category))
    rows = []
    for i, rated in enumerate(ratings):
        for labels, is_self, who in rated:
            heard = []
            for raw in labels[: 1 if policy.multi_label == "first" else None]:
                voice = policy.class_map[raw] or raw
                key = voice if policy.merge == "before" else raw
                if not is_self and voice not in heard:
                    heard.append(voice)
                    rows += [(i, names.index(who), category[key])] if key in category else []
    belief = literal_dawid_skene(rows, len(ratings), len(category), 100)
    class_of = {c: policy.class_map.get(key, key) for key, c in category.items()}
    soft, label = np.zeros((len(ratings), 3)), []
    for i, rated in enumerate(ratings):
        first = [labels[: 1 if policy.multi_label == "first" else None] for labels, is_self, _ in rated if not is_self]
        voted = any(policy.class_map[raw] for labels in first for raw in labels)
        for c, target in class_of.items():
            if target and voted:
                soft[i, policy.classes.index(target)] += belief[i, c]
        soft[i] = soft[i] / soft[i].sum() if soft[i].sum() > 1e-6 else 0
        best = [c for c in class_of if belief[i, c] >= belief[i].max() - 1e-9]
        won = (
            class_of[best[0]]
            if voted and len(best) == 1 and (policy.rule != "majority" or belief[i].max() > 0.5)
            else None
        )
        label.append(policy.classes.index(won) if won else -1)
    return soft, label


@pytest.mark.parametrize("rule", ["plurality", "majority"])
@pytest.mark.parametrize("merge", ["before", "after"])
@pytest.mark.parametrize("over", ["all", "mapped"])
@pytest.mark.parametrize("multi_label", ["first", "each"])
def test_answers_candidates_and_labels_are_the_literal_ones(multi_label, over, merge, rule):
    ratings = made_ratings(seed=5, n=40)
    policy = MADE.with_(
        multi_label=multi_label, agreement_over=over, merge=merge, rule=rule, aggregation="dawid_skene"
    )
    table = tally(policy, RatingArrays.from_lists(ratings))
    soft, label = by_hand(policy, ratings)
    np.testing.assert_allclose(table.soft_label, soft, atol=1e-6)
    assert table.label.tolist() == label
    if over == "all" and merge == "before":  # the model may give an utterance to a label that is left out
        assert ((table.label < 0) & (table.soft_label.sum(axis=1) > 0)).any()


@pytest.mark.parametrize("model", MODELS)
def test_raters_are_known_by_name_and_not_by_the_order_they_come_in(model):
    policy = MADE.with_(aggregation=model, aggregation_options=QUICK[model], agreement_over="mapped")
    ratings = made_ratings()
    backwards = [rated[::-1] for rated in ratings[::-1]]
    a, b = tally(policy, RatingArrays.from_lists(ratings)), tally(policy, RatingArrays.from_lists(backwards))
    np.testing.assert_allclose(a.soft_label, b.soft_label[::-1], atol=1e-6)
    assert (a.label == b.label[::-1]).all()


def test_raters_without_a_name_are_refused_where_they_are_modelled():
    policy = MADE.with_(aggregation="glad")
    anonymous = RatingArrays.from_lists([[(["ang"], False), (["hap"], False, "a")], [(["neu"], False, None)]])
    with pytest.raises(
        AggregationError, match=r"'made': aggregation='glad'.* 2 of 3 ratings .*Use aggregation='shares'"
    ):
        tally(policy, anonymous)
    with pytest.raises(AggregationError, match="3 of 3"):
        tally(policy, replace(anonymous, rater=None))
    assert tally(MADE, anonymous).votes.sum() == 3
    # A rating that does not count need not say whose it is.
    ratings = RatingArrays.from_lists([[(["ang"], True, None), (["hap"], False, "a")], [(["neu"], False, "b")]])
    assert tally(policy, ratings).votes.sum() == 2
    with pytest.raises(AggregationError, match="1 of 3"):
        tally(policy.with_(self_reports=True), ratings)
    with pytest.raises(ValueError, match="'rater' runs from -1 to 1; allowed is -1 to 0"):
        replace(ratings, raters=("a",))


def test_simulated_ratings_say_whose_they_are():
    options = SimulationOptions(n_utterances=40, second_label=0.5)
    truth = np.array([options.mixture.draw(4, 0, i)[0] for i in range(40)])
    pool: Raters = options.raters()
    rated = pool.rate(truth, [utterance_id(i) for i in range(40)], 3, 0)
    named = [[(r.labels, False, r.rater) for r in ratings] for ratings in rated.lists()]
    policy = get_policy("simulated-4", aggregation="dawid_skene", multi_label="each")
    a, b = tally(policy, rated.arrays()), tally(policy, RatingArrays.from_lists(named))
    assert rated.second.max() >= 0 and (a.votes == b.votes).all()
    np.testing.assert_allclose(a.soft_label, b.soft_label, atol=1e-9)


# ---- data sets, commands -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    asked = ["--root", str(folder / "corpus"), "--n-utterances", "120", "--n-speakers", "6", "--min-per-class", "1"]
    asked += ["--configs", "ipr-strict", "kfold3-strict", "--no-progress"]
    assert main("simulated", [*asked, "--out", str(folder / "shares")]) == 0
    model = ["--aggregation", "dawid_skene", "--aggregation-options", "iterations=20", "within=group"]
    assert main("simulated", [*asked, "--out", str(folder / "modelled"), *model]) == 0
    return folder


def test_a_data_set_carries_the_model_and_keeps_splits_votes_and_references(built, tmp_path):
    plain, info = read_dataset_info(built / "shares"), read_dataset_info(built / "modelled")
    assert info["policy"]["aggregation_options"] == {"iterations": 20, "within": "group"}
    assert info["policy_fingerprint"] != plain["policy_fingerprint"] and info["content"] != plain["content"]
    assert info["votes"] == plain["votes"] and info["counts"] == plain["counts"]
    for config in info["configs"]:
        assert info["configs"][config]["fingerprint"] == plain["configs"][config]["fingerprint"]
    for split in ("d1", "d2", "d3"):
        a, b = (load_split(built / name, "ipr-strict", split, cache_dir=tmp_path) for name in ("shares", "modelled"))
        for column in ("id", "votes", "tier", "reference_votes", "reference_soft_label", "reference_label"):
            assert a[column] == b[column], column
        np.testing.assert_array_equal(a["agreement"], b["agreement"])
        soft, label = np.array(b["soft_label"]), np.array(b["label"])
        if split == "d2":
            assert not soft.any() and (label == -1).all()
            continue
        assert not np.allclose(soft, a["soft_label"])
        np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(label[label >= 0], soft.argmax(axis=1)[label >= 0])
        np.testing.assert_allclose(b["entropy"], entropy_bits(soft), atol=1e-4)
    with pytest.raises(ValueError, match="hidden in 'd2'.* labels are by dawid_skene.*--aggregation shares"):
        load_split(built / "modelled", "ipr-strict", "d2", reveal=True, cache_dir=tmp_path)
    card, other = ((built / name / "README.md").read_text() for name in ("modelled", "shares"))
    assert (
        "dawid_skene (iterations 20, within group)" in card and "each speaker's (or session's) ratings alone" in card
    )
    assert f"crowd-kit {metadata.version('crowd-kit')}" in card and "shares of the votes." in other


def test_labels_within_groups_are_those_of_a_group_alone(built):
    """The point of it: labels of training speakers are the same when the other speakers' ratings do not exist."""
    from hf_ambiser.data.corpora import simulated
    from hf_ambiser.data.schema import rating_arrays

    utterances = simulated.scan(built / "corpus").utterances
    policy = get_policy("simulated-4", aggregation="dawid_skene")
    policy = policy.with_(aggregation_options={"within": "group", "iterations": 10})
    speaker = np.unique([u.speaker for u in utterances], return_inverse=True)[1]
    whole = tally(policy, replace(rating_arrays(utterances), group=speaker))
    for one in range(speaker.max() + 1):
        mine = [u for u, s in zip(utterances, speaker, strict=True) if s == one]
        alone = tally(policy.with_(aggregation_options={"iterations": 10}), rating_arrays(mine))
        np.testing.assert_allclose(alone.soft_label, whole.soft_label[speaker == one], atol=1e-9)


def test_anonymous_votes_and_wrong_options_end_in_one_line(tmp_path, capsys):
    from helpers.crema_d_tree import made_corpus

    asked = ["--root", str(made_corpus(tmp_path / "release")), "--out", str(tmp_path / "out"), "--no-progress"]
    assert main("crema_d", [*asked, "--aggregation", "mace"]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("error: label policy 'crema-d-6': aggregation='mace' models each rater")
        and error.count("\n") == 1
    )
    assert main("crema_d", [*asked, "--aggregation-options", "seed=1"]) == 2
    assert "'shares' has no option ['seed']" in capsys.readouterr().err
    assert main("crema_d", [*asked, "--aggregation", "mace", "--aggregation-options", "seed=1", "seed=2"]) == 2
    assert "names 'seed' more than once (seed=1 seed=2). Give it once." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main("crema_d", [*asked, "--aggregation-options", "seed"])
    assert "'seed' is not NAME=VALUE" in capsys.readouterr().err
    assert main("crema_d", [*asked, "--self-reports"]) == 2
    assert "no rating of crema_d is a speaker's own. Leave it out." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_table_of_label_sources(monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "train_scripts"))
    import label_sources

    monkeypatch.setattr(label_sources, "MODELS", ["dawid_skene"])
    monkeypatch.setattr(
        label_sources, "SOURCES", {k: v for k, v in label_sources.SOURCES.items() if k not in ("glad", "mace")}
    )
    asked = ["--utterances", "100", "--raters", "1", "5", "--seeds", "1", "--out", str(tmp_path / "table.md")]
    assert label_sources.main(asked) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text() == out
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:-1] for line in out.splitlines()[2:12] if line.startswith("|")
    }
    js = {
        name: [float(cell.split()[0]) for cell in cells]
        for name, cells in rows.items()
        if name in label_sources.SOURCES.values()
    }
    assert len(js) == 5 and js["uniform"][0] == js["uniform"][1]
    best, shares = js["shares, best amount mixed in (oracle)"], js["shares of the votes"]
    assert best[0] < shares[0] and best[1] < shares[1] < shares[0] and best[0] < js["uniform"][0]
    # Recomputed for one cell from what the corpus itself would hold.
    options = SimulationOptions(n_utterances=100, votes_per_utterance=5, seed=1)
    truth, labels, _ = label_sources.measure(options, "corpus")
    counted = tally(
        get_policy("simulated-4"),
        options.raters().rate(truth, [utterance_id(i) for i in range(100)], 5, 1).arrays(),
    )
    assert (labels["shares"] == counted.soft_label).all()
    assert label_sources.main(["--utterances", "0"]) == 2
    assert "n_utterances: 0" in capsys.readouterr().err
    sys.modules.pop("label_sources")
