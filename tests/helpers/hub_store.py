"""What a Hub holds and says of it, apart from HTTP: repositories, commits, files, tags, uploaded blobs.

Blob ids are git's own; a commit's id and a folder's id only look like git's. Every change of a branch is one new entry
in its list of commits, so what anybody could have seen at any moment is still there to be checked. Answers are dicts
with the names of the Hub's JSON. hub_endpoint.py serves them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cached_property

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK  # "exact same regex as in the Hub server", says its author


# What a new repository's .gitattributes puts into LFS; besides, as on the Hub, whatever is large or not text.
LFS_PATTERNS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.model *.msgpack *.npy *.npz *.onnx *.ot *.parquet "
    "*.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors *.tar *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents*"
).split()
LARGEST_REGULAR_FILE = 10_000_000


class Refused(Exception):
    """The Hub's answer to a request it does not carry out."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers
        self.headers["X-Error-Message"] = message.encode("ascii", "replace").decode()
        if code:
            self.headers["X-Error-Code"] = code


def _git_blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class File:
    content: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git itself holds of an LFS file."""
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
            self.sha256.encode(),
            len(self.content),
        )

    @cached_property
    def blob_id(self) -> str:
        return _git_blob_id(self.pointer if self.lfs else self.content)

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob_id

    def about(self, sha256_name: str) -> dict:
        """Size and, for LFS, what the pointer says; listings call the sha256 "oid", siblings "sha256"."""
        size = len(self.content)
        lfs = {"lfs": {sha256_name: self.sha256, "size": size, "pointerSize": len(self.pointer)}} if self.lfs else {}
        return {"size": size, **lfs}


@dataclass(frozen=True)
class Commit:
    oid: str
    message: str
    description: str
    date: str
    tree: Mapping[str, File]

    @property
    def files(self) -> dict[str, bytes]:
        """Everything the repository held after this commit."""
        return {path: file.content for path, file in self.tree.items()}

    @property
    def card(self) -> str:
        return self.tree["README.md"].content.decode(errors="replace") if "README.md" in self.tree else ""

    @property
    def paths(self) -> set[str]:
        """Every file and folder."""
        parts = [path.split("/") for path in self.tree]
        return {"/".join(names[: depth + 1]) for names in parts for depth in range(len(names))}

    def entry(self, path: str, expand: bool = False) -> dict:
        """What listings say of a file or folder. `lastCommit` is this commit, not the one that changed the path."""
        entry: dict = {"path": path}
        if path in self.tree:
            entry |= {"type": "file", "oid": self.tree[path].blob_id, **self.tree[path].about("oid")}
        else:
            inside = sorted(f"{p} {f.blob_id}" for p, f in self.tree.items() if p.startswith(path + "/"))
            entry |= {"type": "directory", "oid": hashlib.sha1("\n".join(inside).encode()).hexdigest(), "size": 0}
        if expand:
            entry["lastCommit"] = {"id": self.oid, "title": self.message, "date": self.date}
        return entry

    def listing(self, folder: str, recursive: bool, expand: bool) -> list[dict]:
        start = folder + "/" if folder else ""
        inside = sorted(path for path in self.paths if path.startswith(start))
        if folder and not inside:
            raise Refused(404, f"{folder} does not exist at {self.oid}", "EntryNotFound")
        return [self.entry(path, expand) for path in inside if recursive or "/" not in path[len(start) :]]

    def about(self) -> dict:
        """What lists of commits say of it."""
        return {"id": self.oid, "title": self.message, "message": self.description, "date": self.date, "authors": []}

    def preupload(self, file: Mapping) -> dict:
        """How the Hub wants a file, and the id of the one it would replace: clients leave out what did not change."""
        old = self.tree.get(file["path"])
        mode = upload_mode(file["path"], base64.b64decode(file["sample"]), file["size"])
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": old.etag if old else None}


@dataclass
class Repo:
    id: str
    kind: str
    private: bool
    branches: dict[str, list[Commit]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)  # LFS objects by sha256, in a commit or not

    def __post_init__(self):
        attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS)
        self.branches["main"] = []
        first = self._next("main", "initial commit", "", {".gitattributes": File(attributes.encode())})
        self.branches["main"].append(first)

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    def commit_at(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a commit id or the beginning of one stands for."""
        if revision in self.branches:
            return self.branches[revision][-1]
        oid = self.tags.get(revision, revision)
        for commits in self.branches.values():
            for commit in commits:
                if commit.oid.startswith(oid) and len(oid) >= 7:
                    return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def line_to(self, commit: Commit) -> list[Commit]:
        """A commit and all before it, newest last."""
        line = next(commits for commits in self.branches.values() if commit in commits)
        return line[: line.index(commit) + 1]

    def about(self, commit: Commit, blobs: bool) -> dict:
        """What `model_info` and `dataset_info` are told."""
        _, card = check_card(commit.card)
        about = {
            **{"id": self.id, "author": self.namespace, "sha": commit.oid, "private": self.private, "gated": False},
            **{"createdAt": self.branches["main"][0].date, "lastModified": commit.date, "disabled": False},
            **{"downloads": 0, "likes": 0, "tags": card.get("tags") or [], "cardData": card},
            "siblings": [
                {"rfilename": path, **({"blobId": file.blob_id, **file.about("sha256")} if blobs else {})}
                for path, file in sorted(commit.tree.items())
            ],
        }
        if self.kind == "model":
            guess = {"adapter_config.json": "peft", "config.json": "transformers"}
            library = card.get("library_name") or next((guess[name] for name in guess if name in commit.tree), None)
            known = {name: card.get(name) for name in ("pipeline_tag", "model-index")} | {"library_name": library}
            about |= {name: value for name, value in known.items() if value}
        return about

    def refs(self) -> dict:
        heads = {name: commits[-1].oid for name, commits in self.branches.items()}
        branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in heads.items()]
        tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in self.tags.items()]
        return {"branches": branches, "tags": tags, "converts": [], "pullRequests": []}

    def create_branch(self, name: str, start: str) -> None:
        if name in self.branches:
            raise Refused(409, f"Reference already exists: refs/heads/{name}")
        self.branches[name] = self.line_to(self.commit_at(start))

    def create_tag(self, name: str, revision: str) -> None:
        if name in self.tags:
            raise Refused(409, f"Tag reference exists already: refs/tags/{name}")
        self.tags[name] = self.commit_at(revision).oid

    def lfs_object(self, wanted: Mapping, upload_address: str, verify_address: str) -> dict:
        """Where to send an LFS object, or nothing if it is already here."""
        answer = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] in self.blobs:
            return answer
        upload, verify = {"href": upload_address, "header": {}}, {"href": verify_address, "header": {}}
        return {**answer, "actions": {"upload": upload, "verify": verify}}

    def upload(self, oid: str, size: int, content: bytes) -> None:
        """Keep an LFS object, which no commit names yet."""
        sha256 = hashlib.sha256(content).hexdigest()
        if (sha256, len(content)) != (oid, size):
            raise Refused(400, f"BadDigest: {len(content)} bytes with sha256 {sha256}, announced {size} with {oid}")
        self.blobs[oid] = content

    def commit(self, branch: str, header: Mapping, operations: Iterable[Mapping]) -> Commit:
        """Carry out every operation, or raise and leave the branch as it was."""
        if branch not in self.branches:
            raise Refused(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        head = self.branches[branch][-1]
        parent = header.get("parentCommit")
        if parent and not head.oid.startswith(parent):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        tree = dict(head.tree)
        for operation in operations:
            self._apply(tree, operation["key"], operation["value"])
        commit = self._next(branch, header["summary"], header.get("description", ""), tree)
        errors, _ = check_card(commit.card)
        if errors:
            raise Refused(400, f"Invalid metadata in README.md: {errors[0]}")
        self.branches[branch].append(commit)
        return commit

    def put(self, files: Mapping[str, bytes], message: str = "put") -> None:
        """A commit on main that holds these files and no others, as somebody without this package would make it."""
        self.branches["main"].append(self._next("main", message, "", {p: File(c) for p, c in files.items()}))

    def _next(self, branch: str, message: str, description: str, tree: dict[str, File]) -> Commit:
        commits = self.branches[branch]
        said = [branch, str(len(commits)), commits[-1].oid if commits else "", message, self.kind, self.id]
        said += [f"{path} {file.blob_id}" for path, file in sorted(tree.items())]
        oid = hashlib.sha1("\n".join(said).encode()).hexdigest()
        return Commit(oid, message, description, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", tree)

    def _apply(self, tree: dict[str, File], kind: str, value: Mapping) -> None:
        path = value["path"]
        if {"", ".", "..", ".git"} & set(path.removesuffix("/").split("/")):
            raise Refused(400, f"Invalid path in repository: {path!r}")
        if kind == "file":
            if value["encoding"] != "base64":
                raise Refused(400, f"Invalid encoding: {value['encoding']!r}")
            tree[path] = File(base64.b64decode(value["content"]))
        elif kind == "lfsFile":
            if value["oid"] not in self.blobs:
                raise Refused(400, f"An LFS pointer pointed to a file that does not exist. Offending file: {path}")
            tree[path] = File(self.blobs[value["oid"]], lfs=True)
        elif kind in ("deletedFile", "deletedFolder"):
            gone = [p for p in tree if p == path or (kind == "deletedFolder" and p.startswith(path.rstrip("/") + "/"))]
            if not gone:
                raise Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for name in gone:
                del tree[name]
        else:
            raise Refused(400, f"Unknown operation: {kind!r}")


class Store:
    """Every repository, by kind ("model" or "dataset") and id; one user, who may write under `namespaces`."""

    def __init__(self, namespaces: tuple[str, ...]):
        self.namespaces = namespaces
        self._repos: dict[tuple[str, str], Repo] = {}

    def create(self, repo_id: str, kind: str = "model", private: bool = False) -> Repo:
        """A repository of anybody's."""
        return self._repos.setdefault((kind, repo_id), Repo(repo_id, kind, private))

    def get(self, repo_id: str, kind: str = "model") -> Repo:
        return self._repos[kind, repo_id]

    def request(self, asked: Mapping, signed_in: bool) -> tuple[Repo, bool]:
        """The repository that the user asks to be created, and whether it is new."""
        if not signed_in:
            raise Refused(401, "Invalid username or password.")
        kind, namespace = asked.get("type") or "model", asked.get("organization") or self.namespaces[0]
        if kind not in ("model", "dataset"):
            raise Refused(400, f"Repositories of type {kind!r} are not supported")
        if namespace not in self.namespaces:
            raise Refused(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
        repo_id = f"{namespace}/{asked['name']}"
        new = (kind, repo_id) not in self._repos
        return self.create(repo_id, kind, asked.get("visibility") == "private" or bool(asked.get("private"))), new

    def who_am_i(self) -> dict:
        user, *others = self.namespaces
        access = {"type": "access_token", "accessToken": {"displayName": "tests", "role": "write"}}
        return {"type": "user", "name": user, "orgs": [{"name": name} for name in others], "auth": access}

    def readable(self, repo_id: str, kind: str, signed_in: bool) -> Repo:
        repo = self._repos.get((kind, repo_id))
        if repo and (not repo.private or (signed_in and repo.namespace in self.namespaces)):
            return repo
        # Who is not signed in does not learn whether it exists. The code is what huggingface_hub infers by itself when
        # the address begins with https://.
        if signed_in:
            raise Refused(404, "Repository not found", "RepoNotFound")
        raise Refused(401, "Invalid username or password.", "RepoNotFound")

    def writable(self, repo_id: str, kind: str, signed_in: bool) -> Repo:
        if not signed_in:
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        repo = self.readable(repo_id, kind, signed_in)
        if repo.namespace not in self.namespaces:
            raise Refused(403, f"You don't have the rights to write to the {kind} {repo_id}")
        return repo


def upload_mode(path: str, sample: bytes, size: int) -> str:
    """Whether the Hub wants a file by LFS or inside the commit."""
    named = any(fnmatch(path.rsplit("/", 1)[-1], pattern) for pattern in LFS_PATTERNS)
    return "lfs" if named or size > LARGEST_REGULAR_FILE or b"\0" in sample else "regular"


def check_card(text: str) -> tuple[list[str], dict]:
    """What is wrong with the header of a README.md, and what the header says."""
    block = REGEX_YAML_BLOCK.match(text)
    if block is None:
        return [], {}
    try:
        header = yaml.safe_load(block.group(2))
    except yaml.YAMLError as error:
        return [" ".join(str(error).split())], {}
    if not isinstance(header, dict):
        return ["the metadata must be a mapping"], {}
    return [], header
