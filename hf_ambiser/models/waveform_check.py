"""What a waveform must be before a model answers: one rule for every family, in feature extractors and in models.

A model that got 16-bit integers or NaN would answer all the same, and nobody would notice. So these are refused. A
waveform with nothing to hear has an answer, too, which means nothing; that is said in a warning.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.utils import logging

from .valid_frames import length_mask, sample_lengths


logger = logging.get_logger(__name__)

# The limits of hf_ambiser/data/audio.py, too: -80 dB of full scale, and 0.1 s at 16 kHz.
SILENCE_PEAK = 1e-4
SHORTEST = 1600
# Float samples may be a little beyond full scale; 30 dB beyond it they are integers in disguise.
LARGEST_PEAK = 32.0
# An array with so few samples an utterance, and more utterances than that, is stereo or multichannel audio.
MOST_CHANNELS = 8


def check_type(values: Tensor, what: str) -> None:
    """Refuse waveforms or features that are not floating point.

    Args:
        values: Of any shape.
        what: What the message calls them.

    Raises:
        ValueError: If they are integers, whose scale nobody knows.
    """
    if not values.is_floating_point():
        raise ValueError(
            f"{what} has type {values.dtype}; allowed: floating point in [-1, 1]. Divide 16-bit integers by 32768."
        )


def checked_lengths(
    waveforms: Tensor, attention_mask: Tensor | None, full_scale: bool, warn: bool, what: str = "input_values"
) -> Tensor:
    """Check a padded batch of waveforms, and return the number of valid samples of each.

    Args:
        waveforms: Shape (B, samples).
        attention_mask: 1 for a sample, 0 for padding at the end, shape (B, samples); None if nothing is padded.
        full_scale: Whether they must be in [-1, 1], because no feature extractor has scaled them.
        warn: Whether to warn of waveforms with nothing to hear; in training it would be said in every epoch.
        what: What a message calls them.

    Returns:
        int64, shape (B,).

    Raises:
        ValueError: If samples are integers, NaN, infinite or far beyond full scale, channels stand beside the time,
            or the mask is not that of these waveforms.
    """
    check_type(waveforms, what)
    lengths = sample_lengths(waveforms, attention_mask)
    if torch.compiler.is_compiling() or waveforms.device.type == "meta":  # there are no values to look at
        return lengths
    n, samples = waveforms.shape
    if samples <= MOST_CHANNELS < n:
        raise ValueError(
            f"{what} has shape {(n, samples)}, {n} utterances of {samples} samples, which looks like (samples,"
            f" channels); allowed: (B, samples), mono. Average the channels: x.mean(axis=-1)[None]."
        )
    valid = waveforms if attention_mask is None else waveforms.masked_fill(~length_mask(lengths, samples), 0)
    peaks = valid.detach().float().abs().amax(dim=1).cpu()  # NaN, where a sample is NaN
    _check_peaks(peaks, full_scale, what)
    if warn:
        _warn_of_nothing((peaks < SILENCE_PEAK) | (lengths.cpu() < SHORTEST))
    return lengths


def _check_peaks(peaks: Tensor, full_scale: bool, what: str) -> None:
    wrong = (~peaks.isfinite()).nonzero()
    if len(wrong):
        span = " in [-1, 1]" if full_scale else ""
        where = f" in row {int(wrong[0])} of {len(peaks)}" if len(peaks) > 1 else ""
        raise ValueError(f"{what} has samples that are NaN or infinite{where}; allowed: finite ones{span}.")
    if full_scale and float(peaks.max()) > LARGEST_PEAK:
        raise ValueError(
            f"{what} has samples of up to {float(peaks.max()):g}; allowed: [-1, 1] (up to {LARGEST_PEAK:g} is loud)."
            " Divide samples on the scale of 16-bit integers by 32768."
        )


def _warn_of_nothing(nothing: Tensor) -> None:
    if bool(nothing.any()):
        logger.warning(
            f"{int(nothing.sum())} of {len(nothing)} waveforms have nothing to hear (peak below {SILENCE_PEAK:g} of"
            f" full scale, or shorter than {SHORTEST / 16000:g} s): their answers mean nothing."
        )
