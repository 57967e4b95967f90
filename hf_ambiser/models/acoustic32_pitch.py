"""F0 and voicing probability: autocorrelation of the frames of an utterance, then the best path through its peaks.

The idea is Boersma's (1993, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
ratio of a sampled sound"): divide the autocorrelation of a windowed frame by that of the window, give short periods a
small bonus against octave errors, and find the best path over frames by dynamic programming. The band limit, the
full-band normalisation and a search without a loop over frames are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


# Periods of the lowest F0 in one window; with fewer, the window's own decay hides the second period.
PERIODS = 3
# Number of autocorrelation peaks that a frame may choose from.
CANDIDATES = 5
# Bonus per octave upwards, so that of equally good periods (T, 2T, 3T ...) the shortest is chosen.
OCTAVE_COST = 0.01
# Costs of a path: per octave of a jump between frames, and per change between voiced and unvoiced (Boersma's values).
JUMP_COST = 0.35
VOICING_CHANGE_COST = 0.14
# A frame this far below the utterance's loudest one (-30 dB) or further counts as less voiced the quieter it is.
QUIET = 0.03
# Power of the smallest signal, relative to a constant, that float32 can separate from rounding.
DYNAMIC_RANGE = 1e-10
# Number of frames transformed at a time: so few that they stay in a processor's cache.
BLOCK = 128
# Frequencies in Hz: full weight below the first, none from the second on. The limit keeps the autocorrelation smooth
# at 16 kHz, so that a parabola through three of its values gives the position and height of a peak.
PASS_BELOW, STOP_FROM = 2000.0, 4000.0


@dataclass(frozen=True)
class PitchSettings:
    """Settings of the pitch tracker; frequencies in Hz, lengths in samples."""

    sampling_rate: int
    frame_length: int
    hop_length: int
    f0_min: float
    f0_max: float
    voicing_threshold: float

    @property
    def window_length(self) -> int:
        """Length of a pitch window in samples: `PERIODS` of the lowest F0."""
        return math.ceil(PERIODS * self.sampling_rate / self.f0_min)

    @property
    def lags(self) -> tuple[int, int]:
        """Shortest and longest period in samples."""
        return math.floor(self.sampling_rate / self.f0_max), math.ceil(self.sampling_rate / self.f0_min)


def track_pitch(waveform: Tensor, frames: int, settings: PitchSettings) -> tuple[Tensor, Tensor]:
    """Return F0 in Hz (0 where unvoiced, as in openSMILE) and voicing probability in [0, 1], `(frames,)` float32 each.

    25 ms hold little more than one period of 50 Hz, so both use `window_length` samples around each frame's centre
    (60 ms; openSMILE's own configurations use 40 or 60 ms). At the ends of the utterance the window is moved inwards,
    so that it stays inside. The voicing probability is the share of the window's power that repeats one period later.
    Neither depends on the level of the utterance.

    Args:
        waveform: One utterance, `(samples,)` float32.
        frames: Number of frames T.
        settings: Ranges and lengths.
    """
    correlation, level = normalized_autocorrelation(waveform, frames, settings)
    periods, strengths = _candidates(correlation, settings)
    relative = level / level.max().clamp_min(torch.finfo(level.dtype).tiny)
    voicing = strengths.amax(1).clamp(0, 1) * (relative / QUIET).clamp_max(1)

    octaves = torch.log2(periods * (settings.f0_min / settings.sampling_rate))
    quiet = (2 - relative * (1 + settings.voicing_threshold) / QUIET).clamp_min(0)
    unvoiced = settings.voicing_threshold + quiet
    scores = torch.cat([(strengths - OCTAVE_COST * octaves).T, unvoiced[None]])
    best = best_path(scores, _transitions(octaves))
    f0 = torch.nn.functional.pad(settings.sampling_rate / periods, (0, 1))
    return f0.gather(1, best[:, None])[:, 0], voicing


@lru_cache(maxsize=8)
def _window(length: int, transform: int, sampling_rate: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a Hann window, its autocorrelation with value 1 at lag 0, and the weights of the frequency bins."""
    window = torch.hann_window(length + 1, periodic=False, dtype=torch.float64)[:-1]
    own = torch.fft.irfft(torch.fft.rfft(window, n=transform).abs().square(), n=transform)
    hertz = torch.arange(transform // 2 + 1, dtype=torch.float64) * sampling_rate / transform
    slope = ((STOP_FROM - hertz) / (STOP_FROM - PASS_BELOW)).clamp(0, 1)
    return window.float(), (own / own[0]).float(), (0.5 - 0.5 * torch.cos(math.pi * slope)).float()


def normalized_autocorrelation(waveform: Tensor, frames: int, settings: PitchSettings) -> tuple[Tensor, Tensor]:
    """Compute the autocorrelation of the low band, divided by the frame's whole power, up to the longest lag + 1.

    Returns:
        `(T, lags)`, which is 1 where the frame repeats completely, and the root of each frame's power, `(T,)`.
    """
    length, longest = settings.window_length, settings.lags[1] + 1
    # Long enough that nothing wraps around at the lags used; a multiple of 64, because a large prime factor makes the
    # transform four times as slow.
    transform = 64 * math.ceil((length + longest) / 64)
    window, own, weights = _window(length, transform, settings.sampling_rate)
    if len(waveform) < length:
        waveform = torch.nn.functional.pad(waveform, (0, length - len(waveform)))
    starts = torch.arange(frames) * settings.hop_length + (settings.frame_length - length) // 2
    starts = starts.clamp(0, len(waveform) - length)
    correlations, powers = [], []
    for block in starts.split(BLOCK):
        windows = waveform.unfold(0, length, 1)[block]
        mean = windows.mean(1, keepdim=True)
        windows = (windows - mean) * window
        spectrum = torch.fft.rfft(windows, n=transform)
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        whole = windows.square().sum(1)
        correlation = torch.fft.irfft(power * weights, n=transform)[:, : longest + 1] / own[: longest + 1]
        # A constant signal leaves only rounding errors, which would seem to repeat perfectly.
        rounding = DYNAMIC_RANGE * length * mean.square() + torch.finfo(whole.dtype).tiny
        correlations.append(correlation / (whole[:, None] + rounding))
        powers.append(whole)
    return torch.cat(correlations), torch.cat(powers).sqrt()


def _candidates(correlation: Tensor, settings: PitchSettings) -> tuple[Tensor, Tensor]:
    """Return periods in samples and heights of each frame's best peaks, `(T, CANDIDATES)` each; height 0: no peak."""
    shortest, longest = settings.lags
    before, here, after = (correlation[:, shortest + i : longest + 1 + i] for i in (-1, 0, 1))
    is_peak = (here > before) & (here >= after) & (here > 0)
    lags = torch.arange(shortest, longest + 1)
    bonus = OCTAVE_COST * torch.log2(lags * (settings.f0_min / settings.sampling_rate))
    found, place = torch.where(is_peak, here - bonus, -1.0).topk(min(CANDIDATES, len(lags)), dim=1)
    before, here, after = (values.gather(1, place) for values in (before, here, after))
    # Take the vertex of the parabola through the peak and its neighbours.
    slope, bend = (after - before) / 2, (2 * here - before - after).clamp_min(1e-12)
    shift = (slope / bend).clamp(-0.5, 0.5)
    periods = (lags[place] + shift).clamp(
        settings.sampling_rate / settings.f0_max, settings.sampling_rate / settings.f0_min
    )
    return periods, torch.where(found > -1, here + slope * shift / 2, 0.0)


def _transitions(octaves: Tensor) -> Tensor:
    """Return the cost of a step from each state to each state of the next frame, `(S, S, T - 1)`; unvoiced is last."""
    by_candidate = octaves.T
    jumps = JUMP_COST * (by_candidate[:, None, :-1] - by_candidate[None, :, 1:]).abs()
    costs = torch.nn.functional.pad(jumps, (0, 0, 0, 1, 0, 1), value=VOICING_CHANGE_COST)
    costs[-1, -1] = 0
    return costs


def best_path(scores: Tensor, costs: Tensor) -> Tensor:
    """Return the states `(T,)`, int64, of the path with the highest sum of scores minus costs (Viterbi).

    A step is a matrix, and a chain of steps is their product, with + for "times" and max for "plus". Doubling gives
    the products of all beginnings in log2(T) calls instead of T. The state of a frame is the one for which the best
    path to it and the best path on from it have the highest sum.

    Args:
        scores: `(S, T)`; time is last, so that memory is read in order.
        costs: `(S, S, T - 1)`, the cost of a step from a state of a frame to a state of the next.
    """
    forward = _best_to(scores, costs)
    backward = _best_to(scores.flip(1), costs.transpose(0, 1).flip(2)).flip(1)
    return (forward + backward - scores).argmax(0)


def _best_to(scores: Tensor, costs: Tensor) -> Tensor:
    """Return the sum of the best path that ends in each state of each frame, `(S, T)`."""
    chains = scores[None, :, 1:] - costs
    span = 1
    while span < chains.shape[2]:
        longer = (chains[:, :, None, :-span] + chains[None, :, :, span:]).amax(1)
        chains = torch.cat([chains[..., :span], longer], dim=2)
        span *= 2
    return torch.cat([scores[:, :1], (scores[:, 0, None, None] + chains).amax(0)], dim=1)
