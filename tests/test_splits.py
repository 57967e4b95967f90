import dataclasses
import re

import numpy as np
import pytest

from hf_ambiser.data.splits import (
    PAPER_SIZES,
    SplitError,
    SplitInput,
    SplitOptions,
    check_disjoint,
    check_options,
    expand_configs,
    is_clear,
    is_fold,
    make_split,
    split_family,
    split_fingerprint,
    tiers,
)
from hf_ambiser.data.splits.common import divide


CLASSES = ("anger", "happiness", "sadness", "neutral")
NO_MINIMUM = SplitOptions(min_per_class=0)


def made(n=600, speakers=10, per_session=1, seed=0, raters=5, all_inclusive=False, zero_votes=0) -> SplitInput:
    """Votes of `raters` raters with class-dependent agreement; ties have no consensus, `zero_votes` rows no vote."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, size=n, p=[0.4, 0.3, 0.1, 0.2])
    sharp = np.array([0.9, 0.6, 0.4, 0.7])[truth]
    votes = np.zeros((n, 4))
    for i in range(n):
        for _ in range(raters):
            votes[i, truth[i] if rng.random() < sharp[i] else rng.integers(4)] += 1
    votes[:zero_votes] = 0
    share = votes / np.maximum(votes.sum(1, keepdims=True), 1)
    top = votes.max(1)
    label = np.where(((votes == top[:, None]).sum(1) == 1) & (top > 0), votes.argmax(1), -1)
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    speaker = np.array([f"s{rng.integers(speakers):02d}" for _ in range(n)])
    group = np.array([f"g{int(s[1:]) // per_session}" for s in speaker])
    kept = (votes.sum(1) > 0) & ((label >= 0) | all_inclusive)
    ids = np.array([f"u{i:04d}" for i in rng.permutation(n)])
    return SplitInput(ids, speaker, group, label, share.max(1), entropy, votes, kept, CLASSES)


NO_ARRAY = ("classes", "columns")


def shuffled(data: SplitInput, seed: int) -> SplitInput:
    order = np.random.default_rng(seed).permutation(len(data.id))
    arrays = {f.name: getattr(data, f.name)[order] for f in dataclasses.fields(data) if f.name not in NO_ARRAY}
    return SplitInput(**arrays, classes=data.classes)


def by_id(data, split):
    return dict(zip(data.id.tolist(), split.assignment.tolist(), strict=True))


def every_config(data):
    folds = ["loso-strict", "loso-paper", "logo-strict", "kfold4-strict", "kfold2-paper"]
    folds += ["ipr-strict-kfold4", "ipr-paper-kfold3", "ipr-strict-loso", "ipr-paper-logo"]
    folds += ["slc-strict-kfold3", "slc-paper-loso", "slc-strict-logo"]
    return ["ipr-strict", "ipr-paper", "slc-strict", "slc-paper", *expand_configs(folds, data)]


@pytest.mark.parametrize("per_session", [1, 2])
def test_every_split_is_a_partition_and_does_not_depend_on_the_input_order(per_session):
    data = made(per_session=per_session, zero_votes=5)
    other = shuffled(data, 3)
    usable = data.labelled | data.unlabelled
    assert usable.sum() == 595
    for config in every_config(data):
        split = make_split(data, config, NO_MINIMUM)
        own = [name for name in split.names if name not in split.aliases]
        rows = np.concatenate([split.rows(name) for name in own])
        assert len(rows) == len(set(rows.tolist())), config
        assert set(rows.tolist()) == set(np.flatnonzero(usable).tolist()), config
        again = make_split(other, config, NO_MINIMUM)
        assert by_id(data, split) == by_id(other, again) and split.fingerprint == again.fingerprint, config
        for name in own:  # labelled and unlabelled utterances are never mixed, but in SLC's ambiguous splits
            labels = set((data.label[split.rows(name)] >= 0).tolist())
            if "no_consensus" in name:
                assert labels == {False}
            elif "ambiguous" not in name:
                assert labels == {True}


def sides(split):
    def side(name):
        if name.startswith("test") or name == "d3":
            return "test"
        return "validation" if name.startswith("validation") else "train"

    found = {}
    for name in split.names:
        found.setdefault(side(name), []).append(split.rows(name))
    return {name: np.concatenate(rows) for name, rows in found.items()}


@pytest.mark.parametrize("seed", range(3))
def test_strict_sides_share_no_speaker_and_no_session(seed):
    data = made(per_session=2, seed=seed)
    for config in [c for c in every_config(data) if "strict" in c]:
        split = make_split(data, config, dataclasses.replace(NO_MINIMUM, seed=seed))
        parts = sides(split)
        assert set(parts) == {"train", "validation", "test"}, config
        speakers = {name: set(data.speaker[rows]) for name, rows in parts.items()}
        groups = {name: set(data.group[rows]) for name, rows in parts.items()}
        for a, b in [("train", "validation"), ("train", "test"), ("validation", "test")]:
            assert not speakers[a] & speakers[b], (config, a, b)
            # Leaving a speaker out, the other speaker of the session validates (nothing of the session trains).
            if not ("loso" in config and (a, b) == ("validation", "test")):
                assert not groups[a] & groups[b], (config, a, b)
        if "loso" in config:
            assert groups["validation"] == groups["test"]


def test_five_sessions_are_divided_three_one_one_and_the_seed_decides_which():
    data = made(speakers=10, per_session=2)
    tests = set()
    for seed in range(8):
        parts = sides(make_split(data, "ipr-strict", SplitOptions(seed=seed, min_per_class=0)))
        assert {k: len(set(data.group[v])) for k, v in parts.items()} == {"train": 3, "validation": 1, "test": 1}
        tests |= set(data.group[parts["test"]])
    assert len(tests) > 1


def ambiguity_key(data, i):
    return (-round(data.agreement[i], 9), round(data.entropy[i], 9))


def test_paper_subsets_follow_the_order_of_ambiguity_and_the_papers_shares():
    data = made(n=1000)
    split = make_split(data, "ipr-paper", NO_MINIMUM)
    d1 = np.concatenate([split.rows("d1"), split.rows("validation")])
    keys = {name: [ambiguity_key(data, i) for i in rows] for name, rows in
            {"d1": d1, "d2": split.rows("d2"), "d3": split.rows("d3")}.items()}  # fmt: skip
    assert max(keys["d1"]) <= min(keys["d2"]) and max(keys["d2"]) <= min(keys["d3"])
    n = int(data.labelled.sum())
    for name, size in zip(("d1", "d2", "d3"), PAPER_SIZES, strict=True):
        assert abs(len(keys[name]) - n * size / 5531) < 1.5
    assert len(split.rows("validation")) == round(0.1 * len(d1))
    assert split.masked == {"d2"}


@pytest.mark.parametrize("config", ["ipr-paper", "ipr-strict"])
def test_exact_sizes_and_what_is_beyond_them(config):
    data = made()
    options = SplitOptions(sizes=(100, 120, 30), min_per_class=0)
    split = make_split(data, config, options)
    in_d1 = len(split.rows("d1")) + (len(split.rows("validation")) if config == "ipr-paper" else 0)
    assert (in_d1, len(split.rows("d2")), len(split.rows("d3"))) == (100, 120, 30)
    if config == "ipr-paper":  # the most ambiguous but D3 are left over, and in no split
        left = np.flatnonzero((split.assignment == "") & data.labelled)
        assert len(left) == data.labelled.sum() - 250
        assert max(ambiguity_key(data, i) for i in split.rows("d2")) <= min(ambiguity_key(data, i) for i in left)
    with pytest.raises(SplitError, match="D1 and D2 together should hold 5100 utterances, there are"):
        make_split(data, config, SplitOptions(sizes=(100, 5000, 30), min_per_class=0))
    with pytest.raises(SplitError, match="D3 should hold 5000"):
        make_split(data, config, SplitOptions(sizes=(100, 10, 5000), min_per_class=0))


def test_the_papers_own_sizes_on_as_many_utterances():
    data = made(n=6000, raters=9)
    keep = np.flatnonzero(data.labelled)[:5531]
    arrays = {f.name: getattr(data, f.name)[keep] for f in dataclasses.fields(data) if f.name not in NO_ARRAY}
    full = SplitInput(**arrays, classes=CLASSES)
    assert len(full.id) == 5531
    default, exact = (
        make_split(full, "ipr-paper", SplitOptions(sizes=s, min_per_class=0)) for s in (None, PAPER_SIZES)
    )
    assert by_id(full, default) == by_id(full, exact)
    assert default.fingerprint != exact.fingerprint  # other options, though the outcome is the same
    assert [len(exact.rows(n)) for n in ("d1", "validation", "d2", "d3")] == [1539, 171, 3421, 400]


@pytest.mark.parametrize("config", ["ipr-paper", "ipr-strict"])
def test_per_class_quota_takes_the_same_share_of_each_class(config):
    data = made(n=1500)
    plain, quota = (
        make_split(data, config, SplitOptions(min_per_class=0, d1_quota=q, validation_share=0))
        for q in ("agreement", "per_class")
    )
    assert len(plain.rows("d1")) == len(quota.rows("d1"))
    assert set(plain.rows("d3")) == set(quota.rows("d3"))
    pool = np.concatenate([quota.rows("d1"), quota.rows("d2")])
    share = len(quota.rows("d1")) / len(pool)
    for k in range(4):
        d1, d2 = (rows[data.label[rows] == k] for rows in (quota.rows("d1"), quota.rows("d2")))
        assert abs(len(d1) - share * (len(d1) + len(d2))) < 1
        assert max(ambiguity_key(data, i) for i in d1) <= min(ambiguity_key(data, i) for i in d2)
    often, rarely = 0, 2  # the classes on which the made raters agree most and least
    by_quota = [np.mean(data.label[quota.rows("d1")] == k) for k in (often, rarely)]
    plainly = [np.mean(data.label[plain.rows("d1")] == k) for k in (often, rarely)]
    assert plainly[0] > by_quota[0] and plainly[1] < by_quota[1]


def test_validation_part_of_d1_is_stratified_and_seeded():
    data = made(n=2000)
    chosen = []
    for seed in (0, 1):
        split = make_split(data, "ipr-paper", SplitOptions(seed=seed, validation_share=0.2, min_per_class=0))
        d1, part = data.label[split.rows("d1")], data.label[split.rows("validation")]
        for k in range(4):
            total = (d1 == k).sum() + (part == k).sum()
            assert abs((part == k).sum() - 0.2 * total) <= 1
        chosen.append(set(data.id[split.rows("validation")]))
    assert chosen[0] != chosen[1]
    assert "validation" not in make_split(data, "ipr-paper", SplitOptions(validation_share=0, min_per_class=0)).names


def test_d3_of_the_strict_protocol_is_the_ambiguous_third_of_the_test_side():
    data = made()
    split = make_split(data, "ipr-strict", NO_MINIMUM)
    d3, rest = split.rows("d3"), split.rows("test_clear")
    assert abs(len(d3) - (len(d3) + len(rest)) / 3) < 1
    assert min(ambiguity_key(data, i) for i in d3) >= max(ambiguity_key(data, i) for i in rest)


def test_without_consensus_kept_ones_may_train_unlabelled_only():
    data = made(all_inclusive=True)
    silent = set(np.flatnonzero(data.label < 0).tolist())
    assert silent and data.kept.all()
    paper = make_split(data, "ipr-paper", NO_MINIMUM)
    assert silent <= set(paper.rows("d2").tolist())
    strict = make_split(data, "ipr-strict", NO_MINIMUM)
    where = set(strict.assignment[sorted(silent)].tolist())
    assert where == {"d2", "validation_no_consensus", "test_no_consensus"}
    left_out = make_split(made(), "ipr-strict", NO_MINIMUM)
    assert "no_consensus" in left_out.names and (made().label[left_out.rows("d2")] >= 0).all()


def test_too_few_of_a_class_in_d1_says_which_how_many_and_what_to_do():
    data = made(n=300)
    split = make_split(data, "ipr-paper", NO_MINIMUM)
    counts = np.bincount(data.label[split.rows("d1")], minlength=4)
    with pytest.raises(SplitError) as error:
        make_split(data, "ipr-paper", SplitOptions(min_per_class=int(counts.min()) + 1))
    text = str(error.value)
    assert isinstance(error.value, ValueError)
    short = CLASSES[int(counts.argmin())]
    assert f"min_per_class={counts.min() + 1} utterances of {short} ({counts.min()})" in text
    assert all(f"{name} {n}" in text for name, n in zip(CLASSES, counts, strict=True))
    for remedy in ("--d1-quota per_class", "--sizes", "--min-per-class", "--policy"):
        assert remedy in text
    make_split(data, "ipr-paper", SplitOptions(min_per_class=int(counts.min())))  # just enough is enough


@pytest.mark.parametrize("threshold", [2 / 3, 0.8, "unanimous"])
def test_slc_clear_is_a_consensus_with_enough_agreement(threshold):
    data = made(raters=3)
    split = make_split(data, "slc-strict", SplitOptions(clear_threshold=threshold))
    least = 3 if threshold in ("unanimous", 0.8) else 2
    for prefix in ("", "test_"):
        clear, ambiguous = split.rows(prefix + "clear"), split.rows(prefix + "ambiguous")
        assert (data.votes[clear].max(1) >= least).all() and (data.votes[ambiguous].max(1) < least).all()
        assert (data.label[clear] >= 0).all() and (data.label[ambiguous] < 0).any()
    thirds = dataclasses.replace(data, agreement=data.agreement.astype(np.float32).astype(float))
    assert (is_clear(thirds, 0.6666666) == is_clear(data, 2 / 3)).all()


def test_the_papers_slc_and_folds_validate_on_the_test_side():
    data = made()
    slc = make_split(data, "slc-paper")
    assert set(slc.rows("validation")) == set(slc.rows("test_clear")) | set(slc.rows("test_ambiguous"))
    assert "validation_no_consensus" not in slc.names
    fold = make_split(data, "loso-paper-s03")
    assert (fold.rows("validation") == fold.rows("test")).all() and set(data.speaker[fold.rows("test")]) == {"s03"}
    assert "s03" not in data.speaker[fold.rows("train")]


def test_k_folds_test_every_utterance_once_with_balanced_groups():
    data = made()
    names = expand_configs(["kfold4-strict"], data)
    assert names == [f"kfold4-strict-{i}" for i in range(4)] and all(is_fold(n) for n in names)
    folds = [make_split(data, name) for name in names]
    tested = np.concatenate([f.rows("test") for f in folds])
    assert sorted(tested) == np.flatnonzero(data.labelled).tolist()
    assert {len(set(data.group[f.rows("test")])) for f in folds} <= {2, 3}
    assert expand_configs(["loso-paper", "loso-paper-s01", "ipr-strict"], data)[-1] == "ipr-strict"
    assert len(expand_configs(["loso-paper", "loso-paper-s01"], data)) == 10
    assert not is_fold("ipr-paper")


@pytest.mark.parametrize("fold", ["kfold4-{}-1", "loso-{}-s03", "logo-{}-g2"])
@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_the_subsets_in_a_fold_are_those_of_the_papers_on_the_sides_of_the_fold(fold, protocol):
    data = made(n=900, per_session=2)
    plain = make_split(data, fold.format(protocol), NO_MINIMUM)
    folds, which = fold.split("-{}-")
    test, train = (set(plain.rows(name).tolist()) for name in ("test", "train"))

    ipr = make_split(data, f"ipr-{protocol}-{folds}-{which}", NO_MINIMUM)
    d1, d2, d3, clear, validation = (
        set(ipr.rows(name).tolist()) for name in ("d1", "d2", "d3", "test_clear", "validation")
    )
    assert d3 | clear == test and abs(len(d3) - len(test) / 3) < 1 and ipr.masked == {"d2"}
    assert max(ambiguity_key(data, i) for i in clear) <= min(ambiguity_key(data, i) for i in d3)
    if protocol == "strict":
        assert d1 | d2 == train and validation == set(plain.rows("validation").tolist())
    else:  # the paper has no folds: what validates comes out of D1, never from the held-out side
        d1 |= validation
        assert d1 | d2 == train and len(validation) == round(0.1 * len(d1))
    assert max(ambiguity_key(data, i) for i in d1) <= min(ambiguity_key(data, i) for i in d2)
    assert abs(len(d1) - len(train) * 1710 / 5131) < 1

    slc = make_split(data, f"slc-{protocol}-{folds}-{which}", NO_MINIMUM)
    is_it = is_clear(data, 2 / 3)
    for prefix, labelled, silent in (("", "train", "no_consensus"), ("test_", "test", "test_no_consensus")):
        both = set(slc.rows(prefix + "clear").tolist()), set(slc.rows(prefix + "ambiguous").tolist())
        assert both[0] | both[1] == {*plain.rows(labelled).tolist(), *plain.rows(silent).tolist()}
        assert is_it[sorted(both[0])].all() and not is_it[sorted(both[1])].any()
    held_out = set(slc.rows("test_clear")) | set(slc.rows("test_ambiguous"))
    assert set(slc.rows("test")) == held_out
    assert set(slc.rows("validation")) == (held_out if protocol == "paper" else set(plain.rows("validation")))


def test_a_config_is_a_family_and_a_fold():
    data = made()
    assert expand_configs(["ipr-strict-kfold3", "slc-paper-loso"], data)[:4] == [
        "ipr-strict-kfold3-0", "ipr-strict-kfold3-1", "ipr-strict-kfold3-2", "slc-paper-loso-s00",
    ]  # fmt: skip
    for config, family, fold in (
        ("ipr-strict", "ipr-strict", None),
        ("ipr-strict-kfold5-0", "ipr-strict-kfold5", "0"),
        ("ipr-strict-kfold5", "ipr-strict-kfold5", None),
        ("loso-paper-a-b", "loso-paper", "a-b"),
        ("slc-paper-loso-Ses01F", "slc-paper-loso", "Ses01F"),
    ):
        assert split_family(config) == (family, fold)
        assert is_fold(config) == (config != "ipr-strict")


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ("ipr", "not one of: ipr-<protocol>"),
        ("ipr-strict-3", "not one of"),
        ("kfold0-strict", "not one of"),
        ("ipr-strict-kfold5-x", "not one of"),
        ("slc-kfold5-strict-0", "not one of"),
        ("ipr-strict-loso", "names all folds; name one of .'ipr-strict-loso-s00'"),
        ("slc-strict-kfold2-0", "k=2 must be from 3 to 10"),
        ("kfold5-strict-x", "not one of"),
        ("loso-paper", "names all folds; name one of .'loso-paper-s00'"),
        ("loso-paper-nobody", "no speaker 'nobody'; there are .'s00'"),
        ("kfold2-strict-0", "k=2 must be from 3 to 10"),
        ("kfold11-paper-0", "k=11 must be from 2 to 10"),
        ("kfold5-paper-5", "fold 5 must be from 0 to 4"),
    ],
)
def test_a_bad_config_name_says_what_is_allowed(config, match):
    with pytest.raises(SplitError, match=match):
        make_split(made(), config)


def test_too_few_groups_and_a_speaker_in_two_sessions_are_errors():
    for config in ("slc-strict", "slc-paper"):
        with pytest.raises(SplitError, match="at least 3 speakers or sessions.*kfold2-paper.* 2, or ipr-paper"):
            make_split(made(speakers=2), config)
    make_split(made(speakers=2), "kfold2-paper-0")
    data = made()
    torn = dataclasses.replace(data, speaker=np.full(len(data.id), "the same"))
    with pytest.raises(SplitError, match="'the same' is on two sides"):
        make_split(torn, "ipr-strict", NO_MINIMUM)
    values = np.array(["a", "b", "a"])
    check_disjoint({"x": np.array([0, 2]), "y": np.array([1])}, values, "c")
    with pytest.raises(SplitError, match="c: 'a' is on two sides, 'x' and 'y'"):
        check_disjoint({"x": np.array([0]), "y": np.array([1, 2])}, values, "c")


@pytest.mark.parametrize(
    "options",
    [{"d1_quota": "best"}, {"sizes": (1, 2)}, {"sizes": (0, 1, 1)}, {"d1_share": 1.5}, {"validation_share": 1},
     {"clear_threshold": "most"}, {"clear_threshold": 0}, {"group_shares": (1, 0, 1)},
     {"sizes": (1, 1, 1), "d3_share": 0.5}],
)  # fmt: skip
def test_bad_options_name_themselves(options):
    name = list(options)[-1]
    with pytest.raises(ValueError, match=name):
        SplitOptions(**options)


# A value of each option that is not its default.
CHANGED = {
    "d1_quota": "per_class",
    "sizes": (60, 80, 20),
    "d1_share": 0.5,
    "d3_share": 0.2,
    "min_per_class": 1,
    "validation_share": 0.2,
    "clear_threshold": "unanimous",
    "group_shares": (0.5, 0.2, 0.3),
}
EACH_KIND = ("ipr-strict", "ipr-paper", "ipr-strict-kfold3-0", "ipr-paper-kfold3-0", "slc-strict", "slc-paper",
             "slc-strict-kfold3-0", "kfold3-strict-0", "kfold3-paper-0", "loso-strict-s01")  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_an_option_changes_the_split_or_is_refused(name):
    value = CHANGED[name]
    # `made()` has too few utterances for the default of the minimum.
    data, changed = made(speakers=6), SplitOptions(**{"min_per_class": 0, name: value})
    read_by = []
    for config in EACH_KIND:
        before, after = make_split(data, config, NO_MINIMUM), make_split(data, config, changed)
        try:
            check_options([after], SplitOptions(**{name: value}))
            read_by.append(config)
            assert after.fingerprint != before.fingerprint, config
        except SplitError as error:
            assert by_id(data, after) == by_id(data, before), config
            assert f"{name}={value!r} changes nothing in the configs ['{config}']" in str(error)
            example = str(error).rsplit("'", 2)[1]
            assert name in make_split(data, example, changed).options, "what it advises reads the option"
    assert read_by and len(read_by) < len(EACH_KIND)
    # One config that reads it is enough: a build makes several with the same options.
    check_options([make_split(data, config, changed) for config in EACH_KIND], changed)


def test_every_option_of_the_splits_is_among_those_that_are_checked():
    assert {f.name for f in dataclasses.fields(SplitOptions)} == {*CHANGED, "seed", "disjoint"}
    check_options([make_split(made(), "slc-strict", SplitOptions())], SplitOptions())


def test_input_is_checked():
    data = made(n=20)
    with pytest.raises(ValueError, match="ids must be unique; .'twice'"):
        dataclasses.replace(data, id=np.array(["twice", "twice", *data.id[2:]]))
    with pytest.raises(ValueError, match="kept has 3 rows, id has 20"):
        dataclasses.replace(data, kept=data.kept[:3])


def test_fingerprint_depends_on_protocol_options_and_assignment_only():
    ids, where = np.array(["a", "b", "c"]), np.array(["d1", "d2", ""])
    base = split_fingerprint("ipr-paper", "paper", {"seed": 0}, ids, where)
    assert re.fullmatch("[0-9a-f]{12}", base)
    assert base == split_fingerprint("ipr-paper", "paper", {"seed": 0}, ids[::-1], where[::-1])
    others = {
        split_fingerprint("ipr-paper", "strict", {"seed": 0}, ids, where),
        split_fingerprint("ipr-paper", "paper", {"seed": 1}, ids, where),
        split_fingerprint("ipr-paper", "paper", {"seed": 0}, ids, where[::-1]),
    }
    assert len(others) == 3 and base not in others


def test_divide_is_exact_and_nearest():
    rng = np.random.default_rng(0)
    for _ in range(100):
        weights = rng.random(5) + 0.01
        total = int(rng.integers(0, 1000))
        parts = divide(total, weights)
        assert sum(parts) == total and np.abs(np.array(parts) - total * weights / weights.sum()).max() < 1
    assert divide(5531, PAPER_SIZES) == list(PAPER_SIZES) and divide(0, [0, 0]) == [0, 0]


def test_tiers():
    label, agreement = [0, 1, 2, 3, -1], np.array([2 / 3, 0.6, 0.5, 0.4, 0.5])
    expected = ["clear", "moderate", "moderate", "ambiguous", "no_consensus"]
    assert tiers(label, agreement) == expected == tiers(label, agreement.astype(np.float32))
