"""Answers side by side: files through `predict` and the pipeline, one utterance through the model and its encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import AudioClassificationPipeline

from hf_ambiser.benchmark.against.models import SameEncoder
from hf_ambiser.benchmark.against.rows import Measured, Settings
from hf_ambiser.benchmark.against.speech import CLASSES, Spoken
from hf_ambiser.benchmark.against.turns import Clock, Spent, in_turns
from hf_ambiser.data.schema import SAMPLING_RATE
from hf_ambiser.inference.model_door import open_model
from hf_ambiser.inference.predict import predict
from hf_ambiser.inference.streaming import StreamingClassifier


BATCH_SIZES = (1, 8, 32)  # of transformers' pipeline; its best one counts
CHUNK, WINDOW, HOP = 0.1, 3.0, 0.5  # seconds, of the stream


def files(pair: SameEncoder, settings: Settings, same_model: bool = False) -> Measured:
    """Files to answers: `predict` against transformers' pipeline, at the best of three batch sizes.

    Every file is one window for `predict`, because the pipeline does not divide recordings. Files are WAV at 16 kHz;
    soundfile reads them for the pipeline, whose own reader starts an ffmpeg for each file.

    Args:
        pair: The classifiers.
        settings: How long and how much.
        same_model: Whether the pipeline gets our classifier, too, and not that of transformers.
    """
    shortest, longest = settings.lengths
    spoken = settings.speech.mixed(settings.few or 32, shortest, longest)
    model, extractor = (pair.ours, pair.extractor) if same_model else (pair.theirs, pair.their_extractor)
    opened = open_model(pair.ours.eval(), "cpu", extractor=pair.extractor)
    paths = _written(spoken, settings.folder)
    answers: dict[str, np.ndarray] = {}

    def ours() -> Spent:
        clock = Clock()
        found = predict(paths, opened, window=longest, progress=False)
        spent = clock.read()
        answers["ours"] = np.array([list(one.distribution.probabilities.values()) for one in found])  # type: ignore[union-attr]
        return spent

    def theirs(batch_size: int) -> Callable[[], Spent]:
        pipeline: Any = AudioClassificationPipeline(
            model=model.eval(), feature_extractor=extractor, batch_size=batch_size, top_k=None, device="cpu"
        )

        def once() -> Spent:
            clock = Clock()
            found = list(pipeline(_read(paths)))
            spent = clock.read()
            shares = [{one["label"]: one["score"] for one in answer} for answer in found]
            answers["theirs"] = np.array([[one[name] for name in CLASSES] for one in shares])
            return spent

        return once

    pipelines = {size: theirs(size) for size in BATCH_SIZES}
    pipelines[1]()  # warms up
    tried = {size: once().wall for size, once in pipelines.items()}
    best = min(tried, key=lambda size: tried[size])
    ours()
    ways = {"predict": ours, f"pipeline, batch {best}": pipelines[best]}
    rounds = in_turns(ways, settings.seconds, settings.least)
    note = "pipeline: " + ", ".join(f"{tried[size]:.2f} s with batch {size}" for size in BATCH_SIZES)
    if same_model:
        apart = np.abs(answers["ours"] - answers["theirs"]).max()
        note += f"; the answers differ by at most {apart:.1e}"
    what = "our classifier in both" if same_model else type(model).__name__
    return Measured(pair.encoder, f"pipeline of {what}", len(spoken), rounds, ways, note)


def _written(spoken: list[Spoken], folder: Path) -> list[Path]:
    paths = [folder / f"{i:03d}.wav" for i in range(len(spoken))]
    for path, one in zip(paths, spoken, strict=True):
        soundfile.write(path, one.samples, SAMPLING_RATE, subtype="PCM_16")
    return paths


def _read(paths: list[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        array, rate = soundfile.read(path, dtype="float32")
        yield {"array": array, "sampling_rate": rate}


def single(pair: SameEncoder, settings: Settings) -> Measured:
    """One utterance at a time: our classifier against the bare encoder's forward pass, over several lengths.

    The bare encoder of wav2vec 2.0 is transformers' own, without a mask. transformers' encoder of Whisper takes 30 s
    only, so there it is our encoder alone, on the waveform.
    """
    shortest, longest = settings.lengths
    lengths = [shortest, *(length for length in (3.0, 6.0) if shortest < length < longest), longest]
    samples = [settings.speech.mixed(1, length, length)[0].samples for length in lengths]
    given = [
        pair.extractor([one], sampling_rate=SAMPLING_RATE, return_tensors="pt", return_attention_mask=True)
        for one in samples
    ]
    bare, ours = pair.bare.eval(), pair.ours.eval()
    of_length: dict[str, list[list[float]]] = {"classifier": [], "encoder": []}

    def run(name: str, once: Callable[[Any], Any]) -> Callable[[], Spent]:
        def all_lengths() -> Spent:
            spent = []
            with torch.inference_mode():
                for one in given:
                    clock = Clock()
                    once(one)
                    spent.append(clock.read())
            of_length[name].append([one.wall for one in spent])
            return sum(spent, Spent())

        return all_lengths

    ways = {
        "classifier": run("classifier", lambda one: ours(**one)),
        "encoder": run("encoder", lambda one: bare(one["input_values"])),
    }
    in_turns(ways, 0, 1, 1)
    of_length["classifier"].clear()
    of_length["encoder"].clear()
    rounds = in_turns(ways, settings.seconds / 2, settings.least, most=200)
    apart = np.median(of_length["classifier"], axis=0) / np.median(of_length["encoder"], axis=0)
    note = "by length: " + ", ".join(f"{r:.2f} at {length:g} s" for r, length in zip(apart, lengths, strict=True))
    return Measured(pair.encoder, "the encoder alone", len(lengths), rounds, ways, note)


def stream(pair: SameEncoder, settings: Settings) -> Measured:
    """Chunks as they come from a microphone: how long each answer takes, and the real-time factor."""
    seconds = 2.5 * settings.lengths[1]
    window, hop = (WINDOW, HOP) if settings.few is None else (0.3, 0.2)
    samples = settings.speech.mixed(1, seconds, seconds)[0].samples
    size = round(CHUNK * SAMPLING_RATE)
    chunks = [samples[i : i + size] for i in range(0, len(samples), size)]
    opened = open_model(pair.ours.eval(), "cpu", extractor=pair.extractor)
    answered, quiet, busy, heard = list[float](), list[float](), 0.0, 0.0
    for turn in range(1 + settings.least):
        listener = StreamingClassifier(opened, window, hop)
        for chunk in chunks:
            clock = Clock()
            found = listener.feed(chunk)
            spent = clock.read()
            if turn:  # the first one warms up
                (answered if found else quiet).append(1000 * spent.wall)
                busy, heard = busy + spent.wall, heard + len(chunk) / SAMPLING_RATE
    figures = {
        "window_s": window, "hop_s": hop, "chunk_s": CHUNK, "answers": len(answered), "rtf": busy / heard,
        "answer_ms": _spread(answered), "chunk_without_answer_ms": _spread(quiet),
    }  # fmt: skip
    return Measured(pair.encoder, "", len(answered), {}, {}, figures=figures)


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": float(np.median(ordered)),
        "p95": ordered[math.ceil(0.95 * len(ordered)) - 1],
        "max": ordered[-1],
    }
