"""README, pages of the site and of the methods: their code runs, their links lead somewhere, their lists are whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from helpers.scripts import start_script

from hf_ambiser import available_corpora, available_families, available_methods, available_policies, load_method
from hf_ambiser.cli import COMMANDS
from hf_ambiser.runs.config_files import available_configs


ROOT = Path(__file__).parent.parent
# The README first: other pages use the run that it makes.
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
LINKED = [
    *PAGES,
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "hf_ambiser" / "methods").glob("*/*.md")),
]
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One Python block of a page; a reason says why it cannot be run here."""

    page: str
    line: int
    code: str
    reason: str | None


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start("code")].count("\n"), found["code"], found["reason"])
        for found in FENCE.finditer(text)
        if found["language"] == "python"
    ]


def without_code(page: str) -> str:
    return FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def run(page: str) -> None:
    """The page's blocks one after the other, as a reader types them, from the current folder."""
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.reason is None:
            # Empty lines in front, so that an error names the line of the page.
            exec(compile("\n" * block.line + block.code, page, "exec"), names)


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory):
    """Where somebody works who has run the README's code."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("README.md")
    return folder


def test_the_readmes_code_makes_a_whole_run_folder(readers_folder):
    from hf_ambiser.run_folder.finished import FinishedRun

    finished = FinishedRun.read(readers_folder / "runs" / "ipr")
    assert finished.splits == ["d3"] and finished.files.card.is_file() and len(finished.files.epochs()) == 3


@pytest.mark.usefixtures("blank_figures")  # the README's run renders a card, and `test_report_page.py` a report
@pytest.mark.parametrize("page", PAGES[1:])
def test_the_code_of_a_page_runs(page, readers_folder, monkeypatch, capsys):
    monkeypatch.chdir(readers_folder)
    run(page)
    # What is shown on a page is printed: a block that prints nothing has nothing to show.
    shows = any("print(" in block.code for block in blocks(page) if block.reason is None)
    assert bool(capsys.readouterr().out) >= shows


def test_what_is_not_run_says_why():
    skipped = [(block.page, block.reason) for page in PAGES for block in blocks(page) if block.reason]
    assert skipped == [
        ("docs/abstention.md", "five folds, six minutes"),
        ("docs/annotate.md", "it takes some minutes"),
        ("docs/app.md", "serves until it is stopped"),
        ("docs/model_families.md", "loads an encoder from the Hub"),
        ("docs/predict.md", "needs a microphone"),
        ("docs/quick_start.md", "loads an encoder from the Hub"),
    ]
    # A comment that stands anywhere else would look like a reason and be none.
    marks = sum((ROOT / page).read_text(encoding="utf-8").count("<!-- not run") for page in PAGES)
    assert marks == len(skipped)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        anchor, n = words.replace(" ", "-"), 0
        while anchor + (f"-{n}" if n else "") in found:
            n += 1
        found.add(anchor + (f"-{n}" if n else ""))
    return found


@pytest.mark.parametrize("page", LINKED)
def test_links_lead_somewhere(page):
    broken = []
    for target in LINK.findall(without_code(page)):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = ((ROOT / page).parent / file if file else ROOT / page).resolve()
        # What is built (the site with its API reference) is in no clone.
        inside = path.is_relative_to(ROOT.resolve()) and not path.is_relative_to(ROOT.resolve() / "build")
        if not inside or not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def test_no_page_links_to_the_api_reference_which_only_the_site_has():
    """A page links to the module, and the hook turns that into a link to the API reference."""
    found = [(page, target) for page in LINKED for target in LINK.findall(without_code(page)) if "api/" in target]
    assert [link for link in found if not re.match(r"[a-z]+:", link[1])] == []


def test_a_link_to_a_module_has_its_place_in_the_api_reference(listings):
    pages, modules = listings.api_pages(), []
    for page in LINKED:
        for target in LINK.findall(without_code(page)):
            if target.endswith(".py") and not re.match(r"[a-z]+:", target):
                path = ((ROOT / page).parent / target).resolve().relative_to(ROOT.resolve()).as_posix()
                if module := listings.module_of(path):
                    modules.append(module)
                    assert f"::: {module}\n" in pages[f"{module.split('.')[1]}.md"], (page, target)
    assert {"hf_ambiser.data.corpora", "hf_ambiser.data.schema", "hf_ambiser.studies.plan"} <= set(modules)
    for outside in (
        "train_scripts/train.py",
        "hf_ambiser/cli.py",
        "hf_ambiser/data/corpora/_msp_answers.py",
        "docs/x.md",
    ):
        assert listings.module_of(outside) is None


def test_the_readme_is_short_and_has_the_methods_of_the_three_papers():
    """The page of methods lists all of them, from the code."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150 and "(docs/methods/index.md)" in text
    rows = re.findall(r"^\| \[(\w+)\]\(hf_ambiser/methods/(\w+)/README.md\) \| ", text, re.MULTILINE)
    assert {"hard_vote", "soft_vote", "ipr", "slc", "meta"} <= {name for name, _ in rows} <= set(available_methods())
    assert [(name, folder) for name, folder in rows if name != folder] == [] and len(set(rows)) == len(rows)


def test_the_readme_shows_the_two_commands_that_ci_reads():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv .venv && ")]
    assert [command.split("&& .venv/bin/")[-1] for command in commands] == ["hf-ambiser demo", "pytest"]


@pytest.mark.parametrize("page", [page for page in LINKED if page != "CHANGELOG.md"])
def test_commands_and_configs_on_a_page_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    used = set(re.findall(r"^ *hf-ambiser ([a-z][\w-]+)", text, re.MULTILINE))
    used |= set(re.findall(r"`hf-ambiser ([a-z][\w-]+)", text))
    assert used <= set(COMMANDS)
    named = set(re.findall(r"--(?:config|plan) ([a-z_]+/[\w$]+)", text))
    assert {name for name in named if "$" not in name} <= set(available_configs())
    scripts = set(re.findall(r"\b((?:train|dataset)_scripts/\w+\.py|docs/figures/\w+\.py|model_cards/\w+\.py)", text))
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


@pytest.fixture
def listings(monkeypatch):
    """docs/listings.py, which the site's hook calls."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    import listings

    return listings


def test_lists_of_the_site_come_from_the_code(listings):
    for name, entries in (
        ("methods", available_methods()),
        ("families", available_families()),
        ("corpora", available_corpora()),
        ("policies", available_policies()),
    ):
        rows = listings.LISTINGS[name]().splitlines()
        assert len(rows) == len(entries) + 2 and len({row.count(" | ") for row in rows}) == 1
        assert [entry for entry, row in zip(entries, rows[2:], strict=True) if entry not in row.split("|")[1]] == []
    assert "usage: hf-ambiser" in listings.commands() and "results.json" in listings.run_folder()
    configs = listings.configs()
    assert len(configs.splitlines()) == len(available_configs()) + 2
    assert "| `crema_d/study` | plan |" in configs and "| `crema_d/ipr` | config |" in configs
    public = listings.public_names()
    assert [name for name in ("IPRTrainer", "SLCArguments", "FusionConfig", "load_split") if name not in public] == []


def test_every_list_that_a_page_asks_for_is_there_and_every_list_is_asked_for(listings):
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES] + list(listings.api_pages().values())
    asked = {name for text in texts for name in re.findall(r"^<!-- from the code: (\w+) -->$", text, re.MULTILINE)}
    assert asked == set(listings.LISTINGS)


def test_the_tree_and_the_api_pages_hold_every_module(listings):
    tree, pages = listings.tree(), "\n".join(listings.api_pages().values())
    for path in (ROOT / "hf_ambiser").rglob("*.py"):
        inside = path.relative_to(ROOT / "hf_ambiser")
        if inside.parts[0] not in ("methods", path.name) and not path.name.startswith("_"):
            assert f" {path.name} " in tree, path
            assert f"::: {'.'.join(('hf_ambiser', *inside.with_suffix('').parts))}\n" in pages + "\n", path


def test_figures_are_drawn_by_their_commands_and_stand_on_the_page(tmp_path):
    folder, text = ROOT / "docs" / "figures", (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    assert start_script(folder / "concepts.py", "--out", tmp_path) == 0
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert len(drawn) == 6
    for name in drawn:
        assert (folder / name).is_file() and f"](figures/{name})" in text
        assert f"python docs/figures/concepts.py {name.removesuffix('.svg')}\n" in text


def test_every_script_that_draws_a_figure_starts(capfd):
    """What a script imports from the package is there; drawing from a run of one's own takes the run's time."""
    for script in sorted((ROOT / "docs" / "figures").glob("*.py")):
        if "argparse" in script.read_text(encoding="utf-8"):
            assert start_script(script, "--help") == 0 and capfd.readouterr().out.startswith("usage: "), script


def test_badges_say_what_pyproject_says(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "figures")
    from badges import badges

    for name, picture in badges().items():
        assert (ROOT / "docs" / "figures" / name).read_text(encoding="utf-8") == picture
        assert f"](docs/figures/{name})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_citation_names_the_version_and_the_papers_of_the_methods():
    import hf_ambiser

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == hf_ambiser.__version__
    ours = {paper.title: paper for name in ("ipr", "meta", "slc") if (paper := load_method(name).paper)}
    assert {reference["title"] for reference in citation["references"]} == set(ours)
    for reference in citation["references"]:
        paper = ours[reference["title"]]
        names = [f"{author['given-names']} {author['family-names']}" for author in reference["authors"]]
        assert (tuple(names), reference["year"]) == (paper.authors, paper.year)
        assert reference.get("url", "").endswith(paper.arxiv)
