"""The parser of every command: a mistake gets one line that says what is wrong and what is allowed."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` without a page of usage before each of its errors, which loses no value that is given."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._given: list[str] = []
        for name in (None, "store"):
            self.register("action", name, _Once)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and remember what was given, for what is said of a mistake."""
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def _is_known(self, word: str) -> bool:
        name = word.partition("=")[0]
        known = self._option_string_actions
        return name in known or (self.allow_abbrev and any(one.startswith(name) for one in known))

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error, and exit with status 2."""
        if message.startswith("the following arguments are required: "):
            # A misspelt option may be why: argparse looks for what is lacking first.
            unknown = [word for word in self._given if word.startswith("--") and not self._is_known(word)]
            message = f"unrecognized arguments: {unknown[0]}" if unknown else message
        said = in_plain_words(message, self._option_string_actions)
        self.exit(2, f"{self.prog}: {said} See {self.prog} --help.\n")


class _Once(argparse.Action):
    """Stores what is given, and refuses a second list: argparse would forget the first one.

    Of an option with one value the last one counts, as scripts expect that add options to those of a user.
    """

    _stored_in: argparse.Namespace | None = None

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if option is not None and self.nargs is not None and self._stored_in is namespace:
            raise argparse.ArgumentError(self, "is given twice; give all its values after one of them")
        self._stored_in = namespace
        setattr(namespace, self.dest, values)


def in_plain_words(message: str, options: Iterable[str]) -> str:
    """Return what argparse says of a mistake as a sentence.

    Args:
        message: Its message.
        options: All options, of which the nearest is named for one that does not exist.
    """
    for pattern, words in _SAID.items():
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return found.expand(words)
    if message.startswith(unknown := "unrecognized arguments: "):
        given = message.removeprefix(unknown).split()
        near = nearest(given[0].partition("=")[0], options) if given[0].startswith("-") else ""
        return f"{' '.join(given)} {'is' if len(given) == 1 else 'are'} not known here{near}."
    return f"{message.removeprefix('argument ').rstrip('.')}."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'seed'?)`, or "" if no known name is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


# What argparse says -> what we say.
_SAID = {
    r"argument (.+?): invalid int value: (.+)": r"\1 \2 is not a whole number.",
    r"argument (.+?): invalid float value: (.+)": r"\1 \2 is not a number.",
    r"argument (.+?): invalid choice: (.+?)(?:, maybe you meant .+)? \(choose from (.+)\)": r"\1 \2 is not one of \3.",
    r"argument (.+?): (is given twice; .+)": r"\1 \2.",
    r"argument (.+?): expected one argument": r"\1 needs a value.",
    r"argument (.+?): expected at least one argument": r"\1 needs one value or more.",
    r"argument (.+?): expected (\d+) arguments": r"\1 needs \2 values.",
    r"argument (.+?): ignored explicit argument (.+)": r"\1 takes no value, and got \2.",
    r"the following arguments are required: (.+)": r"\1 must be given.",
    r"one of the arguments (.+) is required": r"One of \1 must be given.",
}
