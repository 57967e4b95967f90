"""The label table: the current target and weight of every training utterance, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


_SHOWN = "shown"


class LabelTable:
    """Targets and weights of N training utterances, which a method changes while it trains.

    `observed` holds the targets of the data set and never changes; the columns hold what the method made of them. All
    columns are float32 or int64, whatever precision the model trains in. Every checkpoint saves them. Where the
    raters' targets differ from epoch to epoch (`draw_each_epoch`), methods read `observed_in`.

    Args:
        ids: N utterance ids; row n is utterance `ids[n]`.
        observed: `(N, K)` targets from the raters; rows of zeros for unlabelled utterances.
    """

    def __init__(self, ids: Sequence[str], observed: Tensor) -> None:
        if len(ids) != len(observed):
            raise ValueError(f"label table: {len(ids)} ids for {len(observed)} rows of targets; give one id per row.")
        if len(set(ids)) != len(ids):
            repeated = next(i for i in ids if list(ids).count(i) > 1)
            raise ValueError(
                f"label table: utterance {repeated!r} is in the training data twice; list it once: no two splits of"
                " train_splits and ambiguous_splits may share utterances."
            )
        self.ids = list(ids)
        self.observed = observed.float()
        self.columns: dict[str, Tensor] = {
            "target": self.observed.clone(),
            "weight": (self.observed.sum(dim=1) > 0).float(),
        }
        self._draw: Callable[[int], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def draw_each_epoch(self, draw: Callable[[int], Tensor]) -> None:
        """Let `draw(epoch) -> (N, K)` give the raters' targets of each epoch; a column keeps what was shown last."""
        self._draw = draw
        self.add_column(_SHOWN, self.observed.clone())

    def observed_in(self, epoch: int) -> Tensor:
        """Return the raters' targets `(N, K)` in an epoch: those of the data set, or what is drawn from them."""
        return self.observed if self._draw is None else self._draw(epoch).to(self.observed.device)

    def add_column(self, name: str, values: Tensor) -> None:
        """Add a column `(N, ...)` of the method, float32 or int64.

        Raises:
            ValueError: If the type or the number of rows is another.
        """
        if values.dtype not in (torch.float32, torch.int64):
            raise ValueError(f"label table: column {name!r} has dtype {values.dtype}; use float32 or int64.")
        if len(values) != len(self):
            raise ValueError(
                f"label table: column {name!r} has {len(values)} rows, the table {len(self)}; give one row per"
                " utterance."
            )
        self.columns[name] = values

    def show(self, index: Tensor, epoch: int) -> None:
        """Note that a step of an epoch showed the raters' targets of rows `index` `(M,)` to the method."""
        if self._draw is not None:
            self.write(index, **{_SHOWN: self.observed_in(epoch)[index]})

    def write(self, index: Tensor, **values: Tensor) -> None:
        """Set rows `index` `(M,)` of the named columns to `(M, ...)` values; indices must not repeat."""
        for name, rows in values.items():
            column = self.columns[name]
            column[index.to(column.device)] = rows.to(column.device, column.dtype)

    def to(self, device: torch.device | str) -> LabelTable:
        """Move everything to a device, in place."""
        self.observed = self.observed.to(device)
        self.columns = {name: column.to(device) for name, column in self.columns.items()}
        return self

    def arrays(self) -> dict[str, np.ndarray | list[str]]:
        """Return a copy for the label trajectory: `id`, `observed (N, K)` and all columns, on the CPU.

        If targets are drawn in each epoch, `observed` is what the method was shown last of an utterance.
        """
        columns = {"observed": self.observed, **self.columns}
        columns["observed"] = columns.pop(_SHOWN, self.observed)
        return {"id": self.ids, **{name: tensor.detach().cpu().numpy() for name, tensor in columns.items()}}

    def state(self) -> dict[str, Tensor]:
        """Return the columns, for a checkpoint."""
        return dict(self.columns)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the columns that `state` returned.

        Raises:
            ValueError: If the columns or shapes differ from this table's, for example on a resume with other data.
        """
        if set(state) != set(self.columns):
            raise ValueError(
                f"label table: the saved state has columns {sorted(state)}, this run needs {sorted(self.columns)}: it"
                " was saved by another method or other arguments. Start a new run folder."
            )
        for name, values in state.items():
            column = self.columns[name]
            if values.shape != column.shape:
                raise ValueError(
                    f"label table: saved column {name!r} has shape {tuple(values.shape)}, this run needs"
                    f" {tuple(column.shape)}: it was saved on other training data. Start a new run folder."
                )
        for name, values in state.items():
            self.columns[name].copy_(values)
