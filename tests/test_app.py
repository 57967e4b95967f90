"""The parts of the page without the page: the data set, the filters, the file of votes, texts that are shown."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.forking import fork, wait_for
from helpers.made_data import CLASSES, tiny_model
from helpers.made_model import RATE, noise, saved
from helpers.made_ratings import LABELS, sixty, tone, write_csv

from hf_ambiser import build_from_ratings, predict, read_dataset_info
from hf_ambiser.app import as_html
from hf_ambiser.app.filters import BY_AMBIGUITY, BY_DISAGREEMENT, NO_CONSENSUS, Filter, disagreement
from hf_ambiser.app.hearing import Models, short_names
from hf_ambiser.app.rated_set import RatedSet
from hf_ambiser.app.votes_file import COLUMNS, Vote, VotesFile, rater_name
from hf_ambiser.app.voting import Voting
from hf_ambiser.cli import main
from hf_ambiser.inference.no_audio import NoAudio
from hf_ambiser.inference.recordings import Recording


HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """60 utterances with five votes each, in folds that share their files."""
    folder = tmp_path_factory.mktemp("built")
    ratings, audio = sixty(folder)
    build_from_ratings(ratings, audio, folder / "set", configs=("slc-strict", "kfold3-strict"), progress=False)
    return folder / "set"


@pytest.fixture(scope="module")
def rated(built) -> RatedSet:
    return RatedSet.of(built)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    return Models([saved(folder / name, tiny_model(seed=seed)) for seed, name in enumerate(("one", "two"))], longest=3)


def by_id(rated: RatedSet, name: str):
    return next(one for one in rated.utterances if one.id == name)


# ---- the data set ----


def test_each_utterance_is_there_once_with_all_its_votes(built, rated):
    assert len(read_dataset_info(built)["configs"]) > 1
    assert sorted(one.id for one in rated.utterances) == [f"clip_{i:02d}" for i in range(60)]
    assert rated.classes == LABELS and rated.name == "set"
    table = [line.split(",") for line in (built.parent / "ratings.csv").read_text().splitlines()[1:]]
    for one in rated.utterances:
        given = [label for name, _, label, _ in table if name == one.id]
        assert one.votes == {label: given.count(label) for label in LABELS} and len(given) == 5
        assert one.speaker == next(speaker for name, _, _, speaker in table if name == one.id)
        p = [given.count(label) / 5 for label in LABELS]
        assert one.ambiguity == pytest.approx(sum(-x * np.log2(x) for x in p if x) / np.log2(4), abs=1e-6)


def test_the_audio_of_an_utterance_is_its_own(built, rated):
    for name in ("clip_00", "clip_31", "clip_59"):
        recording = rated.recording(by_id(rated, name))
        samples, _ = soundfile.read(io.BytesIO(recording.content), dtype="int16")
        there, _ = soundfile.read(built.parent / "clips" / f"{name}.wav", dtype="int16")
        assert recording.name == name and (samples == there).all()


def test_a_row_that_only_names_a_file_shows_no_file(tmp_path, rated):
    secret = tone(tmp_path / "secret.wav")

    class Planted:
        def recordings(self, start, stop):
            yield Recording("clip_00", secret)

    with pytest.raises(NoAudio, match="a path is not followed"):
        replace(rated, _source=Planted()).recording(rated.utterances[0])


def test_what_is_no_built_data_set_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a built data set. Build one"):
        RatedSet.of(tmp_path)


# ---- filters ----


def test_filters_keep_what_they_say(rated):
    everything = Filter().of(rated.utterances)
    assert [one.id for one in everything] == [f"clip_{i:02d}" for i in range(60)]
    anger = Filter(consensus="anger").of(rated.utterances)
    split = Filter(consensus=NO_CONSENSUS).of(rated.utterances)
    assert anger and split and {one.consensus for one in anger} == {"anger"} and {o.consensus for o in split} == {None}
    middle = Filter(ambiguity=(0.3, 0.7), order=BY_AMBIGUITY).of(rated.utterances)
    values = [one.ambiguity for one in middle]
    assert 0 < len(middle) < 60 and values == sorted(values, reverse=True)
    assert {one.id for one in middle} == {o.id for o in everything if 0.3 <= o.ambiguity <= 0.7}


def test_disagreement_is_asked_of_a_model_that_has_heard(rated, models):
    with pytest.raises(ValueError, match="the model has not heard all utterances yet"):
        Filter(disagreement=0.1).of(rated.utterances)
    told = []
    models.hear_all(rated, "one", lambda done, n: told.append((done, n)))
    assert told == [(32, 60), (60, 60)]
    values = models.disagreements(rated, "one")
    assert models.have_heard_all(rated, "one") and not models.have_heard_all(rated, "two")
    assert len(values) == 60
    ordered = Filter(disagreement=float(np.median(list(values.values()))), order=BY_DISAGREEMENT)
    found = ordered.of(rated.utterances, values)
    assert 0 < len(found) < 60 and [o.id for o in found] == sorted((o.id for o in found), key=values.get, reverse=True)
    answer = models.of_utterance(rated, found[0])["one"]
    (alone,) = predict(rated.recording(found[0]), models.opened["one"], progress=False)
    assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    assert values[found[0].id] == pytest.approx(disagreement(found[0].shares, alone.probabilities), abs=1e-5)


def test_disagreement_is_the_divergence_of_jensen_and_shannon():
    votes, heard = {"a": 0.75, "b": 0.25}, {"b": 0.5, "a": 0.5}
    p, q = (0.75, 0.25), (0.5, 0.5)
    m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    literal = sum(x * np.log2(x / z) + y * np.log2(y / z) for x, y, z in zip(p, q, m, strict=True)) / 2
    assert disagreement(votes, heard) == pytest.approx(literal, abs=1e-12) and literal > 0
    assert disagreement(votes, {"a": 0.5, "c": 0.5}) is None and disagreement(None, heard) is None


# ---- the file of votes ----


def vote(utterance: str = "clip_00", rater: str = "Ada", label: str = "anger", speaker: str = "s0") -> Vote:
    return Vote(utterance, rater, label, speaker)


def test_votes_are_rows_that_come_back(tmp_path):
    file = VotesFile(tmp_path / "votes.csv")
    assert file.votes() == [] and not file.path.exists()
    texts = ("-3g5yACwYnA", "=1+1", 'a "b", c', "Zoë", "'-x", HOSTILE)
    stored = [file.add(vote(text, rater=text, speaker=text)) for text in texts]
    assert VotesFile(file.path).votes() == stored
    assert [(one.utterance, one.rater, one.speaker) for one in stored] == [(text,) * 3 for text in texts]
    lines = file.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(texts) and lines[0] == ",".join(COLUMNS) and lines[2].startswith("'=1+1,'=1+1,")


def test_a_second_vote_and_another_file_are_refused(tmp_path):
    file = VotesFile(tmp_path / "votes.csv")
    file.add(vote())
    before = file.path.read_bytes()
    with pytest.raises(ValueError, match="Ada has voted for this utterance before, and the first vote counts"):
        file.add(vote(label="neutral"))
    assert file.path.read_bytes() == before
    other = write_csv(tmp_path / "other.csv", [("u", "r", "anger", "s")])
    for name, why in (("other.csv", "Give another file"), ("v.txt", "not end in .csv"), ("a/v.csv", "no folder")):
        with pytest.raises(ValueError, match=why):
            VotesFile(tmp_path / name)
    assert other.read_text() == "utterance,rater,label,speaker\nu,r,anger,s\n"


def test_several_processes_lose_no_vote(tmp_path):
    path = tmp_path / "votes.csv"

    def child(rater: str) -> None:
        file = VotesFile(path)
        for i in range(15):
            file.add(vote(f"clip_{i:02d}", rater))

    raters = ("a", "b", "c", "d")
    assert wait_for(*[fork(lambda rater=rater: child(rater)) for rater in raters]) == [0] * 4
    votes = VotesFile(path).votes()
    assert sorted((v.rater, v.utterance) for v in votes) == [(r, f"clip_{i:02d}") for r in raters for i in range(15)]
    assert path.read_text().count("utterance,rater") == 1


def test_a_writer_that_is_killed_leaves_all_votes_and_a_row_that_a_build_lists(tmp_path, built):
    ratings = tmp_path / "votes.csv"
    file = VotesFile(ratings)
    for i in range(60):
        file.add(vote(f"clip_{i:02d}", label=LABELS[i % 4], speaker=f"s{i // 4 % 6}"))

    def cut_off() -> None:
        real = os.write

        def half(descriptor, data):
            real(descriptor, data[:15])
            os.kill(os.getpid(), signal.SIGKILL)

        os.write = half
        VotesFile(ratings).add(vote("clip_07", "Bob"))

    assert wait_for(fork(cut_off)) == [-signal.SIGKILL]
    last = file.add(vote("clip_01", "Bob", "sadness", "s0"))
    assert len(file.votes()) == 61 and file.votes()[-1] == last
    build_from_ratings(ratings, built.parent / "clips", tmp_path / "out", progress=False)
    listed = (tmp_path / "out" / "listed.csv").read_text()
    assert "malformed_line" in listed and "votes.csv:62" in listed and listed.count("malformed_line") == 1
    assert sum(sum(one.votes.values()) for one in RatedSet.of(tmp_path / "out").utterances) == 61


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = VotesFile(tmp_path / "votes.csv")
    file.add(vote())
    before, real = file.path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    with pytest.raises(OSError, match="is the disk full"):
        file.add(vote("clip_01"))
    assert file.path.read_bytes() == before


def test_a_rater_has_a_name():
    assert rater_name("  Ada   Lovelace ") == "Ada Lovelace"
    for text in ("", "   ", None, "x" * 81, "a\0b"):
        with pytest.raises(ValueError, match="say who votes|letters; allowed: 1 to 80"):
            rater_name(text)


# ---- voting ----


def test_a_rater_reaches_every_utterance_once_in_an_order_of_their_own(tmp_path, rated):
    voting = Voting(rated, tmp_path / "votes.csv")
    orders = []
    for rater in ("Ada", "Bob"):
        reached = []
        while (one := voting.next_for(rater, reached)) is not None:
            reached.append(one.id)
        orders.append(reached)
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(one.id for one in rated.utterances)
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])
    first = by_id(rated, orders[0][0])
    voting.vote("Ada", first, "anger")
    assert voting.next_for("Ada").id == orders[0][1] and voting.next_for("Bob").id == orders[1][0]
    assert voting.others(first, "Ada") == {} and voting.others(first, "Bob") == {"anger": 1}


def test_a_data_set_is_built_from_the_votes_and_the_audio_beside_them(tmp_path, rated, monkeypatch):
    monkeypatch.chdir(tmp_path)
    voting = Voting(rated, Path("votes.csv"))
    for rater, share in (("Ada", 0.9), ("Bob", 0.6)):
        random = np.random.default_rng(len(rater) + int(10 * share))
        while (one := voting.next_for(rater)) is not None:
            own = LABELS[int(one.id[-2:]) % 4]
            voting.vote(rater, one, own if random.random() < share else LABELS[random.integers(4)])
    words = voting.build_command.replace("DIR", "out").split()
    assert words[:5] == ["hf-ambiser", "build", "--ratings", "votes.csv", "--audio"]
    assert main([*words[1:], "--no-progress"]) == 0
    again = RatedSet.of("out")
    assert sorted(one.id for one in again.utterances) == sorted(one.id for one in rated.utterances)
    given = {(v.utterance, v.rater): v.label for v in voting.file.votes()}
    assert len(given) == 120
    for one in again.utterances:
        assert one.votes == {c: sum(given[one.id, r] == c for r in ("Ada", "Bob")) for c in again.classes}
        old = by_id(rated, one.id)
        assert one.speaker == old.speaker and again.recording(one).content == rated.recording(old).content


def test_an_utterance_whose_id_leads_out_of_the_folder_gets_no_vote(tmp_path, rated):
    voting = Voting(rated, tmp_path / "votes.csv")
    for name in ("../../out", "/etc/x", "a\nb"):
        with pytest.raises(ValueError, match="the utterance .* Allowed are names of files and folders"):
            voting.vote("Ada", replace(rated.utterances[0], id=name), "anger")
    with pytest.raises(ValueError, match="choose what you heard first"):
        voting.vote("Ada", rated.utterances[0], None)
    assert voting.file.votes() == [] and not (tmp_path.parent / "out.wav").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ---- hearing ----


def test_models_answer_side_by_side_with_an_outline(tmp_path, models):
    wave = np.concatenate([0.5 * noise(1.0), np.zeros(RATE // 2, np.float32), noise(1.0, 1)])
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    heard = models.hear(Recording("a.wav", path))
    assert list(heard.answers) == ["one", "two"] and heard.seconds == 2.5
    for name, answer in heard.answers.items():
        assert answer == predict(Recording("a.wav", path), models.opened[name], progress=False)[0]
    frames = wave.reshape(-1, 160)
    assert np.array_equal(heard.outline, np.stack([frames.min(axis=1), frames.max(axis=1)], axis=1))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_text("no audio"), "libsndfile cannot read it"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: soundfile.write(path, np.zeros(0, np.float32), RATE), "holds no sample|no sample"),
        (lambda path: soundfile.write(path, np.zeros(RATE, np.float32), RATE), "there is nothing to hear"),
        (lambda path: soundfile.write(path, np.zeros(7200 * 100, np.int16), 2000, format="FLAC"), "longer than 3 s"),
    ],
    ids=["text", "empty", "no sample", "silence", "two hours"],
)
def test_what_cannot_be_heard_gets_one_line(tmp_path, models, make, why, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "no_ffmpeg"))
    make(path := tmp_path / "a.wav")
    with pytest.raises(NoAudio, match=why) as caught:
        models.hear(Recording("a.wav", path))
    assert "\n" not in str(caught.value)


def test_models_have_short_names_that_differ(tmp_path):
    for name in ("a/x/model", "b/x/model", "c"):
        (tmp_path / name).mkdir(parents=True)
    paths = [str(tmp_path / name) for name in ("a/x/model", "b/x/model")]
    assert short_names(paths) == ["a/x/model", "b/x/model"] and short_names(paths[:1]) == ["model"]
    assert short_names([str(tmp_path / "c"), "account/model"]) == ["c", "account/model"]


def test_a_model_that_is_named_twice_is_refused(tmp_path):
    folder = saved(tmp_path / "m", tiny_model())
    with pytest.raises(ValueError, match="one of them stands there twice"):
        Models([folder, folder])
    with pytest.raises(ValueError, match="longest is 0 s"):
        Models([folder], longest=0)


# ---- texts ----


def test_texts_of_files_have_no_effect_on_the_page(rated, models):
    texts = {"id": HOSTILE, "speaker": HOSTILE, "session": f"\u202e{HOSTILE}"}
    one = replace(rated.utterances[0], **texts, votes={HOSTILE: 2.0, "b": 1.0})
    answer = models.of_utterance(rated, rated.utterances[0])["one"]
    pieces = (
        as_html.about(one), as_html.votes_card(one), as_html.answer_card(HOSTILE, answer, ()),
        as_html.problem(HOSTILE), as_html.note(HOSTILE), as_html.counts_card("others", {HOSTILE: 1}, [HOSTILE, "b"]),
    )  # fmt: skip
    for piece in pieces:
        assert "&lt;img" in piece and "<img" not in piece and "\u202e" not in piece
    assert as_html.problem("a\n  b").count("a b") == 1 and as_html.problem("") == as_html.note("") == ""


def test_cards_say_shares_and_ambiguity(rated, models):
    one = by_id(rated, "clip_00")
    html = as_html.votes_card(one)
    assert f"ambiguity {one.ambiguity:.2f}; 5 votes" in html and (one.consensus or "no consensus") in html
    for name, share in one.shares.items():
        assert f">{name}</th>" in html and f">{100 * share:.0f} %<" in html
    assert "nobody else has voted yet" in as_html.counts_card("listeners", {}, CLASSES)
    assert ">1 vote<" in as_html.counts_card("listeners", {"anger": 1}, CLASSES)


def test_cards_beside_each_other_have_one_order_of_rows(rated, models):
    answer = models.of_utterance(rated, rated.utterances[0])["one"]
    order = ("sadness", "anger", "nothing")
    rows = re.findall(r'<th scope="row">(.*?)</th>', as_html.answer_card("one", answer, order))
    assert rows == ["sadness", "anger", "happiness", "neutral"] and list(answer.probabilities) == list(CLASSES)


def test_what_gradio_would_compute_is_text(rated):
    assert as_html.shown("${alert(1)} {{x}}") == "&#36;&#123;alert(1)&#125; &#123;&#123;x&#125;&#125;"


# ---- the command ----


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--votes", "v.csv"], "--votes v.csv came without --dataset"),
        (["--port", "99999"], "--port is 99999; allowed: 1 to 65535"),
        (["--host", "999.1.1.1"], "--host '999.1.1.1' is no address of this machine"),
    ],
)
def test_a_wrong_argument_gets_one_line(words, why, capsys):
    assert main(["app", *words]) == 2
    err = capsys.readouterr().err
    assert why in err and err.count("\n") == 1


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["app", "--port", str(port), "--model", "nowhere"]) == 2
    assert capsys.readouterr().err == f"hf-ambiser: --port {port} is in use. Give another one, or leave it out.\n"


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["app"]) == 2
    assert capsys.readouterr().err == (
        "hf-ambiser: the page needs gradio, which is not installed. Install it: pip install 'hf-ambiser[app]'\n"
    )
