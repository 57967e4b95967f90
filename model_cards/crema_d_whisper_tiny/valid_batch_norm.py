"""Batch norm whose statistics are those of the valid positions of a batch, never those of padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


_SHARE = 0.1  # of a batch in the moving averages, as in torch


class ValidBatchNorm(nn.BatchNorm2d):
    """Batch norm (Ioffe and Szegedy, 2015) of images of time and feature in a padded batch.

    In training, each channel gets the mean and the variance of its valid positions in the batch, and moving averages
    of both are kept. In evaluation the moving averages are used, so an answer depends neither on padding nor on the
    other utterances of its batch. What is learnt does depend on which utterances stand in a batch together, as with
    every batch norm: the sub-batches of an accumulation, and the ranks of a run, have statistics of their own.

    Where its weights do not learn (a frozen layer, or one below LoRA adapters), the moving averages are used in
    training, too, and stay as they are.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps, momentum=_SHARE)

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:  # type: ignore[override]
        """Normalise (B, C, T, F), whose valid frames, bool (B, T), give the statistics; the same shape."""
        mean, variance = self.running_mean.float(), self.running_var.float()
        if self.training and self.weight.requires_grad:
            weights = valid[:, None, :, None].float()
            count = weights.sum() * image.shape[3]
            values = image.float()
            mean = (values * weights).sum((0, 2, 3)) / count
            variance = ((values - mean[:, None, None]).square() * weights).sum((0, 2, 3)) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        scale = self.weight.float() * torch.rsqrt(variance + self.eps)
        shift = self.bias.float() - mean * scale
        return torch.addcmul(shift[:, None, None], image.float(), scale[:, None, None]).to(image.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        # Activation checkpointing computes a layer again inside the backward pass; a batch counts once.
        if torch._C._current_graph_task_id() != -1:
            return
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), _SHARE)
        self.running_var.lerp_(variance.to(self.running_var.dtype), _SHARE)
