"""The pipeline that a checkpoint brings: from a recording to a distribution over emotions, with a timeline.

`pipeline(model=..., trust_remote_code=True)` of transformers finds it by `custom_pipelines` in `config.json`. It
gives the answer of `hf_ambiser.predict` where the package is not installed, so the rules of `hf_ambiser/inference`
for windows, speech and abstention stand here a second time; a test compares both.
"""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.pipelines.audio_utils import ffmpeg_read
from transformers.pipelines.base import ChunkPipeline


TASK = "emotion-distribution"
WINDOW = 6.0  # seconds, where the model has not learnt from segments
SHORTEST = 0.1  # seconds
LOUDEST = 32.0  # of full scale 1
MOST_CHANNELS = 32
FLOOR, RANGE = -60.0, 30.0  # dB of full scale, and below the loudest window
FRAME, LOUD_FRAMES, NOTHING = 0.025, 10, 1e-10  # of a window's level
# As `Any`, because transformers declares its pipelines' flags as None and their methods' arguments loosely.
_Base: Any = ChunkPipeline


class EmotionPipeline(_Base):
    """Says what listeners would hear in a recording.

    Call it with a path, encoded bytes, an array of floats `(T,)`, `(T, channels)` or `(1 or 2, T)` at the model's
    sampling rate, `{"array": ..., "sampling_rate": ...}`, or a list of these. A recording that is longer than a window
    is divided into overlapping ones. soundfile reads files if it is installed, else the program ffmpeg.

    An answer is a dictionary with the names of `hf_ambiser.predict`: `status`, `reason`, `duration` (s), `emotion`
    (None if the model abstains or there is nothing to hear), `entropy` (bits), `ambiguity` (0 to 1), `probabilities`,
    `similarities` (cosines to the class prototypes, None without them), and `windows`, each with the same and with
    `start`, `end` and `level`.

    Arguments of the pipeline or of a call:
        window: Length of a window in seconds; default: `segment_seconds` of the model, else 6.
        hop: Seconds from a window to the next one; default: half a window.
        threshold: Least probability of the emotion that is answered, below which the model abstains; default: the one
            in the model's configuration, if there is one.
        batch_size: Windows that the model is asked about together; it changes no answer.

    Raises:
        ValueError: If an argument is not allowed, or a recording cannot be read or has samples that are none.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def _sanitize_parameters(
        self, window: float | None = None, hop: float | None = None, threshold: float | None = None, **others: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if others:
            raise ValueError(f"{TASK} got {sorted(others)}; allowed: window, hop, threshold, batch_size.")
        if window is not None and not SHORTEST <= window < math.inf:
            raise ValueError(f"window is {window!r} s; allowed: {SHORTEST} or more, in seconds.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold!r}; allowed: a probability, 0 (never abstain) to 1.")
        cut = {name: value for name, value in (("window", window), ("hop", hop)) if value is not None}
        return cut, {}, {} if threshold is None else {"threshold": threshold}

    def preprocess(
        self, inputs: Any, window: float | None = None, hop: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the model's inputs for each window of a recording."""
        extractor: Any = self.feature_extractor
        rate = extractor.sampling_rate
        samples = _mono(inputs, rate)
        if len(samples) == 0:
            raise ValueError("a recording holds no sample.")
        window = window or getattr(self.model.config, "segment_seconds", None) or WINDOW
        hop = window / 2 if hop is None else hop
        if not 0 < hop <= window or round(hop * rate) < 1:
            raise ValueError(f"hop is {hop!r} s; allowed: above 0 and at most the window ({window:g} s).")
        cuts = list(_cuts(len(samples), round(window * rate), round(hop * rate)))
        for start, end in cuts:
            part = samples[start:end]
            given = extractor(
                [part.numpy()], sampling_rate=rate, return_tensors="pt", padding=True, return_attention_mask=True
            )
            about = {"start": start, "end": end, "level": _level(part, rate), "of": len(samples)}
            yield {**given, **about, "is_last": end == cuts[-1][1] and start == cuts[-1][0]}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        about = {name: model_inputs.pop(name) for name in ("start", "end", "level", "of", "is_last")}
        found = self.model(**model_inputs)
        similarity = getattr(found, "prototype_similarity", None)
        return {"logits": found.logits, "similarity": similarity, **about}

    def postprocess(self, model_outputs: list[dict[str, Any]], threshold: float | None = None) -> dict[str, Any]:
        """Turn what the model says about the windows of a recording into the answer for it."""
        rate = self.feature_extractor.sampling_rate
        decision = getattr(self.model.config, "decision", None) or {}
        threshold = decision.get("threshold") if threshold is None else threshold
        loudest = max(one["level"] for one in model_outputs)
        least = max(FLOOR, loudest - RANGE)
        windows, lengths, heard = [], [], []
        for one in model_outputs:
            start, end = one["start"] / rate, one["end"] / rate
            status, reason, said = "", "", None
            if one["end"] - one["start"] < SHORTEST * rate:
                status, reason = (
                    "too short",
                    (f"{end - start:.3f} s are shorter than {SHORTEST} s, the shortest that a model learns from"),
                )
            elif one["level"] < least:
                status, reason = (
                    "silent",
                    (f"its level is {one['level']:.0f} dB of full scale; speech has at least {least:.0f} dB here"),
                )
            else:
                logits = one["logits"][0].double() / decision.get("temperature", 1.0)
                similarity = one["similarity"]
                said = (logits.softmax(-1), None if similarity is None else similarity[0].double())
                lengths.append(one["end"] - one["start"])
                heard.append(said)
            answer = self._said(said, threshold)
            windows.append(
                {"start": start, "end": end, "status": status or _status(answer), "reason": reason, **answer}
                | {"level": one["level"]}
            )
        duration = model_outputs[0]["of"] / rate
        if not heard:
            reasons = {one["status"]: one["reason"] for one in windows}
            status = "silent" if "silent" in reasons else "too short"
            about = {"status": status, "reason": reasons[status], "duration": duration}
            return {**about, **self._said(None, threshold), "windows": windows}
        shares = torch.tensor(lengths, dtype=torch.float64) / sum(lengths)
        similarities = [similarity for _, similarity in heard if similarity is not None]
        mean = shares @ torch.stack([probabilities for probabilities, _ in heard])
        whole = self._said((mean, shares @ torch.stack(similarities) if similarities else None), threshold)
        return {"status": _status(whole), "reason": "", "duration": duration, **whole, "windows": windows}

    def _lead(self, probabilities: Tensor) -> int:
        """The class that is answered: the leading one, or that of the balanced decision in the configuration."""
        balance = (getattr(self.model.config, "decision", None) or {}).get("balance")
        if balance is None or not balance["tau"]:
            return int(probabilities.argmax())
        shares = torch.tensor(balance["shares"], dtype=probabilities.dtype)
        # In logarithms: share ^ tau may be too small for a number.
        beside = probabilities.log() - balance["tau"] * shares.where(shares > 0, 1.0).log()
        beside = beside.where(probabilities > 0, torch.finfo(beside.dtype).min)
        return int(beside.where(shares > 0, -math.inf).argmax())

    def _said(self, said: tuple[Tensor, Tensor | None] | None, threshold: float | None) -> dict[str, Any]:
        """Probabilities and similarities (K,), or nothing -> the fields that follow from them."""
        if said is None:
            return dict.fromkeys(("emotion", "entropy", "ambiguity", "probabilities", "similarities"))
        probabilities, similarities = said
        classes = [str(self.model.config.id2label[i]) for i in range(len(probabilities))]
        lead = self._lead(probabilities)
        positive = probabilities[probabilities > 0]
        entropy = max(0.0, float(-(positive * positive.log2()).sum()))
        abstains = threshold is not None and float(probabilities[lead]) < threshold
        return {
            "emotion": None if abstains else classes[lead],
            "entropy": entropy,
            "ambiguity": entropy / math.log2(len(classes)),
            "probabilities": dict(zip(classes, probabilities.tolist(), strict=True)),
            "similarities": None if similarities is None else dict(zip(classes, similarities.tolist(), strict=True)),
        }


def _status(answer: dict[str, Any]) -> str:
    return "abstains" if answer["emotion"] is None else "answered"


def _cuts(total: int, window: int, hop: int) -> Iterator[tuple[int, int]]:
    """Yield where windows begin and end: as many whole ones as fit, then what is left, a hop after the last one."""
    start = covered = 0
    while start + window <= total:
        covered = start + window
        yield start, covered
        start += hop
    if covered < total:
        yield start, total


def _level(samples: Tensor, rate: int) -> float:
    """Return the level that a window's ten loudest frames of 25 ms reach, in dB of full scale."""
    size = max(1, min(round(FRAME * rate), len(samples)))
    n = len(samples) // size
    frames = samples[: n * size].double().reshape(n, size).std(dim=1, correction=0).sort().values
    return 20 * math.log10(max(float(frames[-min(LOUD_FRAMES, max(1, n // 2))]), NOTHING))


def _mono(inputs: Any, wanted: int) -> Tensor:
    """Return a recording as samples (T,) float32 at `wanted` Hz, channels averaged."""
    rate = wanted
    if isinstance(inputs, dict):
        array = inputs.get("array", inputs.get("raw"))
        if array is None or not inputs.get("sampling_rate"):
            raise ValueError(
                f'a recording has the keys {sorted(map(str, inputs))}; allowed: "array", "sampling_rate".'
            )
        inputs, rate = array, inputs["sampling_rate"]
    elif isinstance(inputs, str | bytes):
        inputs, rate = _read(inputs, wanted)
    samples = torch.as_tensor(inputs)
    if not samples.is_floating_point() or samples.ndim not in (1, 2):
        raise ValueError(
            f"a recording has type {samples.dtype} and shape {tuple(samples.shape)}; allowed: floats in [-1, 1],"
            " (samples,) or (samples, channels). Divide 16-bit integers by 32768."
        )
    if samples.ndim == 2:
        rows, columns = samples.shape
        if 2 < rows < columns or min(rows, columns) > MOST_CHANNELS or rows == columns:
            raise ValueError(
                f"a recording has shape {(rows, columns)}, which may be several recordings; give those as a list, and"
                f" channels as (samples, channels), at most {MOST_CHANNELS} of them."
            )
        samples = samples.mean(dim=1 if rows > columns else 0)
    if not bool(samples.isfinite().all()) or float(samples.abs().max() if len(samples) else 0) > LOUDEST:
        raise ValueError("a recording has samples that are NaN, infinite or far above full scale; allowed: [-1, 1].")
    return _resampled(samples.float().contiguous(), rate, wanted)


def _read(source: str | bytes, wanted: int) -> tuple[Any, int]:
    """Read a file, or the bytes of one, by soundfile or else by ffmpeg, which resamples."""
    soundfile = _optional("soundfile")
    if soundfile is not None:
        try:
            return soundfile.read(source if isinstance(source, str) else io.BytesIO(source), dtype="float32")
        except RuntimeError:  # a kind of file that it does not know
            pass
    if isinstance(source, str):
        with open(source, "rb") as file:
            source = file.read()
    # A copy: the samples lie in the memory of the bytes, which nobody may write to.
    return ffmpeg_read(source, wanted).copy(), wanted


def _resampled(samples: Tensor, rate: int, wanted: int) -> Tensor:
    if rate == wanted:
        return samples
    if (soxr := _optional("soxr")) is not None:  # as the package does it
        stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32")
        return torch.from_numpy(stream.resample_chunk(samples.numpy(), last=True))
    if (functional := _optional("torchaudio.functional")) is not None:
        return functional.resample(samples, rate, wanted)
    raise ValueError(
        f"a recording has {rate} Hz and the model takes {wanted} Hz; install soxr, or resample it yourself."
    )


def _optional(name: str) -> Any:
    """Return a module that may be missing, or None; an import line would make transformers demand it."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):
        return None
