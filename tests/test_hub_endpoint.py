"""The loopback Hub, as huggingface_hub and datasets see it, and its planned failures."""

import http.client
import json
import math
import subprocess
import sys
import textwrap
from hashlib import sha1, sha256

import pytest
from helpers.hub_endpoint import HubEndpoint


WEIGHTS = bytes(range(256)) * 8
CARD = "---\nlicense: mit\npipeline_tag: audio-classification\ntags: [ser]\n---\n# A model\n"
CONFIG = '{"a": 1}'
BROKEN_CARD = "---\nlicense: [mit\n---\n# A model\n"


@pytest.fixture
def hub():
    with HubEndpoint() as endpoint:
        yield endpoint


def start(hub, folder, script, **more):
    """A client process that fills `seen`, printed as JSON at its end."""
    common = """
        import json, os, sys
        from huggingface_hub import CommitOperationAdd as Add, CommitOperationDelete as Delete, HfApi
        from huggingface_hub.errors import HfHubHTTPError
        api, seen = HfApi(), {}
        def refused(call, *args, **kwargs):
            try:
                call(*args, **kwargs)
            except Exception as error:
                response = getattr(error, "response", None)
                return [type(error).__name__, getattr(response, "status_code", None), str(error)]
    """
    # Streaming leaves threads of pyarrow behind, which now and then abort the interpreter while it shuts down.
    end = "\nprint(json.dumps(seen, default=str), flush=True)\nos._exit(0)\n"
    code = textwrap.dedent(common) + textwrap.dedent(script) + end
    environment = hub.environment(folder / "home", PYTHONWARNINGS="ignore", **more)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment, cwd=folder, **pipes)


def run(hub, folder, script, **more):
    process = start(hub, folder, script, **more)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def ask(hub, method, path, body=None, token=True, **headers):
    """One request without huggingface_hub: status, headers, body."""
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=20)
    headers |= {"Authorization": f"Bearer {hub.token}"} if token else {}
    connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers)
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


def commit_body(path, content="aGVsbG8=", **header):
    lines = [
        {"key": "header", "value": {"summary": f"add {path}", **header}},
        {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}},
    ]
    return "\n".join(map(json.dumps, lines)).encode()


def test_a_model_goes_up_and_comes_back(hub, tmp_path):
    (tmp_path / "folder" / "figures").mkdir(parents=True)
    (tmp_path / "folder" / "README.md").write_text(CARD)
    (tmp_path / "folder" / "config.json").write_text(CONFIG)
    (tmp_path / "folder" / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "folder" / "figures" / "curve.png").write_bytes(b"\x89PNG\0 pixels")
    script = f"""
        from pathlib import Path
        from huggingface_hub import ModelCard, hf_hub_download, snapshot_download
        folder = Path(sys.argv[1])
        repo, broken = "me/model", {BROKEN_CARD!r}
        seen["user"] = api.whoami()["name"]
        seen["url"] = api.create_repo(repo)
        seen["exists"] = refused(api.create_repo, repo)
        seen["exist_ok"] = api.create_repo(repo, exist_ok=True)

        first = api.create_commit(repo, [Add("a/b.txt", b"one"), Add("w.bin", b"\\0" * 100)], commit_message="first")
        second = api.upload_folder(repo_id=repo, folder_path=folder / "folder", commit_message="second",
                                   delete_patterns=["a/*"])
        seen["same"] = api.upload_folder(repo_id=repo, folder_path=folder / "folder").oid == second.oid
        api.create_tag(repo, tag="v1")
        seen["tag_exists"] = refused(api.create_tag, repo, tag="v1")
        api.create_branch(repo, branch="dev/x", revision="v1")
        third = api.create_commit(repo, [Delete("figures/"), Add("sub/c d.txt", b"three")], commit_message="third",
                                  parent_commit=second.oid)
        seen["conflict"] = refused(api.create_commit, repo, [Add("x", b"x")], commit_message="late",
                                   parent_commit=second.oid)
        seen["no_file"] = refused(api.create_commit, repo, [Delete("nothing.txt")], commit_message="no")
        api.upload_file(path_or_fileobj=b"dev", path_in_repo="dev.txt", repo_id=repo, revision="dev/x")
        seen["oids"] = [commit.oid for commit in (first, second, third)]
        seen["commits"] = [commit.title for commit in api.list_repo_commits(repo)]
        refs = api.list_repo_refs(repo)
        seen["branches"] = sorted(branch.name for branch in refs.branches)
        seen["tags"] = {{tag.name: tag.target_commit for tag in refs.tags}}

        info, old = api.model_info(repo), api.model_info(repo, revision="v1", files_metadata=True)
        seen["info"] = [info.sha, info.pipeline_tag, info.library_name, info.card_data.license, info.tags]
        seen["old"] = [old.sha, {{s.rfilename: [s.blob_id, s.size, s.lfs and s.lfs.sha256] for s in old.siblings}}]
        def tree(**kwargs):
            return [[type(e).__name__, e.path] for e in api.list_repo_tree(repo, **kwargs)]
        seen["top"], seen["all"] = tree(), tree(recursive=True, expand=True, revision=third.oid)
        seen["sub"], seen["no_sub"] = tree(path_in_repo="sub"), refused(tree, path_in_repo="nothing")
        seen["paths"] = [[e.path, getattr(e, "blob_id", None), bool(getattr(e, "lfs", None))]
                         for e in api.get_paths_info(repo, ["config.json", "model.safetensors", "sub", "none"])]
        seen["no_revision"] = refused(api.model_info, repo, revision="v9")

        snapshot = Path(snapshot_download(repo, revision="v1"))
        seen["snapshot"] = {{str(p.relative_to(snapshot)): p.read_bytes().hex() for p in snapshot.rglob("*")
                            if p.is_file()}}
        seen["at_commit"] = Path(hf_hub_download(repo, "w.bin", revision=first.oid)).read_bytes().hex()
        seen["at_tag"] = Path(hf_hub_download(repo, "figures/curve.png", revision="v1")).read_bytes().hex()
        seen["spaces"] = Path(hf_hub_download(repo, "sub/c d.txt")).read_bytes().hex()
        seen["gone"] = refused(hf_hub_download, repo, "figures/curve.png")
        seen["card"] = ModelCard.load(repo).data.license
        seen["valid"] = refused(ModelCard.load(repo).validate)
        seen["invalid"] = refused(api._validate_yaml, broken)
        seen["broken_push"] = refused(api.upload_file, path_or_fileobj=broken.encode(), path_in_repo="README.md",
                                      repo_id=repo)
    """
    seen = run(hub, tmp_path, script)
    first, second, third = seen["oids"]
    curve = b"\x89PNG\0 pixels"
    pushed = {
        "README.md": CARD.encode(),
        "config.json": CONFIG.encode(),
        "model.safetensors": WEIGHTS,
        "figures/curve.png": curve,
    }

    assert seen["user"] == "me" and seen["url"] == seen["exist_ok"] == f"{hub.url}/me/model"
    assert seen["exists"][:2] == ["HfHubHTTPError", 409] and seen["tag_exists"][1] == 409
    assert seen["conflict"][1] == 412 and "A commit has happened since" in seen["conflict"][2]
    assert seen["no_file"][:2] == ["RemoteEntryNotFoundError", 404]

    history = hub.history("me/model")
    assert [commit.message for commit in history] == ["initial commit", "first", "second", "third"]
    assert [commit.oid for commit in history[1:]] == [first, second, third]
    assert seen["commits"] == ["third", "second", "first", "initial commit"]
    assert history[1].files.keys() == {".gitattributes", "a/b.txt", "w.bin"}
    attributes, weights = history[0].files[".gitattributes"], {"w.bin": b"\0" * 100}
    assert history[2].files == {".gitattributes": attributes, **weights, **pushed}
    assert hub.files("me/model") == history[3].files and "figures/curve.png" not in history[3].files
    assert hub.files("me/model", revision="v1") == history[2].files
    assert hub.files("me/model", revision="dev/x") == {**history[2].files, "dev.txt": b"dev"}
    assert hub.tags("me/model") == seen["tags"] == {"v1": second}
    assert seen["branches"] == ["dev/x", "main"] and seen["same"] is True

    assert seen["info"] == [third, "audio-classification", "transformers", "mit", ["ser"]]
    sha, files = seen["old"]
    config = sha1(b"blob 8\0" + CONFIG.encode()).hexdigest()  # as `git hash-object` has it
    assert sha == second and files["config.json"] == [config, 8, None]
    assert files["model.safetensors"][1:] == [len(WEIGHTS), sha256(WEIGHTS).hexdigest()]
    assert files["figures/curve.png"][2] == sha256(curve).hexdigest()  # not text: by LFS, though no pattern names it
    assert ["RepoFolder", "sub"] in seen["top"] and ["RepoFile", "sub/c d.txt"] not in seen["top"]
    assert ["RepoFolder", "sub"] in seen["all"] and ["RepoFile", "sub/c d.txt"] in seen["all"]
    assert seen["sub"] == [["RepoFile", "sub/c d.txt"]] and seen["no_sub"][:2] == ["RemoteEntryNotFoundError", 404]
    assert [entry[0] for entry in seen["paths"]] == ["config.json", "model.safetensors", "sub"]
    assert seen["paths"][0][1:] == [config, False] and seen["paths"][1][2] is True
    assert seen["no_revision"][0] == "RevisionNotFoundError"

    assert {name: bytes.fromhex(text) for name, text in seen["snapshot"].items()} == history[2].files
    assert seen["at_commit"] == (b"\0" * 100).hex() and seen["at_tag"] == curve.hex()
    assert seen["spaces"] == b"three".hex() and seen["gone"][0] == "RemoteEntryNotFoundError"
    assert seen["card"] == "mit" and seen["valid"] is None
    assert seen["invalid"][0] == seen["broken_push"][0] == "ValueError" and "Invalid metadata" in seen["invalid"][2]
    assert hub.unknown == []


def test_who_may_read_and_write(hub, tmp_path):
    hub.store.create("them/public")
    hub.store.create("them/private", private=True)
    script = """
        add = [Add("x.txt", b"x")]
        def push(api, repo):
            return refused(api.create_commit, repo, add, commit_message="x")
        api.create_repo("me/secret", private=True, repo_type="dataset")
        nobody, wrong = HfApi(token=False), HfApi(token="hf_wrong")
        seen["secret"] = api.dataset_info("me/secret").private
        seen["nobody_secret"] = refused(nobody.dataset_info, "me/secret")
        seen["nobody_creates"] = refused(nobody.create_repo, "me/other")
        seen["nobody_pushes"] = push(nobody, "them/public")
        seen["nobody_reads"] = nobody.model_info("them/public").id
        seen["wrong_reads"] = refused(wrong.model_info, "them/public")
        seen["wrong_is"] = refused(wrong.whoami)
        seen["them_creates"] = refused(api.create_repo, "them/new")
        seen["them_pushes"] = push(api, "them/public")
        seen["them_private"] = refused(api.model_info, "them/private")
        seen["missing"] = refused(api.model_info, "me/nothing"), refused(api.model_info, "nothing")
    """
    seen = run(hub, tmp_path, script)
    assert seen["secret"] is True and seen["nobody_reads"] == "them/public"
    assert seen["nobody_secret"][:2] == ["RepositoryNotFoundError", 401]
    assert seen["nobody_creates"][:2] == ["HfHubHTTPError", 401]
    assert seen["nobody_pushes"][1] == seen["wrong_reads"][1] == seen["wrong_is"][1] == 401
    assert "Invalid credentials" in seen["wrong_reads"][2]
    assert (
        seen["them_creates"][1] == seen["them_pushes"][1] == 403 and "under the namespace" in seen["them_creates"][2]
    )
    assert seen["them_private"][:2] == ["RepositoryNotFoundError", 404]
    assert [answer[:2] for answer in seen["missing"]] == [["RepositoryNotFoundError", 404]] * 2
    assert len(hub.history("them/public")) == 1 and hub.unknown == []


def test_environment_of_a_client(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    given, without = hub.environment(tmp_path), hub.environment(tmp_path, token=None, PATH=None, MORE="1")
    assert given["HF_TOKEN"] == hub.token and given["HF_ENDPOINT"] == hub.url and given["HF_HOME"] == str(tmp_path)
    assert not {"HF_HUB_OFFLINE", "HF_HUB_CACHE"} & set(given)
    assert not {"HF_TOKEN", "PATH"} & set(without) and without["MORE"] == "1"


def test_blobs_are_checked_and_commits_are_whole(hub):
    repo = hub.store.create("me/model")
    oid = sha256(WEIGHTS).hexdigest()
    wanted = {"oid": oid, "size": len(WEIGHTS)}
    _, _, answer = ask(hub, "POST", "/me/model.git/info/lfs/objects/batch", {"objects": [wanted]})
    actions = json.loads(answer)["objects"][0]["actions"]
    link, verify = (actions[name]["href"].removeprefix(hub.url) for name in ("upload", "verify"))
    header = {"key": "header", "value": {"summary": "weights"}}
    lines = [
        {"key": "file", "value": {"path": "a", "content": "YQ==", "encoding": "base64"}},
        {"key": "lfsFile", "value": {"path": "w", "algo": "sha256", **wanted}},
    ]
    body = "\n".join(map(json.dumps, [header, *lines])).encode()

    assert ask(hub, "PUT", link, WEIGHTS[:-1] + b"?", token=False)[0] == 400
    assert ask(hub, "PUT", link.split("&signature")[0], WEIGHTS, token=False)[0] == 403
    assert ask(hub, "POST", verify, wanted)[0] == 404
    status, headers, _ = ask(hub, "POST", "/api/models/me/model/commit/main", body)
    assert status == 400 and "does not exist" in headers["X-Error-Message"]
    assert hub.files("me/model").keys() == {".gitattributes"} and repo.blobs == {}  # not even the first file

    assert ask(hub, "PUT", link, WEIGHTS, token=False)[0] == ask(hub, "POST", verify, wanted)[0] == 200
    again = ask(hub, "POST", "/me/model.git/info/lfs/objects/batch", {"objects": [wanted]})
    assert "actions" not in json.loads(again[2])["objects"][0]
    assert ask(hub, "POST", "/api/models/me/model/commit/main", body)[0] == 200
    assert hub.files("me/model").items() >= {"a": b"a", "w": WEIGHTS}.items()
    broken = {"key": "file", "value": {"path": "README.md", "content": "LS0tCmE6IFtiCi0tLQo=", "encoding": "base64"}}
    broken_body = "\n".join(map(json.dumps, [header, broken])).encode()
    assert ask(hub, "POST", "/api/models/me/model/commit/main", broken_body)[0] == 400
    assert ask(hub, "POST", "/api/models/me/model/commit/main", commit_body("../x"))[0] == 400
    assert len(hub.history("me/model")) == 2


def test_parts_of_a_file(hub):
    repo = hub.store.create("me/model")
    ask(hub, "POST", "/api/models/me/model/commit/main", commit_body("hello.txt"))
    path, oid = "/me/model/resolve/main/hello.txt", repo.branches["main"][-1].oid
    for wanted, status, body, span in [
        ("bytes=1-3", 206, b"ell", "bytes 1-3/5"),
        ("bytes=3-", 206, b"lo", "bytes 3-4/5"),
        ("bytes=-2", 206, b"lo", "bytes 3-4/5"),
        ("bytes=0-99", 206, b"hello", "bytes 0-4/5"),
        ("bytes=5-", 416, None, "bytes */5"),
    ]:
        got = ask(hub, "GET", path, Range=wanted)
        assert got[0] == status and got[1]["Content-Range"] == span and (body is None or got[2] == body)
    status, headers, body = ask(hub, "HEAD", path)
    assert (status, headers["Content-Length"], body) == (200, "5", b"") and headers["X-Repo-Commit"] == oid
    assert headers["ETag"] == f'"{sha1(b"blob 5" + bytes(1) + b"hello").hexdigest()}"'
    status, headers, body = ask(hub, "HEAD", path + "2")
    assert (status, headers["X-Error-Code"], headers["X-Repo-Commit"], body) == (404, "EntryNotFound", oid, b"")


def test_what_it_does_not_know(hub):
    assert ask(hub, "GET", "/api/spaces/me/x?q=1")[0] == 404
    assert ask(hub, "GET", "/api/models/me/x/xet-write-token/main")[0] == 404
    assert hub.unknown == [("GET", "/api/spaces/me/x")]
    assert hub.requests == [*hub.unknown, ("GET", "/api/models/me/x/xet-write-token/main")]


@pytest.mark.parametrize("how", [500, 502, 503, 429, "drop", "drop_after", "kill", "kill_after"])
def test_planned_failures(hub, how):
    hub.store.create("me/model")
    killed = []
    hub.on_kill = lambda: killed.append(len(hub.history("me/model")))
    hub.fail(at=1, how=how)

    def push(name):
        return ask(hub, "POST", "/api/models/me/model/commit/main", commit_body(name))

    assert push("a")[0] == 200
    if isinstance(how, int):
        status, headers, _ = push("b")
        assert status == how and headers["Retry-After"] == ("0" if how == 429 else None)
    else:
        with pytest.raises(http.client.RemoteDisconnected):
            push("b")
    carried_out = str(how).endswith("_after")
    assert ("b" in hub.files("me/model")) is carried_out
    assert killed == ([] if "kill" not in str(how) else [3 if carried_out else 2])
    assert push("c")[0] == 200 and len(hub.requests) == 3
    assert hub.failed == [("POST", "/api/models/me/model/commit/main", how)]


def test_failures_by_condition(hub):
    hub.fail(when=lambda method, path: method == "HEAD", how=500, at=1, times=2)
    answers = [ask(hub, method, "/api/whoami-v2")[0] for method in ("HEAD", "GET", "HEAD", "HEAD", "GET", "HEAD")]
    assert answers == [404, 200, 500, 500, 200, 404]
    hub.fail(how=503, times=math.inf)
    assert [ask(hub, "GET", "/api/whoami-v2")[0] for _ in range(3)] == [503] * 3
    hub.reset_log()
    assert ask(hub, "GET", "/api/whoami-v2")[0] == 200 and hub.requests == [("GET", "/api/whoami-v2")]
    with pytest.raises(ValueError, match="how='explode'"):
        hub.fail(how="explode")


def test_a_client_killed_at_its_commit_and_one_that_tries_again(hub, tmp_path):
    hub.store.create("me/model")
    script = """
        api.create_commit("me/model", [Add("a.txt", b"a"), Add("w.bin", b"w" * 9)], commit_message="push")
    """
    hub.fail(when=lambda method, path: "/commit/" in path, how="kill_after")
    process = start(hub, tmp_path, script)
    hub.on_kill = process.kill
    process.communicate(timeout=120)
    assert process.returncode == -9 and hub.files("me/model").keys() == {".gitattributes", "a.txt", "w.bin"}

    hub.reset_log()
    hub.store.create("me/second")
    hub.fail(when=lambda method, path: method == "PUT", how="drop")
    run(hub, tmp_path, script.replace("me/model", "me/second"))
    assert [how for *_, how in hub.failed] == ["drop"] and len([m for m, _ in hub.requests if m == "PUT"]) == 2
    assert hub.files("me/second")["w.bin"] == b"w" * 9


def test_a_fault_of_the_endpoint_is_not_hidden():
    with pytest.raises(RuntimeError, match="on_kill"), HubEndpoint() as hub:
        hub.fail(how="kill")
        try:
            ask(hub, "GET", "/api/whoami-v2")
        except http.client.RemoteDisconnected:
            pass


def test_a_data_set_goes_up_and_comes_back_and_streams(hub, tmp_path):
    script = """
        from datasets import ClassLabel, Dataset, Features, List, Value, load_dataset
        features = Features({"votes": List(Value("float32"), length=2), "label": ClassLabel(names=["sad", "glad"])})
        data = Dataset.from_dict({"votes": [[1, 0], [0, 2]], "label": [0, 1]}, features=features)
        data.to_parquet("ds/fold1/train-00000-of-00001.parquet")
        with open("ds/README.md", "w") as file:
            file.write("---\\nconfigs:\\n- config_name: fold1\\n  data_files: fold1/train-*.parquet\\n---\\n")
        api.create_repo("me/ds", repo_type="dataset", private=True)
        api.upload_folder(repo_id="me/ds", repo_type="dataset", folder_path="ds")
        back = load_dataset("me/ds", "fold1", split="train")
        seen["same"] = back.features == features and back.to_list() == data.to_list()
        seen["stream"] = list(load_dataset("me/ds", "fold1", split="train", streaming=True))
    """
    seen = run(hub, tmp_path, script)
    assert seen["same"] is True
    assert seen["stream"] == [{"votes": [1.0, 0.0], "label": 0}, {"votes": [0.0, 2.0], "label": 1}]
    assert "fold1/train-00000-of-00001.parquet" in hub.files("me/ds", "dataset") and hub.unknown == []
