"""Write a simulated corpus to a folder: audio, votes, truth, configuration.

    config.json   all options, and the raters' matrices
    audio/        sim_000000.wav ...: 16 kHz, mono, 16 bit
    votes.csv     id, speaker, session, rater, labels      one line per rating; ";" joins several labels
    truth.csv     id, kind, p_<class> ...                  the exact distribution behind the audio and the votes

Every utterance depends only on (seed, its number). So the same seed gives the same bytes, an interrupted generation
continues where it stopped, and a larger corpus begins with the smaller one.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hf_ambiser.data.simulated.keys import VOICE_STREAM, check_seed, generator
from hf_ambiser.data.simulated.latent import DirichletMixture
from hf_ambiser.data.simulated.raters import Raters
from hf_ambiser.data.simulated.ratings import SimulatedRatings
from hf_ambiser.data.simulated.settings import PARAMETERS, draw_speaker, mix_settings, setting_table
from hf_ambiser.data.simulated.voice import SAMPLING_RATE, synthesize, to_pcm16
from hf_ambiser.files.read import exists, read_json
from hf_ambiser.untrusted.cells import csv_of


CONFIG, VOTES, TRUTH, AUDIO = "config.json", "votes.csv", "truth.csv", "audio"
VOTE_COLUMNS = ("id", "speaker", "session", "rater", "labels")
FORMATS = ("wav", "flac")
# Raise this when the same options give other bytes, because another simulator must not continue an old folder.
SIMULATOR = 1


@dataclass(frozen=True)
class SimulationOptions:
    """All options of a simulated corpus.

    Args:
        n_utterances: N; a larger corpus begins with the smaller one.
        n_speakers: Number of speakers. They take turns, and two of them share a session.
        n_raters: Size of the pool of raters.
        votes_per_utterance: Number of raters for one utterance.
        seed: Seed of voices, distributions, raters and ratings.
        classes: Two or more of `settings.EMOTIONS`.
        difficulty: Spread of an utterance's acoustics around its distribution; 0 makes the audio an exact mixture.
        confusion: See `Raters.draw`.
        reliability: See `Raters.draw`.
        spammers: See `Raters.draw`.
        second_label: See `Raters.draw`.
        audio_format: `wav` (bytes depend on the samples only) or `flac` (smaller; its bytes also depend on the version
            of libFLAC).
        mixture: How clear and how ambiguous the utterances are.

    Raises:
        ValueError: If an option is not allowed.
    """

    n_utterances: int = 600
    n_speakers: int = 10
    n_raters: int = 12
    votes_per_utterance: int = 5
    seed: int = 0
    classes: tuple[str, ...] = ("anger", "happiness", "sadness", "neutral")
    difficulty: float = 1.0
    confusion: float = 0.15
    reliability: float = 0.9
    spammers: float = 0.1
    second_label: float = 0.0
    audio_format: str = "wav"
    mixture: DirichletMixture = field(default_factory=DirichletMixture)

    def __post_init__(self) -> None:
        """Check the options."""
        for name in ("n_utterances", "n_speakers", "n_raters", "votes_per_utterance"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} must be at least 1.")
        if self.votes_per_utterance > self.n_raters:
            raise ValueError(
                f"votes_per_utterance: {self.votes_per_utterance} must not exceed n_raters ({self.n_raters})."
            )
        if self.audio_format not in FORMATS:
            raise ValueError(f"audio_format: {self.audio_format!r} must be one of {FORMATS}.")
        if not 0 <= self.difficulty < float("inf"):
            raise ValueError(f"difficulty: {self.difficulty} must be a number >= 0.")
        object.__setattr__(self, "classes", tuple(self.classes))
        setting_table(self.classes)
        check_seed(self.seed)

    def raters(self) -> Raters:
        """Draw the pool that rates this corpus."""
        return Raters.draw(
            self.classes,
            self.n_raters,
            self.seed,
            confusion=self.confusion,
            reliability=self.reliability,
            spammers=self.spammers,
            second_label=self.second_label,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a JSON-ready dict."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def utterance_id(index: int) -> str:
    """Return the id of utterance number `index`."""
    return f"sim_{index:06d}"


def utterance_samples(options: SimulationOptions, index: int) -> np.ndarray:
    """Make the samples of one utterance, int16 (T,); they depend only on `index` and on the options for audio."""
    p, _ = options.mixture.draw(len(options.classes), options.seed, index)
    speaker = draw_speaker(options.seed, index % options.n_speakers)
    rng = generator(options.seed, VOICE_STREAM, index)
    noise = options.difficulty * rng.standard_normal(len(PARAMETERS))
    setting = mix_settings(p, options.classes, expressiveness=speaker.expressiveness, noise=noise)
    return to_pcm16(synthesize(setting, speaker, rng))


def generate(
    root: Path | str,
    options: SimulationOptions | None = None,
    *,
    progress: Callable[[int], object] | None = None,
    **changes: Any,
) -> SimulationOptions:
    """Generate a corpus in `root`, or continue one that was interrupted; existing files are not made again.

    Args:
        root: A new folder, or one with a corpus of the same options (`n_utterances` may grow).
        options: What to simulate.
        progress: Called with 1 after each utterance.
        changes: Options by name (`n_utterances=200, seed=1`), instead of `options` or on top of them.

    Returns:
        The options that were used.

    Raises:
        ValueError: If an option is not allowed, or if the folder holds something else.
    """
    options = dataclasses.replace(options or SimulationOptions(), **changes)
    root = Path(root)
    _check_folder(root, options)
    raters = options.raters()
    (root / AUDIO).mkdir(parents=True, exist_ok=True)
    # Write the options first, so that an interrupted generation can be continued with the same ones.
    _write(root / CONFIG, _config(options, raters))
    for index in range(options.n_utterances):
        path = root / AUDIO / f"{utterance_id(index)}.{options.audio_format}"
        if not path.is_file() or path.stat().st_size == 0:
            _write(path, encode(utterance_samples(options, index), options.audio_format))
        if progress is not None:
            progress(1)

    drawn = [options.mixture.draw(len(options.classes), options.seed, i) for i in range(options.n_utterances)]
    ids = [utterance_id(i) for i in range(options.n_utterances)]
    truth = np.array([p for p, _ in drawn])
    ratings = raters.rate(truth, ids, options.votes_per_utterance, options.seed)
    lines = [[name, kind, *(f"{x:.6f}" for x in p)] for name, (p, kind) in zip(ids, drawn, strict=True)]
    _write(root / TRUTH, _csv(("id", "kind", *(f"p_{c}" for c in options.classes)), lines))
    _write(root / VOTES, _csv(VOTE_COLUMNS, _vote_lines(options, ratings)))
    return options


def encode(samples: np.ndarray, audio_format: str) -> bytes:
    """Encode int16 samples (T,) at 16 kHz as the bytes of a WAV or FLAC file."""
    buffer = io.BytesIO()
    if audio_format == "wav":
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLING_RATE)
            file.writeframes(samples.astype("<i2").tobytes())
    else:
        import soundfile

        soundfile.write(buffer, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _vote_lines(options: SimulationOptions, ratings: SimulatedRatings) -> list[list[str]]:
    speakers = [draw_speaker(options.seed, number).name for number in range(options.n_speakers)]
    lines = []
    for index, answers in enumerate(ratings.lists()):
        number = index % options.n_speakers
        session = f"session{number // 2 + 1:02d}"
        lines += [[ratings.ids[index], speakers[number], session, r.rater or "", ";".join(r.labels)] for r in answers]
    return lines


def _check_folder(root: Path, options: SimulationOptions) -> None:
    """Raise `ValueError` for a folder whose corpus has other options, or that holds something else."""
    path = root / CONFIG
    if not exists(path):
        found = [name for name in (VOTES, TRUTH, AUDIO) if (root / name).exists()]
        if found:
            raise ValueError(f"{root}: holds {found} but no {CONFIG}, so it is not our corpus; use another folder.")
        return
    try:
        known = read_json(path, "Use another folder.")
        before = {"simulator": known["simulator"], **known["options"]}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: not the configuration of a simulated corpus ({error!r}); use another folder."
        ) from error
    now = {"simulator": SIMULATOR, **options.to_dict()}
    different = sorted(key for key in set(now) | set(before) if now.get(key) != before.get(key))
    if different == ["n_utterances"] and before["n_utterances"] < now["n_utterances"]:
        return
    if different:
        told = ", ".join(f"{key}: {before.get(key)!r} there, {now.get(key)!r} asked for" for key in different)
        raise ValueError(
            f"{root}: holds a simulated corpus with other options ({told}). Choose another folder, or ask for the same"
            " options (only n_utterances may grow)."
        )


def _config(options: SimulationOptions, raters: Raters) -> bytes:
    pool = {
        "names": list(raters.names),
        "reliability": np.round(raters.reliability, 6).tolist(),
        "confusion": np.round(raters.confusion, 6).tolist(),
        "spam": np.round(raters.spam, 6).tolist(),
    }
    # The key "annotators" is older than the word "rater"; it stays, so that the same options give the same bytes.
    content = {"simulator": SIMULATOR, "options": options.to_dict(), "annotators": pool}
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _csv(header: tuple[str, ...], lines: list[list[str]]) -> bytes:
    return csv_of([header, *lines]).encode("utf-8")


def _write(path: Path, content: bytes) -> None:
    """Write under another name first, so that a file with the final name is always complete."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
