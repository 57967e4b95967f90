"""An LSTM over padded frames and attention over its output, for the heads of several families."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .bidirectional_lstm import BLSTM


class ForwardLSTM(GradientCheckpointingLayer):
    """LSTM from the first frame to the last. Padding comes last, so no valid frame sees it.

    It computes in the weights' type and never in that of autocast, because rounding errors add up over frames.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) with `lengths` (B,) valid frames -> (B, T, H); values past a length have no meaning."""
        with torch.autocast(device_type=frames.device.type, enabled=False):
            return self.lstm(frames.to(next(self.lstm.parameters()).dtype))[0]


class AttentiveLSTM(nn.Module):
    """LSTM in one or both directions, then a mean of its output over the valid frames with learned weights.

    Args:
        input_size: Size D of a frame.
        hidden_size: Units H of the LSTM in each direction.
        bidirectional: Whether a second LSTM reads the frames from the last to the first.
        dropout: Dropout on its output.
    """

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.recurrent = (BLSTM if bidirectional else ForwardLSTM)(input_size, hidden_size)
        # A softmax over frames ignores a bias, which is the same for all of them.
        self.attention = nn.Linear(hidden_size * (2 if bidirectional else 1), 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Frames (B, T, D), which are valid (B, T) -> float32 (B, H), or (B, 2 H) in both directions."""
        hidden = self.dropout(self.recurrent(frames, valid.sum(1)))
        with torch.autocast(device_type=frames.device.type, enabled=False):
            scores = self.attention(hidden)[..., 0].float()
            weights = scores.masked_fill(~valid, float("-inf")).softmax(dim=-1)
            return (weights[:, None] @ hidden.float())[:, 0]
