"""Download a data set's repository into the cache of huggingface_hub; every failure is one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hf_ambiser.hub.retry import is_network
from hf_ambiser.untrusted.printed import in_one_line


class DownloadError(FileNotFoundError):
    """A repository cannot be had; the message says why and what to do."""


def download_dataset(repo_id: str, revision: str | None, files: Sequence[str], *, cached: bool = False) -> Path:
    """Download the files of a data set's repository that are not in the cache yet.

    Args:
        repo_id: `<account>/<name>`.
        revision: Branch, tag or commit; None: the main branch.
        files: Patterns of the files that are wanted.
        cached: Take what is in the cache, without any request.

    Returns:
        The folder of the snapshot, whose files are links into the cache. Without a connection it is the newest
        snapshot that was downloaded before.

    Raises:
        DownloadError: If there is no such repository or revision, or it cannot be reached and is not in the cache.
    """
    from huggingface_hub import snapshot_download

    with reasons(repo_id, revision):
        found = snapshot_download(
            repo_id, repo_type="dataset", revision=revision, allow_patterns=list(files), local_files_only=cached
        )
    return Path(found)


@contextmanager
def reasons(repo_id: str, revision: str | None) -> Iterator[None]:
    """Say in one line why the block cannot have a data set's repository, and what to do.

    Raises:
        DownloadError: Whatever the Hub, its client or the network has refused in the block.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{repo_id}, revision {revision}," if revision else repo_id
    try:
        yield
        return
    except GatedRepoError:
        reason = f"{where} is gated: ask its owner on its page for access, and run `hf auth login`"
    except RepositoryNotFoundError:
        reason = (
            f"there is no data set {repo_id} that you may read; if it is private, run `hf auth login` or set HF_TOKEN"
        )
    except RevisionNotFoundError:
        reason = f"{repo_id} has no revision {revision}; its page lists its tags and commits"
    except HFValidationError:
        reason = f"{repo_id!r} is no name of a repository"
    except OfflineModeIsEnabled:
        reason = f"HF_HUB_OFFLINE is set, and {where} would be read from the Hub; unset it"
    except LocalEntryNotFoundError:
        reason = f"{where} is not in the cache and "
        if constants.HF_HUB_OFFLINE:
            reason += "HF_HUB_OFFLINE is set; unset it, or download it once while you are online"
        else:
            reason += "the Hub cannot be reached; try again when you are online"
    except Exception as error:
        # Answers of the Hub (5xx), a full disk; a broken connection is an error of the client's HTTP library.
        if not isinstance(error, OSError) and not is_network(error):
            raise
        reason = in_one_line(error, 300)
    raise DownloadError(reason)
