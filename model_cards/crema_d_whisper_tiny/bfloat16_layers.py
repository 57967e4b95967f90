"""Convolutions that the CPU computes wrongly in bfloat16: a check finds them, and float32 replaces bfloat16.

torch uses oneDNN for convolutions on a CPU. On processors with AMX, oneDNN returns wrong results for some grouped
convolutions of few channels in bfloat16 (seen with torch 2.14, forward, relative error 1). The positional convolution
of a small wav2vec 2.0 is one of them, so such a model would train on noise. Which layers are affected depends on
processor and version, so each kind of layer is tried once. Wide layers, as in the published encoders, are correct.
"""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


logger = logging.getLogger(__name__)

# Rounding to bfloat16 gives a relative error of 0.002 to 0.004, a wrong kernel gives about 1.
_LARGEST_ERROR = 0.1
_PLACES = 50  # size of the trial input along each axis: one second of an encoder's frames


class _Shape(NamedTuple):
    """The settings of a convolution that decide which kernel computes it."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


_Shapes = tuple[tuple[str, _Shape], ...]  # of all guarded layers of an encoder, by name
_Conv = nn.Conv1d | nn.Conv2d


def guard_bfloat16(encoder: nn.Module) -> None:
    """Compute an encoder's grouped convolutions in float32 if the CPU computes them wrongly in bfloat16.

    Nothing happens until one of them is first computed in bfloat16 on a CPU, by autocast or by its weights. Then all
    are tried, and one logged warning names the wrong ones. On a GPU and in float32 nothing changes. Parameters keep
    their names, so weights load and save as before.

    Args:
        encoder: The module. Its `Conv1d` and `Conv2d` with more than one group are guarded, in place.
    """
    modules = encoder.named_modules()
    layers = {name: layer for name, layer in modules if isinstance(layer, _Conv) and layer.groups > 1}
    shapes = tuple((name, _shape(layer)) for name, layer in layers.items())
    for name, layer in layers.items():
        # A module around the layer would rename its weights, and after a deep copy a closure would still use the old
        # layer. The weight is an argument, so that it comes after `weight_norm` and other parametrisations.
        layer._conv_forward = partial(_convolve, layer, name, shapes)  # type: ignore[method-assign]


def _shape(layer: _Conv) -> _Shape:
    # Padding by name or with other values than zeros happens before the convolution, or is the same as one of these.
    outside = isinstance(layer.padding, str) or layer.padding_mode != "zeros"
    padding = (0,) * len(layer.kernel_size) if outside else tuple(layer.padding)
    sizes: Any = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, padding, layer.dilation)
    return _Shape._make((*sizes, layer.groups))


def _convolve(layer: _Conv, name: str, shapes: _Shapes, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return `layer._conv_forward(values, weight, bias)`, computed in float32 if bfloat16 is wrong."""
    convolve: Any = type(layer)._conv_forward
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
    if values.device.type != "cpu" or dtype != torch.bfloat16:
        return convolve(layer, values, weight, bias)
    # A compiler cannot see the numbers of a trial, but float32 is always right. Without oneDNN nothing is tried,
    # because the result would be kept when oneDNN is on again.
    wrong = torch.compiler.is_compiling() or (torch.backends.mkldnn.enabled and name in _wrong_layers(shapes))
    if not wrong:
        return convolve(layer, values, weight, bias)
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return convolve(layer, values.float(), weight.float(), bias).to(dtype)


@cache
def _wrong_layers(shapes: _Shapes) -> frozenset[str]:
    """Return the names of the wrong layers. It runs once per process, so the warning is logged once."""
    wrong = [name for name, shape in shapes if _is_wrong(shape)]
    if wrong:
        logger.warning(
            "This CPU computes the encoder's %s wrongly in bfloat16 (a fault of oneDNN with AMX). From now on float32 "
            "is used for it, which is right but slower. For fast and right bfloat16, set "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment before Python starts.",
            ", ".join(wrong),
        )
    return frozenset(wrong)


@cache
def _is_wrong(shape: _Shape) -> bool:
    """Whether output or gradients of such a convolution are far from those in float32, on one small made input."""
    _, _, kernel_size, stride, padding, dilation, groups = shape
    convolve: Any = nn.functional.conv1d if len(kernel_size) == 1 else nn.functional.conv2d
    numbers = torch.Generator("cpu").manual_seed(0)  # the state of the global generator must not change

    def made(*size: int) -> Tensor:
        return torch.randn(size, generator=numbers, dtype=torch.float32, device="cpu").bfloat16()

    def compute(values: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """Return the output, and the gradients of half its square in the values and the weight."""
        output = convolve(values, weight, None, stride, padding, dilation, groups)
        # Call the backward pass by name: autograd would run the hooks of a checkpoint around the layer.
        given = (output, values, weight, None, stride, padding, dilation, False, (0,) * len(stride), groups)
        return output, *torch.ops.aten.convolution_backward(*given, (True, True, False))[:2]

    places = (max(_PLACES, d * (k - 1) + 1) for k, d in zip(kernel_size, dilation, strict=True))
    values = made(1, shape.in_channels, *places)
    weight = made(shape.out_channels, shape.in_channels // groups, *kernel_size)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        pairs = zip(compute(values, weight), compute(values.float(), weight.float()), strict=True)
    # "not all below" and not "any above", because every comparison with nan is false.
    return not all((low.float() - exact).norm() < _LARGEST_ERROR * exact.norm() for low, exact in pairs)
