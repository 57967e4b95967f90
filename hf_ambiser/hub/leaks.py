"""Find what must not leave this machine: pickles, tokens, the account's name, local paths.

The check reads every file that is about to be published, and names the file and the field of each leak. It is the last
gate: the code that writes these files should already leave such things out.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import os
import pickletools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

import yaml

from hf_ambiser.hub.audio_metadata import CannotSearch, beside_samples


# The kinds of files that may be published. Others are refused, so that a human looks at a new kind first.
SUFFIXES = (".safetensors", ".json", ".yaml", ".md", ".py", ".png", ".parquet", ".csv", ".txt")
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".msgpack", ".h5")
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:hf|api_org)_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|sk-(?=\D*\d)[\w-]{20,}|xox[abpr]-[\w-]{10,}|pypi-[\w-]{20,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^\s/:@]+:[^\s/@]+@"
)
_SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|PASS$|API_?KEY|_KEY$|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)
# Folders that hold people's files; a path below one of them is a leak anywhere in a text.
_PLACES = (
    "home|Users|root|tmp|var|mnt|media|opt|srv|data|datasets|scratch|work|workspace|workdir|gpfs|lustre|nfs|private|net"
    "|storage|content|kaggle|usr|etc|export|volumes?|cluster|projects?|share[ds]?|archive|fs\\d*"
)
_PATH = re.compile(
    # A whole value may be below any folder; inside a text, a path is below a known folder or at least three names deep
    # (and is not a link of a web site).
    rf"\A(?:/[^\s/]+/[^\s/]|\.\.[\\/])|(?<![\w./\\~)\]-])(?:/(?:{_PLACES})/(?<!\]\(/datasets/)[^\s/\"'`)\]]"
    r"|(?<!\]\()(?:/[\w.@+-]+){3}|~(?-i:[a-z_][\w.-]+)?/[\w.-]|file:/+[\w.~%]|[a-z]:(?:/|\\{1,2})(?:[\w.$-]{2}|\w[\\/])"
    r"|\\{2,4}(?:\?\\|[\w.$-]{2,}\\{1,2}[\w.$-]{2}))",
    re.IGNORECASE,
)
# Names of accounts that reveal nobody, or that are ordinary words.
_NOBODY = {"root", "user", "users", "admin", "ubuntu", "debian", "nobody", "runner", "jovyan", "ec2-user", "docker"}
_NOBODY |= {"app", "dev", "test", "tester", "work", "worker", "data", "model", "train", "default", "colab", "me"}
_PIXELS = b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB pHYs sBIT bKGD hIST tIME".split()
# What can hide a text in a part of an audio file: zip, gzip, 7z, xz, bzip2, zstandard, packed texts in a PNG; the
# start of a pickle.
_ARCHIVE = re.compile(rb"PK\x03\x04|zTXt|iTXt|iCCP|\x1f\x8b\x08|7z\xbc\xaf|\xfd7zXZ|BZh[1-9]1AY|\x28\xb5\x2f\xfd")
_PICKLE = re.compile(rb"\x80[\x01-\x05]")
_TEXT = re.compile(r"[^\x00-\x1f\x7f\ufffd]{4,}")
_MAIL = re.compile(r"[\w.+-]{2,}@[\w-]+(?:\.[\w-]+)+")
_ENOUGH = 100  # stop searching a file after this many leaks
_LONGEST_HEADER = 100_000_000  # bytes, as the safetensors library allows


@dataclass(frozen=True)
class Leak:
    """Something that must not be published: the file, the field (or line), and what it is."""

    file: str
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}, {self.field}: {self.what}"


class LeakError(ValueError):
    """The files hold something that must not be published; `leaks` has all of it, the message the first five."""

    def __init__(self, leaks: list[Leak]) -> None:
        self.leaks = leaks
        shown = "; ".join(map(str, leaks[:5])) + (f"; and {len(leaks) - 5} more" if len(leaks) > 5 else "")
        super().__init__(
            f"nothing was published, because the files hold: {shown}. Remove it from the file, or allow the text if it"
            " is harmless (--allow), then push again."
        )


class _Refused(Exception):
    """A file is refused; the arguments are the field and the reason."""


def check_leaks(
    files: Mapping[str, Path | bytes], repo_id: str = "", allow: tuple[str, ...] = (), bare_audio: bool = False
) -> None:
    """Check that every file may be published.

    Args:
        files: Path in the repository -> file or content.
        repo_id: The repository, `<account>/<name>`; these two names may be in the files.
        allow: Texts that look like a name, secret or path, but are harmless; for a path, its beginning is enough.
        bare_audio: Whether audio that holds anything beside its samples is a leak, whatever it says.

    Raises:
        LeakError: If a leak was found; it holds all of them.
    """
    leaks = [leak for name, content in files.items() for leak in find_leaks(name, content, repo_id, allow, bare_audio)]
    if leaks:
        raise LeakError(leaks)


def find_leaks(
    name: str, content: Path | bytes, repo_id: str = "", allow: tuple[str, ...] = (), bare_audio: bool = False
) -> list[Leak]:
    """List the leaks of one file."""
    search = _Search(repo_id, allow)
    found = [("its name", what) for what in search(name)]
    suffix = Path(name).suffix.lower()
    read = partial(_of_parquet, bare_audio=bare_audio) if suffix == ".parquet" else _READERS.get(suffix, _of_lines)
    try:
        if suffix in _PICKLED:
            raise _Refused("the file", f"a {suffix} file can hold a pickle, which runs code when it is read")
        if suffix not in SUFFIXES and Path(name).name != ".gitattributes":
            raise _Refused("the file", f"files of this kind are not published, only {', '.join(SUFFIXES)}")
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
            # A safetensors file begins with its header's length, which can look like a pickle; its reader is strict.
            if suffix != ".safetensors" and _is_pickle(stream):
                raise _Refused("the file", "a pickle under another name")
            for field, text in read(stream):
                found += [(field, what) for what in search(text)]
                if len(found) >= _ENOUGH:
                    break
    except _Refused as refused:
        found.append(refused.args)
    except (OSError, ValueError, RecursionError, NotImplementedError, yaml.YAMLError) as error:
        # The error's own words are not used, because they may quote the file or name its folder.
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", None)
        what = "cannot be read" if isinstance(error, OSError) else f"is no readable {suffix or 'text'} file"
        found.append((f"line {line}" if line else "the file", what))
    return list(dict.fromkeys(Leak(search.hide(name), search.hide(field), what) for field, what in found))


def _is_pickle(stream: BinaryIO) -> bool:
    """Return whether the stream holds a pickle or torch's zip archive of one; the stream is rewound."""
    start = stream.read(4)
    stream.seek(0)
    if start[:1] == b"\x80" or start == b"PK\x03\x04":
        return True
    try:
        with warnings.catch_warnings(action="ignore"):
            for _ in pickletools.genops(stream):  # only parses; it runs nothing
                pass
        # The first letters of a text can be a pickle by chance, but then more text follows.
        return stream.tell() > 2 and not stream.read(1024).strip()
    except Exception:  # each pickle operation has its own errors
        return False
    finally:
        stream.seek(0)


class _Search:
    """A search for leaks in a text; it knows this machine's secrets, account and folders."""

    def __init__(self, repo_id: str, allow: tuple[str, ...]) -> None:
        self.allow, self.repo_id = tuple(filter(None, allow)), repo_id
        secrets = [v for k, v in os.environ.items() if _SECRET_NAMES.search(k) and len(v) >= 8] + [_hub_token() or ""]
        self.secrets = [secret for secret in secrets if secret and secret not in allow]
        account = _account()
        public = {*_NOBODY, *(word.lower() for word in allow), repo_id.split("/")[0].lower()}
        hidden = len(account) > 2 and account.lower() not in public
        self.account = re.compile(rf"(?<![\w-]){re.escape(account)}(?![\w-])") if hidden else None
        self.folders = re.compile(
            "|".join(rf"(?<![\w.-]){re.escape(folder)}(?![\w-])" for folder in _folders()) or r"(?!)"
        )

    def __call__(self, text: str) -> Iterator[str]:
        plain = text.replace("\\/", "/")
        for version in dict.fromkeys((plain, unquote(plain))):
            if isinstance(text, _BesideSamples) and _MAIL.search(version):
                yield "an e-mail address"
            if self.secret(version):
                yield "a token or secret"  # the text itself is not shown, because messages may be logged
            elif path := self.path(version):
                yield f"the local path {path[:60]!r}"
            elif self.account and (found := self.account.search(version.replace(self.repo_id or "\0", " "))):
                yield f"the name of the local account, {found[0]!r}"

    def secret(self, text: str) -> bool:
        tokens = (match[0] for match in _TOKENS.finditer(text))
        return any(secret in text for secret in self.secrets) or any(token not in self.allow for token in tokens)

    def path(self, text: str) -> str | None:
        for pattern in (_PATH, self.folders):
            for match in pattern.finditer(text):
                path = re.split(r"[\s\"'`<>|]", text[match.start() :], maxsplit=1)[0]
                if not path.startswith(self.allow):
                    return path
        return None

    def hide(self, text: str) -> str:
        """Write a field's name in one line, without secrets, so that it can be shown."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        text = " ".join(_TOKENS.sub("***", text).split())
        return text if len(text) <= 100 else f"{text[:100]}..."


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in the password file, as in some containers
        return ""


def _folders() -> list[str]:
    """List the home and the working directory, unless they are as short as `/root`, which reveals nothing."""
    folders = {os.path.expanduser("~")}
    with contextlib.suppress(OSError):  # the working directory may be deleted
        folders.add(os.getcwd())
    return sorted(folder for folder in folders if len(Path(folder).parts) > 2)


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


# ---- the texts in a file: each reader yields (field or line, text) -----------------------------------------------


def _of_lines(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), 1):
        if "\0" in line:
            raise ValueError("not a text")
        yield f"line {number}", line.rstrip("\n")


def _of_json(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    return _of_fields(json.loads(stream.read().decode("utf-8-sig")), "")


def _of_yaml(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    for document in yaml.safe_load_all(stream.read().decode("utf-8-sig")):
        yield from _of_fields(document, "")
    stream.seek(0)
    for place, line in _of_lines(stream):
        yield place, line.partition("#")[2]  # a comment


def _of_fields(value: Any, at: str, bare_audio: bool = False) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{at}.{key} (its name)".lstrip("."), str(key)
            yield from _of_fields(inner, f"{at}.{key}".lstrip("."), bare_audio)
    elif isinstance(value, list | tuple | set):
        for number, inner in enumerate(value):
            yield from _of_fields(inner, f"{at}[{number}]", bare_audio)
    elif isinstance(value, bytes):
        yield from _of_bytes(value, at, bare_audio)
    elif isinstance(value, str):
        yield at or "the text", value


class _BesideSamples(str):
    """A text that stands in an audio file beside the samples."""


def _of_bytes(raw: bytes, at: str, bare_audio: bool = False) -> Iterator[tuple[str, str]]:
    """Yield all texts that audio holds beside its samples; bytes that are not audio may be a text."""
    if _is_pickle(io.BytesIO(raw)):
        raise _Refused(at, "a pickle")
    cure = "build the data set again, so that it holds the samples alone"
    try:
        parts = beside_samples(raw)
    except CannotSearch as error:
        raise _Refused(at, f"{error}; {cure}") from None
    except RuntimeError:  # no audio
        if bare_audio and at.startswith("audio.bytes["):
            raise _Refused(at, f"bytes that are no audio; {cure}") from None
        with contextlib.suppress(UnicodeDecodeError):
            yield at, raw.decode()
        return
    if parts and bare_audio:
        names = ", ".join(sorted({name for name, _ in parts}))
        raise _Refused(at, f"audio with {names} beside its samples; {cure}, or push with --keep-audio-metadata")
    for name, part in parts:
        if _ARCHIVE.search(part) or any(_is_pickle(io.BytesIO(part[m.start() :])) for m in _PICKLE.finditer(part)):
            raise _Refused(at, f"{name} of audio holds a pickle or an archive, which cannot be searched; {cure}")
        for plain in (part, part.replace(b"\0", b"")):  # a text of two bytes a letter has zeros in it
            for text in _TEXT.findall(plain.decode(errors="replace")):
                yield f"{at}, {name}", _BesideSamples(text)


def _of_safetensors(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    """Yield the metadata and the names of the tensors; nothing else in such a file is text."""
    length, size = int.from_bytes(stream.read(8), "little"), stream.seek(0, os.SEEK_END)
    if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
        raise ValueError("no header")
    stream.seek(8)
    header = json.loads(stream.read(length))
    try:
        metadata = header.pop("__metadata__", {})
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (AttributeError, TypeError, KeyError, IndexError):
        raise ValueError("no header") from None
    if 8 + length + end != size:
        raise _Refused("the file", "holds more, or less, than the tensors that its header names")
    yield from _of_fields(metadata, "__metadata__")
    yield from ((f"tensor {name}", name) for name in header)


def _of_parquet(stream: BinaryIO, bare_audio: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the metadata of file and columns, the columns' names, and all text and bytes, also if nested."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream)
    for holder, metadata in [("", file.metadata.metadata), *((f.name, f.metadata) for f in file.schema_arrow)]:
        texts = {k.decode(errors="replace"): v.decode(errors="replace") for k, v in (metadata or {}).items()}
        texts.pop("ARROW:schema", None)  # the columns' names and metadata once more, in base64
        yield from _of_fields(texts, f"metadata {holder}".strip())
    for column in map(file.schema.column, range(len(file.schema))):
        yield f"column {column.path} (its name)", column.path
        if column.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"):
            for batch in file.iter_batches(64, columns=[column.path]):
                texts_in_it = {text for _, text in _of_cells(batch.column(0).to_pylist(), column.path, bare_audio)}
                yield from ((f"column {column.path}", text) for text in sorted(texts_in_it))


def _of_cells(values: list[Any], column: str, bare_audio: bool) -> Iterator[tuple[str, str]]:
    """Yield the texts of a column, whose own name stands for the place of each."""
    for number, value in enumerate(values):
        # A column of a nested kind is read with all that is around it: {"audio": {"bytes": ...}}.
        inner = value
        while isinstance(inner, Mapping) and len(inner) == 1:
            (inner,) = inner.values()
        yield from _of_fields(inner, f"{column}[{number}]", bare_audio)


def _of_png(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    """Yield the text chunks (program, author, file name ...); other chunks that can hide a text are refused."""
    if stream.read(8) != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no PNG")
    kind = b""
    while kind != b"IEND":
        length, kind = int.from_bytes(stream.read(4), "big"), stream.read(4)
        data = stream.read(length + 4)
        if len(data) < length + 4:
            raise ValueError("cut off")
        if kind == b"tEXt":
            yield "chunk tEXt", data[:-4].decode("latin-1")
        elif kind not in _PIXELS:
            raise _Refused(f"chunk {kind.decode('latin-1')}", "cannot be searched; save the picture without it")
    if stream.read(1):
        raise _Refused("the file", "goes on behind the picture's end")


_READERS: dict[str, Callable[[BinaryIO], Iterator[tuple[str, str]]]] = {
    ".json": _of_json,
    ".yaml": _of_yaml,
    ".safetensors": _of_safetensors,
    ".parquet": _of_parquet,
    ".png": _of_png,
}
