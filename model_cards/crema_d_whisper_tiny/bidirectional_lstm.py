"""A bidirectional LSTM over padded sequences, for the heads of several families."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer


class BLSTM(GradientCheckpointingLayer):
    """Bidirectional LSTM over padded sequences; each sequence is reversed within its own length.

    It computes the same as `nn.LSTM(bidirectional=True)` on packed sequences, but without packing, which cannot be
    exported. Padding comes last, so the forward LSTM never sees it before a valid frame, and the backward LSTM reads
    each sequence from its own last frame. It computes in the weights' type and never in that of autocast, because
    rounding errors add up over frames.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.backwards = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) with `lengths` (B,) valid frames -> (B, T, 2 H); values past a length have no meaning."""
        with torch.autocast(device_type=frames.device.type, enabled=False):
            frames = frames.to(next(self.forwards.parameters()).dtype)
            return torch.cat(
                [
                    self.forwards(frames)[0],
                    _turned_around(self.backwards(_turned_around(frames, lengths))[0], lengths),
                ],
                dim=-1,
            )


def _turned_around(frames: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the first `lengths` (B,) frames of each row of (B, T, D); the rest stays in place."""
    place = torch.arange(frames.shape[1], device=frames.device)[None]
    place = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    return frames.gather(1, place[:, :, None].expand_as(frames))


def reset_lstm(lstm: nn.LSTM) -> None:
    """Initialise a new LSTM: orthogonal between its steps, uniform (Glorot) from its input, biases 0."""
    for name, parameter in lstm.named_parameters():
        if "bias" in name:
            init.zeros_(parameter)
        else:
            (init.orthogonal_ if "weight_hh" in name else init.xavier_uniform_)(parameter)
