"""What must not leave this machine: pickles, tokens, the account's name, local paths.

The check looks into every file that is about to be published and names the file and the field. It is the last gate:
what is published is written without such things in the first place.
"""

from __future__ import annotations

import getpass
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


# What a published repository may hold. Everything else is refused: a new kind of file is looked at by a human first.
SUFFIXES = (".safetensors", ".json", ".yaml", ".md", ".py", ".png", ".parquet", ".csv", ".txt")
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".msgpack", ".h5")
_TOKENS = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|AKIA[A-Z0-9]{16}|sk-[A-Za-z0-9_-]{20,}|xox[abpr]-[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)
# Folders below which people's files lie. A path is a sign of them wherever it stands in a text.
_PLACES = (
    "home|Users|root|tmp|var|mnt|media|opt|srv|data|datasets|scratch|work|workspace|workdir|gpfs|lustre|nfs|private|net"
    "|storage|content|kaggle|usr|etc|export|volumes?|cluster|projects?|share[ds]?|archive|fs\\d*"
)
_PATH = re.compile(
    rf"(?<![\w.:/\\~>)\]-])(?:~[\w-]*/[\w.-]|/(?:{_PLACES})/[^\s/\"'`)\]]|file:/|[A-Za-z]:[\\/](?![\\/])[^\s\"'`]|\\\\\w)",
    re.IGNORECASE,
)
_WHOLE_PATH = re.compile(r"/[^\s/]+/\S|~[\w-]*/|[A-Za-z]:[\\/]|\\\\\w|file:/|\.\./")
# Accounts whose name tells nothing about anybody, or is a word like any other.
_NOBODY = {"root", "user", "users", "admin", "ubuntu", "debian", "nobody", "runner", "jovyan", "ec2-user", "docker"}
_NOBODY |= {"app", "dev", "test", "tester", "work", "worker", "data", "model", "train", "default", "colab", "me"}


@dataclass(frozen=True)
class Leak:
    """Something that must not be published: the file, the field (or line) and what it is."""

    file: str
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}, {self.field}: {self.what}"


class LeakError(ValueError):
    """The files hold what must not be published; lists file, field and what it is."""

    def __init__(self, leaks: list[Leak]) -> None:
        self.leaks = leaks
        shown = "; ".join(map(str, leaks[:5])) + (f"; and {len(leaks) - 5} more" if len(leaks) > 5 else "")
        super().__init__(
            f"nothing was published, because of: {shown}. Take it out of the file named, then push again."
        )


def check_leaks(files: Mapping[str, Path | bytes], repo_id: str = "", allow: tuple[str, ...] = ()) -> None:
    """Raise unless every file may be published.

    Args:
        files: Path in the repository -> file or content.
        repo_id: Where they go; `<account>/<name>` is public by its owner's will.
        allow: Texts that are neither a name nor a secret here, though they look like one.

    Raises:
        LeakError: With everything that was found.
    """
    leaks = [leak for name, content in files.items() for leak in find_leaks(name, content, repo_id, allow)]
    if leaks:
        raise LeakError(leaks)


def find_leaks(name: str, content: Path | bytes, repo_id: str = "", allow: tuple[str, ...] = ()) -> list[Leak]:
    """What of one file must not be published."""
    suffix = Path(name).suffix.lower()
    if suffix in _PICKLED or name.endswith("training_args.bin"):
        return [Leak(name, "the file", f"a {suffix} file can hold a pickle, which runs code when it is read")]
    if suffix not in SUFFIXES and Path(name).name != ".gitattributes":
        return [Leak(name, "the file", f"files of this kind are not published, only {', '.join(SUFFIXES)}")]
    if suffix not in (".safetensors", ".parquet", ".png") and _is_pickle(_bytes(content)):
        return [Leak(name, "the file", "a pickle under another name")]
    search = _Search(repo_id, allow)
    return [Leak(name, field, what) for field, text in _texts(name, content) for what in search(text)]


def _is_pickle(raw: bytes) -> bool:
    """A pickle's or a zip archive's first bytes (torch saves both)."""
    return raw[:1] == b"\x80" or raw[:4] == b"PK\x03\x04"


class _Search:
    """Finds what is wrong with a text; knows this machine's secrets, account and folders."""

    def __init__(self, repo_id: str, allow: tuple[str, ...]) -> None:
        self.allow = allow
        self.repo_id = repo_id
        self.secrets = [v for k, v in os.environ.items() if _SECRET_NAMES.search(k) and len(v) >= 8]
        if token := _hub_token():
            self.secrets.append(token)
        account = _account()
        namespace = repo_id.split("/")[0]
        hidden = account and account.lower() not in _NOBODY and account not in allow and account != namespace
        self.account = re.compile(rf"(?<![\w-]){re.escape(account)}(?![\w-])") if hidden else None

    def __call__(self, text: str) -> Iterator[str]:
        for word in (*self.allow, self.repo_id):
            text = text.replace(word, "") if word else text
        if any(secret in text for secret in self.secrets) or _TOKENS.search(text):
            # Never shown: the message may end up in a log.
            yield "a token or secret"
        elif _WHOLE_PATH.match(text) or _PATH.search(text):
            found = _PATH.search(text) or _WHOLE_PATH.match(text)
            shown = text[found.start() :].split()[0][:60] if found else text[:60]
            yield f"the local path {shown!r}"
        elif self.account and self.account.search(text):
            yield f"the name of the local account, {self.account.search(text)[0]!r}"  # type: ignore[index]


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in the password file, as in some containers
        return ""


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


# ---- texts of a file ---------------------------------------------------------------------------------------------


def _texts(name: str, content: Path | bytes) -> Iterator[tuple[str, str]]:
    """Every text in a file, with the field or line it stands in."""
    suffix = Path(name).suffix.lower()
    if suffix == ".safetensors":
        yield from _of_safetensors(content)
    elif suffix == ".parquet":
        yield from _of_parquet(content)
    elif suffix == ".png":
        yield from _of_png(_bytes(content))
    else:
        text = _bytes(content).decode(errors="replace")
        if suffix == ".json":
            yield from _of_fields(json.loads(text), "")
        elif suffix == ".yaml":
            yield from _of_fields(yaml.safe_load(text), "")
        else:
            for number, line in enumerate(text.splitlines(), 1):
                yield f"line {number}", line


def _bytes(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _of_fields(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{at}.{key} (its name)".lstrip("."), str(key)
            yield from _of_fields(inner, f"{at}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _of_fields(inner, f"{at}[{number}]")
    elif isinstance(value, str):
        yield at or "the text", value


def _of_safetensors(content: Path | bytes) -> Iterator[tuple[str, str]]:
    """The header: names of tensors and free metadata. Nothing else in such a file is text."""
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    yield from _of_fields(header.get("__metadata__", {}), "__metadata__")
    for name in header:
        yield f"tensor {name}", name


def _of_parquet(content: Path | bytes) -> Iterator[tuple[str, str]]:
    """Columns of text, also inside structs and lists, and the file's own metadata; audio bytes are not text."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(content) if isinstance(content, bytes) else content)
    for key, value in (file.schema_arrow.metadata or {}).items():
        yield f"metadata {key.decode(errors='replace')}", value.decode(errors="replace")
    columns = [file.schema.column(i) for i in range(len(file.schema))]
    for path in [column.path for column in columns if column.logical_type.type == "STRING"]:
        # A column has few different texts, or as many as rows: each is looked at once.
        texts = {text for batch in file.iter_batches(columns=[path]) for _, text in _of_fields(batch.to_pylist(), "")}
        for text in sorted(texts):
            yield path, text


def _of_png(raw: bytes) -> Iterator[tuple[str, str]]:
    """Text chunks (a program's name, an author, a file's name)."""
    at = 8
    while at + 8 <= len(raw):
        length, kind = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8]
        if kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf"):
            yield f"chunk {kind.decode()}", raw[at + 8 : at + 8 + length].decode("latin-1")
        at += 12 + length
