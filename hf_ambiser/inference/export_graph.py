"""A classifier as one graph of tensor operations, from plain samples to its answer, for `torch.export` and ONNX.

What Python decides from the values of a batch cannot be in a graph: the checks of waveforms, the blocks of a
spectrum, the segments that an utterance has. `Graph` computes the same without such decisions. The scaling of a
feature extractor is part of it, so that every graph takes samples in [-1, 1].
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hf_ambiser.models.encoder_whisper import HOP
from hf_ambiser.models.modeling_fusion import FusionForAudioClassification
from hf_ambiser.models.valid_frames import length_mask, pad_to_minimum


# A graph has one rule for all sizes, and sizes of 1 are a rule of their own; 0.1 s make more than one frame.
SHORTEST = 1600
# 10 minutes: more than anybody gives to a classifier at once, and a bound that index arithmetic needs.
LONGEST = 16000 * 600
# model_type of an encoder -> why it cannot be exported.
REFUSED = {"sew-d": "transformers computes its positions for the length of one example, and a graph would keep that"}


class Graph(nn.Module):
    """Samples or acoustic features, and their mask, in; what the model says, in the order of `outputs`, out.

    Args:
        model: A model of hf_ambiser, in evaluation mode; a copy is changed where ONNX has an operator of its own.
        scales: Whether its feature extractor scales each waveform to mean 0 and variance 1.
        for_onnx: Whether LSTMs become the operator of ONNX; otherwise they are torch's.
    """

    def __init__(self, model: Any, scales: bool, for_onnx: bool) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).float().eval()
        if for_onnx:
            _replace_lstms(self.model)
        self.scales = scales
        self.features = model.main_input_name == "input_features"
        self.outputs = ["logits", "utterance_embedding"]
        if hasattr(self.model.head, "prototypes"):
            self.outputs.append("prototype_similarity")

    @property
    def shortest(self) -> int:
        """Least number of columns of a batch; what is shorter is zero-padded. Frames of features, or samples."""
        if self.features:
            return 2
        least = 0 if getattr(self.model, "encoder", None) is None else self.model.minimum_samples
        return max(SHORTEST, least)

    @property
    def longest(self) -> int:
        """Largest number of columns of a batch."""
        encoder: Any = getattr(self.model, "encoder", None)
        # Longer ones are divided into segments of 30 s, as many as there are.
        whisper = encoder is not None and encoder.config.model_type == "whisper"
        return encoder.segment_frames * HOP if whisper else LONGEST

    def forward(self, values: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Samples (B, T), or features (B, T, 32), and which are valid (B, T) -> logits (B, K) and what follows."""
        if self.features:
            found = self.model(input_features=values, attention_mask=attention_mask)
            return found.logits, found.embedding
        if self.scales:
            values = _scaled(values, attention_mask)
        if isinstance(self.model, FusionForAudioClassification):
            return _of_segments(self.model, values, attention_mask.sum(-1))
        found = self.model(input_values=values, attention_mask=attention_mask)
        similarity = getattr(found, "prototype_similarity", None)
        return (found.logits, found.embedding) + (() if similarity is None else (similarity,))


def _scaled(values: Tensor, attention_mask: Tensor) -> Tensor:
    """Scale each row to mean 0 and variance 1 over its valid samples, as transformers' feature extractor does."""
    mask = attention_mask.to(values.dtype)
    count = mask.sum(1, keepdim=True)
    centred = (values - (values * mask).sum(1, keepdim=True) / count) * mask
    return centred * torch.rsqrt(centred.square().sum(1, keepdim=True) / count + 1e-7)


def _of_segments(model: FusionForAudioClassification, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Answer as the fusion model does, with the same number of segments for each utterance; empty ones count 0.

    Args:
        model: The model.
        values: (B, T), in [-1, 1].
        lengths: Samples of each utterance, (B,).

    Returns:
        Logits (B, K), and embedding (B, D).
    """
    batch, config = values.shape[0], model.config
    values = values.masked_fill(~length_mask(lengths, values.shape[1]), 0)
    left = lengths[:, None]
    if config.segment_seconds is not None:
        size = round(config.segment_seconds * config.sampling_rate)
        values = nn.functional.pad(values, (0, -values.shape[1] % size))
        segments = values.shape[1] // size
        left = (left - torch.arange(segments, device=left.device)[None] * size).clamp(0, size)
        values = values.reshape(-1, size)
    spoken = left.reshape(-1).clamp_min(1)
    padded, counts = pad_to_minimum(values, spoken, round(config.minimum_seconds * config.sampling_rate))
    hidden = valid = None
    if model.encoder is not None:
        hidden, valid = model.encode(None, None, *model._encode_segments(padded, counts, spoken))
    weight = (left > 0).float()[..., None]
    logits, embedding = (
        (found.reshape(batch, -1, found.shape[-1]) * weight).sum(1) / weight.sum(1)
        for found in model.head(padded, counts, hidden, valid)
    )
    return logits, embedding


class _OnnxLSTM(nn.Module):
    """An `nn.LSTM` of one layer and direction as the operator of ONNX, which orders its gates otherwise."""

    def __init__(self, lstm: Any) -> None:
        super().__init__()
        self.size = lstm.hidden_size
        self.input_weight = nn.Parameter(_reordered(lstm.weight_ih_l0)[None])
        self.state_weight = nn.Parameter(_reordered(lstm.weight_hh_l0)[None])
        self.bias = nn.Parameter(torch.cat([_reordered(lstm.bias_ih_l0), _reordered(lstm.bias_hh_l0)])[None])

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        """(B, T, D) -> a tuple with (B, T, H) alone."""
        steps = frames.transpose(0, 1)
        states = torch.onnx.ops.symbolic(
            "LSTM",
            (steps, self.input_weight, self.state_weight, self.bias),
            {"hidden_size": self.size},
            dtype=steps.dtype,
            shape=(steps.shape[0], 1, steps.shape[1], self.size),
            version=14,
        )
        return (states[:, 0].transpose(0, 1),)


def _reordered(gates: Tensor) -> Tensor:
    """Input, forget, cell, output as torch has them -> input, output, forget, cell."""
    enter, forget, cell, out = gates.detach().chunk(4)
    return torch.cat([enter, out, forget, cell]).clone()


def _replace_lstms(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.LSTM):
                setattr(module, name, _OnnxLSTM(child))
