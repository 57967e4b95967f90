"""Requests to the Hub that are repeated while their failure may pass, and end in one clear line when it does not."""

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
    """A push that cannot be done as asked; one line that says why and what to do."""


class Moved(Exception):
    """The repository's newest commit is no longer the one that was looked at."""


@dataclass(frozen=True)
class Retry:
    """Repeats requests about one repository.

    Args:
        repo_id: Named in errors.
        pause: Seconds before the first repetition; doubled after each, at least what the Hub asks for, at most 60.
        say: Told of every repetition.
    """

    repo_id: str
    pause: float
    say: Callable[[str], None]

    def __call__(self, what: str, request: Callable[[], T]) -> T:
        """The request's answer.

        Raises:
            Moved: If the repository changed meanwhile (412).
            PushError: If it failed for good, or `TRIES` times.
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
                if status not in _PASSES and not (status is None and _is_network(error)):
                    raise PushError(self._explain(what, status, error)) from error
                if not left:
                    raise PushError(
                        f"{what} failed {TRIES} times ({_short(error)}). What {self.repo_id} shows is whole, as it was"
                        " or as it is to be. Run the same command again to go on."
                    ) from error
                wait = min(max(after, pause), _LONGEST_PAUSE)
                self.say(f"{what}: {_short(error)}; again in {wait:.0f} s ({left} tries left).")
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
    """Status of the Hub's answer, here or in what caused the error, and the seconds it asks to wait."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            after = response.headers.get("Retry-After", "0")
            return response.status_code, float(after) if after.isdecimal() else 0.0
        error = error.__cause__
    return None, 0.0


def _is_network(error: BaseException | None) -> bool:
    """A connection that broke or timed out, here or in what caused the error.

    By name: the Hub's client has changed its HTTP library once in the versions this package allows.
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
