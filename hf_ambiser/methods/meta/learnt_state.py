"""Training that starts from the labels and weights that another run has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hf_ambiser.run_folder.layout import RunFolder, is_name
from hf_ambiser.run_folder.trajectory import read_last


def learnt_state(source: str, run: Path, ids: Sequence[str]) -> dict[str, Tensor]:
    """Return the labels and weights that another run has learnt for the same utterances.

    Args:
        source: A finished run's folder, or the name of a system. The last means that system's
            cell of the same fold and seed as `run`, in the layout of a study (`<system>/<fold>/<seed>`).
        run: The folder of the run that starts.
        ids: Its N training utterances.

    Returns:
        `target (N, K)`, the last targets of the other run; `w (N,)`; and, if it learnt them, `label_logits (N, K)`.

    Raises:
        ValueError: If there is no such finished run of meta with a trajectory, or if it lacks an utterance.
    """
    places = [*([RunFolder(run).sibling(source)] if is_name(source) else []), RunFolder(source)]
    found = [read_last(place.path)[0] for place in places if place.is_finished]
    table = next((table for table in found if "w" in table), None)
    if table is None:
        where = " or ".join(str(place.path) for place in places)
        raise ValueError(
            f"labels_from={source!r}: there is no finished run of meta with a label trajectory in {where}."
            " Give such a run's folder, or run that system of the study first (with trajectory_every above 0)."
        )
    row = {name: i for i, name in enumerate(table["id"])}
    missing = [name for name in ids if name not in row]
    if missing:
        raise ValueError(
            f"labels_from={source!r}: {len(missing)} of {len(ids)} training utterances are not in that run, the first"
            f" is {missing[0]!r}. Both must have the same training split."
        )
    order = [row[name] for name in ids]
    kept = ("target", "w", "label_logits")
    return {name: torch.from_numpy(table[name][order]) for name in kept if name in table}
