"""Push files to a repository of the Hub, checked and in one commit. A push may be interrupted at any moment.

Pushes are atomic: after an interruption the repository holds either the old or the new content, and the same command
again completes the push. Large files are uploaded first, where nobody sees them. Then one commit shows everything at
once. Last comes a tag with the content's digest, which the card's example names as its revision. Each step first looks
at what is already there.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ambiser.hub.edits import Card, merge, parse
from hf_ambiser.hub.leaks import check_leaks
from hf_ambiser.hub.retry import TRIES, Moved, PushError, Retry


__all__ = ["Publication", "PushError", "PushOptions", "Pushed", "check_access", "check_repo_id", "describe", "push"]

CARD = "README.md"
TAG = "hf_ambiser"  # every card of ours has this tag


@dataclass(frozen=True)
class Publication:
    """The files to publish, and the card, which is written when the revision is known.

    Args:
        files: Path in the repository -> file or content; without the card.
        card: Function that makes the card for a repository's name and a revision.
        edited: The local card with a human's edits; "" if there is none.
        message: Message of the commit.
        repo_type: `model` or `dataset`.
        owned: Function that tells whether an earlier push wrote a file of that path. Such files are deleted from the
            repository if they are no longer published.
        private_because: The reason why it must not go into a public repository; "" if it may.
        audio_metadata: Whether audio may hold more than samples; then what it holds is searched.
    """

    files: dict[str, Path | bytes]
    card: Callable[[str, str], Card]
    edited: str
    message: str
    repo_type: str
    owned: Callable[[str], bool]
    private_because: str = ""
    audio_metadata: bool = False

    def revision(self) -> str:
        """`content-<12 hex digits>` over all files except the card; the tag that the card's example pins."""
        total = hashlib.sha256()
        for name in sorted(self.files):
            total.update(f"{name}\0{_sha256(self.files[name])}\n".encode())
        return f"content-{total.hexdigest()[:12]}"


def _ignore(text: str) -> None:
    pass


@dataclass(frozen=True)
class PushOptions:
    """Options of a push.

    Args:
        private: Make the repository private; an existing public repository is refused.
        dry_run: Only check, and say what would be published.
        card: Whose edits are kept if both cards were edited: `local`, or `hub` for the card in the repository.
        allow: See `check_leaks`. It may also name Python files of a run that are not this version's.
        keep_audio_metadata: Publish audio that holds more than its samples; what it holds is searched.
        pause: Seconds before a failed request is tried again the first time.
        say: Function that receives the messages.
    """

    private: bool = False
    dry_run: bool = False
    card: str | None = None
    allow: tuple[str, ...] = ()
    keep_audio_metadata: bool = False
    pause: float = 1.0
    say: Callable[[str], None] = _ignore


@dataclass(frozen=True)
class Pushed:
    """The result of a push.

    Args:
        repo_id: The repository.
        url: Its address for a browser; "" for a dry run.
        revision: The tag.
        commit: Id of the commit; None for a dry run.
        files: Path in the repository -> number of bytes.
        kept: The human's edits of the card that were kept, see `hub.edits.Parsed.human`.
    """

    repo_id: str
    url: str
    revision: str
    commit: str | None
    files: dict[str, int]
    kept: list[str]


def push(publication: Publication, repo_id: str, options: PushOptions | None = None) -> Pushed:
    """Publish `publication` in `repo_id` (`<account>/<name>`), which is made if it does not exist.

    Raises:
        PushError: If the name is wrong, if there is no token or no access, if private content would become public, if
            the repository holds somebody else's files, or if both cards were edited.
        CardError: If a card cannot be read.
        LeakError: If the files hold something that must not be published.
    """
    options = options or PushOptions()
    check_repo_id(repo_id)
    revision = publication.revision()
    text, kept = _local_card(publication, repo_id, revision)
    bare_audio = not (publication.audio_metadata or options.keep_audio_metadata)
    check_leaks({**publication.files, CARD: text.encode()}, repo_id, options.allow, bare_audio)
    sizes = {name: _size(content) for name, content in publication.files.items()} | {CARD: len(text.encode())}
    if publication.private_because and not options.private:
        raise PushError(f"{repo_id} would be public: {publication.private_because} Add --private.")
    if options.dry_run:
        return Pushed(repo_id, "", revision, None, sizes, kept)
    check_access(repo_id)
    return _Pushing(publication, repo_id, options).run(revision, sizes)


def check_repo_id(repo_id: str) -> None:
    """Check that `repo_id` is `<account>/<name>`.

    Raises:
        PushError: If it is not; the message says what is allowed.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
        reason = "" if repo_id.count("/") == 1 else "the account is missing"
    except HFValidationError:
        reason = "only letters, digits, '-', '_' and '.' are allowed, up to 96 of them"
    if reason:
        raise PushError(f"repository {repo_id!r} must be <account>/<name>, for example anna/ipr-crema-d: {reason}.")


def check_access(repo_id: str) -> None:
    """Check the name, the token and that the process may go online, without any request to the Hub.

    Raises:
        PushError: If one of them is wrong; the message says what to do.
    """
    from huggingface_hub import constants, get_token

    check_repo_id(repo_id)
    if constants.HF_HUB_OFFLINE:
        raise PushError("HF_HUB_OFFLINE is set, so nothing can be pushed. Unset it, or use --dry-run.")
    if not get_token():
        raise PushError("there is no token of the Hub: run `hf auth login`, or set HF_TOKEN to one that may write.")


def _local_card(publication: Publication, repo_id: str, revision: str) -> tuple[str, list[str]]:
    return merge(publication.card(repo_id, revision), publication.edited, CARD)


class _Pushing:
    """One push to one repository."""

    def __init__(self, publication: Publication, repo_id: str, options: PushOptions) -> None:
        from huggingface_hub import HfApi

        self.publication, self.repo_id, self.options = publication, repo_id, options
        self.api = HfApi()
        self.where: Any = {"repo_id": repo_id, "repo_type": publication.repo_type}
        self.again = Retry(repo_id, options.pause, options.say)

    def run(self, revision: str, sizes: dict[str, int]) -> Pushed:
        api, where, private = self.api, self.where, self.options.private
        self.again("making the repository", lambda: api.create_repo(**where, private=private, exist_ok=True))
        for _ in range(TRIES):
            try:
                commit, kept = self.commit(revision)
                break
            except Moved:
                # Somebody else committed in between, or ours was made and the answer was lost: look again.
                continue
        else:
            raise PushError(f"somebody else changed {self.repo_id} during each of {TRIES} tries. Push again later.")
        tag: Any = {"tag": revision, "revision": commit, "exist_ok": True}
        self.again("setting the tag", lambda: api.create_tag(**where, **tag))
        kind = "" if self.publication.repo_type == "model" else f"{self.publication.repo_type}s/"
        return Pushed(self.repo_id, f"{api.endpoint}/{kind}{self.repo_id}", revision, commit, sizes, kept)

    def commit(self, revision: str) -> tuple[str, list[str]]:
        """Make the commit that holds everything, or return the newest one if nothing has to change."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        info = self.again("reading the repository", lambda: self.api.repo_info(**self.where))
        if self.options.private and info.private is False:
            raise PushError(
                f"{self.repo_id} exists and is public, but --private asks for a private repository. Make it private on"
                " the Hub first, or use another name."
            )
        there = {file.path: file for file in self.again("listing its files", lambda: self.tree(info.sha))}
        theirs = self.again("reading its card", lambda: self.download(info.sha)) if CARD in there else ""
        self.refuse_somebody_elses(list(there), theirs)
        text, kept = self.card(revision, theirs)
        check_leaks({CARD: text.encode()}, self.repo_id, self.options.allow)
        wanted = {**self.publication.files, CARD: text.encode()}
        new = {name: content for name, content in wanted.items() if not _same(there.get(name), content)}
        stale = [name for name in there if name not in wanted and self.publication.owned(name)]
        if not new and not stale:
            return str(info.sha), kept
        self.options.say(f"{self.repo_id}: {len(new)} new or changed file(s), {len(stale)} to delete.")
        changes: list[Any] = [CommitOperationAdd(name, content) for name, content in new.items()]
        changes += [CommitOperationDelete(name) for name in stale]
        commit: Any = {"commit_message": self.publication.message, "parent_commit": info.sha}
        done = self.again("uploading", lambda: self.api.create_commit(**self.where, operations=changes, **commit))
        return done.oid, kept

    def tree(self, sha: str | None) -> list[Any]:
        from huggingface_hub.hf_api import RepoFile

        items = self.api.list_repo_tree(**self.where, revision=sha, recursive=True)
        return [item for item in items if isinstance(item, RepoFile)]

    def download(self, sha: str | None) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = self.api.hf_hub_download(**self.where, filename=CARD, revision=sha, local_dir=folder)
            return Path(path).read_text(encoding="utf-8")

    def refuse_somebody_elses(self, there: list[str], card: str) -> None:
        """Raise `PushError` if the push would replace files in a repository whose card is not ours."""
        found = parse(card, f"{self.repo_id}/{CARD}")
        ours = found.known or TAG in (found.metadata.get("tags") or [])  # a human may have removed our marks
        taken = sorted(name for name in there if name in self.publication.files or self.publication.owned(name))
        if taken and not ours:
            raise PushError(
                f"{self.repo_id} holds files that hf_ambiser did not put there ({', '.join(taken[:3])}), and a push"
                " would replace them. Use another name, or delete them on the Hub first."
            )

    def card(self, revision: str, theirs: str) -> tuple[str, list[str]]:
        """Make the card with the human's edits, which were made here or in the repository.

        Raises:
            PushError: If both cards were edited in different ways and `options.card` is None.
        """
        there = parse(theirs, f"{self.repo_id}/{CARD}").human()
        here = parse(self.publication.edited, CARD).human()
        if not there or there.items() <= here.items() or self.options.card == "local":
            return _local_card(self.publication, self.repo_id, revision)
        if here and self.options.card is None:
            mine, other = ", ".join(sorted(here)), ", ".join(sorted(there))
            raise PushError(
                f"{CARD} was edited here ({mine}) and in {self.repo_id} ({other})."
                " Choose whose edits are kept: --card local, or --card hub."
            )
        return merge(self.publication.card(self.repo_id, revision), theirs, f"{self.repo_id}/{CARD}")


def _same(there: Any, content: Path | bytes) -> bool:
    """Return whether a file in the repository has this content, by its SHA-256 (large files) or git's SHA-1."""
    if there is None or there.size != _size(content):
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == _sha256(content)
    raw = content if isinstance(content, bytes) else content.read_bytes()
    return there.blob_id == hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _sha256(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe(pushed: Pushed) -> str:
    """List the files with their sizes, and say where they are or would be."""
    lines = [f"  {size:>12,}  {name}" for name, size in sorted(pushed.files.items())]
    total = sum(pushed.files.values())
    head = f"{pushed.repo_id}: {len(pushed.files)} files, {total / 2**20:.1f} MiB, revision {pushed.revision}"
    if pushed.commit is None:
        return "\n".join([head, *lines, "Nothing was sent (dry run). The check found no secret, name or local path."])
    kept = [f"  kept from the card that a human edited: {', '.join(pushed.kept)}"] if pushed.kept else []
    return "\n".join([head, *lines, *kept, f"{pushed.url}, commit {pushed.commit}"])
