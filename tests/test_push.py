"""A push that is cut off at any request: what anybody could have seen, and what the same command then does."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.hub_client import HubClient
from helpers.hub_endpoint import HubEndpoint
from helpers.made_run import built, fields

from hf_ambiser.cards import read_facts
from hf_ambiser.cli import main
from hf_ambiser.hub.push import PushError, check_repo_id
from hf_ambiser.methods import load_method
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.push import publication, push_run
from hf_ambiser.runs.run import run


torch.set_num_threads(1)
GIT = ".gitattributes"  # the Hub's own first commit


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    run(RunArguments.from_mapping(fields(built(folder), folder / "run", num_train_epochs=2)))
    return folder / "run"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubEndpoint]:
    with HubEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def client(hub, finished, tmp_path_factory) -> Iterator[HubClient]:
    with HubClient(hub, tmp_path_factory.mktemp("home"), finished) as client:
        yield client


@pytest.fixture(scope="module")
def requests(client, hub, finished) -> list[tuple[str, str]]:
    """What an undisturbed push asks for, in order."""
    hub.reset_log()
    assert client.push("me/whole") == 0
    return list(hub.requests)


@pytest.fixture(scope="module")
def expected(finished) -> dict[str, bytes]:
    """What is to be published, the card apart."""
    files = publication(read_facts(finished)).files
    return {name: v if isinstance(v, bytes) else v.read_bytes() for name, v in files.items()}


def assert_whole_at_every_moment(hub: HubEndpoint, repo: str, expected: dict[str, bytes]) -> None:
    """Whoever looked, whenever, saw nothing or everything."""
    first, *later = hub.history(repo, "model")
    assert set(first.files) <= {GIT}
    for commit in later:
        files = {name: content for name, content in commit.files.items() if name not in (GIT, "README.md")}
        assert files == expected and b"hf_ambiser:card" in commit.files["README.md"]


def test_an_undisturbed_push_is_one_commit_with_everything_and_a_tag_that_its_card_pins(
    requests, hub, finished, expected
):
    assert_whole_at_every_moment(hub, "me/whole", expected)
    assert len(hub.history("me/whole", "model")) == 2
    files = hub.files("me/whole")
    (tag, commit), *others = hub.tags("me/whole").items()
    assert commit == hub.history("me/whole", "model")[-1].oid and not others
    assert tag == publication(read_facts(finished)).revision()
    card = files["README.md"].decode()
    assert f'"me/whole", revision="{tag}", trust_remote_code=True' in card
    assert all(f"({name})" in card for name in files if name.startswith("figures/"))
    assert {Path(name).suffix for name in files} <= {".safetensors", ".json", ".py", ".md", ".yaml", ".png", ""}
    published = b"\n".join(files.values())
    assert str(finished).encode() not in published and b"training_args" not in b"\n".join(n.encode() for n in files)
    assert not hub.unknown


def test_a_base_is_refused_where_there_is_no_adapter(finished):
    with pytest.raises(ValueError, match="base='x/y' is of a LoRA run, and .* has a whole model"):
        push_run(finished, "me/x", base="x/y")


def test_the_same_push_again_changes_nothing(client, requests, hub):
    before = [commit.oid for commit in hub.history("me/whole", "model")]
    hub.reset_log()
    assert client.push("me/whole") == 0
    assert [commit.oid for commit in hub.history("me/whole", "model")] == before
    assert not [path for _, path in hub.requests if "/commit/" in path or "lfs" in path]


@pytest.mark.parametrize("how", [503, "drop_after", *(pytest.param(h, marks=pytest.mark.slow) for h in (429, "drop"))])
def test_a_failure_at_any_request_is_survived_by_the_push_itself(client, requests, hub, expected, how):
    for at, request in enumerate(requests):
        repo = f"me/passing-{how}-{at}"
        hub.reset_log()
        hub.fail(at=at, how=how)
        assert client.push(repo) == 0, (request, how)
        assert hub.failed, f"request {at} was never made"
        assert_whole_at_every_moment(hub, repo, expected)
        assert len(hub.history(repo, "model")) == 2, f"a second commit after {how} at {request}"
        assert list(hub.tags(repo).values()) == [hub.history(repo, "model")[-1].oid]


@pytest.mark.parametrize("how", ["kill", pytest.param("kill_after", marks=pytest.mark.slow)])
def test_killed_at_any_request_the_same_push_again_finishes(client, requests, hub, expected, how):
    for at, request in enumerate(requests):
        repo = f"me/killed-{how}-{at}"
        hub.reset_log()
        hub.fail(at=at, how=how)
        assert client.push(repo) == -signal.SIGKILL, (request, how)
        if at or how == "kill_after":
            assert_whole_at_every_moment(hub, repo, expected)
        assert client.push(repo) == 0, (request, how)
        assert_whole_at_every_moment(hub, repo, expected)
        assert len(hub.history(repo, "model")) == 2
        assert list(hub.tags(repo).values()) == [hub.history(repo, "model")[-1].oid]


def one_line(capsys) -> str:
    """The one line on standard error."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_what_the_hub_refuses_is_one_line(client, finished, hub):
    hub.reset_log()
    hub.store.create("me/public", private=False)
    hub.fail(when=lambda method, path: "/never/" in path and "/commit/" in path, how=503, times=100)
    push = ["hf-ambiser", "push", str(finished)]
    answers = client.commands(
        [*push, "me/public", "--private"],
        [*push, "them/not-mine"],
        [*push, "me/never"],
        [*push, "me/wrong-token", {"HF_TOKEN": "hf_wrongwrongwrongwrong"}],
    )
    hub.reset_log()
    assert [status for status, _, _ in answers] == [2] * 4
    lines = [err.strip().splitlines()[-1] for _, _, err in answers]
    assert "me/public exists and is public" in lines[0] and set(hub.files("me/public")) <= {GIT}
    assert "them/not-mine cannot be written to" in lines[1] and "403" in lines[1]
    assert re.fullmatch(r"hf-ambiser: uploading failed 6 times .* Run the same command again to go on\.", lines[2])
    assert len(hub.history("me/never", "model")) == 1
    assert "refuses the token" in lines[3] and "HF_TOKEN" in lines[3]
    for (status, _, err), most in zip(answers, (1, 1, 7, 1), strict=True):
        assert len(err.strip().splitlines()) <= most, (status, err)


@pytest.mark.parametrize("repo", ["ipr", "a/b/c", "me/", "/x", "me/two words", "me/--", "me/" + "x" * 97, ""])
def test_a_wrong_repository_name_is_refused_before_anything_is_asked(finished, capsys, repo):
    assert main(["push", str(finished), repo]) == 2
    assert f"{repo!r} must be <account>/<name>" in one_line(capsys)


def test_a_right_repository_name_passes():
    check_repo_id("anna-1/ipr_crema.d")
    with pytest.raises(PushError, match="the account is missing"):
        check_repo_id("ipr")


def test_offline_and_without_a_token_it_says_so(finished, capsys, monkeypatch):
    from huggingface_hub import constants

    assert main(["push", str(finished), "me/x"]) == 2
    assert "HF_HUB_OFFLINE is set" in one_line(capsys)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert main(["push", str(finished), "me/x"]) == 2
    assert "there is no token of the Hub" in one_line(capsys)


def test_a_dry_run_needs_neither_token_nor_network_and_lists_every_file(finished, expected, capsys):
    assert main(["push", str(finished), "me/x", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name}\n" in said for name in [*expected, "README.md"])
    assert "Nothing was sent" in said


def test_a_run_that_never_finished_is_refused(finished, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "arguments.yaml").write_text("method: ipr\n")
    assert main(["push", str(tmp_path / "run"), "me/x"]) == 2
    assert "is not finished" in one_line(capsys)
    assert main(["push", str(tmp_path / "nothing"), "me/x"]) == 2
    assert "does not exist" in one_line(capsys)


def test_the_trainers_own_push_is_refused(tmp_path):
    from helpers.made_data import evaluation_set, extractor, tiny_model, training_set

    trainer_class, model = load_method("hard_vote"), tiny_model()

    def trainer(**changes):
        args = trainer_class.arguments_class(output_dir=str(tmp_path), use_cpu=True, **changes)
        data = training_set(trainer_class), evaluation_set()
        return trainer_class(model, args, *data, feature_extractor=extractor(model))

    with pytest.raises(ValueError, match="hf-ambiser push RUN"):
        trainer(push_to_hub=True, hub_model_id="me/x")
    with pytest.raises(ValueError, match="hf-ambiser push RUN"):
        trainer().push_to_hub()


def test_somebody_elses_model_is_not_written_over(client, finished, hub):
    hub.reset_log()
    hub.store.create("me/taken").put({"README.md": b"# Mine\n", "model.safetensors": b"weights", "notes.txt": b"x"})
    hub.store.create("me/announced").put({"README.md": b"# Coming soon\n"})
    push = ["hf-ambiser", "push", str(finished)]
    answers = client.commands([*push, "me/taken"], [*push, "me/announced"])
    assert [status for status, _, _ in answers] == [2, 0]
    assert "holds files that hf_ambiser did not put there (model.safetensors" in answers[0][2]
    assert hub.files("me/taken")["model.safetensors"] == b"weights"
    # A text that somebody wrote on the Hub beforehand stays.
    card = hub.files("me/announced")["README.md"].decode()
    assert "# Coming soon" in card and "## Limits and risks" in card


def test_a_card_edited_on_the_hub_stays_and_edits_on_both_sides_are_asked_about(client, finished, hub, tmp_path):
    import shutil

    hub.reset_log()
    here = tmp_path / "run"
    shutil.copytree(finished, here)
    push = ["hf-ambiser", "push", str(here), "me/edited"]

    def card() -> str:
        return hub.files("me/edited")["README.md"].decode()

    assert [status for status, _, _ in client.commands(push)] == [0]
    files = hub.files("me/edited")
    there = card().replace("license: unknown", "license: mit").replace("## Results", "## Results, by Bo")
    files["README.md"] = there.encode()
    hub.store.get("me/edited").put(files)
    (status, out, _), *_ = client.commands(push)
    assert status == 0 and card() == there and "header: license" in out
    path = here / "model" / "README.md"
    path.write_text(path.read_text().replace("## Data", "## Data, by Anna"))
    answers = client.commands(push, [*push, "--card", "hub"])
    assert [status for status, _, _ in answers] == [2, 0]
    assert "section data" in answers[0][2] and "section results" in answers[0][2] and "--card local" in answers[0][2]
    assert "by Bo" in card() and "by Anna" not in card()
    assert [status for status, _, _ in client.commands([*push, "--card", "local"])] == [0]
    assert "by Anna" in card() and "by Bo" not in card() and "license: unknown" in card()


def test_what_an_earlier_push_left_is_deleted_and_what_others_put_there_stays(client, finished, hub, tmp_path):
    import shutil

    hub.reset_log()
    here = tmp_path / "run"
    shutil.copytree(finished, here)
    push = ["hf-ambiser", "push", str(here), "me/renewed"]
    assert [status for status, _, _ in client.commands(push)] == [0]
    files = hub.files("me/renewed")
    hub.store.get("me/renewed").put(
        {**files, "figures/old.png": b"x", "model-00001-of-00002.safetensors": b"x", "notes.txt": b"n"}
    )
    results = json.loads((here / "results.json").read_text())
    (here / "results.json").write_text(json.dumps({**results, "parameters": 1}))
    assert [status for status, _, _ in client.commands(push)] == [0]
    after = hub.files("me/renewed")
    assert set(after) == {*files, "notes.txt"} and json.loads(after["results.json"])["parameters"] == 1
    assert len(hub.tags("me/renewed")) == 2  # the former content can still be asked for


def test_a_corpus_that_may_not_be_passed_on_goes_into_no_public_repository(finished, tmp_path, capsys):
    import shutil

    folder = tmp_path / "dataset"
    shutil.copytree(finished.parent / "dataset", folder)
    report = json.loads((folder / "build_report.json").read_text())
    (folder / "build_report.json").write_text(json.dumps({**report, "corpus": "iemocap"}))
    assert main(["push", str(folder), "me/iemocap", "--dry-run"]) == 2
    said = one_line(capsys)
    assert "me/iemocap would be public" in said and "release form" in said and "--private" in said
    assert main(["push", str(folder), "me/iemocap", "--dry-run", "--private"]) == 0
    capsys.readouterr()
    (folder / "build_report.json").write_text(json.dumps({**report, "corpus": "unheard_of"}))
    assert main(["push", str(folder), "me/x", "--dry-run", "--private"]) == 2
    assert "whose licence this package does not know" in one_line(capsys)
