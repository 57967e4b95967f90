"""Repeat requests to the Hub while their failure may be temporary, and end in one clear line if it is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar


TRIES = 6
_PASSES = (408, 429, 500, 502, 503, 504)
_LONGEST_PAUSE = 60.0
T = TypeVar("T")


class PushError(ValueError):
    """The push cannot be done as requested; the message is one line that says why and what to do."""


class Moved(Exception):
    """The repository has a newer commit than the one that the push looked at."""


@dataclass(frozen=True)
class Retry:
    """Makes requests about one repository and repeats those that fail.

    Args:
        repo_id: The repository, for errors.
        pause: Seconds before the first repetition. It doubles each time, and is at least what the Hub asks for and at
            most 60.
        say: Function that receives a message about every repetition.
    """

    repo_id: str
    pause: float
    say: Callable[[str], None]

    def __call__(self, what: str, request: Callable[[], T]) -> T:
        """Make the request and return its answer.

        Raises:
            Moved: If the repository changed in the meantime (412).
            PushError: If the failure is permanent, or if the request failed `TRIES` times.
        """
        pause, left = self.pause, TRIES
        while True:
            try:
                return request()
            except PushError:
                raise
            except Exception as error:
                left -= 1
                status, after = _status(error)
                if status == 412:
                    raise Moved from error
                if status not in _PASSES and not (status is None and is_network(error)):
                    raise PushError(self._explain(what, status, error)) from error
                if not left:
                    raise PushError(
                        f"{what} failed {TRIES} times ({_short(error)}). {self.repo_id} holds either the old or the"
                        " new content, never a mixture. Run the same command again to go on."
                    ) from error
                wait = min(max(after, pause), _LONGEST_PAUSE)
                self.say(f"{what}: {_short(error)}; trying again in {wait:.0f} s ({left} tries left).")
                time.sleep(wait)
                pause *= 2

    def _explain(self, what: str, status: int | None, error: Exception) -> str:
        if status == 401:
            return (
                f"the Hub refuses the token ({what}: 401): it is wrong or has expired. Run `hf auth login` again, or"
                " set HF_TOKEN."
            )
        if status in (403, 404):
            return (
                f"{self.repo_id} cannot be written to ({what}: {status}). Check that the account in its name is yours"
                " and that your token may write."
            )
        return f"{what} failed: {_short(error)}"


def _status(error: BaseException | None) -> tuple[int | None, float]:
    """Return the status of the Hub's answer, from the error or its causes, and the seconds that it asks to wait."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            after = response.headers.get("Retry-After", "0")
            return response.status_code, float(after) if after.isdecimal() else 0.0
        error = error.__cause__
    return None, 0.0


def is_network(error: BaseException | None) -> bool:
    """Return whether a broken or timed-out connection caused the error.

    The check uses class names, because the Hub's client changed its HTTP library within the versions that we allow.
    """
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & {"TransportError", "ConnectionError", "TimeoutError", "LocalEntryNotFoundError"}:
            return True
        error = error.__cause__
    return False


def _short(error: BaseException) -> str:
    words = str(error).split()
    return (" ".join(words) or type(error).__name__)[:300]
