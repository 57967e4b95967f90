"""Corpora and policies that other packages offer as entry points, and policies in files."""

from __future__ import annotations

import textwrap

import pytest
from helpers.made_ratings import sixty

from hf_ambiser import available_corpora, available_policies, build, build_from_ratings, get_policy, read_dataset_info
from hf_ambiser.cli import main
from hf_ambiser.data.corpora import load_corpus
from hf_ambiser.data.policy_file import policy_of
from hf_ambiser.data.ratings.own_corpus import read_own_corpus
from hf_ambiser.files.read import FileError


CORPUS = """
from pathlib import Path
from hf_ambiser.data.schema import CorpusScan, Rating, Utterance

NAME, POLICY, GROUP, LICENSE = "theirs", "their-two", "speaker", "CC0"
TERMS, REDISTRIBUTABLE, SPEECH = "nothing", True, "tones of three makers"
LANGUAGE, HOMEPAGE, CITATION = "en", "https://example.org", "@misc{x}"


def scan(root: Path) -> CorpusScan:
    found = [
        Utterance(path.stem, f"s{i % 6}", "", NAME, [Rating(None, ("up" if i % 2 else "down",))], path)
        for i, path in enumerate(sorted(root.glob("*.wav")))
    ]
    return CorpusScan(NAME, found, [], [], len(found))
"""
FIELDS = {"classes": ("up", "down"), "class_map": {"up": "up", "down": "down"}}
POLICIES = f"""
from hf_ambiser import LabelPolicy
TWO = {FIELDS!r}
OTHER = LabelPolicy(name="another-name", **TWO)
NO = 3
WRONG = {{"classes": ("up", "down"), "colour": 1}}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on the path of Python, as an installer leaves it: install(name, files, entry points)."""

    def call(name: str, files: dict[str, str], **groups: dict[str, str]) -> None:
        place = tmp_path / f"site of {name}"
        info = place / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [
            f"[hf_ambiser.{group}]\n" + "\n".join(f"{key} = {value}" for key, value in points.items())
            for group, points in groups.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for file, text in files.items():
            (place / file).write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(place))

    return call


def test_a_corpus_and_a_policy_of_another_package(install, tmp_path, capsys):
    own = available_corpora(), available_policies()
    install(
        "theirs-pack",
        {"their_corpus.py": CORPUS, "their_policies.py": POLICIES},
        corpora={"theirs": "their_corpus"},
        policies={"their-two": "their_policies:TWO"},
    )
    assert available_corpora() == sorted([*own[0], "theirs"]) and available_policies() == sorted(
        [*own[1], "their-two"]
    )
    assert get_policy("their-two", rule="majority").classes == ("up", "down")
    audio = sixty(tmp_path)[1]
    report = build("theirs", audio, tmp_path / "a", configs=["slc-strict"], progress=False)
    assert report.content["counts"]["kept"] == 60 and report.content["policy"]["name"] == "their-two"
    words = ["build", "theirs", "--root", str(audio), "--out", str(tmp_path / "b"), "--configs", "slc-strict"]
    assert main([*words, "--no-progress"]) == 0 and "theirs: policy their-two" in capsys.readouterr().out
    assert read_dataset_info(tmp_path / "b") == report.content
    assert "tones of three makers" in (tmp_path / "b" / "README.md").read_text()


BROKEN = {
    "no-module": (
        "gone_module",
        r"entry point 'no-module' .*package theirs-pack, gone_module\) cannot be loaded: Mod",
    ),
    "no-object": ("their_policies:GONE", "cannot be loaded: AttributeError: .*GONE"),
    "raises": ("raising_module", "cannot be loaded: RuntimeError: two lines. Repair or uninstall"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_entry_point_ends_with_one_line_that_names_it_and_its_package(install, kind, capsys):
    value, fault = BROKEN[kind]
    files = {"their_policies.py": POLICIES, "raising_module.py": "raise RuntimeError('two\\nlines')"}
    install("theirs-pack", files, corpora={kind: value}, policies={kind: value})
    for call in (load_corpus, get_policy):
        with pytest.raises(ValueError, match=fault) as error:
            call(kind)
        assert "\n" not in str(error.value) and "package theirs-pack" in str(error.value)
    assert main(["build", kind, "--root", "x", "--out", "y"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert get_policy("crema-d-4") and load_corpus("crema_d")  # others do not suffer


def test_what_is_offered_and_is_no_corpus_or_policy(install):
    points = {"no": "their_policies:NO", "wrong": "their_policies:WRONG", "misnamed": "their_policies:OTHER"}
    install("theirs-pack", {"their_policies.py": POLICIES}, corpora={"no": "their_policies"}, policies=points)
    faults = {
        "no": "is a int, and must be a LabelPolicy or a mapping of its fields",
        "wrong": r"\(package theirs-pack, their_policies:WRONG\) is no label policy: TypeError: .*colour",
        "misnamed": "is called 'another-name'; a policy has the name of its entry point",
    }
    for name, fault in faults.items():
        with pytest.raises(ValueError, match=fault):
            get_policy(name)
    with pytest.raises(ValueError, match=r"entry point 'no' .*theirs-pack, their_policies\) lacks \['NAME', 'POLICY'"):
        load_corpus("no")


def test_two_packages_with_one_name_are_refused(install):
    files = {"their_policies.py": POLICIES}
    install("one", files, policies={"their-two": "their_policies:TWO", "crema-d-4": "their_policies:TWO"})
    install("two", files, policies={"their-two": "their_policies:TWO"}, corpora={"crema_d": "their_policies"})
    with pytest.raises(
        ValueError, match="'their-two' of hf_ambiser.policies is offered by several packages: two, one"
    ):
        get_policy("their-two")
    with pytest.raises(ValueError, match="offered by several packages: hf_ambiser, one. Uninstall"):
        get_policy("crema-d-4")
    with pytest.raises(ValueError, match="offered by several packages: hf_ambiser, two. Uninstall"):
        load_corpus("crema_d")


# ---- policies in files ---------------------------------------------------------------------------------------------

FILE = "class_map: {anger: hot, happiness: hot, neutral: cold, Sadness: null}\nrule: majority\n"


def test_a_policy_file_for_a_table_and_for_a_corpus(tmp_path, capsys):
    path = tmp_path / "hot_and_cold.yaml"
    path.write_text(FILE)
    policy = policy_of(path)
    assert (policy.name, policy.classes, policy.rule) == ("hot_and_cold", ("hot", "cold"), "majority")
    assert policy_of(str(path), rule="plurality") == policy_of(path).with_(rule="plurality")
    table, audio = sixty(tmp_path)
    report = build_from_ratings(table, audio, tmp_path / "a", policy=path, progress=False)
    assert report.content["policy_fingerprint"] == policy.fingerprint()
    words = ["build", "--ratings", str(table), "--audio", str(audio), "--policy", str(path), "--no-progress"]
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    assert read_dataset_info(tmp_path / "b") == report.content
    assert main([*words, "--out", str(tmp_path / "c"), "--as-found"]) == 2
    assert "--policy hot_and_cold came with --as-found" in capsys.readouterr().err
    with pytest.raises(ValueError, match="came with --classes"):
        read_own_corpus(table, audio, policy=policy, classes={"anger": "a"})
    with pytest.raises(ValueError, match="the class map does not name 1 of the labels"):
        without = {"anger": "hot", "happiness": "hot", "neutral": "cold"}
        read_own_corpus(table, audio, policy=policy.with_(class_map=without))
    assert read_own_corpus(table, audio, policy="crema-d-4").policy == get_policy("crema-d-4")
    with pytest.raises(SystemExit):
        main([*words[:5], "--policy", "crema-d-5", "--preview"])
    assert "'crema-d-5' is neither one of ['crema-d-4'" in capsys.readouterr().err


WRONG = {
    "classes: [a, b]\n": "has no class_map",
    "class_map: {a: x, b: y}\ncolour: red\n": "has the field 'colour', which a label policy does not have",
    "class_map: {a: x, b: y}\nself_reports: 1\n": "has self_reports: 1, and it must be a bool",
    "class_map: {a: x, b: y}\nrule: loudest\n": "is no label policy .*'loudest' is not one of",
    "class_map: {a: x}\n": "at least two different names",
    "class_map: [a, b]\n": "must be a mapping",
    "": "is empty",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_policy_file_is_one_line(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=WRONG[text]) as error:
        policy_of(str(path))
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path))
