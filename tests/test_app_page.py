"""`hf-ambiser app` in a browser, clicked through as a user does it."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from helpers.made_data import tiny_model
from helpers.made_model import RATE, noise, saved
from helpers.made_ratings import sixty_rows, tone, write_csv
from helpers.package_imports import ROOT
from helpers.served_page import Chromium, served

from hf_ambiser import build_from_ratings, predict
from hf_ambiser.app.rated_set import RatedSet
from hf_ambiser.app.votes_file import VotesFile


HOSTILE = "a<img src=x onerror=alert(1)>"
LONGEST = 30  # seconds that the page takes


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """Two models, a data set with an utterance of a hostile name, and recordings."""
    folder = tmp_path_factory.mktemp("page")
    rows = [(HOSTILE if name == "clip_00" else name, *rest) for name, *rest in sixty_rows(24)]
    for i, name in enumerate(dict.fromkeys(row[0] for row in rows)):
        tone(folder / "clips" / f"{name}.wav", i % 4, seed=i)
    build_from_ratings(
        write_csv(folder / "r.csv", rows), folder / "clips", folder / "set", configs=["kfold3-strict"], progress=False
    )
    models = [saved(folder / name, tiny_model(seed=seed)) for seed, name in enumerate(("one", "two"))]
    speech = np.concatenate([noise(5.0), np.zeros(3 * RATE), noise(4.0, 1)])
    soundfile.write(folder / "speech.wav", speech, RATE)
    soundfile.write(folder / "microphone.wav", noise(3.0, 2), RATE)
    return SimpleNamespace(folder=folder, models=models, set=folder / "set", votes=folder / "votes.csv")


@pytest.fixture(scope="module")
def page(made):
    with served(made.models, made.set, made.votes, longest=LONGEST) as page:
        yield page


@pytest.fixture(scope="module")
def chromium(made):
    browser = Chromium(made.folder / "microphone.wav")
    yield browser
    browser.close()


@pytest.fixture
def tab(page, chromium):
    """The page, newly opened; at the end it has run no script of a name, and asked no other host for anything."""
    tab = chromium.open(page.local_url)
    yield tab
    tab.context.close()
    assert chromium.foreign == [] and chromium.dialogs == []


def upload(tab, path: Path) -> None:
    tab.locator("#recording input[type=file]").set_input_files(str(path))


def check_card(card, answer) -> None:
    """A card shows an answer."""
    text = card.inner_text()
    assert f"{answer.emotion}; ambiguity {answer.ambiguity:.2f}" in text
    for name, value in answer.probabilities.items():
        assert re.search(rf"{name}\s+{100 * value:.0f} %", text)


def test_an_upload_is_heard_by_both_models(tab, made):
    upload(tab, made.folder / "speech.wav")
    cards = tab.locator("#answers .ambiser-card")
    cards.nth(1).wait_for()
    assert cards.count() == 2
    for i, model in enumerate(made.models):
        (answer,) = predict(made.folder / "speech.wav", model, progress=False)
        assert len(answer.windows) > 1
        check_card(cards.nth(i), answer)
    picture = tab.locator("#timeline img")
    picture.wait_for()
    assert picture.bounding_box()["height"] > 300  # the waveform, and a timeline of each model
    tab.locator("#recording").get_by_label("Play", exact=True).wait_for()


def test_what_the_microphone_records_is_heard(tab):
    tab.get_by_label("Record audio").click()
    buttons = tab.locator("#recording")
    buttons.get_by_role("button", name="Record", exact=True).click()
    tab.locator("#recording time", has_text="0:01").wait_for()
    buttons.get_by_role("button", name="Stop", exact=True).locator("visible=true").first.click()
    tab.locator("#answers .ambiser-card").nth(1).wait_for()
    assert "ambiguity" in tab.locator("#answers").inner_text()


def test_what_cannot_be_heard_gets_one_clear_line(tab, made):
    (made.folder / "text.wav").write_text("no audio")
    (made.folder / "empty.wav").write_bytes(b"")
    minute = (1000 * np.sin(np.arange(60 * 2000) / 6)).astype(np.int16)
    soundfile.write(made.folder / "two_hours.flac", np.tile(minute, 120), 2000, format="FLAC")
    line = tab.locator("#hear-problem [role=alert]")
    for name, why in (
        ("text.wav", "text.wav: libsndfile cannot read it"),
        ("empty.wav", "empty.wav: the file is empty (0 bytes)"),
        ("two_hours.flac", f"two_hours.flac: it is longer than {LONGEST} s, and this page takes no more."),
    ):
        upload(tab, made.folder / name)
        line.filter(has_text=why).wait_for()
        assert line.count() == 1 and "\n" not in line.inner_text().strip()
        assert tab.locator("#answers .ambiser-card").count() == 0
        tab.reload()
        tab.locator("#recording input[type=file]").wait_for(state="attached")
    with (made.folder / "large.wav").open("wb") as file:
        file.truncate(10_000_000)
    upload(tab, made.folder / "large.wav")  # it is not sent
    own = tab.locator("#ambiser-too-large")
    own.filter(has_text="large.wav: the file has 10.0 MB, and this page takes at most 9.7 MB. Cut it").wait_for()
    assert tab.get_by_text("maximum allowed size").count() == 0
    upload(tab, made.folder / "speech.wav")  # the page still works
    own.wait_for(state="hidden")
    tab.locator("#answers .ambiser-card").first.wait_for()


def test_a_data_set_is_browsed(tab, made):
    rated = RatedSet.of(made.set)
    tab.get_by_role("tab", name="Browse").click()
    tab.locator("#count", has_text="24 of 24 utterances of set").wait_for()
    cells = tab.locator("#utterances [role=gridcell]:visible")
    cells.filter(has_text=HOSTILE).click()
    cards = tab.locator("#beside .ambiser-card")
    cards.nth(2).wait_for()
    assert tab.locator("#about").inner_text().startswith(f"{HOSTILE}: speaker s0")
    one = next(one for one in rated.utterances if one.id == HOSTILE)
    assert f"ambiguity {one.ambiguity:.2f}; 5 votes" in cards.nth(0).inner_text()
    for name, share in one.shares.items():
        assert re.search(rf"{name}\s+{100 * share:.0f} %", cards.nth(0).inner_text())
    for i, model in enumerate(made.models):
        (answer,) = predict(rated.recording(one), model, progress=False)
        check_card(cards.nth(1 + i), answer)
    tab.locator("#utterance-audio").get_by_label("Play", exact=True).wait_for()

    tab.get_by_label("Order").click()
    tab.get_by_role("option", name="most disagreement first").click()
    tab.locator("#browse-problem [role=alert]", has_text="the model has not heard all utterances yet").wait_for()
    tab.locator("#hear-all").click()
    tab.locator("#browse-problem [role=alert]").wait_for(state="detached")
    last = tab.locator("#utterances [role=gridcell][data-col='6']:visible")
    values = [float(text) for text in last.all_inner_texts()[:8]]
    assert values == sorted(values, reverse=True) and len(values) == 8
    tab.get_by_label("Consensus label").click()
    tab.get_by_role("option", name="anger").click()
    n = sum(one.consensus == "anger" for one in rated.utterances)
    tab.locator("#count", has_text=f"{n} of 24 utterances of set").wait_for()


def test_a_listener_votes_first_and_then_sees_what_others_heard(tab, made):
    rated = RatedSet.of(made.set)
    tab.get_by_role("tab", name="Vote").click()
    line = tab.locator("#vote-problem [role=alert]")
    tab.locator("#next").click()
    line.filter(has_text="say who votes").wait_for()
    tab.locator("#rater").get_by_role("textbox").fill("=Ada")
    tab.locator("#next").click()
    tab.locator("#vote-audio").get_by_label("Play", exact=True).wait_for()
    shown = tab.locator("body").inner_text()
    assert not any(one.id in shown or f"speaker {one.speaker}" in shown for one in rated.utterances)
    assert tab.locator("#revealed .ambiser-card").count() == 0 and "clip" not in tab.content().split("</head>")[-1]
    tab.locator("#vote").click()
    line.filter(has_text="choose what you heard first").wait_for()
    assert not made.votes.exists()
    tab.locator("#labels").get_by_label("anger").check()
    tab.locator("#vote").click()
    tab.locator("#revealed .ambiser-card").nth(3).wait_for()
    (vote,) = VotesFile(made.votes).votes()
    one = next(one for one in rated.utterances if one.id == vote.utterance)
    assert (vote.rater, vote.label, vote.speaker) == ("=Ada", "anger", one.speaker)
    text = tab.locator("#revealed").inner_text()
    assert text.startswith("You heard: anger. The vote is stored.") and f"{one.id}: speaker {one.speaker}" in text
    assert f"ambiguity {one.ambiguity:.2f}; 5 votes" in text and "nobody else has voted yet" in text
    assert len([path for path in made.votes.with_name("votes_audio").rglob("*") if path.is_file()]) == 1
    tab.locator("#next").click()
    tab.locator("#vote").wait_for()
    assert tab.locator("#revealed .ambiser-card").count() == 0


def test_the_page_is_for_this_machine_and_serves_no_other_file(page, made, monkeypatch):
    assert page.local_url.startswith("http://127.0.0.1:") and page.share_url is None
    assert page.analytics_enabled is False and page.enable_monitoring is False
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", page.server_port))
    monkeypatch.chdir(made.folder)
    secret = made.folder / "speech.wav"
    files = [
        secret,
        "speech.wav",
        made.votes,
        *made.set.rglob("*.parquet"),
        "/etc/passwd",
        made.models[0] / "config.json",
    ]
    for file in [*files, f"{page.GRADIO_CACHE}/../../etc/passwd", "http://127.0.0.1:9/x"]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{page.local_url}gradio_api/file={file}", timeout=180)
        assert caught.value.code in (400, 403, 404), file


def test_the_app_of_the_space_is_the_page_of_the_command(page, made, monkeypatch, capsys):
    """The block in docs/app.md, as a Space runs it."""
    import gradio

    text = (ROOT / "docs" / "app.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    given = {}
    monkeypatch.setattr(
        "hf_ambiser.app.hearing.open_model", lambda name, device: SimpleNamespace(name=name, classes=("a", "b"))
    )

    def launch(self, **options):
        given.update(options)
        self.local_url, self.share_url = "http://0.0.0.0:7860/", None

    monkeypatch.setattr(gradio.Blocks, "launch", launch)
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda self: given.update(blocked=True))
    exec(compile(code, "app.py", "exec"), {})
    assert capsys.readouterr().err.endswith("page: http://0.0.0.0:7860/\n")
    assert given["server_name"] == "0.0.0.0" and given["share"] is False and given["allowed_paths"] == []
    assert given["blocked"]
