"""A generated card is written again, and nothing a human wrote into it is lost."""

import random
import re

import pytest
import yaml

from hf_ambiser.hub.edits import Card, CardError, digest, merge, parse, render


HEADER = {
    "license": "unknown",
    "language": ["en"],
    "version": "1.10",
    "model-index": [
        {
            "name": "m",
            "results": [
                {
                    "task": {"type": "audio-classification"},
                    "dataset": {"name": "d", "type": "d", "split": "test (clear clips)"},
                    "metrics": [{"type": "accuracy", "value": 0.5, "name": "WA"}],
                }
            ],
        }
    ],
}
SECTIONS = {
    "summary": "# Model\n\nHears speech.",
    "use": "## Use\n\n```python\nimport transformers\n```\n\nAs pasted.",
    "results": "## Results\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "limits": "## Limits\n\nActed speech — not yours.",
}
CARD = Card(HEADER, SECTIONS)
TEXT = render(CARD)
BEGIN = {name: f"<!-- hf_ambiser:begin {name} {digest(text)} -->" for name, text in SECTIONS.items()}
END = {name: f"<!-- hf_ambiser:end {name} -->" for name in SECTIONS}
STATE = next(line for line in TEXT.splitlines() if line.startswith("<!-- hf_ambiser:card"))


def renewed(number: int = 1) -> Card:
    """What the next run would generate: every section and one header field differ."""
    sections = {name: f"{text}\n\nRun {number}." for name, text in SECTIONS.items()}
    return Card({**HEADER, "license": f"run-{number}"}, sections)


def changed(old: str, new: str, text: str = TEXT) -> str:
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)


def written(existing: str, card: Card | None = None) -> str:
    """Merged, and merged again without a difference."""
    card = card or renewed()
    text, kept = merge(card, existing)
    assert merge(card, text) == (text, kept)
    assert sorted(parse(text).human()) == kept
    return text


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


# ---- nothing edited ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "existing", [TEXT, "", "\n\n", "\ufeff", TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT, "\n" + TEXT]
)
def test_without_edits_it_is_what_is_generated(existing):
    assert merge(CARD, existing) == (TEXT, [])
    assert merge(renewed(), existing) == (render(renewed()), [])


def test_a_card_without_header_fields_or_sections():
    for card in (Card({}, SECTIONS), Card(HEADER, {}), Card({}, {})):
        assert merge(card, render(card)) == (render(card), [])
        assert merge(card, TEXT) == (render(card), [])
        assert merge(CARD, render(card)) == (TEXT, [])


def test_what_is_no_longer_generated_goes_and_comes_back():
    fewer = Card({"license": "unknown"}, {name: SECTIONS[name] for name in ("summary", "limits")})
    assert merge(fewer, TEXT) == (render(fewer), [])
    assert merge(CARD, render(fewer)) == (TEXT, [])


def test_the_hubs_own_library_reads_and_writes_it(tmp_path):
    from huggingface_hub import ModelCard

    (tmp_path / "README.md").write_text(TEXT, encoding="utf-8")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "unknown" and card.data.eval_results[0].metric_value == 0.5
    card.save(tmp_path / "README.md")
    assert parse((tmp_path / "README.md").read_text(encoding="utf-8")).human() == {}
    card.data.license = "cc-by-4.0"
    card.data.co2_eq_emissions = {"emissions": 1.5, "source": "measured — by Anna"}
    card.save(tmp_path / "README.md")
    text = written((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert merge(renewed(), text)[1] == ["header: co2_eq_emissions", "header: license"]
    assert header(text) == {**HEADER, "license": "cc-by-4.0", "co2_eq_emissions": card.data.co2_eq_emissions}
    assert ModelCard(text).data.license == "cc-by-4.0"


# ---- sections and text -------------------------------------------------------------------------------------------


def test_a_typo_mended_inside_a_section_stays_and_the_others_are_renewed():
    text = written(changed("Hears speech.", "Hears speech, märchenhaft."))
    assert "Hears speech, märchenhaft.\n" in text and text.count("Run 1.") == 3
    text = written(text, renewed(2))
    assert "märchenhaft" in text and text.count("Run 2.") == 3 and "Run 1." not in text


def test_an_edit_that_is_taken_back_is_no_edit():
    text = written(changed("Hears speech.", "Hears."))
    assert merge(renewed(), text)[1] == ["section summary"]
    assert merge(renewed(), changed("Hears.", "Hears speech.", text)) == (render(renewed()), [])
    assert merge(renewed(), changed("Hears.", "Hears speech.\n\nRun 1.", text)) == (render(renewed()), [])


def test_text_before_between_and_after_sections_stays_where_it_is():
    text = changed(BEGIN["summary"], f"First.\n\n{BEGIN['summary']}")
    text = changed(END["use"], f"{END['use']}\n    indented = code\n\nSecond.", text) + "\nLast.\n\n---\n\nEnd."
    text = written(text)
    marks = [line for line in text.splitlines() if re.match(r"<!-- hf|First|Second|Last|End\.|    ind|---$", line)]
    assert [line.split(" ")[2] if line.startswith("<") else line for line in marks] == [
        "---", "---", '{"header":', "First.", "summary", "summary", "use", "use", "    indented = code", "Second.",
        "results", "results", "limits", "limits", "Last.", "---", "End.",
    ]  # fmt: skip
    assert text.count("Run 1.") == 4


def test_a_new_section_goes_between_its_neighbours_and_after_a_humans_text():
    some = Card(HEADER, {name: SECTIONS[name] for name in ("summary", "limits")})
    text = render(some).replace(END["summary"], f"{END['summary']}\n\nAbout the summary.")
    text = written("Intro.\n\n" + text.split("---\n")[2], CARD)
    assert parse(text).known == list(SECTIONS)
    assert [name or there for name, _, there in parse(text).items] == [
        "Intro.", "summary", "About the summary.", "use", "results", "limits",
    ]  # fmt: skip


def test_deleted_sections_stay_deleted_and_reordered_ones_stay_reordered():
    one, two = (f"{BEGIN[n]}\n{SECTIONS[n]}\n{END[n]}\n" for n in ("use", "limits"))
    text = written(changed(one, ""))
    assert "## Use" not in text and "## Use" not in written(text, renewed(2))
    assert merge(renewed(), text)[1] == ["section use"]
    text = written(changed(BEGIN["summary"], two + "\n" + BEGIN["summary"], changed(two, "")))
    assert text.index("## Limits") < text.index("# Model") and text.count("Run 1.") == 4
    assert merge(renewed(), text)[1] == ["order of the sections"]


def test_a_section_emptied_by_a_human_stays_empty():
    text = written(changed(SECTIONS["use"], ""))
    assert "As pasted" not in text and BEGIN["use"] in text
    without = Card(HEADER, {"summary": "# Model"})
    assert BEGIN["use"] in written(text, without)


def test_with_all_marks_removed_the_whole_text_is_a_humans():
    bare = "\n".join(line for line in TEXT.splitlines() if not line.startswith("<!-- hf_ambiser"))
    text = written(bare)
    assert parse(text).items[0] == (None, "", bare.split("---\n", 2)[2].strip())
    assert header(text)["license"] == "unknown" and text.count("Run 1.") == 4
    assert text.index(SECTIONS["limits"]) < text.index("Run 1.")


def test_with_the_state_removed_the_header_is_a_humans_and_sections_are_renewed():
    text = written(changed(STATE + "\n", ""))
    assert header(text) == HEADER and text.count("Run 1.") == 4


def test_a_begin_mark_removed_makes_its_text_a_humans():
    text = written(changed(BEGIN["use"], ""))
    assert SECTIONS["use"] in text and text.count("Run 1.") == 3 and text.count("## Use") == 1


def test_marks_that_an_editor_indented_or_joined_to_a_line_are_still_read():
    text = changed(
        BEGIN["use"], f"  {BEGIN['use']}  ", changed("As pasted.\n" + END["use"], f"As pasted. {END['use']}More.")
    )
    assert merge(renewed(), text)[1] == ["text 1"]
    assert f"Run 1.\n{END['use']}\n\nMore.\n" in written(text)


def test_our_marks_indented_like_code_are_a_humans_text():
    sample = f"Look:\n\n    {BEGIN['use']}\n    {STATE}"
    text = written(changed(END["summary"], f"{END['summary']}\n\n{sample}"))
    assert sample in text and text.count("Run 1.") == 4


@pytest.mark.parametrize("fence", ["```", "~~~~", "  ```html"])
def test_our_marks_in_a_code_block_are_a_humans_text(fence):
    close = fence.strip().removesuffix("html")
    sample = f"{fence}\n{BEGIN['use']}\nhere\n{END['use']}\n{END['limits']}\n<!-- hf_ambiser:card {{}} -->\n{close}"
    text = written(changed(END["summary"], f"{END['summary']}\n\n{sample}"))
    assert sample in text and text.count("Run 1.") == 4
    text = written(changed("Acted", f"{sample}\nActed"))
    assert sample in text and text.count("Run 1.") == 3


def test_a_code_block_that_a_human_forgot_to_close_loses_nothing():
    text = written(changed("As pasted.", "```\nAs pasted, by me."))
    assert "```\nAs pasted, by me." in text and text.count("Run 1.") == 3
    text = written(changed(END["summary"], f"{END['summary']}\n\n```\nmine"))
    assert "```\nmine" in text and SECTIONS["limits"] in text
    healed = written(changed("```\nmine", "```\nmine\n```", text))
    assert healed.count("Run 1.") == 4 and "```\nmine\n```" in healed


# ---- header ------------------------------------------------------------------------------------------------------


def test_header_fields_added_changed_and_removed_by_a_human():
    text = changed("license: unknown\n", "license: mit  # Legal said so\ndate: 2024-01-02\n")
    text = written(changed("language:\n- en\n", "", text))
    assert (
        "license: mit  # Legal said so\n" in text and "date: 2024-01-02\n" in text and "language" not in header(text)
    )
    assert merge(renewed(), text)[1] == [
        "comments in the header", "header: date", "header: language", "header: license",
    ]  # fmt: skip
    fewer = Card({"license": "run-2"}, SECTIONS)
    assert "language" not in header(written(written(text, fewer), renewed(3)))


def test_a_humans_yaml_stays_as_it_was_written():
    """`1.10` would become `1.1` and `1:30` would become 90, were they written anew."""
    mine = "weights: 1.10\nlength: 1:30\ncode: 0o17\nquiet: off\nlong: >-\n  folded\n  text\nlist: [a, 'b']\n"
    text = written(changed("license: unknown\n", f"license: unknown\n{mine}"))
    assert mine in text and header(text)["license"] == "run-1"


def test_comments_in_the_header_stay_with_their_field():
    text = changed("license: unknown\n", "# top\nlicense: unknown  # ask Anna\n# why English\n")
    text = changed(
        "version: '1.10'\n", "version: '1.10 # no comment'\n", changed("\n---\n<!--", "\n# last\n---\n<!--", text)
    )
    text = written(text)
    assert "# top\n# ask Anna\nlicense: run-1\n# why English\nlanguage:" in text and "\n# last\n---\n" in text
    assert text.count("no comment") == 1
    text = written(text, Card({}, SECTIONS))
    assert all(text.count(comment) == 1 for comment in ("# top", "# ask Anna", "# why English", "# last"))


def test_an_anchor_in_a_field_that_goes_away_is_told():
    text = changed("language:\n- en\n", "language: &mine\n- en\nspoken: *mine\n")
    assert "spoken: *mine\n" in written(text)
    with pytest.raises(CardError, match="line 2: found undefined alias 'mine'.*Mend"):
        merge(Card({}, SECTIONS), text)


def test_the_header_removed_or_emptied_stays_so():
    for text in (TEXT.split("---\n", 2)[2], "---\n---\n" + TEXT.split("---\n", 2)[2]):
        text = written(text)
        assert text.startswith("<!-- hf_ambiser:card") and text.count("Run 1.") == 4
    text = written("---\n# only a comment\n---\n", CARD)
    assert "# only a comment" in text and header(text) == HEADER


def test_a_header_alone_gets_the_rest():
    text = written("---\nlicense: mit\ntags: [mine]\n---")
    assert header(text) == {**HEADER, "license": "mit", "tags": ["mine"]} and text.count("Run 1.") == 4


def test_a_text_alone_gets_header_and_sections_below_it():
    text = written("----\nMy *own* ünïcode card.\n\n---\n")
    assert header(text)["license"] == "run-1"
    assert parse(text).items[0] == (None, "", "----\nMy *own* ünïcode card.\n\n---")


def test_an_edited_number_and_an_edited_text_of_the_same_looks_differ():
    assert header(written(changed("version: '1.10'", "version: 1.10"))) == {
        **HEADER,
        "license": "run-1",
        "version": 1.1,
    }
    card = Card({"a": "5"}, {})
    assert merge(Card({"a": "6"}, {}), changed("a: '5'", "a: 5", render(card)))[1] == ["header: a"]


# ---- what cannot be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text,words",
    [
        (changed(END["use"], ""), r"section 'use' \(line \d+\) has lost its last line, `.*end use -->`\. Restore"),
        (changed("---\n" + STATE, STATE), "no second `---` line ends it"),
        ("---", "no second `---` line ends it"),
        (changed("license: unknown", "license: [unknown"), r"header cannot be read \(line \d: .*Mend it there"),
        (changed("license: unknown", "license: @me"), r"header cannot be read \(line 2: .*Mend it there"),
        (changed("license: unknown", "date: 2024-13-45"), "header cannot be read .*month"),
        (changed("license: unknown", "license: \x00"), "header cannot be read .*special characters"),
        (changed("license: unknown", "license: &a [*a]"), "header cannot be read"),
        (changed("license: unknown", "license: mit\nlicense: unknown"), "'license' twice, again in line 3. Del"),
        (changed("license: unknown", "2024: a"), "line 2 of its YAML header must be `word: value`"),
        ("---\n{license: mit}\n---\n", "line 2 of its YAML header must be `word: value`"),
        ("---\n  license: mit\n---\n", "line 2 of its YAML header must be `word: value`"),
        ("---\nnull\n---\n", "is a NoneType, it must be"),
        ("---\njust words\n---\n", "is a str, it must be"),
        ("---\n- a\n---\n", "is a list, it must be"),
        ("My title\n\n" + TEXT, "text stands above its header.*Move"),
        (changed(STATE, STATE[:40] + " -->"), r"line \d+, .*damaged. Restore or delete it"),
        (changed(STATE, "<!-- hf_ambiser:card -->"), r"line \d+, .*damaged. Restore or delete it"),
        (changed(STATE, '<!-- hf_ambiser:card {"header": [], "sections": 1} -->'), "damaged. Restore"),
        (changed(BEGIN["use"], "<!-- hf_ambiser:begin use -->"), r"line \d+, .*damaged. Restore or delete it"),
        (
            changed(END["use"], "") + f"\n{END['use']}",
            r"section 'use' \(line \d+\) does not end before line \d+\. Restore `<!-- hf_ambiser:end use -->` above",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_with_file_place_and_fix(text, words):
    with pytest.raises(CardError, match=words) as error:
        merge(CARD, text, "run/model/README.md")
    assert str(error.value).startswith("run/model/README.md: ") and "\n" not in str(error.value)


def test_the_line_named_is_the_line_of_the_file():
    text = changed(BEGIN["use"], "<!-- hf_ambiser:begin use -->")
    number = text.splitlines().index("<!-- hf_ambiser:begin use -->") + 1
    with pytest.raises(CardError, match=f"line {number}, "):
        parse(text)


# ---- any sequence of edits ---------------------------------------------------------------------------------------


class Human:
    """Edits cards at random, and remembers each of its words that must still be there."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.words: set[str] = set()

    def word(self) -> str:
        word = f"wörd{self.random.randrange(10**9)}"
        self.words.add(word)
        return word

    def edit(self, text: str) -> str:
        # Never forgets what it wrote itself: it deletes only text without words of its own.
        edits = [
            self.inside,
            self.between,
            self.delete,
            self.swap,
            self.field,
            self.comment,
            self.no_field,
            self.windows,
        ]
        return self.random.choice(edits)(text)

    def sections(self, text: str) -> list[re.Match]:
        return list(
            re.finditer(r"<!-- hf_ambiser:begin ([\w-]+) \w+ -->\n([\s\S]*?)<!-- hf_ambiser:end \1 -->\n", text)
        )

    def inside(self, text: str) -> str:
        if not (found := self.sections(text)):
            return text
        at = self.random.choice(found).end(2)
        return text[:at] + self.word() + "\n" + text[at:]

    def between(self, text: str) -> str:
        places = [match.start() for match in self.sections(text)] + [len(text)]
        at = self.random.choice(places)
        block = self.random.choice(
            ["\n{}\n\n", "\n---\n\n{}\n---\n", "\n```\n" + BEGIN["use"] + "\n{}\n```\n", "    {}\n"]
        )
        return text[:at] + block.format(self.word()) + text[at:]

    def delete(self, text: str) -> str:
        found = [match for match in self.sections(text) if not any(word in match[0] for word in self.words)]
        return text.replace(self.random.choice(found)[0], "\n") if found else text

    def swap(self, text: str) -> str:
        if len(found := self.sections(text)) < 2:
            return text
        one, two = sorted(self.random.sample(found, 2), key=lambda match: match.start())
        return text[: one.start()] + two[0] + text[one.end() : two.start()] + one[0] + text[two.end() :]

    def field(self, text: str) -> str:
        return text.replace("---\n", f"---\nf{self.random.randrange(10**9)}: {self.word()}\n", 1)

    def comment(self, text: str) -> str:
        lines = text.split("\n")
        at = self.random.randrange(1, lines.index("---", 1) + 1)
        return "\n".join([*lines[:at], f"# {self.word()}", *lines[at:]])

    def no_field(self, text: str) -> str:
        name = self.random.choice(["license: .*\n", "language:\n- en\n"])
        return re.sub(f"^{name}", "", text, count=1, flags=re.MULTILINE)

    def windows(self, text: str) -> str:
        return text.replace("\n", "\r\n")


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_edits_and_regenerations(seed):
    human, text, deleted = Human(seed), TEXT, set()
    for run in range(1, 5):
        for _ in range(human.random.randrange(4)):
            text = human.edit(text.replace("\r\n", "\n"))
        before = parse(text)
        untouched = [n for n, mark, there in before.items if n and mark == digest(there)]
        deleted = {n for n in SECTIONS if n not in [there for there, _, _ in before.items]}
        text = written(text, renewed(run))
        after = parse(text)
        assert all(word in text for word in human.words)
        assert text.count(f"Run {run}.") == len(untouched)
        assert deleted == {n for n in SECTIONS if n not in [there for there, _, _ in after.items]}
        assert [n or there for n, _, there in after.items] == [n or there for n, _, there in before.items]
        assert after.human().keys() == before.human().keys()
        assert after.metadata.get("license") in (f"run-{run}", None)
