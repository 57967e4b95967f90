"""A column of labels beside columns that agree with it, or count its labels, may be their summary."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import soundfile

from hf_ambiser.data.ratings.sources import open_ratings


MOODS = ["Wut", "Freude", "Ekel", "Trauer"]


def raters(n, seed, noise=0.4):
    """`(n,)` answers of three raters, who hear the truth or anything, each with a label that hardly ever wins."""
    draw = random.Random(seed)
    truth = [draw.choice(MOODS[:3]) for _ in range(n)]
    return {
        who: [draw.choice([*MOODS, "n/a"]) if draw.random() < noise else one for one in truth]
        for who in ("Anna", "Ben (2)", "Cem")
    }


def majority(votes):
    """The label that most gave; "unentschieden" if none leads."""
    found = []
    for said in zip(*votes.values(), strict=True):
        (label, n), *rest = Counter(said).most_common()
        found.append(label if n > max((m for _, m in rest), default=0) else "unentschieden")
    return found


@pytest.fixture
def opened(tmp_path):
    """A function that opens a table of columns, each of R cells; clips are numbered unless the table names them."""
    soundfile.write(tmp_path / "c0.wav", [0.0] * 800, 16000)

    def opened(table, **arguments):
        n = len(next(iter(table.values())))
        table = {"clip": [f"c{i}" for i in range(n)]} | table
        rows = [";".join(table), *(";".join(row) for row in zip(*table.values(), strict=True))]
        (tmp_path / "t.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
        return open_ratings(tmp_path / "t.csv", tmp_path, **arguments).columns

    return opened


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [30, 300])
def test_a_majority_beside_its_raters_is_asked_about(opened, n, seed):
    votes = raters(n, seed)
    table = {"emotion": majority(votes), **votes, "satz": [str(i % 7) for i in range(n)]}
    with pytest.raises(
        ValueError, match=r"'emotion' may hold.*--rater-columns Anna 'Ben \(2\)' Cem or --columns label="
    ):
        opened(table)
    # One rater alone is nobody's votes; and whoever says which are the labels is not asked.
    assert opened({"emotion": table["emotion"], "Anna": votes["Anna"]}).unused == ("Anna",)
    assert opened(table, columns={"label": "emotion"}).roles["label"] == "emotion"
    assert opened(table, rater_columns=[*votes]).unused == ("emotion", "satz")


def test_counts_of_its_labels_are_asked_about_and_scores_are_not(opened):
    table = {
        "emotion": ["Wut", "Freude", "Wut"],
        "Wut": ["3", "1", "2"],
        "Anzahl": ["4"] * 3,
        "n_Freude": ["1", "", "2"],
    }
    with pytest.raises(ValueError, match="--class-columns Wut n_Freude or --columns label=emotion"):
        opened(table)
    scores = {"Wut": [".7", ".1", ".6"], "n_Freude": [".3", ".9", ".4"]}
    assert opened(table | scores).unused == ("Wut", "Anzahl", "n_Freude")


def test_a_column_of_raters_tells_whose_a_row_is_only_if_an_utterance_has_several(opened):
    votes = raters(40, 0)
    table = {"emotion": majority(votes), "Anna": votes["Anna"], "Cem": votes["Cem"]}
    speaker = [str(i % 5) for i in range(40)]
    with pytest.raises(ValueError, match="--rater-columns Anna Cem"):
        opened({**table, "participant": speaker})
    with pytest.raises(ValueError, match="--rater-columns Anna Cem"):
        opened({**table, "rater": [""] * 40})
    twice = [f"c{i // 2}" for i in range(40)]
    assert opened({"clip": twice, **table, "rater": speaker}).unused == ("Anna", "Cem")
    counts = {"Wut": ["3"] * 40, "Freude": ["1"] * 40}  # how strong this rater heard them
    assert opened({"emotion": table["emotion"], "rater": speaker, **counts}).unused == ("Wut", "Freude")


@pytest.mark.parametrize("seed", range(5))
def test_codes_and_answers_to_other_questions_are_no_votes(opened, seed):
    draw = random.Random(seed)

    def of(*values):
        return [draw.choice(values) for _ in range(200)]

    codes = [f"{i:02}" for i in range(1, 9)]
    other = {"intensity": of(*codes[:2]), "statement": of(*codes[:2]), "repetition": of(*codes[:2])}
    assert opened({"emotion": of(*codes), **other}).unused == (*other,)
    assert opened({"label": of("yes", "no"), "acted": of("yes", "no"), "noisy": of("yes", "no")}).unused
    # Where rows of one utterance have different labels, each is a rating and no summary.
    labels = of(*MOODS)
    rows = {"clip": [f"c{i // 2}" for i in range(200)], "emotion": labels, "intended": labels, "majority": labels}
    assert opened(rows).unused == ("intended", "majority")
