"""What networks answer to many training utterances between two steps: ranks share the work, and know all answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hf_ambiser.training.distributed import gather_rows, rank, world_size


if TYPE_CHECKING:
    from hf_ambiser.training.trainer import AmbiSERTrainer


@torch.no_grad()
def sweep(trainer: AmbiSERTrainer, networks: Sequence[Any], rows: range) -> Tensor:
    """Return the logits `(M, R, K)`, float32, of M networks for R rows of the label table, equal on all ranks.

    The networks answer in evaluation mode, so without dropout and masking; then they are in training mode again.
    Utterances of similar length are in one batch.

    Args:
        trainer: Its data, and how they are collated.
        networks: M models without wrappers.
        rows: R rows of the label table, one after the other.
    """
    data, size = trainer.data, trainer.args.per_device_eval_batch_size
    durations = np.concatenate([data.labelled_durations, data.ambiguous_durations])[rows.start : rows.stop]
    order = rows.start + durations.argsort(kind="stable")
    for network in networks:
        network.eval()
    index, answers = [], []
    for start in range(rank() * size, len(order), world_size() * size):
        inputs = trainer._prepare_inputs(trainer.collate([[data.row(int(i)) for i in order[start : start + size]]]))
        index.append(inputs.pop("index"))
        inputs.pop("role")
        answers.append(torch.stack([network(**inputs).logits.float() for network in networks], dim=1))
    for network in networks:
        network.train()
    n_classes, device = trainer.table.observed.shape[1], trainer.table.observed.device
    found = gather_rows(
        {
            "index": torch.cat([*index, torch.zeros(0, dtype=torch.int64, device=device)]),
            "logits": torch.cat([*answers, torch.zeros(0, len(networks), n_classes, device=device)]),
        }
    )
    logits = torch.zeros(len(rows), len(networks), n_classes, device=device)
    logits[found["index"] - rows.start] = found["logits"]
    return logits.transpose(0, 1)
