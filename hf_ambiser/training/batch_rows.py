"""The utterance and the role of each row of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hf_ambiser.training.collator import AMBIGUOUS, AUGMENTED, LABELLED


@dataclass(frozen=True)
class BatchRows:
    """The utterance, `index (B,)`, and the role, `role (B,)`, of each of the B rows of a batch."""

    index: Tensor
    role: Tensor

    @property
    def labelled(self) -> Tensor:
        """`(B,)` bool."""
        return self.role == LABELLED

    @property
    def ambiguous(self) -> Tensor:
        """`(B,)` bool: clean ambiguous rows."""
        return self.role == AMBIGUOUS

    @property
    def augmented(self) -> Tensor:
        """`(B,)` bool: augmented copies, in the order of the ambiguous rows."""
        return self.role == AUGMENTED


def sorted_unique(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sort rows by (index, role) and keep the first of each pair."""
    key = rows["index"] * 3 + rows["role"]
    order = torch.argsort(key, stable=True)
    key = key[order]
    fresh = torch.ones_like(key, dtype=torch.bool)
    fresh[1:] = key[1:] != key[:-1]
    return {name: tensor[order][fresh] for name, tensor in rows.items()}
