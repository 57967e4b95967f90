"""What a table of ratings says, read a second time: slowly, row by row, as docs/your_data.md has it in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class ByHand:
    """Votes as (file or name, rater, label), rows and votes that are listed, and empty cells."""

    votes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    votes_in_listed_rows: int = 0
    rows: int = 0
    empty: int = 0


def count_by_hand(
    rows: Sequence[Sequence[str]], files: dict[str, str], separator: str, kind: str, names: Sequence[str]
) -> ByHand:
    """Count the votes of a table.

    Args:
        rows: Its rows: (utterance, speaker, rater, label), or (utterance, speaker, cells ...) if it is wide.
        files: Name in the table -> the file that it names; other names have no audio.
        separator: What stands between labels in a cell.
        kind: `long`, `raters` or `classes`.
        names: Of the columns of raters or classes.
    """
    found = ByHand()
    length = 4 if kind == "long" else 2 + len(names)
    speaker_of: dict[str, str] = {}
    rated: set[tuple[str, str]] = set()
    seen: set[str] = set()
    for row in rows:
        if all(cell.strip() == "" for cell in row):
            continue
        found.rows += 1
        if len(row) < length or any(cell.strip() for cell in row[length:]):
            found.reasons["malformed_line"] += 1
            continue
        utterance, speaker = row[0].strip(), row[1].strip()
        given: list[tuple[str, str]] = []
        empty = 0
        wrong = False
        if kind == "classes":
            for name, cell in zip(names, row[2:length], strict=True):
                empty += cell.strip() == ""
                if cell.strip() and not (cell.strip().isascii() and cell.strip().isdigit()):
                    wrong = True
                elif cell.strip():
                    given += [("", name)] * int(cell)
        else:
            cells = [(row[2].strip(), row[3])] if kind == "long" else list(zip(names, row[2:length], strict=True))
            for rater, cell in cells:
                parts = cell.split(separator) if separator else [cell]
                labels = [" ".join(part.split()) for part in parts if part.strip()]
                empty += not labels
                given += [(rater, label) for label in labels]
        if wrong:
            found.reasons["malformed_line"] += 1
            continue
        key = files.get(utterance, f"no audio: {utterance}")
        raters = {rater for rater, _ in given if rater}
        if not utterance:
            reason = "malformed_id"
        elif kind != "long" and key in seen:
            reason = "duplicate_label"
        elif speaker and speaker_of.get(key, speaker) != speaker:
            reason = "conflicting_row"
        elif any((key, rater) in rated for rater in raters):
            reason = "rated_twice"
        else:
            reason = ""
        if reason:
            found.reasons[reason] += 1
            found.votes_in_listed_rows += len(given)
            continue
        seen.add(key)
        if speaker:
            speaker_of[key] = speaker
        rated |= {(key, rater) for rater in raters}
        found.empty += empty
        for rater, label in given:
            found.votes[key, rater, label] += 1
    return found


def kappa_and_alpha_by_hand(votes: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Fleiss' kappa and Krippendorff's alpha from every pair of votes, one by one."""
    units = [[k for k, n in enumerate(row) for _ in range(n)] for row in votes]
    units = [unit for unit in units if len(unit) >= 2]
    everything = [label for unit in units for label in unit]
    n = len(everything)
    agree = []
    unlike = 0.0
    for unit in units:
        pairs = [(a, b) for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j]
        agree.append(sum(a == b for a, b in pairs) / len(pairs))
        unlike += sum(a != b for a, b in pairs) / (len(unit) - 1)
    chance = sum((everything.count(label) / n) ** 2 for label in set(everything))
    expected = sum(a != b for i, a in enumerate(everything) for j, b in enumerate(everything) if i != j) / (
        n * (n - 1)
    )
    return (sum(agree) / len(agree) - chance) / (1 - chance), 1 - (unlike / n) / expected
