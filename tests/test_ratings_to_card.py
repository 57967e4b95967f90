"""What a stranger does: the first commands of docs/your_data.md, from a table of sixty utterances to a model card."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hf_ambiser.cards import write_card
from hf_ambiser.cli import main
from hf_ambiser.files.read import read_json
from hf_ambiser.report.groups import Group
from hf_ambiser.run_folder.finished import FinishedRun


PAGE = (Path(__file__).parent.parent / "docs" / "your_data.md").read_text(encoding="utf-8")
FIRST = PAGE[: PAGE.index("\n## Tables of ratings")]
FACTS = "name: tones\nlicence: CC BY 4.0\nlanguage: en\nspeech: tones that nobody spoke\nterms: Name its makers.\n"


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """The folder of somebody who has given the commands of the page, and what they printed."""
    folder = tmp_path_factory.mktemp("stranger")
    (make,) = re.findall(r"^```python\n(import csv.*?)^```", FIRST, re.MULTILINE | re.DOTALL)
    (commands,) = re.findall(r"^```bash\n(.*?)^```", FIRST, re.MULTILINE | re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(make, "docs/your_data.md", "exec"), {})
        (folder / "corpus.yaml").write_text(FACTS)
        statuses = {}
        for line in commands.splitlines():
            program, *words = shlex.split(line, comments=True)
            assert program == "hf-ambiser"
            # Fewer epochs than a user needs: the test is about the way, and not about the model.
            more = ["--num_train_epochs", "2", "--disable_tqdm", "true"] if words[0] == "train" else []
            statuses[" ".join(words[:1] + words[-1:])] = main([*words, *more])
    return folder, statuses


def test_every_command_of_the_page_works(stranger):
    _, statuses = stranger
    assert statuses == {
        "build --preview": 0, "build data/own": 0, "train own/soft_vote": 0, "report runs/own": 0, "push --dry-run": 0,
    }  # fmt: skip


def test_the_table_of_the_page_has_six_rows_as_the_made_one(stranger):
    shown = re.findall(r"^\| (clip_\S+) \| (\w+) \| (\w+) \| (\w+) \|$", FIRST, re.MULTILINE)
    made = (stranger[0] / "ratings.csv").read_text().splitlines()
    assert len(shown) == 6 and made[0] == "utterance,rater,label,speaker" and len(made) == 301
    assert {(name, speaker) for name, _, _, speaker in shown} <= {tuple(row.split(",")[::3]) for row in made}


def test_the_model_has_a_card_with_the_facts_of_the_corpus(stranger):
    run = stranger[0] / "runs" / "own" / "soft_vote" / "0"
    card = FinishedRun.read(run).files.card.read_text()
    for text in (
        "# soft-vote-logmel-tones", "| corpus | tones: tones that nobody spoke |", "language:\n- en",
        "**Licence of the data.** CC BY 4.0. Name its makers.", "strict (no speaker, or session, on two sides)",
    ):  # fmt: skip
        assert text in card, text
    assert "this package knows nothing" not in card and "does not know" not in card
    report = (stranger[0] / "runs" / "own" / "report" / "report.md").read_text()
    assert "Corpus tones" in report


def test_a_card_of_speech_without_speakers_says_so(stranger):
    """From the run folder alone, as all cards are: the facts of the corpus travel with the run."""
    files = FinishedRun.read(stranger[0] / "runs" / "own" / "soft_vote" / "0").files
    before = files.results.read_text()
    facts = read_json(files.results, "")["data"]["corpus_facts"]
    assert facts == {
        "name": "tones", "licence": "CC BY 4.0", "language": "en", "speech": "tones that nobody spoke",
        "terms": "Name its makers.", "group": "speaker", "speakers_known": True,
    }  # fmt: skip
    try:
        files.results.write_text(before.replace('"speakers_known": true', '"speakers_known": false'))
        write_card(files.path)
        card = files.card.read_text()
        assert "**Speakers are not known.**" in card and "over its" not in card
        group = Group("g", {"s": [FinishedRun.read(files.path)]})
        assert "the same voice may be on both sides" in group.describe() and "one of its own" in group.describe()
        assert "the splits divide utterances and not speakers" in card[card.index("| protocol |") :]
    finally:
        files.results.write_text(before)


def test_a_run_goes_on_after_a_fact_was_corrected(stranger, monkeypatch):
    folder, _ = stranger
    monkeypatch.chdir(folder)
    (folder / "corpus.yaml").write_text(FACTS.replace("CC BY 4.0", "CC0"))
    build = ["build", "--ratings", "ratings.csv", "--audio", "clips", "--out", "data/own", "--overwrite"]
    assert main([*build, "--no-progress"]) == 0
    again = ["train", "--config", "own/soft_vote", "--num_train_epochs", "2", "--disable_tqdm", "true"]
    assert main(again) == 0
