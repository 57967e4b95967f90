"""A table of inference costs: models x lengths x batch sizes, each measured in a fresh process."""

from __future__ import annotations

import json
import math
import multiprocessing
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from hf_ambiser.benchmark.inference_cost import measure, noise
from hf_ambiser.benchmark.kept_rows import kept_rows
from hf_ambiser.run_folder.layout import write_whole
from hf_ambiser.runs.environment import describe_environment
from hf_ambiser.training.model_arguments import ModelArguments


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CLASSES = [f"class {i}" for i in range(4)]  # classes of a model that is made here


@dataclass(frozen=True)
class Case:
    """One row of the table: a model, a length and a batch size, and how they are measured.

    Args:
        length: Length of an utterance in seconds.
        batch_size: Number of utterances in a batch, all of this length.
        model: Folder of a run or a model, or a Hub name; "" for a new model.
        arguments: Family, encoder and fields of a new model. Its weights are random, which does not affect speed.
        device: Name of the device, as in torch.
        dtype: Type of the weights, one of `DTYPES`.
        threads: Number of torch's threads on the CPU; None: torch chooses.
        runs: See `measure`.
        warmup: See `measure`.
        max_seconds: See `measure`.

    Raises:
        ValueError: If a field is out of range, or there is no such device or family.
    """

    length: float
    batch_size: int = 1
    model: str = ""
    arguments: ModelArguments = field(default_factory=ModelArguments)
    device: str = "cpu"
    dtype: str = "float32"
    threads: int | None = None
    runs: int = 100
    warmup: int = 5
    max_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("length", "max_seconds"):
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise ValueError(f"{name} {value} must be a number of seconds above 0.")
        for name in ("batch_size", "runs", "warmup", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value} must be 1 or more.")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is not one of {sorted(DTYPES)}.")
        if re.fullmatch(r"cpu|cuda(:\d+)?", self.device) is None:
            raise ValueError(f"device {self.device!r} is not one of 'auto', 'cpu', 'cuda', 'cuda:1' and so on.")
        if self.device != "cpu" and (torch.device(self.device).index or 0) >= torch.cuda.device_count():
            raise ValueError(
                f"device {self.device!r} is not here: torch sees {torch.cuda.device_count()} CUDA GPUs; use cpu."
            )

    @property
    def name(self) -> str:
        """A short description of the model."""
        if self.model:
            return self.model
        given = self.arguments
        fields = {**_fields(given.encoder_fields), **_fields(given.model_fields)}
        words = (given.model_family, given.encoder, json.dumps(fields) if fields else None)
        return " ".join(str(word) for word in words if word)


def _fields(given: Any) -> dict[str, Any]:
    return dict(given or {})


def load(case: Case) -> tuple[Any, Any]:
    """Return the model and feature extractor of a case.

    Raises:
        ValueError: If there is no such model, or its configuration does not have a field.
    """
    from hf_ambiser.inference.load_model import load_extractor, load_model, place_of
    from hf_ambiser.runs.build_model import build_model

    if case.model:
        folder = place_of(case.model)
        return load_model(folder), load_extractor(folder)
    return build_model(case.arguments, str(case.arguments.model_family), _CLASSES, base=Path())


def measure_case(case: Case) -> dict[str, Any]:
    """Load and measure a case in this process, after setting its threads; return `measure`'s result and the device."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    model, extractor = load(case)
    waveforms = noise(case.batch_size, case.length, extractor.sampling_rate)
    found = measure(model, extractor, waveforms, device, DTYPES[case.dtype], case.runs, case.warmup, case.max_seconds)
    return {**found, "threads": torch.get_num_threads(), "device": device_name(device)}


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor if Linux tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.is_file() else None
    return found[1] if found else "CPU"


def run_benchmark(
    cases: Sequence[Case], out: Path | None = None, work: Callable[[Case], dict[str, Any]] = measure_case
) -> list[dict[str, Any]]:
    """Measure cases one after another, each in its own process, so that none warms another's caches.

    Args:
        cases: Cases to measure.
        out: JSON file of `environment` and `rows`, written whole after every case. Cases that it already has from the
            same environment are not measured again, so a stopped benchmark resumes; failed cases are measured again.
        work: Measures a case; its module must be importable by name.

    Returns:
        One row per case: `case` (its fields), `model` (its name), and the result of `work`, or `error` if the process
        failed (out of memory, for example).

    Raises:
        ValueError: If a model cannot be made or loaded, or `out` was measured in another environment.
    """
    environment = json.loads(json.dumps(describe_environment()))
    rows = kept_rows(out, {"environment": environment}, {"case": dict, "model": str})
    bar = tqdm(cases, desc="measuring", unit="case", dynamic_ncols=True)
    answer = []
    for case in bar:
        bar.set_postfix_str(f"{case.name}, {case.length:g} s x {case.batch_size}")
        asked = json.loads(json.dumps(asdict(case)))
        row = next((row for row in rows if row["case"] == asked), None)
        if row is None:
            row = {"case": asked, "model": case.name, **_in_fresh_process(work, case)}
            rows.append(row)
            if out is not None:
                write_whole(out, json.dumps({"environment": environment, "rows": rows}, indent=1))
        answer.append(row)
    return answer


def _in_fresh_process(work: Callable[[Case], dict[str, Any]], case: Case) -> dict[str, Any]:
    """Return the result of `work`, or its `error`.

    Raises:
        ValueError: If `work` raised a ValueError or an OSError.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, work, case), daemon=True)
    process.start()
    sender.close()
    try:
        kind, answer = receiver.recv()
    except EOFError:
        process.join()
        status = process.exitcode or 0
        how = f"by {signal.Signals(-status).name} (out of memory?)" if status < 0 else f"with status {status}"
        return {"error": f"its process ended {how}"}
    finally:
        receiver.close()
        process.join()
    if kind == "mistake":
        raise ValueError(answer)
    return answer


def _answer(sender: Connection, work: Callable[[Case], dict[str, Any]], case: Case) -> None:
    try:
        sender.send(("row", work(case)))
    except (ValueError, OSError) as error:
        sender.send(("mistake", " ".join(str(error).split())))
    except Exception as error:
        said = " ".join(str(error).split())
        sender.send(("row", {"error": f"{type(error).__name__}: {said}"[:300]}))
