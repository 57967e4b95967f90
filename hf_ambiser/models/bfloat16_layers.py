"""Convolutions that the CPU computes wrongly in bfloat16, found by a check and computed in float32 instead.

oneDNN, with which torch computes convolutions on a CPU, answers nonsense for some grouped convolutions of few channels
in bfloat16 where the processor has AMX: seen with torch 2.14, forward, relative error 1. The positional convolution
of a small wav2vec 2.0 is one of them, so such a model would train on noise. Which layers are hit depends on processor
and version, so each kind of layer is tried once. Wide ones, as those of the published encoders, are right.
"""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


logger = logging.getLogger(__name__)

# Rounding to bfloat16 gives a relative error of 0.002 to 0.004, a wrong kernel one of about 1.
_LARGEST_ERROR = 0.1
_PLACES = 50  # of the tried input along each axis: one second of an encoder's frames


class _Shape(NamedTuple):
    """What of a convolution decides which kernel computes it."""

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
    """Have the grouped convolutions of an encoder computed in float32 where the CPU gets them wrong in bfloat16.

    Nothing happens until one of them is first computed in bfloat16 on a CPU, by autocast or by its weights. Then all
    are tried, and one logged warning names the wrong ones. On a GPU and in float32 nothing changes, and parameters and
    their names stay, so weights load and save as before.

    Args:
        encoder: The module whose `Conv1d` and `Conv2d` with more than one group are guarded, in place.
    """
    modules = encoder.named_modules()
    layers = {name: layer for name, layer in modules if isinstance(layer, _Conv) and layer.groups > 1}
    shapes = tuple((name, _shape(layer)) for name, layer in layers.items())
    for name, layer in layers.items():
        # Not a module around the layer, which would rename its weights, nor a closure, which a deep copy would leave
        # at the old layer. The weight comes as an argument, after `weight_norm` and whatever else makes it.
        layer._conv_forward = partial(_convolve, layer, name, shapes)  # type: ignore[method-assign]


def _shape(layer: _Conv) -> _Shape:
    # Padding by name, or with anything but zeros, is done before the convolution or comes to one of these.
    outside = isinstance(layer.padding, str) or layer.padding_mode != "zeros"
    padding = (0,) * len(layer.kernel_size) if outside else tuple(layer.padding)
    sizes: Any = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, padding, layer.dilation)
    return _Shape._make((*sizes, layer.groups))


def _convolve(layer: _Conv, name: str, shapes: _Shapes, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`layer._conv_forward(values, weight, bias)`, in float32 where bfloat16 is wrong."""
    convolve: Any = type(layer)._conv_forward
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
    if values.device.type != "cpu" or dtype != torch.bfloat16:
        return convolve(layer, values, weight, bias)
    # A compiler cannot look at the numbers of a trial, and float32 is right anyway. Without oneDNN nothing is tried:
    # the answer would stay when it is on again.
    wrong = torch.compiler.is_compiling() or (torch.backends.mkldnn.enabled and name in _wrong_layers(shapes))
    if not wrong:
        return convolve(layer, values, weight, bias)
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return convolve(layer, values.float(), weight.float(), bias).to(dtype)


@cache
def _wrong_layers(shapes: _Shapes) -> frozenset[str]:
    """Names of the layers that are wrong, said in the log once a process, as this function runs."""
    wrong = [name for name, shape in shapes if _is_wrong(shape)]
    if wrong:
        logger.warning(
            "This CPU computes the encoder's %s wrongly in bfloat16 (a fault of oneDNN with AMX), so it is done in "
            "float32 from now on, right but slower. ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment, "
            "set before Python starts, makes bfloat16 right and fast.",
            ", ".join(wrong),
        )
    return frozenset(wrong)


@cache
def _is_wrong(shape: _Shape) -> bool:
    """Whether output or gradients of such a convolution are far from float32's, tried on one small made input."""
    _, _, kernel_size, stride, padding, dilation, groups = shape
    convolve: Any = nn.functional.conv1d if len(kernel_size) == 1 else nn.functional.conv2d
    numbers = torch.Generator("cpu").manual_seed(0)  # the global one must not notice

    def made(*size: int) -> Tensor:
        return torch.randn(size, generator=numbers, dtype=torch.float32, device="cpu").bfloat16()

    def compute(values: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """The output, and the gradients of half its square to the values and the weight."""
        output = convolve(values, weight, None, stride, padding, dilation, groups)
        # By its own name: autograd would run the hooks of a checkpoint around the layer.
        given = (output, values, weight, None, stride, padding, dilation, False, (0,) * len(stride), groups)
        return output, *torch.ops.aten.convolution_backward(*given, (True, True, False))[:2]

    places = (max(_PLACES, d * (k - 1) + 1) for k, d in zip(kernel_size, dilation, strict=True))
    values = made(1, shape.in_channels, *places)
    weight = made(shape.out_channels, shape.in_channels // groups, *kernel_size)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        pairs = zip(compute(values, weight), compute(values.float(), weight.float()), strict=True)
    # Turned around, since every comparison with nan is false.
    return not all((low.float() - exact).norm() < _LARGEST_ERROR * exact.norm() for low, exact in pairs)
