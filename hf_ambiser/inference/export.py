"""Exports a trained model into a folder that is used without this package: for onnxruntime, or for torch alone."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ambiser.inference.export_card import card_of
from hf_ambiser.inference.export_precision import PRECISIONS, store_in
from hf_ambiser.inference.onnx_model import ABOUT, MODEL, TORCH_MODEL, OpenedOnnx, open_onnx
from hf_ambiser.inference.opened_model import OpenedModel
from hf_ambiser.untrusted.printed import in_one_line


if TYPE_CHECKING:
    import torch

    from hf_ambiser.inference.export_graph import Graph

FORMATS = ("onnx", "torch")
# Largest difference from PyTorch that a float32 export may have, in any output; of values above 1, relative to them.
TOLERANCE = 1e-4
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Fields of a configuration that name code, or a place on this machine.
_LEFT_OUT = ("auto_map", "custom_pipelines", "_name_or_path")


def export_model(model: Any, out: Path | str, format: str = "onnx", precision: str = "float32") -> Path:
    """Export a trained model, and check that the exported one gives the same answers.

    The folder holds the model (`model.onnx`, or `model.pt2` for `torch.export.load`), `config.json`, `export.json`
    (what the graph takes and gives, the class names, the sampling rate), `preprocessor_config.json`, and `README.md`,
    which says how to use it. The graph takes samples in [-1, 1] `(B, T)` and their mask; batch and length may be
    anything up to the bound in `export.json`. It computes spectra and scales waveforms itself. A model of acoustic
    features (`blstm` with `acoustic32`) takes features `(B, T, 32)`, because they are not computed in the model.

    Args:
        model: Folder of a model or of a finished run, Hub name, or what `open_model` has returned.
        out: Folder to write, whole or not at all; it must not hold anything yet.
        format: "onnx" or "torch".
        precision: How weights are stored: "float32"; "float16", which is computed in float32; or "int8", in which
            matrix products and LSTMs are computed with quantised weights. The last two are for ONNX.

    Returns:
        The folder.

    Raises:
        ValueError: If the model cannot be exported, an argument is not allowed, a package is missing, or the exported
            model gives other answers. Nothing is written then.
    """
    out = Path(out)
    _check_arguments(out, format, precision)
    from hf_ambiser.inference.export_graph import Graph
    from hf_ambiser.inference.model_door import open_model

    opened = model if isinstance(model, OpenedModel) else open_model(model, "cpu")
    scales = _check_model(opened, format)
    # A copy, because the caller's may be on a GPU or in bfloat16, and stays there.
    opened = replace(opened, model=copy.deepcopy(opened.model).float().cpu())
    graph = Graph(opened.model, scales, for_onnx=format == "onnx")
    part = out.parent / f".{out.name}.{os.getpid()}.part"
    part.mkdir(parents=True)
    try:
        with _quiet():
            about = _about(opened, graph, format, precision)
            _write_beside(part, opened, about)
            _write_graph(part, graph, opened, format)
            worst = _difference(part, opened, graph, format)
            if not worst <= TOLERANCE:
                raise ValueError(
                    f"model {opened.name}: the exported graph differs from the model by {worst:.1e}; allowed:"
                    f" {TOLERANCE:.0e}. This is a fault of hf_ambiser or of torch's exporter; please report it."
                )
            if precision != "float32":
                store_in(precision, part / MODEL)
                worst = _difference(part, opened, graph, format)
        about["largest_difference"] = worst
        _write_beside(part, opened, about)
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _check_arguments(out: Path, format: str, precision: str) -> None:
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; allowed: {', '.join(FORMATS)}.")
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}.")
    if format == "torch" and precision != "float32":
        raise ValueError(f"precision is {precision!r}, and format torch has float32 only; leave it out, or use onnx.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out {out} is there already and is no empty folder; give another name, or remove it.")
    missing = [name for name in _PACKAGES if format == "onnx" and find_spec(name) is None]
    if missing:
        raise ValueError(f'--format onnx needs {", ".join(missing)}: pip install "hf_ambiser[onnx]".')


def _check_model(opened: OpenedModel, format: str) -> bool:
    """Refuse what cannot be exported; return whether the feature extractor scales waveforms."""
    import torch
    from torch import nn
    from transformers import Wav2Vec2FeatureExtractor

    from hf_ambiser.inference.export_graph import REFUSED

    if len(opened.names) > 1:
        raise ValueError(f"model {opened.name}: one model is exported at a time, and these are {len(opened.names)}.")
    if isinstance(opened, OpenedOnnx):
        raise ValueError(f"model {opened.name} is an exported one; give the model that it was made from.")
    if not opened.ours:
        raise ValueError(
            f"model {opened.name} is no model of hf_ambiser, and only these are exported; `optimum-cli export onnx` of"
            " the package optimum exports those of transformers."
        )
    config = opened.model.config
    encoder = getattr(opened.model, "encoder", None)
    if encoder is not None and encoder.config.model_type in REFUSED:
        kind = encoder.config.model_type
        raise ValueError(f"model {opened.name} has an encoder of type {kind} and cannot be exported: {REFUSED[kind]}.")
    has_lstm = any(isinstance(module, nn.LSTM) for module in opened.model.modules())
    if format == "torch" and has_lstm and _lstm_as_loop() is None:
        raise ValueError(
            f"model {opened.name} has an LSTM, and torch.export of this version of torch ({torch.__version__}) fixes"
            " the number of its steps, so that recordings of another length would be refused; use --format onnx, or a"
            " newer torch."
        )
    if opened.model.main_input_name == "input_features":
        return False
    extractor = opened.extractor
    plain = isinstance(extractor, Wav2Vec2FeatureExtractor) and extractor.padding_side == "right"
    if not plain or extractor.padding_value != 0:
        raise ValueError(
            f"model {opened.name} has a {type(extractor).__name__} that does more to waveforms than to scale them and"
            " to add zeros behind them, and a graph could not do the same. Save the model with the extractor that"
            f" {type(opened.model).__name__}.make_feature_extractor() returns."
        )
    if opened.rate != 16000:
        raise ValueError(f"model {opened.name} takes {opened.rate} Hz; an exported one takes 16000 Hz.")
    assert config.model_type.startswith("ambiser_")
    return bool(extractor.do_normalize)


def _about(opened: OpenedModel, graph: Graph, format: str, precision: str) -> dict[str, Any]:
    return {
        "format": format,
        "precision": precision,
        "input": opened.model.main_input_name,
        "outputs": graph.outputs,
        "shortest": graph.shortest,
        "longest": graph.longest,
        "sampling_rate": opened.rate,
        "window": opened.window,
        "classes": list(opened.classes),
    }


def _write_beside(folder: Path, opened: OpenedModel, about: dict[str, Any]) -> None:
    """Write everything but the graph."""
    config = {name: value for name, value in opened.model.config.to_dict().items() if name not in _LEFT_OUT}
    for name, content in (("config.json", config), (ABOUT, about)):
        (folder / name).write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    opened.extractor.save_pretrained(folder)
    card = Path(opened.name) / "README.md"
    if has_card := card.is_file():
        shutil.copyfile(card, folder / "MODEL_CARD.md")
    (folder / "README.md").write_text(card_of(about, has_card), encoding="utf-8")


def _write_graph(folder: Path, graph: Graph, opened: OpenedModel, format: str) -> None:
    import torch

    values, mask = _example(graph)
    length = torch.export.Dim.DYNAMIC(min=graph.shortest, max=graph.longest)
    shapes = {0: torch.export.Dim.DYNAMIC, 1: length}
    try:
        # For ONNX there is no LSTM of torch in the graph any more.
        loop = _lstm_as_loop() if format == "torch" else None
        with torch.no_grad(), loop() if loop is not None else nullcontext():
            program = torch.export.export(
                graph,
                (values, mask),
                dynamic_shapes=(shapes, shapes),
                strict=False,
                # Much that holds for every length is more than the exporter can prove; the answers are compared below.
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            if format == "torch":
                _take_out_assertions(program)
                torch.export.save(program, folder / TORCH_MODEL)
                return
            names: dict[str, Any] = {
                "input_names": [opened.model.main_input_name, "attention_mask"],
                "output_names": graph.outputs,
            }
            written: Any = torch.onnx.export(program, **names, verbose=False)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"model {opened.name} cannot be exported with this version of torch ({torch.__version__}):"
            f" {in_one_line(error, 300)}"
        ) from error
    _forget_where(written.model)
    written.save(folder / MODEL)


def _lstm_as_loop() -> Callable[[], AbstractContextManager[None]] | None:
    """What lets torch.export follow an LSTM as a loop of any number of steps; None: this version of torch has it not.

    Without it the exporter follows the steps one by one, and fixes their number. Either way the program holds the LSTM
    as one operation of torch, and not these steps.
    """
    try:
        from torch.export._patches import register_lstm_while_loop_decomposition
    except ImportError:
        return None
    return register_lstm_while_loop_decomposition


def _take_out_assertions(program: torch.export.ExportedProgram) -> None:
    """Take out what the exporter assumed of the sizes and could not prove: some of it is false for a batch of one."""
    import torch

    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _forget_where(model: Any) -> None:
    """Take out of the graph where on this machine each operation's line of code stands."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    model.metadata_props.clear()


def _lengths(graph: Graph) -> list[int]:
    """Odd lengths of made recordings; the first is the longest, and has two segments where a model makes segments."""
    seconds = getattr(graph.model.config, "segment_seconds", None)
    longest = min(graph.longest, max(2 * graph.shortest, round(2.4 * 16000 * seconds) if seconds else 0, 20011))
    return [longest, longest * 5 // 8 + 3, longest // 3 + 1, max(1613, longest // 5)]


def _noise(lengths: list[int]) -> list[np.ndarray]:
    numbers = np.random.default_rng(0)
    return [
        (numbers.standard_normal(n) * (0.1 + 0.05 * np.sin(np.linspace(0, 9, n)))).astype(np.float32) for n in lengths
    ]


def _example(graph: Graph) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values and mask of a batch, from which the graph is traced."""
    import torch

    from hf_ambiser.inference.onnx_model import padded

    if graph.features:
        values, mask = torch.randn(3, 97, 32), torch.ones(3, 97, dtype=torch.long)
        mask[1:, 60:] = 0
        return values, mask
    samples, valid = padded(_noise(_lengths(graph)[:3]), graph.shortest)
    return torch.from_numpy(samples), torch.from_numpy(valid)


def _difference(folder: Path, opened: OpenedModel, graph: Graph, format: str) -> float:
    """Return the largest difference of any output, exported and not, on batches of odd lengths; inf for NaN."""
    worst = 0.0
    exported = open_onnx(folder, "cpu") if format == "onnx" else _TorchProgram(folder, opened, graph)
    for lengths in (_lengths(graph), _lengths(graph)[1:2], _lengths(graph)[2:]):
        noise = _noise(lengths)
        mine: Any
        theirs = opened.outputs_of(noise)
        try:
            mine = exported.outputs_of(noise)
        except Exception as error:  # of torch, or of onnxruntime, which has classes of its own
            raise ValueError(
                f"model {opened.name}: the exported graph fails on recordings of {lengths} samples"
                f" ({in_one_line(error)}). Please report it."
            ) from error
        for name in graph.outputs:
            field = name.removeprefix("utterance_")
            expected = getattr(theirs, field).numpy()
            difference = np.abs(np.asarray(getattr(mine, field)) - expected).max() / max(1, np.abs(expected).max())
            worst = max(worst, float(difference) if np.isfinite(difference) else float("inf"))
    return worst


class _TorchProgram:
    """A written program of torch.export, as `_difference` asks it."""

    def __init__(self, folder: Path, opened: OpenedModel, graph: Graph) -> None:
        import torch

        self._module = torch.export.load(folder / TORCH_MODEL).module()
        self._opened, self._graph = opened, graph

    def outputs_of(self, waveforms: list[np.ndarray]) -> Any:
        from types import SimpleNamespace

        import torch

        from hf_ambiser.inference.onnx_model import padded

        if self._graph.features:
            found = self._opened.extractor(waveforms, sampling_rate=16000, return_tensors="pt", padding=True)
            given = (found["input_features"], found["attention_mask"].long())
        else:
            values, mask = padded(waveforms, self._graph.shortest)
            given = (torch.from_numpy(values), torch.from_numpy(mask))
        with torch.inference_mode():
            outputs = self._module(*given)
        names = [name.removeprefix("utterance_") for name in self._graph.outputs]
        return SimpleNamespace(**{name: value.numpy() for name, value in zip(names, outputs, strict=True)})


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporters' remarks, which are for those who write exporters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
