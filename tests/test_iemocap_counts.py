"""From an IEMOCAP scan to votes under the label policies, and its comparison with the published counts."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import pytest
from helpers import iemocap_tree as tree

from hf_ambiser.data.corpora import iemocap
from hf_ambiser.data.corpora.iemocap import published_counts as published
from hf_ambiser.data.schema import CorpusScan
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.labels.votes import tally


F0 = "Ses01F_impro01_F000"
M0 = "Ses01F_impro01_M003"


KNOWN = "neutral happiness sadness anger surprise fear disgust frustration excited other".split()


def vote_scan(root: Path) -> CorpusScan:
    mixed = [*tree.votes("Neutral", "Anger; Frustration", "Anger"), "C-F1:\tSadness;\t()"]
    merged = tree.votes("Happiness; Excited", "Excited", "Neutral")
    tree.write_dialog(root, "Ses01F_impro01", {F0: tree.block(F0, "ang", *mixed), M0: tree.block(M0, "exc", *merged)})
    return iemocap.scan(root)


# Columns: anger, happiness, sadness, neutral; counted by hand from the lines above.
@pytest.mark.parametrize(
    ("multi_label", "expected", "outside"),
    [
        ("first", [[2, 0, 0, 1], [0, 2, 0, 1]], [0, 0]),
        ("each", [[2, 0, 0, 1], [0, 2, 0, 1]], [1, 0]),
        ("fractional", [[1.5, 0, 0, 1], [0, 2, 0, 1]], [0.5, 0]),
    ],
)
def test_votes_under_each_multi_label_rule(tmp_path: Path, multi_label: str, expected: list, outside: list) -> None:
    found = vote_scan(tmp_path)
    policy = get_policy("iemocap-4", multi_label=multi_label)
    table = tally(policy, found.ratings())
    assert table.votes.tolist() == expected and table.outside.tolist() == outside
    assert table.excluded["self-report"] == 1
    with_self = tally(policy.with_(self_reports=True), found.ratings())
    assert (with_self.votes - table.votes).tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]
    assert "self-report" not in with_self.excluded
    assert [policy.classes[k] for k in table.label[:1]] == ["anger"]


def test_agreement_before_and_after_left_out_classes(tmp_path: Path) -> None:
    ratings = vote_scan(tmp_path).ratings()
    policy = get_policy("iemocap-4", multi_label="each")
    assert tally(policy, ratings).agreement[0] == pytest.approx(2 / 4)
    assert tally(policy.with_(agreement_over="mapped"), ratings).agreement[0] == pytest.approx(2 / 3)


def test_no_vote_is_lost_under_any_policy(tmp_path: Path) -> None:
    rng = random.Random(2)
    names = [f"Ses01F_impro01_F{n:03d}" for n in range(80)]
    given = 0
    blocks = {}
    for name in names:
        raters = [rng.choices(KNOWN, k=rng.randint(1, 3)) for _ in range(rng.randint(1, 5))]
        own = [rng.choice(KNOWN)] if rng.random() < 0.4 else []
        given += sum(map(len, raters)) + len(own)
        lines = tree.votes(*("; ".join(r) for r in raters)) + [f"C-F1:\t{label};\t(Anger;)" for label in own]
        blocks[name] = tree.block(name, "xxx", *lines)
    tree.write_dialog(tmp_path, "Ses01F_impro01", blocks)
    found = iemocap.scan(tmp_path)
    assert sum(len(r.labels) for u in found.utterances for r in u.ratings) == given
    ratings = found.ratings()
    for name in ("iemocap-4", "iemocap-4-no-excitement", "iemocap-all"):
        for multi_label, own_votes, over in itertools.product(
            ("first", "each", "fractional"), (False, True), ("all", "mapped")
        ):
            policy = get_policy(name, multi_label=multi_label, self_reports=own_votes, agreement_over=over)
            table = tally(policy, ratings)
            answers = sum(len(u.ratings) for u in found.utterances)
            assert table.votes_in == pytest.approx(answers if multi_label == "fractional" else given)
            assert table.votes_in == pytest.approx(table.votes.sum() + sum(table.excluded.values()))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> CorpusScan:
    root = tmp_path_factory.mktemp("full")
    assert tree.write_published(root) == 10039
    return iemocap.scan(root, require_audio=False)


def test_published_tables_agree_with_each_other() -> None:
    assert sum(published.RELEASE.values()) == published.UTTERANCES
    columns = [sum(column) for column in zip(*published.META_TABLE_1.values(), strict=True)]
    assert columns == [published.RELEASE[code] for code in published.META_CLASSES]
    assert sum(columns) == 4490
    assert (
        sum(published.RELEASE[c] for c in published.FOUR_WITH_EXCITEMENT) == sum(published.IPR_SIZES.values()) == 5531
    )
    assert [sum(row[i] for row in published.SLC_TABLE_2.values()) for i in (0, 1)] == [6598, 4449]


def test_compare_says_same_for_the_published_counts(full: CorpusScan) -> None:
    said = iemocap.compare(full)
    assert not any("differs" in line or "partial" in line for line in said)
    # 2 totals, 11 codes, 5531, 4490, 10 speakers x 4 classes, SLC: 5 sessions x 2 and 2 totals.
    assert sum(re.search(r": same \(\d+\)$", line) is not None for line in said) == 2 + 11 + 1 + 1 + 40 + 10 + 2
    # Votes were written so that their plurality is the release's code.
    assert sum("for 10039 of 10039 utterances" in line for line in said) == 3
    assert sum("by the release's code" in line for line in said) >= 42
    assert any("counts segments" in line and "the label file's times" in line for line in said)


def test_compare_places_ipr_cuts_where_a_sort_does(full: CorpusScan) -> None:
    table = tally(get_policy("iemocap-4"), full.ratings())
    codes = {"ang", "hap", "exc", "sad", "neu"}
    levels = sorted(
        (a for a, u in zip(table.agreement, full.utterances, strict=True) if u.extra["release_label"] in codes),
        reverse=True,
    )
    lines = [line for line in iemocap.compare(full, table) if line.startswith(("IPR D1", "IPR D2"))]
    for line, end in zip(lines, (1710, 1710 + 3421), strict=True):
        level = levels[end - 1]
        on = sum(abs(x - level) < 1e-9 for x in levels)
        above = sum(x > level + 1e-9 for x in levels)
        assert f"agreement {level:.3f}: {above} utterances lie above, {on} on it, of which {end - above}" in line


def test_compare_names_each_difference(full: CorpusScan) -> None:
    i = next(n for n, u in enumerate(full.utterances) if u.extra["release_label"] == "hap" and u.speaker == "Ses03M")
    rest = full.utterances[:i] + full.utterances[i + 1 :]
    said = iemocap.compare(CorpusScan("iemocap", rest, [], [], len(rest)))
    assert said[0].startswith("This is a partial release: 10038 of 10039")
    text = "\n".join(said)
    assert "utterances: differs: ours 10038, published 10039 (difference -1)" in text
    assert "release's majority code hap: differs: ours 594, published 595 (difference -1)" in text
    assert re.search(r"Ses03M hap, .*: differs: ours 54, published 55 \(difference -1\)", text)
    assert re.search(r"four classes with excitement .*: differs: ours 5530, published 5531", text)
    assert "are not placed" in text
    assert not re.search(r"Ses03F hap, .*differs", text)


def test_compare_on_a_partial_release_and_with_audio_durations(full: CorpusScan) -> None:
    part = [u for u in full.utterances if u.session == "Ses02"]
    found = CorpusScan("iemocap", part, [], [], len(part))
    said = iemocap.compare(found, durations={u.id: 14.0 for u in part})
    assert "no utterance of Ses01, Ses03, Ses04, Ses05" in said[0] and "30 of 151" in said[0]
    assert any(line.startswith("Ses04: no utterance in this copy") for line in said)
    assert sum(bool(re.match(r"Ses02[FM] \w+,.*: same", line)) for line in said) == 8
    # 14 s are two segments each.
    clear = sum(u.extra["release_label"] in ("ang", "hap", "exc", "sad", "neu") for u in part)
    assert any(f"Ses02 S_A segments (SLC): differs: ours {2 * clear}, published 1248" in line for line in said)
    none = iemocap.compare(found, durations={})
    assert any(f"known for 0 of {len(part)}" in line for line in none)


def test_compare_counts_listed_items_and_refuses_a_foreign_table(tmp_path: Path, full: CorpusScan) -> None:
    tree.write_dialog(tmp_path, "Ses01F_impro01", {F0: tree.block(F0)})
    tree.write_labels(tmp_path, "Ses01F_impro02", tree.block("Ses01F_impro02_F000"))
    small = iemocap.scan(tmp_path)
    assert "Not among the utterances, and listed: 1 label_without_audio." in iemocap.compare(small)
    with pytest.raises(ValueError, match="10039 rows, the scan 1 utterances"):
        iemocap.compare(small, tally(get_policy("iemocap-4"), full.ratings()))


def test_slc_ambiguous_segments_need_an_external_vote_for_one_of_the_four(tmp_path: Path) -> None:
    answers = ["C-F1:\tAnger;\t()", "C-E1:\tFear;\t()", "C-E1:\tFear; Anger;\t()"]
    names = [f"Ses01F_impro01_F{n:03d}" for n in range(3)]
    blocks = {name: tree.block(name, "xxx", line) for name, line in zip(names, answers, strict=True)}
    tree.write_dialog(tmp_path, "Ses01F_impro01", blocks)
    said = iemocap.compare(iemocap.scan(tmp_path))
    assert any(line.startswith("Ses01 S_B segments (SLC): differs: ours 1, published 726") for line in said)


def test_compare_works_on_an_empty_scan(tmp_path: Path) -> None:
    tree.write_labels(tmp_path, "Ses01F_impro01", tree.LEGEND)
    said = iemocap.compare(iemocap.scan(tmp_path))
    assert said[0].startswith("This is a partial release: 0 of 10039")
