"""A Hub on loopback that tests start, that keeps every commit, and that fails at whichever request it is told to.

    with HubEndpoint() as hub:
        hub.fail(at=3, how="drop")
        subprocess.run([...], env=hub.environment(tmp_path))
        assert [commit.message for commit in hub.history("me/model")] == ["initial commit", "Upload"]

Models and datasets; uploads by LFS (clients need HF_HUB_DISABLE_XET=1, as in `environment`). Status codes, error
headers and answers are the Hub's, as huggingface_hub reads them. Not here: xet, pull requests, pages of listings, the
redirect of LFS files to another host, `.gitignore`. What else it is asked it answers with 404 and lists in `unknown`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from helpers.hub_store import Commit, Refused, Repo, Store, check_card


When = Callable[[str, str], bool]
How = int | str  # a status code or one of:
DROPS = ("drop", "drop_after", "kill", "kill_after")

_REPO, _REVISION = r"(?P<repo>[^/]+(?:/[^/]+)?)", r"(?P<revision>[^/]+)"
_API, _SITE = rf"/api/(?P<kind>models|datasets)/{_REPO}", rf"/(?:(?P<kind>datasets)/)?{_REPO}"
_ROUTES: list[tuple[str, re.Pattern, Callable[[Call], Reply]]] = []


def _route(methods: str, pattern: str) -> Callable:
    def add(answer: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
        _ROUTES.append((methods, re.compile(pattern), answer))
        return answer

    return add


@dataclass
class _Failure:
    when: When
    skip: int
    times: float
    how: How


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def _json(value: object, status: int = 200, **headers: str) -> Reply:
    headers["Content-Type"] = "application/json; charset=utf-8"
    return Reply(json.dumps(value, default=str).encode(), status, headers)


def _no_kill() -> None:
    raise RuntimeError("A request was to kill the client, but the test did not set hub.on_kill.")


class HubEndpoint:
    """A Hub for one user, who may write under `namespaces`; the first is the user's own name.

    Args:
        token: The one token that is valid.
        namespaces: The user's name and the organisations the user may write to.

    Attributes:
        requests: (method, path without query) of everything received, in order; `reset_log` empties it.
        unknown: Those of them that this endpoint does not know.
        failed: (method, path, how) of every failure that was carried out.
        on_kill: What "kill" and "kill_after" call, such as the client process's `kill`.
        store: The repositories, for a test that wants one without asking by HTTP.
    """

    def __init__(self, token: str = "hf_loopbackTokenOfTheTestsNotARealOne", namespaces: tuple[str, ...] = ("me",)):
        self.token, self.namespaces = token, tuple(namespaces)
        self.store = Store(self.namespaces)
        self.requests: list[tuple[str, str]] = []
        self.unknown: list[tuple[str, str]] = []
        self.failed: list[tuple[str, str, How]] = []
        self.on_kill: Callable[[], object] = _no_kill
        self.signature = secrets.token_hex(8)  # of upload links, which carry no token, as with S3
        self.crashes: list[BaseException] = []
        self._failures: list[_Failure] = []
        self._log_lock, self._store_lock = threading.Lock(), threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubEndpoint:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        if self.crashes and kind is None:
            raise self.crashes[0]  # a fault of this file must not look like one of the network

    def environment(self, home: Path, **more: str | None) -> dict[str, str]:
        """The environment of a client process with nothing cached. `token=None` and any other None: left out."""
        ours = ("HF_", "HUGGING", "TRANSFORMERS_")
        outer = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        own = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": more.pop("token", self.token),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",  # sent by a thread whenever it likes: requests could not be counted
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets tells another host
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return {name: value for name, value in {**outer, **own, **more}.items() if value is not None}

    def fail(self, *, how: How, at: int = 0, when: When = lambda method, path: True, times: float = 1) -> None:
        """Plan a failure of the next `times` requests for which `when(method, path)` holds, after `at` such requests.

        Args:
            how: A status code (429 comes with `Retry-After: 0`); "drop": the connection is closed and nothing is done;
                "drop_after": the request is carried out, then the connection is closed without an answer; "kill" and
                "kill_after": likewise, calling `on_kill` before closing.
            at: How many matching requests go well first.
            when: Which requests count; every one by default.
            times: How many fail in a row; `math.inf` for all.
        """
        if how not in DROPS and not (isinstance(how, int) and 400 <= how < 600):
            raise ValueError(f"how={how!r} is not a way to fail: use a status code from 400 to 599 or one of {DROPS}.")
        with self._log_lock:
            self._failures.append(_Failure(when, at, times, how))

    def reset_log(self) -> None:
        """Forget what was received and every failure still planned."""
        with self._log_lock:
            for log in (self.requests, self.unknown, self.failed, self._failures):
                log.clear()

    def history(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> list[Commit]:
        """Every commit of a branch, newest last; the first is the Hub's own, with `.gitattributes` alone."""
        with self._store_lock:
            return list(self.store.get(repo_id, repo_type).branches[revision])

    def files(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> dict[str, bytes]:
        with self._store_lock:
            return self.store.get(repo_id, repo_type).commit_at(revision).files

    def tags(self, repo_id: str, repo_type: str = "model") -> dict[str, str]:
        """Commit id by tag."""
        with self._store_lock:
            return dict(self.store.get(repo_id, repo_type).tags)

    def _receive(self, method: str, path: str) -> How | None:
        """Log a request; how it has to fail, if it has to."""
        with self._log_lock:
            self.requests.append((method, path))
            due = None
            for failure in [f for f in self._failures if f.when(method, path)]:
                if failure.skip > 0:
                    failure.skip -= 1
                elif due is None:
                    due, failure.times = failure.how, failure.times - 1
            self._failures = [f for f in self._failures if f.times > 0]
            if due is not None:
                self.failed.append((method, path, due))
            return due

    def _carry_out(self, call: Call) -> Reply:
        try:
            for methods, pattern, answer in _ROUTES:
                match = pattern.fullmatch(call.path) if call.method in methods.split() else None
                if match:
                    call.parts = {name: unquote(value) for name, value in match.groupdict().items() if value}
                    with self._store_lock:
                        call.check_token()
                        return answer(call)
            self.unknown.append((call.method, call.path))
            raise Refused(404, "Sorry, we can't find the page you are looking for.")
        except Refused as error:
            return _json({"error": error.message}, error.status, **error.headers)


class _Server(ThreadingHTTPServer):
    hub: HubEndpoint
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):  # a killed client's connection breaks
            self.hub.crashes.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for the acknowledgement of its header
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # the client died while sending it
            self.close_connection = True
            return
        how = hub._receive(self.command, url.path)
        reply = Reply()
        if how in (None, "drop_after", "kill_after"):
            reply = hub._carry_out(Call(hub, self.command, url.path, parse_qs(url.query), self.headers, body))
        if how in ("kill", "kill_after"):
            hub.on_kill()
        if isinstance(how, int):
            reply = _json({"error": f"planned failure {how}"}, how, **({"Retry-After": "0"} if how == 429 else {}))
        if how in DROPS:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer


@dataclass
class Call:
    """One request that is to be carried out, what its path says, and the answers to all that a client may ask."""

    hub: HubEndpoint
    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def signed_in(self) -> bool:
        return "Authorization" in self.headers

    def check_token(self) -> None:
        if self.signed_in and self.headers["Authorization"] != f"Bearer {self.hub.token}":
            raise Refused(401, "Invalid credentials in Authorization header")

    @property
    def kind(self) -> str:
        return self.parts.get("kind", "models").removesuffix("s")

    def asks(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("true", "1")

    def json(self) -> dict:
        return json.loads(self.body or b"{}")

    def readable(self) -> Repo:
        return self.hub.store.readable(self.parts["repo"], self.kind, self.signed_in)

    def writable(self) -> Repo:
        return self.hub.store.writable(self.parts["repo"], self.kind, self.signed_in)

    def commit(self) -> Commit:
        return self.readable().commit_at(self.parts.get("revision", "main"))

    def address(self, repo: Repo) -> str:
        return f"{self.hub.url}/{'datasets/' if repo.kind == 'dataset' else ''}{repo.id}"

    @_route("GET", "/api/whoami-v2")
    def answer_who_am_i(self) -> Reply:
        if not self.signed_in:
            raise Refused(401, "Invalid username or password.")
        return _json(self.hub.store.who_am_i())

    @_route("GET", "/api/agent-harnesses")
    def answer_agents(self) -> Reply:
        raise Refused(404, "Not found")  # asked by clients that send telemetry; if answered, but once a day

    @_route("POST", "/api/validate-yaml")
    def answer_validate_yaml(self) -> Reply:
        errors, header = check_card(self.json()["content"])
        warnings = [] if header or errors else [{"message": "empty or missing yaml metadata in repo card"}]
        answer = {"errors": [{"message": message} for message in errors], "warnings": warnings}
        return _json(answer, 400 if errors else 200)

    @_route("POST", "/api/repos/create")
    def answer_create(self) -> Reply:
        repo, new = self.hub.store.request(self.json(), self.signed_in)
        answer = {"url": self.address(repo), "name": repo.id}
        return _json(answer if new else {"error": "You already created this repo", **answer}, 200 if new else 409)

    @_route("GET", rf"{_API}(?:/revision/{_REVISION})?")
    def answer_info(self) -> Reply:
        return _json(self.readable().about(self.commit(), self.asks("blobs")))

    @_route("GET", rf"{_API}/xet-(?:read|write)-token/{_REVISION}")
    def answer_xet_token(self) -> Reply:
        raise Refused(404, "This Hub has no xet storage: set HF_HUB_DISABLE_XET=1")

    @_route("GET", rf"{_API}/refs")
    def answer_refs(self) -> Reply:
        return _json(self.readable().refs())

    @_route("GET", rf"{_API}/commits/{_REVISION}")
    def answer_commits(self) -> Reply:
        line = reversed(self.readable().line_to(self.commit()))
        return _json([commit.about() for commit in line])

    @_route("POST", rf"{_API}/branch/(?P<branch>[^/]+)")
    def answer_create_branch(self) -> Reply:
        self.writable().create_branch(self.parts["branch"], self.json().get("startingPoint", "main"))
        return _json({})

    @_route("POST", rf"{_API}/tag/{_REVISION}")
    def answer_create_tag(self) -> Reply:
        self.writable().create_tag(self.json()["tag"], self.parts["revision"])
        return _json({})

    @_route("GET", rf"{_API}/tree/{_REVISION}(?:/(?P<path>.+))?")
    def answer_tree(self) -> Reply:
        folder = self.parts.get("path", "").rstrip("/")
        return _json(self.commit().listing(folder, self.asks("recursive"), self.asks("expand")))

    @_route("POST", rf"{_API}/paths-info/{_REVISION}")
    def answer_paths_info(self) -> Reply:
        commit, form = self.commit(), parse_qs(self.body.decode())
        there, expand = commit.paths, form.get("expand", ["false"])[0].lower() == "true"
        return _json([commit.entry(path, expand) for path in form.get("paths", []) if path in there])

    @_route("POST", rf"{_API}/preupload/{_REVISION}")
    def answer_preupload(self) -> Reply:
        self.writable()
        commit = self.commit()
        return _json({"files": [commit.preupload(file) for file in self.json()["files"]], "commitOid": commit.oid})

    @_route("POST", rf"{_SITE}\.git/info/lfs/objects/batch")
    def answer_lfs_batch(self) -> Reply:
        repo, objects = self.writable(), []
        for wanted in self.json()["objects"]:
            upload = f"{self.hub.url}/lfs-upload/{repo.kind}s/{repo.id}/{wanted['oid']}"
            upload += f"?size={wanted['size']}&signature={self.hub.signature}"  # not in the path: logs can be compared
            objects.append(repo.lfs_object(wanted, upload, f"{self.address(repo)}.git/info/lfs/verify"))
        return _json({"transfer": "basic", "objects": objects})

    @_route("PUT", rf"/lfs-upload/(?P<kind>models|datasets)/{_REPO}/(?P<oid>[0-9a-f]{{64}})")
    def answer_lfs_upload(self) -> Reply:
        if self.query.get("signature") != [self.hub.signature]:
            raise Refused(403, "SignatureDoesNotMatch")
        repo = self.hub.store.get(self.parts["repo"], self.kind)
        repo.upload(self.parts["oid"], int(self.query["size"][0]), self.body)
        return Reply(headers={"ETag": f'"{self.parts["oid"]}"'})

    @_route("POST", rf"{_SITE}\.git/info/lfs/verify")
    def answer_lfs_verify(self) -> Reply:
        blob, wanted = self.writable().blobs, self.json()
        if len(blob.get(wanted["oid"], b"")) != wanted["size"]:
            raise Refused(404, f"LFS object not found: {wanted['oid']}")
        return _json({})

    @_route("POST", rf"{_API}/commit/{_REVISION}")
    def answer_commit(self) -> Reply:
        repo = self.writable()
        header, *operations = [json.loads(line) for line in self.body.splitlines()]
        commit = repo.commit(self.parts["revision"], header["value"], operations)
        address = f"{self.address(repo)}/commit/{commit.oid}"
        return _json({"success": True, "commitOid": commit.oid, "commitUrl": address, "hookOutput": ""})

    @_route("GET HEAD", rf"{_SITE}/resolve/{_REVISION}/(?P<path>.+)")
    def answer_resolve(self) -> Reply:
        commit = self.commit()
        headers = {"X-Repo-Commit": commit.oid}
        file = commit.tree.get(self.parts["path"])
        if file is None:
            raise Refused(404, "Entry not found", "EntryNotFound", **headers)
        size = len(file.content)
        headers |= {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if file.lfs:
            headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(size)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if self.method == "HEAD" or wanted is None or not any(wanted.groups()):
            return Reply(file.content, 200, headers)
        first, last = wanted.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            raise Refused(416, "Range Not Satisfiable", **{"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Reply(file.content[start:stop], 206, headers)
