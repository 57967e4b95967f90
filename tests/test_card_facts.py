"""What a card says of left out votes and of the kind of speech comes from facts of the run, and from nothing else."""

from __future__ import annotations

import dataclasses
from types import ModuleType, SimpleNamespace

import pytest
from helpers.recorded_run import RECORDED

from hf_ambiser.cards.facts import read_facts
from hf_ambiser.cards.limits import limits
from hf_ambiser.cards.sections import averaged
from hf_ambiser.data.corpora import STYLES, available_corpora, load_corpus
from hf_ambiser.data.left_out_votes import LEFT_OUT, describe_left_out, left_out_votes
from hf_ambiser.data.ratings.corpus_facts import corpus_module, read_corpus_file
from hf_ambiser.files.read import FileError


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"policy": "own", LEFT_OUT: {}}, ""),
        ({"policy": "crema-d-4", LEFT_OUT: {}}, ""),  # nobody voted for what it leaves out
        (
            {"policy": "own", LEFT_OUT: {"bored": 3.0, "calm": 1.5}},
            "Votes for other labels were left out before it learnt: bored 3, calm 1.5.",
        ),
        ({"policy": "simulated-4"}, ""),  # a run that was made before, under a policy without left out labels
        (
            {"policy": "crema-d-4"},
            "Votes for other labels, if there were any, were left out before it learnt (disgust, fear).",
        ),
        ({"policy": "mine"}, "Whether votes for other labels were left out is not recorded."),
    ],
    ids=range(6),
)
def test_left_out_votes_are_said_where_there_were_some(data, said):
    assert describe_left_out(data) == said


def test_the_votes_come_from_the_build_report():
    excluded = {"outside the classes: fear": 4.0, "listed, no_votes": 2.0, "self-report": 1.0, "unknown label": 1.0}
    assert left_out_votes({"votes": {"excluded": excluded}}) == {LEFT_OUT: {"fear": 4.0}}
    assert left_out_votes({}) == {}


@pytest.mark.parametrize("style", [*STYLES, "", None])
def test_a_card_says_acted_of_acted_speech_only(style):
    corpus = ModuleType("corpus")
    corpus.__dict__.update(
        NAME="corpus", SPEECH="some talk", LANGUAGE="en", **({} if style is None else {"STYLE": style})
    )
    text = limits(dataclasses.replace(read_facts(RECORDED / "prototype" / "run"), corpus=corpus))
    assert ("- **Acted speech** is louder" in text) == (style == "acted")
    assert ("- **Posed speech** is louder" in text) == (style == "posed")
    assert ("Nobody was asked to show an emotion" in text) == (style == "natural")
    assert ("Whether the speech that it learnt from was acted is not recorded" in text) == (not style)
    assert "Votes for other" not in text


def test_every_corpus_with_speakers_has_a_style_that_is_known():
    corpora = {name: load_corpus(name) for name in available_corpora()}
    styles = {name: corpus.STYLE for name, corpus in corpora.items() if corpus.LANGUAGE is not None}
    assert set(styles.values()) == set(STYLES) and corpora.keys() - styles == {"simulated"}
    assert styles["crema_d"] == styles["iemocap"] == "acted" and styles["msp_podcast"] == "natural"


def test_a_corpus_of_ones_own_may_say_its_style(tmp_path):
    path = tmp_path / "corpus.yaml"
    path.write_text("style: natural\n")
    assert corpus_module(read_corpus_file(path)).STYLE == "natural"
    assert corpus_module({}).STYLE == "" == corpus_module({"style": "loud"}).STYLE
    path.write_text("style: loud\n")
    with pytest.raises(FileError, match="style: 'loud'; allowed is acted, posed or natural"):
        read_corpus_file(path)


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, ""), ({"average_weights": 0.0}, ""), ({"average_weights": 0.99}, ", with a moving average of the weights ")],
)
def test_a_card_says_that_averaged_weights_are_published(given, said):
    text = averaged(SimpleNamespace(given=given))
    assert text == "" if not said else text.startswith(said) and text.endswith("(decay 0.99)")
