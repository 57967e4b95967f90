"""Which test splits of a run are, together, every utterance with votes of the held-out speakers.

Published figures of distributions are on such a set: with and without a consensus label. Runs of this version have
answered all of it, whatever their `test_splits` are, and say so in `results.json` (`held_out_splits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hf_ambiser.data.splits import held_out_splits
from hf_ambiser.run_folder.finished import FinishedRun


WHOLE = "all test utterances with votes"
# Of runs that did not answer the whole test side, or do not say whether they did.
SCORED = "all scored test utterances"


@dataclass(frozen=True)
class HeldOut:
    """The splits of one run, or of the runs of one fold, that are put together.

    Args:
        splits: Their names; together they have every utterance of the set, and some may have it twice.
        complete: Whether every utterance with votes of the held-out speakers is known to be among them.
    """

    splits: tuple[str, ...]
    complete: bool

    @property
    def name(self) -> str:
        """The set's name: a split that is the whole set by itself, `WHOLE` or `SCORED`; "" if there is no such set."""
        if self.complete:
            return self.splits[0] if len(self.splits) == 1 else WHOLE
        return SCORED if len(self.splits) > 1 else ""


def held_out(run: FinishedRun) -> HeldOut:
    """The splits of a run that hold its test side, as far as its predictions are there."""
    stored = run.results.get("held_out_splits")
    if stored is not None:
        there = tuple(split for split in stored if run.has_predictions(split))
        return HeldOut(there, bool(stored) and len(there) == len(stored))
    best = HeldOut((), False)
    for splits in held_out_splits(str(run.data.get("dataset_config", run.data["split_family"]))):
        there = tuple(split for split in splits if split in run.splits and run.has_predictions(split))
        if len(there) == len(splits):
            return HeldOut(there, True)
        if len(there) > len(best.splits):
            best = HeldOut(there, False)
    return best


def shared_held_out(sides: Sequence[HeldOut]) -> HeldOut:
    """What of the test side all runs of one fold have answered, in the order of the first one."""
    if all(side == sides[0] for side in sides):
        return sides[0]
    common = tuple(split for split in sides[0].splits if all(split in side.splits for side in sides))
    return HeldOut(common, any(side.complete and side.splits == common for side in sides))


def name_of_sides(sides: Sequence[HeldOut]) -> str:
    """One name for the sets of all folds; "" if some fold has no such set."""
    names = {side.name for side in sides}
    if len(names) == 1:
        return names.pop()
    if "" in names:
        return ""
    return WHOLE if all(side.complete for side in sides) else SCORED
