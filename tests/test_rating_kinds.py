"""Which of CREMA-D's ratings the votes are: the policy says it, and every vote is counted once."""

import csv
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.crema_d_tree import csv_row, encode, made_corpus, tone, write_tree
from helpers.crema_d_votes import needs_crema_d
from helpers.made_report import made_cell

from hf_ambiser.data import load_split
from hf_ambiser.data.build import build
from hf_ambiser.data.build_cli import main
from hf_ambiser.data.corpora import available_corpora, crema_d, load_corpus
from hf_ambiser.data.corpus_rows import prepare
from hf_ambiser.data.rating_kinds import counted_ratings, rating_kinds, with_known_ratings
from hf_ambiser.labels.policies import LabelPolicy, get_policy
from hf_ambiser.labels.votes import tally
from hf_ambiser.report.write import write_report


pytestmark = pytest.mark.usefixtures("blank_figures", "few_resamples")
OPTIONS = {"configs": ["ipr-strict"], "d1_quota": "per_class", "min_per_class": 1, "progress": False}
WAV = encode(tone())
# Fingerprints that data sets have which were built before a policy could name ratings.
BEFORE = {"crema-d-4": "51cb53165229", "crema-d-6": "90e3efd71277"}


def three_kinds(root: Path) -> Path:
    """Two utterances with votes that differ by kind, of which the second has no row of the face."""
    names = ["1001_AAA_ANG_XX", "1002_AAA_ANG_XX"]
    rows = [
        csv_row(1, names[0], [3, 0, 0, 0, 1, 0], 1), csv_row(1, names[0], [0, 0, 0, 5, 0, 0], 2),
        csv_row(1, names[0], [0, 0, 0, 2, 4, 0], 3), csv_row(2, names[1], [0, 2, 0, 0, 0, 5], 1),
        csv_row(2, names[1], [0, 0, 0, 0, 0, 8], 3),
    ]  # fmt: skip
    return write_tree(root, rows, {f"AudioWAV/{name}.wav": WAV for name in names})


# ---- the policy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BEFORE)
def test_the_default_keeps_the_fingerprint_and_is_not_written(name):
    policy = get_policy(name)
    assert policy.fingerprint() == BEFORE[name] and "ratings" not in policy.to_dict()
    assert LabelPolicy.from_dict(policy.to_dict()) == policy
    asked = with_known_ratings(get_policy(name, ratings=("voice",)), crema_d)
    assert asked == policy


def test_every_choice_has_a_fingerprint_of_its_own_whatever_its_order():
    choices = [(), ("face",), ("voice_and_face",), ("face", "voice"), ("voice", "voice_and_face")]
    choices += [("face", "voice_and_face"), ("face", "voice", "voice_and_face")]
    marks = {get_policy("crema-d-4", ratings=choice).fingerprint() for choice in choices}
    assert len(marks) == len(choices)
    policy = get_policy("crema-d-4", ratings=("voice", "face"))
    assert policy == get_policy("crema-d-4", ratings=("face", "voice"))
    assert policy.to_dict()["ratings"] == ["face", "voice"]
    assert LabelPolicy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


@pytest.mark.parametrize("ratings", ["face", ("face", "face")])
def test_a_policy_refuses_ratings_that_are_no_names(ratings):
    with pytest.raises(ValueError, match="ratings=.*must be a tuple of different names"):
        get_policy("crema-d-4", ratings=ratings)


def test_a_kind_that_a_corpus_does_not_have_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"crema_d has no ratings \['smell'\]; it has \['voice', 'face'"):
        prepare("crema_d", tmp_path, get_policy("crema-d-4", ratings=("smell",)))
    with pytest.raises(ValueError, match="iemocap has no ratings .*one kind only, so leave `ratings` out"):
        prepare("iemocap", tmp_path, get_policy("iemocap-4", ratings=("voice",)))
    with pytest.raises(ValueError, match="scan_options name ratings.*policy=get_policy"):
        prepare("crema_d", tmp_path, scan_options={"ratings": ("face",)})
    with pytest.raises(ValueError, match="must be one or more of"):
        crema_d.scan(tmp_path, ratings=())


def test_a_corpus_with_a_choice_says_who_rated_for_every_choice():
    for corpus in map(load_corpus, available_corpora()):
        kinds = rating_kinds(corpus)
        if kinds:
            assert corpus.speech(kinds[:1]) == corpus.SPEECH
            assert all(said in corpus.speech(kinds) for said in corpus.RATINGS.values())
    assert "voice alone" not in crema_d.speech(["face"]) and "face alone" in crema_d.speech(["face"])


# ---- the votes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratings", "votes", "note"),
    [
        (("voice",), [[3, 0, 0, 0, 1, 0], [0, 2, 0, 0, 0, 5]], None),
        (
            ("face",),
            [[0, 0, 0, 5, 0, 0]],
            "11 voice only (left aside), 5 face only (counted), 14 voice and face (left",
        ),
        (("voice_and_face",), [[0, 0, 0, 2, 4, 0], [0, 0, 0, 0, 0, 8]], "14 voice and face (counted)"),
        (
            ("face", "voice"),
            [[3, 0, 0, 5, 1, 0], [0, 2, 0, 0, 0, 5]],
            "11 voice only (counted), 5 face only (counted)",
        ),
        (tuple(crema_d.RATINGS), [[3, 0, 0, 7, 5, 0], [0, 2, 0, 0, 0, 13]], "14 voice and face (counted)"),
    ],
)
def test_the_votes_are_those_of_the_kinds_asked_for(tmp_path, ratings, votes, note):
    scan = crema_d.scan(three_kinds(tmp_path), ratings=ratings)
    table = tally(get_policy("crema-d-6"), scan.ratings())
    assert table.votes.tolist() == votes
    assert table.votes_in == table.votes.sum() == np.sum(votes) and not table.excluded
    assert scan.count_in == len(scan.utterances) + len(scan.listed) == 2
    assert [item.reason for item in scan.listed] == ["audio_without_label"] * (2 - len(votes))
    counted = [text for text in scan.notes if text.startswith("votes in the rows")]
    assert (note is None and not counted) or note in counted[0]
    lacking = "1 utterances have no face only row that can be used, so fewer votes"
    assert (lacking in scan.notes) == ("face" in ratings and len(ratings) > 1)


def test_an_unreadable_row_of_one_kind_is_listed_and_the_others_still_count(tmp_path):
    name = "1001_AAA_ANG_XX"
    broken = csv_row(1, name, [0, 0, 0, 5, 0, 0], 2)
    broken[8] = 9
    twice = csv_row(2, name, [1, 0, 0, 0, 0, 0], 1)
    rows = [csv_row(1, name, [3, 0, 0, 0, 1, 0], 1), broken, twice]
    root = write_tree(tmp_path, rows, {f"AudioWAV/{name}.wav": WAV})
    scan = crema_d.scan(root, ratings=("voice", "face"))
    assert [len(u.ratings) for u in scan.utterances] == [4] and scan.count_in == 3
    assert Counter((item.id, item.reason) for item in scan.listed) == {
        (name, "malformed_line"): 1, (name, "duplicate_label"): 1,
    }  # fmt: skip


def test_anonymous_ratings_keep_their_kind_and_stay_anonymous(tmp_path):
    scan = crema_d.scan(three_kinds(tmp_path), ratings=("voice", "face"))
    first = scan.utterances[0].ratings
    assert Counter((r.kind, r.stored_rater, r.labels) for r in first) == {
        ("voice", "anonymous:voice", ("anger",)): 3, ("voice", "anonymous:voice", ("neutral",)): 1,
        ("face", "anonymous:face", ("happiness",)): 5,
    }  # fmt: skip
    assert all(r.rater is None for r in first)
    assert all(r.stored_rater is None for u in crema_d.scan(tmp_path).utterances for r in u.ratings)
    with pytest.raises(ValueError, match="do not name their rater"):
        prepare("crema_d", tmp_path, get_policy("crema-d-6", ratings=("face", "voice"), aggregation="dawid_skene"))


# ---- the built data set --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made_corpus(tmp_path_factory.mktemp("corpus"))


def test_every_vote_of_a_built_data_set_is_counted_once(root, tmp_path):
    policy = get_policy("crema-d-6", ratings=("face", "voice"))
    report = build("crema_d", root, tmp_path / "both", policy, **OPTIONS)
    one = build("crema_d", root, tmp_path / "voice", "crema-d-6", **OPTIONS)
    votes = report.content["votes"]
    assert votes["in"] == votes["counted"] + votes["excluded_total"] == 2 * one.content["votes"]["in"] == 2400
    assert (
        "votes in the rows that can be read: 1200 voice only (counted), 1200 face only (counted), 1200 voice and"
        in ("\n".join(report.content["notes"]))
    )
    assert report.content["policy"]["ratings"] == ["face", "voice"] and "ratings" not in one.content["policy"]
    assert "ratings: face, voice" in report.summary()
    text = (tmp_path / "both" / "README.md").read_text()
    assert "kinds `face` (saw the face alone), `voice` (heard the voice alone)" in text
    assert "who heard the voice alone; others saw the face alone" in text
    rows = load_split(tmp_path / "both", "ipr-strict", "d1", cache_dir=tmp_path / "cache")
    for row in rows:
        assert Counter(r["rater"] for r in row["ratings"]) == {"anonymous:voice": 8, "anonymous:face": 8}
        assert sum(row["votes"]) == 16


def test_the_command_takes_one_kind_or_several(root, tmp_path, capsys):
    shared = ["--root", str(root), "--configs", "ipr-strict", "--d1-quota", "per_class", "--min-per-class", "1"]
    shared += ["--no-progress"]
    assert main("crema_d", [*shared, "--out", str(tmp_path / "both"), "--ratings", "voice", "face"]) == 0
    assert main("crema_d", [*shared, "--out", str(tmp_path / "named"), "--ratings", "voice"]) == 0
    assert main("crema_d", [*shared, "--out", str(tmp_path / "default")]) == 0
    said = capsys.readouterr().out
    assert said.count("ratings: face, voice") == 1 and said.count("votes: 1200 in") == 2
    reports = [(tmp_path / name / "build_report.json").read_bytes() for name in ("named", "default")]
    assert reports[0] == reports[1]
    with pytest.raises(SystemExit):
        main("iemocap", ["--root", "x", "--out", "y", "--ratings", "voice"])
    assert "--ratings" in capsys.readouterr().err


def test_a_report_names_the_ratings_and_keeps_other_ratings_apart(tmp_path):
    made_cell(tmp_path / "a", corpus="crema_d")
    made_cell(tmp_path / "b", corpus="crema_d", policy_fingerprint="cd34", content="beef", ratings=["face", "voice"],
              arguments={"dataset": "data/both"})  # fmt: skip
    text = write_report(tmp_path, html=False, progress=False)
    assert "ratings `voice`, splits" in text and "ratings `face`, `voice`, splits" in text and "Kept apart" in text
    assert counted_ratings({"corpus": "made"}) == counted_ratings({"corpus": "iemocap"}) == []


# ---- the release ---------------------------------------------------------------------------------------------------


@needs_crema_d
@pytest.mark.parametrize(
    ("ratings", "consensus"),
    [
        (("voice",), {"neutral": 2041, "happiness": 186, "anger": 494, "sadness": 176}),
        (("voice_and_face",), {"neutral": 1028, "happiness": 616, "anger": 533, "sadness": 284}),
        (("face", "voice"), {"neutral": 1455, "happiness": 555, "anger": 514, "sadness": 254}),
    ],
)
def test_consensus_labels_of_the_odd_actors(ratings, consensus):
    root = Path(os.environ["CREMA_D_ROOT"])
    scan = crema_d.scan(root, ratings=ratings)
    policy = get_policy("crema-d-4")
    table = tally(policy, scan.ratings())
    assert dict(zip(policy.classes, np.bincount(table.label[table.label >= 0]).tolist(), strict=True)) == consensus
    digits = {"voice": "1", "face": "2", "voice_and_face": "3"}
    with open(root / crema_d.VOTES, newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {digits[kind] for kind in ratings}
    expected = sum(int(row["numResponses"]) for row in rows if row[""][0] in wanted)
    assert table.votes_in == expected == table.votes.sum() + sum(table.excluded.values())
