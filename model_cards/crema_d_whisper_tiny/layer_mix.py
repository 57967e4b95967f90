"""From the frames of an encoder's layers to one frame sequence: standardised values, a weighted sum of the layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .valid_frames import length_mask


class LayerMix(nn.Module):
    """Weighted sum of the frames of all layers, as in SUPERB (Yang et al., 2021, section 3): weights sum to 1.

    Before the sum, each value of each layer can be scaled to mean 0 and variance 1 by statistics of the training set.
    Pretrained encoders have a few values that are larger than all others by orders of magnitude, and their layers
    differ in size. Without this scaling a head learns slowly above them.

    Args:
        layers: Number of layers L, with what enters the lowest one; 1: the last layer alone, without a sum.
        size: Size H of a frame.
        standardize: Whether values are scaled. Until `fit` is called, they are not.
    """

    mean: Tensor
    scale: Tensor
    fitted: Tensor

    def __init__(self, layers: int, size: int, standardize: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layers)) if layers > 1 else None
        self.standardize = standardize
        if standardize:
            self.register_buffer("mean", torch.zeros(layers, size, dtype=torch.float32))
            self.register_buffer("scale", torch.ones(layers, size, dtype=torch.float32))
            self.register_buffer("fitted", torch.zeros((), dtype=torch.long))

    def reset_parameters(self) -> None:
        """Give all layers the same weight, and forget the statistics."""
        with torch.no_grad():
            if self.weight is not None:
                self.weight.zero_()
            if self.standardize:
                self.mean.zero_()
                self.scale.fill_(1)
                self.fitted.zero_()

    def _apply(self, fn: Any, recurse: bool = True) -> LayerMix:
        # The statistics stay float32 under `model.to(torch.bfloat16)`: rounded, the mean of a large value would be
        # wrong by more than its deviation.
        before = (self.mean, self.scale) if self.standardize else ()
        super()._apply(fn, recurse)
        if before and self.mean.dtype != torch.float32:
            self.mean, self.scale = (values.to(self.mean.device) for values in before)
        return self

    @property
    def needs_fit(self) -> bool:
        """Whether values are to be scaled, and the statistics are not there yet."""
        return self.standardize and not bool(self.fitted)

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take mean and deviation of each value over all valid frames.

        Args:
            batches: Frames (B, L, T, H) and the number of valid ones (B,), as `encoder_frames` of a model gives them.
        """
        count, mean, squares = 0, self.mean.new_zeros(()).double(), self.mean.new_zeros(()).double()
        for frames, lengths in batches:
            valid = frames.transpose(1, 2)[length_mask(lengths, frames.shape[2])].float()  # (frames, L, H)
            variance, own = (values.double() for values in torch.var_mean(valid, dim=0, correction=0))
            # Join both parts' means and squared deviations (Chan et al., 1983): sums of squares would lose all digits
            # of a small deviation around a large mean.
            n, step = len(valid), own - mean
            squares = squares + variance * n + step.square() * (count * n / (count + n))
            count, mean = count + n, mean + step * (n / (count + n))
        self.mean.copy_(mean)
        # A value that never changes stays where it is: 0 after the mean is subtracted.
        self.scale.copy_((squares / count).clamp_min(1e-12).rsqrt())
        self.fitted.fill_(1)

    def forward(self, layers: Tensor) -> Tensor:
        """Frames (B, L, T, H) -> float32 (B, T, H)."""
        with torch.autocast(device_type=layers.device.type, enabled=False):
            factor = self.scale if self.standardize else layers.new_ones(layers.shape[1], 1, dtype=torch.float32)
            if self.weight is not None:
                factor = torch.softmax(self.weight.float(), dim=0)[:, None] * factor
            mixed: Tensor = -(factor * self.mean).sum(0) if self.standardize else factor.new_zeros(())
            for layer, own in zip(layers.unbind(1), factor, strict=True):
                mixed = mixed + layer.float() * own
            return mixed


@contextmanager
def layer_inputs(layers: Sequence[nn.Module]) -> Iterator[list[Tensor | None]]:
    """Collect what enters each of an encoder's layers in a forward pass; None for a layer that was skipped.

    transformers runs hooks outside of activation checkpointing, so the gradient passes through what they keep.
    """
    inputs: list[Tensor | None] = [None] * len(layers)

    def keep(i: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs[i] = args[0] if args else kwargs["hidden_states"]

        return hook

    handles = [layer.register_forward_pre_hook(keep(i), with_kwargs=True) for i, layer in enumerate(layers)]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()
