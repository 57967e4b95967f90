"""An ONNX model with smaller weights: stored in half precision, or quantised to 8 bits.

The spectrum stays as it is: its filters are small, and what is quiet in it would be lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


PRECISIONS = ("float32", "float16", "int8")
_SMALL = 4096  # values; smaller arrays stay float32, for they are biases, norms and statistics


def store_in(precision: str, path: Path) -> None:
    """Rewrite an ONNX file of float32 weights with weights in another precision.

    With "float16", weights are stored in half precision, and the graph makes float32 of them before it computes, as
    `from_pretrained` does with the shipped model. With "int8", the weights of matrix products and LSTMs have a scale
    for each column, and what they are multiplied with is quantised while the model runs (dynamic quantisation).

    Args:
        precision: "float16" or "int8".
        path: The file.
    """
    import onnx

    model = onnx.load(path)
    spectrum = list(_of_the_spectrum(model.graph))
    if precision == "float16":
        kept = {name for node in spectrum for name in node.input}
        _halve(model.graph, kept)
        onnx.save(model, path)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = path.with_name(f"{path.name}.part")
    quantize_dynamic(
        path,
        target,
        op_types_to_quantize=["MatMul", "LSTM"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[node.name for node in spectrum],
    )
    target.replace(path)


def _of_the_spectrum(graph: Any) -> Iterator[Any]:
    """Yield the matrix products between a Fourier transform and the logarithm of its bands."""
    made_by = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type != "Log":
            continue
        above, transformed = [node], False
        seen: list[Any] = []
        while above:
            one = above.pop()
            if one.op_type == "DFT":
                transformed = True
            elif not any(one is other for other in seen):
                seen.append(one)
                above += [made_by[name] for name in one.input if name in made_by]
        if transformed:
            yield from (one for one in seen if one.op_type == "MatMul")


def _halve(graph: Any, kept: set[str]) -> None:
    """Store large float32 arrays in half precision, each with a node that makes float32 of it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for array in graph.initializer:
        values = numpy_helper.to_array(array) if array.data_type == TensorProto.FLOAT else None
        if values is None or values.size < _SMALL or array.name in kept:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = array.name
        array.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], f"{name}_as_float", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
