"""Names from files in what people open: no formula in a spreadsheet, no HTML and no link in a report or card."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.crema_d_tree import made_corpus
from helpers.made_report import CLASSES, K, made_cell, made_clips
from helpers.recorded_run import change, recorded_run
from markdown_it import MarkdownIt

from hf_ambiser.cards import write_card
from hf_ambiser.cli import main
from hf_ambiser.data.build import build
from hf_ambiser.data.card import dataset_card
from hf_ambiser.data.corpora import load_corpus
from hf_ambiser.data.speakers import read_speakers, write_speakers
from hf_ambiser.hub.edits import render
from hf_ambiser.report.table import Entry, Table
from hf_ambiser.report.write import write_report
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.untrusted.cells import cells, csv_of, texts
from hf_ambiser.untrusted.markdown import as_code, as_sentence, as_text, as_texts
from hf_ambiser.untrusted.printed import in_one_line


# ---- cells of a spreadsheet ----------------------------------------------------------------------------------------

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "=cmd|' /C calc'!A0",
    "--1",
    "-x",
    "+",
    "-1e",
    "+.e1",
]
HARMLESS = [
    "",
    "-",
    "=",
    "a=1",
    "1",
    "-1",
    "+1",
    "-0.5",
    "1e-3",
    "-1.5e+10",
    "-inf",
    "'tis",
    "'",
    "''",
    "anger",
    "a-b",
    " =1",
]
ESCAPED_BEFORE = ["'=1", "''=1", "'-x", "'@a"]


@pytest.mark.parametrize("text", [*FORMULAS, *HARMLESS, *ESCAPED_BEFORE], ids=repr)
def test_a_text_comes_back_from_a_file_as_it_was_and_is_no_formula(text):
    (written,) = cells([text])
    assert texts([written]) == [text]
    assert (written == text) == (text in HARMLESS)
    if text in FORMULAS:
        assert written[0] == "'"
    (row,) = csv.reader(io.StringIO(csv_of([[text, "x"]]), newline=""))
    assert texts(row) == [text, "x"]


def test_any_text_of_these_letters_comes_back():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        text = "".join(rng.choice(list("'=+-@\t\r1e. a"), rng.integers(0, 6)))
        assert texts(cells([text])) == [text]


def test_numbers_stay_numbers():
    row = [-1, -0.5, float("-inf"), None, True, np.float64(-2)]
    assert all(a is b for a, b in zip(cells(row), row, strict=True))


def starts(path: Path) -> set[str]:
    with open(path, newline="", encoding="utf-8") as file:
        return {
            cell[0] for row in csv.reader(file) for cell in row if cell and not re.fullmatch(r"-|[+-]?[\d.e+-]+", cell)
        }


def test_speakers_and_what_is_listed_hold_no_formula_and_read_as_they_were(tmp_path):
    speakers = {"=cmd()": {"sex": "@female", "age": 30}, "+1-a": {"sex": "male"}, "'=x": {"age": 1}, "-5": {"age": 2}}
    write_speakers(tmp_path, speakers)
    assert read_speakers(tmp_path) == speakers
    assert not starts(tmp_path / "speakers.csv") & set("=+-@")
    corpus = made_corpus(tmp_path / "corpus", speakers=4)
    for name in ("=cmd()", "@SUM(1)", "-2+3", "+x"):
        (corpus / "AudioWAV" / f"{name}.wav").write_bytes(b"no audio")
    (corpus / "AudioWAV" / "=1001_TAA_ANG_XX.wav").write_bytes(b"")
    options = {"configs": ("ipr-strict",), "min_per_class": 1, "d1_quota": "per_class", "progress": False}
    out = build("crema_d", corpus, tmp_path / "out", **options).out
    assert not starts(out / "listed.csv") & set("=+-@\t\r")


def test_tables_of_a_report_hold_no_formula_in_csv():
    rows = [
        ["=cmd()", Entry("-3.0", parts={"": -3.0})],
        ["@a", Entry("+x")],
        ["-", Entry("1", parts={"": 1})],
        ["=", Entry("2", parts={"": 2})],
    ]
    written = list(csv.reader(io.StringIO(Table("t", ["=head", "js"], rows).csv())))
    assert (
        written == [["'=head", "js"], ["'=cmd()", "-3.0"], ["'@a", ""], ["-", "1"], ["=", "2"]]
        or written[2][1] == "'+x"
    )
    assert written[1][1] == "-3.0"


# ---- Markdown ------------------------------------------------------------------------------------------------------

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "a](javascript:alert(1)) b",
    "![x](https://evil.example/x.png)",
    "[a][evil]",
    "\n\n[evil]: javascript:alert(1)\n",
    "<javascript:alert(1)>",
    "<https://evil.example>",
    "`<b>` <script>alert(1)</script>",
    "` [click](javascript:alert(1)) `",
    "``` <script>alert(1)</script>",
    "\\[click\\](javascript:alert(1))",
    "\\` <script>alert(1)</script>",
    "[x\\](javascript:alert(1))",
    "\\<script>alert(1)</script>",
    "|<script>alert(1)</script>|",
    "x\n\n<script>alert(1)</script>",
    "<!-- hf_ambiser:begin data 00000000 -->",
    "&lt;script&gt;&#106;avascript",
    "`a``b` [c](javascript:d)",
    "**x** [click]\n(javascript:alert(1))",
]
ORDINARY = [
    "ipr@gamma=0.9,mu=0.1",
    "crema_d",
    "a < b",
    "p <0.05",
    "x & y",
    "[95 % interval]. A",
    "a_b*c",
    "größe",
    "`code` **bold**",
]


class _Effects(HTMLParser):
    """What a page does: its tags with their addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        addresses = [value or "" for name, value in attrs if name in ("href", "src", "onerror")]
        self.found.append(" ".join([tag, *addresses]))

    def handle_comment(self, data: str) -> None:
        self.found.append(f"comment {data}")


def effects(markdown: str) -> list[str]:
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.validateLink = lambda address: True  # it would refuse javascript by itself, and others do not
    page = parser.render(markdown)
    return [
        tag for tag in _Effects(page).found if re.search(r"script|evil|javascript|img|onerror|^a\b|^b\b|comment", tag)
    ]


@pytest.mark.parametrize("text", ATTACKS)
def test_no_text_has_an_effect_in_any_place(text):
    places = {
        "sentence": f"We say {as_text(text)} here.",
        "sentence, as a whole": as_sentence(f"We say {text} here and `{text}` there."),
        "cell": f"| a | b |\n|---|---|\n| {as_text(text)} | x |",
        "code": f"| a |\n|---|\n| {as_code(json.dumps(text))} |",
        "code of a sentence": f"Policy `{as_text(text)}`, fingerprint.",
        "heading": f"# {as_text(text)}",
        "item": f"- {as_text(text)}",
    }
    for place, markdown in places.items():
        assert effects(markdown) == [], (place, markdown)
    words = f"![{as_text(text, brackets=True)}](figures/a.png)"
    assert [tag for tag in effects(words) if tag != "img figures/a.png"] == [], words
    linked = f"[{as_text(text, brackets=True)}](https://huggingface.co/x)"
    assert [tag for tag in effects(linked) if tag != "a https://huggingface.co/x"] == [], linked


def test_most_of_these_texts_would_have_an_effect():
    there = [text for text in ATTACKS if effects(f"We say [{text} here.\n\n{text}\n\n[evil]: javascript:x")]
    assert len(there) >= len(ATTACKS) - 8


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_text_stays_as_it_is(text):
    assert as_text(text) == text and as_sentence(text) == text
    assert as_texts({"a": [text, 1, None], text: (text,)}) == {"a": [text, 1, None], text: (text,)}
    assert as_code("plain") == "`plain`"


EVIL = "x` [c](javascript:evil) <script>evil()</script> ![y](https://evil.example/z.png) | &lt; "


def test_a_report_of_hostile_names_has_no_effect(tmp_path):
    """System, label, speaker, corpus, policy and note are set to texts that would do something."""
    made = made_clips(40)
    made["speaker"] = [f"{EVIL}{i % 4}" for i in range(40)]
    for number, system in enumerate((f"{EVIL}a", f"{EVIL}b")):
        data = dict.fromkeys(("corpus", "policy", "content", "policy_fingerprint", "split_fingerprint"), EVIL)
        folder = made_cell(tmp_path / str(number), system, clips={"d3": made}, **data)
        change(folder / "results.json", _rename_classes)
        text = (folder / "results.json").read_text()
        machine = {"machine": EVIL, "accelerator": EVIL, "commit": EVIL}
        environment = {**json.loads(text)["environment"], **machine}
        change(folder / "results.json", lambda results, made_on=environment: {**results, "environment": made_on})
    report = write_report(tmp_path, html=True, progress=False)
    tags = effects(report)
    assert [tag for tag in tags if not re.fullmatch(r"img figures/[\w.%()-]+\.png", tag)] == []
    assert "javascript:evil" in report  # it is shown, and has no effect
    page = (tmp_path / "report" / "report.html").read_text()
    found = [tag for tag in _Effects(page).found if "evil" in tag or "javascript" in tag]
    assert found == [] and "<script>evil" not in page
    for path in (tmp_path / "report").glob("*.csv"):
        assert not starts(path) & set("=+@")


def _rename_classes(results: dict) -> dict:
    names = {name: f"{EVIL}{name}" for name in CLASSES}
    text = json.dumps(results)
    for name, evil in names.items():
        text = text.replace(json.dumps(name), json.dumps(evil))
    assert len(names) == K
    return json.loads(text)


FIELDS = [
    "system",
    "corpus",
    "policy",
    "classes",
    "protocol",
    "split",
    "machine",
    "encoder",
    "argument",
    "sex",
    "note",
]


@pytest.mark.parametrize("field", FIELDS)
def test_a_card_of_a_hostile_name_has_no_effect(field, tmp_path):
    run = recorded_run(tmp_path)

    def plant(results: dict) -> dict:
        data = results["data"]
        if field in ("corpus", "policy", "protocol"):
            data = {**data, field: EVIL, "policy_fingerprint": EVIL, "content": EVIL}
        if field == "classes":
            text = json.dumps(results)
            for name in data["classes"]:
                text = text.replace(json.dumps(name), json.dumps(f"{EVIL}{name}"))
            return json.loads(text)
        if field == "split":
            clean = EVIL.replace("/", "")
            (run / "predictions" / "d3.parquet").rename(run / "predictions" / f"{clean}.parquet")
            return {**results, "scores": {clean if k == "d3" else k: v for k, v in results["scores"].items()}}
        if field == "machine":
            about = {**results["environment"], "machine": EVIL, "python": EVIL, "commit": EVIL, "accelerator": EVIL}
            return {**results, "environment": about}
        if field == "note":
            scores = json.loads(json.dumps(results["scores"]))
            for split in scores.values():
                split["all"]["undefined"]["x"] = EVIL
            return {**results, "scores": scores}
        return {**results, "data": data, **({"system": EVIL} if field == "system" else {})}

    change(run / "results.json", plant)
    if field in ("encoder", "argument"):
        given = (run / "arguments.yaml").read_text()
        name = "encoder" if field == "encoder" else "optim"
        value = EVIL.replace("/", "") + "/" + EVIL.replace("/", "") if field == "encoder" else EVIL
        (run / "arguments.yaml").write_text(f"{given}{name}: {json.dumps(value)}\n")
    if field == "sex":
        speakers = FinishedRun.read(run).predictions("d3")["speaker"].tolist()
        (run / "speakers.json").write_text(json.dumps({name: {"sex": EVIL} for name in speakers}))
    path, _ = write_card(run)
    body = path.read_text().split("\n---\n", 1)[1]
    tags = [tag for tag in effects(body) if not tag.startswith(("a https://", "comment  hf_ambiser:"))]
    own = re.compile(r"img figures/[\w.%()-]+\.png")
    assert [tag for tag in tags if not own.fullmatch(tag)] == []
    assert "a https://evil" not in effects(body) and "a javascript:evil" not in effects(body)
    if field != "system":  # a card does not name it
        assert "evil" in body


def test_the_card_of_a_data_set_with_hostile_names_has_no_effect(tmp_path):
    corpus = made_corpus(tmp_path / "corpus", speakers=4)
    options = {"configs": ("ipr-strict",), "min_per_class": 1, "d1_quota": "per_class", "progress": False}
    report = build("crema_d", corpus, tmp_path / "out", **options).content
    report = {**report, "notes": [EVIL], "classes": [EVIL, *report["classes"][1:]]}
    report["votes"] = {**report["votes"], "excluded": {EVIL: 1.0}}
    body = render(dataset_card(report, load_corpus("crema_d"), "me/x")).split("\n---\n", 1)[1]
    assert [tag for tag in effects(body) if not tag.startswith(("a https://", "comment  hf_ambiser:"))] == []
    assert "evil" in body and "a https://evil.example" not in " ".join(effects(body))


def test_a_command_still_works_on_them(tmp_path, capsys):
    made_cell(tmp_path / "run", EVIL, clips={"d3": made_clips(24)})
    assert main(["report", str(tmp_path), "--no-html"]) == 0
    assert "javascript:evil" in capsys.readouterr().out


def test_what_a_library_says_is_one_bounded_line_without_half_a_word():
    for said in ("a" * 500, "word " * 100, "see \n https://a.b/" + "c" * 300):
        line = in_one_line(ValueError(said), 200)
        assert len(line) <= 200 and line.endswith(" ...") and "\n" not in line
    assert in_one_line(ValueError("see https://a.b/" + "c" * 300)) == "see ..."
    assert in_one_line(ValueError(" short\ntext ")) == "short text" and in_one_line(ValueError()) == "ValueError"
