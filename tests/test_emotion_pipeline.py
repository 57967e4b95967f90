"""The pipeline that a checkpoint brings: the answers of `predict`, from the files beside the weights."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.made_data import tiny_config, tiny_model
from helpers.made_model import RATE, noise, saved
from transformers import pipeline

import hf_ambiser.models.emotion_pipeline as module
from hf_ambiser import predict
from hf_ambiser.models import load_family
from hf_ambiser.models.configuration_waveform import PIPELINES
from hf_ambiser.models.emotion_pipeline import EmotionPipeline


torch.set_num_threads(1)


BALANCE = {"tau": 2.0, "shares": [0.4, 0.3, 0.2, 0.1]}


@pytest.fixture(scope="module", params=[None, BALANCE], ids=["leading", "balanced"])
def folder(request, tmp_path_factory):
    model = tiny_model()
    model.config.decision = {"temperature": 0.5, "threshold": 0.3, "balance": request.param}
    return saved(tmp_path_factory.mktemp("model"), model)


@pytest.fixture(scope="module")
def listen(folder):
    return pipeline(model=str(folder), trust_remote_code=True)


def talk() -> np.ndarray:
    """Noise, silence, noise, and a rest that is shorter than any utterance."""
    return np.concatenate([noise(1.7), np.zeros(RATE, np.float32), noise(1.3, 1), noise(0.33, 2)])


def check(found: dict[str, Any], answer: Any) -> None:
    """All that the pipeline says is what `predict` says."""
    expected = answer.to_dict()
    expected.pop("recording")
    assert list(found) == list(expected)
    for mine, theirs in zip([found, *found["windows"]], [expected, *expected["windows"]], strict=True):
        assert list(mine) == list(theirs)
        for name, value in theirs.items():
            if name != "windows":
                assert mine[name] == (value if isinstance(value, str | None) else pytest.approx(value, abs=1e-5)), name


@pytest.mark.parametrize("options", [{}, {"window": 1.0, "hop": 0.3}, {"window": 0.7, "threshold": 0.0}])
def test_its_answers_are_those_of_predict(folder, listen, options):
    recordings = [talk(), noise(0.5), np.zeros(8000, np.float32), noise(0.05)]
    expected = predict(recordings, folder, sampling_rate=RATE, progress=False, **options)
    assert {"answered", "silent", "too short"} <= {answer.status for answer in expected} | {"answered"}
    for answers in (listen(recordings, **options), listen(recordings, batch_size=3, **options)):
        for found, answer in zip(answers, expected, strict=True):
            check(found, answer)
    check(listen(recordings[0], **options), expected[0])


def test_it_abstains_where_the_leading_emotion_is_less_probable_than_the_threshold(listen):
    found = listen(noise(0.5), threshold=1.0)
    assert found["status"] == "abstains" and found["emotion"] is None and sum(found["probabilities"].values())


def test_it_takes_files_bytes_any_rate_and_channels(folder, listen, tmp_path):
    stereo = np.stack([noise(0.9), noise(0.9, 3)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 22050, subtype="FLOAT")
    data = io.BytesIO((tmp_path / "stereo.wav").read_bytes())
    (answer,) = predict(tmp_path / "stereo.wav", folder, progress=False)
    for given in (
        str(tmp_path / "stereo.wav"),
        data.getvalue(),
        {"array": stereo, "sampling_rate": 22050},
        {"raw": torch.from_numpy(stereo.T.copy()), "sampling_rate": 22050},
    ):
        check(listen(given), answer)


def test_a_stack_of_utterances_is_refused(listen):
    with pytest.raises(ValueError, match=r"shape \(3, 8000\), which may be several recordings; give those as a list"):
        listen(np.stack([noise(0.5, seed) for seed in range(3)]))


def test_without_soundfile_and_soxr_it_does_what_transformers_does(listen, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_optional", lambda name: None)
    monkeypatch.setattr(module, "ffmpeg_read", lambda data, rate: np.frombuffer(data, np.float32))
    mine = EmotionPipeline(model=listen.model, feature_extractor=listen.feature_extractor)
    wave = noise(0.5)
    (tmp_path / "raw").write_bytes(wave.tobytes())
    assert mine(str(tmp_path / "raw")) == mine(wave) == mine(wave.tobytes())
    with pytest.raises(ValueError, match="has 8000 Hz and the model takes 16000 Hz; install soxr"):
        mine({"array": wave, "sampling_rate": 8000})


@pytest.mark.parametrize("family", ["fusion", "blstm"])
def test_other_families_have_it_too(family, tmp_path):
    config = tiny_config(family=family)
    model = (
        load_family("blstm")(type(config)(num_labels=3)) if family == "blstm" else tiny_model(config, family=family)
    )
    folder = saved(tmp_path, model)  # blstm: acoustic features, whose extractor is code of the checkpoint
    mine = EmotionPipeline(model=model.eval(), feature_extractor=model.make_feature_extractor())
    recordings = [noise(1.3), noise(0.6, 1)]
    answers = predict(recordings, folder, sampling_rate=RATE, window=1, progress=False)
    for found, answer in zip(mine(recordings, window=1, batch_size=2), answers, strict=True):
        assert found["similarities"] is None
        check(found, answer)


def test_saved_again_the_folder_still_names_it_and_has_its_code(listen, tmp_path):
    listen.model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["custom_pipelines"] == PIPELINES
    assert (tmp_path / "emotion_pipeline.py").is_file()
    assert listen.model.pipeline_class().__name__ == "EmotionPipeline" == type(listen).__name__
    assert list(PIPELINES) == [module.TASK]


def test_a_checkpoint_of_before_loads_and_answers(folder, listen, tmp_path):
    listen.model.save_pretrained(tmp_path)
    listen.feature_extractor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["custom_pipelines"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "emotion_pipeline.py").unlink()
    old, new = (predict(noise(0.5), place, sampling_rate=RATE, progress=False) for place in (tmp_path, folder))
    assert old[0].probabilities == new[0].probabilities


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        (noise(0.5), {"top_k": 1}, r"got \['top_k'\]; allowed: window, hop, threshold, batch_size"),
        (noise(0.5), {"window": 0.01}, "window is 0.01 s; allowed: 0.1 or more"),
        (noise(0.5), {"window": 1.0, "hop": 2.0}, r"hop is 2.0 s; allowed: above 0 and at most the window \(1 s\)"),
        (noise(0.5), {"threshold": 2}, "threshold is 2; allowed: a probability"),
        (np.zeros(0, np.float32), {}, "a recording holds no sample"),
        (np.zeros(800, np.int16), {}, "Divide 16-bit integers by 32768"),
        (np.full(800, np.nan, np.float32), {}, "samples that are NaN, infinite or far above full scale"),
        ({"array": noise(0.5)}, {}, "a recording has the keys"),
    ],
)
def test_what_it_cannot_take_is_one_line(listen, given, options, says):
    with pytest.raises(ValueError, match=says):
        listen(given, **options)
