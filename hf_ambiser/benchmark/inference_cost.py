"""The cost of one model at inference, measured in this process: FLOPs, seconds, peak memory."""

from __future__ import annotations

import gc
import re
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


LEAST_RUNS = 3  # enough for a standard deviation, however long a run takes
_PROC = Path("/proc/self")


def noise(n: int, seconds: float, sampling_rate: int) -> list[np.ndarray]:
    """Return `n` waveforms of white noise in [-1, 1), float32, each of `round(seconds * sampling_rate)` samples.

    Raises:
        ValueError: If that is less than one sample.
    """
    samples = round(seconds * sampling_rate)
    if samples < 1:
        raise ValueError(f"length {seconds} s is less than a sample at {sampling_rate} Hz; give a longer one.")
    drawn = np.random.default_rng(0).uniform(-1, 1, (n, samples)).astype(np.float32)
    return list(drawn)


def prepare(extractor: Any, waveforms: list[np.ndarray], device: torch.device) -> dict[str, Any]:
    """Return the inputs of the model, on the device, from waveforms at the feature extractor's sampling rate."""
    batch = extractor(waveforms, sampling_rate=extractor.sampling_rate, padding=True, return_tensors="pt")
    return {name: value.to(device) for name, value in batch.items()}


def count_flops(model: Any, inputs: dict[str, Any]) -> int:
    """Count the floating point operations of `model(**inputs)`; a multiply-add counts as two.

    Matrix products, convolutions, attention and recurrent layers are counted. Fourier transforms, norms, activations,
    sums and other element-wise work are not.

    Args:
        model: On the CPU, where the kernels can be chosen, on which torch's count depends.
        inputs: On the CPU.
    """
    # torch's counter does not know the CPU's fused attention and oneDNN recurrent layers and would count 0 for them.
    # Other kernels write them as matrix products, which are counted.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own switch warns about Intel GPUs
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            with FlopCounterMode(display=False) as counter:
                model(**inputs)
    return counter.get_total_flops()


def timed(once: Callable[[], tuple[float, float]], runs: int, seconds: float, least: int) -> list[tuple[float, float]]:
    """Call `once` `runs` times and return its results; stop after `seconds`, but not before `least` calls."""
    start, results = time.perf_counter(), list[tuple[float, float]]()
    while len(results) < runs and (len(results) < least or time.perf_counter() - start < seconds):
        results.append(once())
    return results


class PeakMemory:
    """The peak of memory in use since this object was made, and the memory in use at that moment, in bytes.

    On a GPU it is the memory that torch's allocator gave out, and what it reserved for that. On the CPU it is the
    resident memory of the whole process (`VmRSS`, `VmHWM` of Linux), whose high-water mark is reset first. If it
    cannot be reset, there is no measurement (None).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self.before: int | None = torch.cuda.memory_allocated(device)
        else:
            self.before = _resident("VmRSS") if _reset_high_water_mark() else None

    def read(self) -> dict[str, Any] | None:
        """Return `of`, `before`, `peak` and, on a GPU, `reserved`; None if nothing could be measured."""
        if self.device.type == "cuda":
            peak, reserved = torch.cuda.max_memory_allocated(self.device), torch.cuda.max_memory_reserved(self.device)
            return {"of": "torch's CUDA allocator", "before": self.before, "peak": peak, "reserved": reserved}
        if self.before is None:
            return None
        return {"of": "the process, resident", "before": self.before, "peak": _resident("VmHWM")}


def _reset_high_water_mark() -> bool:
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", (_PROC / "status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{_PROC / 'status'} has no {field}.")
    return int(found[1]) * 1024


def measure(
    model: Any,
    extractor: Any,
    waveforms: list[np.ndarray],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    runs: int = 100,
    warmup: int = 5,
    max_seconds: float = 60.0,
) -> dict[str, Any]:
    """Measure the cost of one batch. The model is changed: it ends on the CPU in float32.

    A run is the feature extractor (with the copy to the device), and then `model(**inputs)` without gradient, front
    end included. Each is timed by wall-clock time, after the device has finished.

    Args:
        model: Any model that takes the output of its feature extractor.
        extractor: Its feature extractor.
        waveforms: One batch of waveforms of equal length.
        device: The device that it runs on.
        dtype: Type of the weights.
        runs: Number of timed runs.
        warmup: Number of runs before them that are not timed.
        max_seconds: The runs stop after this time, but not before three; the warm-up stops after a quarter of it.

    Returns:
        `parameters`, `flops_per_clip` (of one utterance alone), `extractor_s` and `forward_s` (mean, sd, median, min),
        `runs`, `rtf`, `clips_per_s` (utterances per second), `memory` (`PeakMemory.read`, over warm-up and runs).
    """
    model = model.eval().to(device=device, dtype=dtype)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def once() -> tuple[float, float]:
        start = time.perf_counter()
        inputs = prepare(extractor, waveforms, device)
        wait()
        ready = time.perf_counter()
        with torch.no_grad():
            model(**inputs)
        wait()
        return ready - start, time.perf_counter() - ready

    memory = PeakMemory(device)
    timed(once, warmup, max_seconds / 4, 1)
    taken = timed(once, runs, max_seconds, LEAST_RUNS)
    peak = memory.read()
    extraction, forward = (_summary(list(part)) for part in zip(*taken, strict=True))
    latency = extraction["mean"] + forward["mean"]
    seconds = sum(len(waveform) for waveform in waveforms) / extractor.sampling_rate
    model = model.to(device="cpu", dtype=torch.float32)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_clip": count_flops(model, prepare(extractor, waveforms[:1], torch.device("cpu"))),
        "extractor_s": extraction,
        "forward_s": forward,
        "runs": len(taken),
        "rtf": latency / seconds,
        "clips_per_s": len(waveforms) / latency,
        "memory": peak,
    }


def _summary(seconds: list[float]) -> dict[str, Any]:
    return {
        "mean": statistics.fmean(seconds),
        "sd": statistics.stdev(seconds) if len(seconds) > 1 else None,
        "median": statistics.median(seconds),
        "min": min(seconds),
    }
