"""What one model costs at inference, in this process: FLOPs, seconds, peak memory."""

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


LEAST_RUNS = 3  # so that there is a standard deviation, however long a run takes
_PROC = Path("/proc/self")


def noise(clips: int, seconds: float, sampling_rate: int) -> list[np.ndarray]:
    """`clips` clips of white noise in [-1, 1), float32, each of `round(seconds * sampling_rate)` samples.

    Raises:
        ValueError: If that is no sample.
    """
    samples = round(seconds * sampling_rate)
    if samples < 1:
        raise ValueError(f"length {seconds} s is no sample at {sampling_rate} Hz; give a longer one.")
    drawn = np.random.default_rng(0).uniform(-1, 1, (clips, samples)).astype(np.float32)
    return list(drawn)


def prepare(extractor: Any, clips: list[np.ndarray], device: torch.device) -> dict[str, Any]:
    """What `model(**inputs)` takes, on the device, from waveforms at the feature extractor's sampling rate."""
    batch = extractor(clips, sampling_rate=extractor.sampling_rate, padding=True, return_tensors="pt")
    return {name: value.to(device) for name, value in batch.items()}


def count_flops(model: Any, inputs: dict[str, Any]) -> int:
    """Floating point operations of `model(**inputs)`, a multiply-add being two.

    Counted are matrix products, convolutions, attention and recurrent layers. Not counted are Fourier transforms,
    norms, activations, sums and everything else that works element by element.

    Args:
        model: On the CPU: what torch counts depends on which kernel runs, and there it can be chosen.
        inputs: On the CPU.
    """
    # The fused attention and the oneDNN recurrent layers of the CPU are unknown to torch's counter, which would take
    # them for nothing. Written out as matrix products they are counted.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own switch speaks of Intel GPUs
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            with FlopCounterMode(display=False) as counter:
                model(**inputs)
    return counter.get_total_flops()


def timed(once: Callable[[], tuple[float, float]], runs: int, seconds: float, least: int) -> list[tuple[float, float]]:
    """Results of `once`, called `runs` times, or fewer where that would take longer than `seconds`; `least` always."""
    start, results = time.perf_counter(), list[tuple[float, float]]()
    while len(results) < runs and (len(results) < least or time.perf_counter() - start < seconds):
        results.append(once())
    return results


class PeakMemory:
    """The most memory in use since this was made, and how much was in use then. In bytes.

    On a GPU: what torch's allocator gave out, and what it reserved for that. On the CPU: the resident memory of the
    whole process (`VmRSS`, `VmHWM` of Linux), whose high-water mark is reset first; None where that cannot be done.
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
        """`of`, `before`, `peak` and, on a GPU, `reserved`."""
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
    clips: list[np.ndarray],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    runs: int = 100,
    warmup: int = 5,
    max_seconds: float = 60.0,
) -> dict[str, Any]:
    """Costs of answering one batch. The model is changed: it ends on the CPU in float32.

    A run is the feature extractor (with the copy to the device) and then `model(**inputs)` without gradient, front end
    included; each is timed with the clock on the wall, after the device has finished.

    Args:
        model: Any model that takes what its extractor gives.
        extractor: Its feature extractor.
        clips: Waveforms, one batch of equally long ones.
        device: Where it runs.
        dtype: Of weights.
        runs: How many are timed.
        warmup: How many go before them, untimed.
        max_seconds: Runs end early after so long, but not before three; a quarter of it bounds the warm-up.

    Returns:
        `parameters`, `flops_per_clip` (of one clip alone), `extractor_s` and `forward_s` (mean, sd, median, min),
        `runs`, `rtf`, `clips_per_s`, `memory` (`PeakMemory.read`, over warm-up and runs).
    """
    model = model.eval().to(device=device, dtype=dtype)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def once() -> tuple[float, float]:
        start = time.perf_counter()
        inputs = prepare(extractor, clips, device)
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
    seconds = sum(len(clip) for clip in clips) / extractor.sampling_rate
    model = model.to(device="cpu", dtype=torch.float32)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_clip": count_flops(model, prepare(extractor, clips[:1], torch.device("cpu"))),
        "extractor_s": extraction,
        "forward_s": forward,
        "runs": len(taken),
        "rtf": latency / seconds,
        "clips_per_s": len(clips) / latency,
        "memory": peak,
    }


def _summary(seconds: list[float]) -> dict[str, Any]:
    return {
        "mean": statistics.fmean(seconds),
        "sd": statistics.stdev(seconds) if len(seconds) > 1 else None,
        "median": statistics.median(seconds),
        "min": min(seconds),
    }
