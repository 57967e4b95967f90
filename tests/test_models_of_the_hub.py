"""The shipped model and one of every family, pulled from a Hub: every door answers as it does for the folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers.hub_endpoint import HubEndpoint
from helpers.made_data import tiny_model
from helpers.made_model import RATE, noise, saved
from helpers.package_imports import ROOT

from hf_ambiser import predict
from hf_ambiser.inference.model_door import SHIPPED
from hf_ambiser.models import available_families, load_family


FAMILIES = tuple(available_families())
ACOUSTIC = "acoustic"  # `blstm` above acoustic features, which are computed outside of the model
NAMES = (*FAMILIES, ACOUSTIC, "shipped")
WINDOWS = {"window": 1.0, "hop": 0.5}

# Where the package is: predict, the page, a stream, a corpus, an export, in the order of the words of `said`.
WITH_THE_PACKAGE = """
import json, sys
from pathlib import Path
import soundfile
from hf_ambiser import StreamingClassifier, annotate, export_model, open_model, predict
from hf_ambiser.app.hearing import Models
from hf_ambiser.inference.recordings import Recording
folder, windows = Path(sys.argv[1]), json.loads(sys.argv[2])
samples, rate = soundfile.read(folder / "speech" / "some.wav", dtype="float32")
for name in sys.argv[3:]:
    model = open_model(f"me/{name}", "cpu")
    (answer,) = predict(folder / "speech", model, progress=False, **windows)
    stream = StreamingClassifier(model, **windows)
    heard = [window for start in range(0, len(samples), 700) for window in stream.feed(samples[start : start + 700])]
    page = Models([f"me/{name}"], "cpu").hear(Recording("some.wav", folder / "speech" / "some.wav"))
    manifest = annotate(folder / "speech", folder / "annotated" / name, f"me/{name}", device="cpu", progress=False,
                        **windows)
    said = {"predict": answer.to_dict(), "page": page.answers[f"me/{name}"].to_dict(), "model": manifest["model"],
            "stream": [window.probabilities for window in heard + stream.finish()]}
    exported = export_model(f"me/{name}", folder / "exported" / name)
    (said["onnx"],) = (one.to_dict() for one in predict(folder / "speech", exported, progress=False, **windows))
    print(json.dumps(said))
"""
# Where it is not: the pipeline that the checkpoint brings.
WITHOUT_THE_PACKAGE = """
import json, sys
sys.modules["hf_ambiser"] = None
from transformers import pipeline
folder, windows = sys.argv[1], json.loads(sys.argv[2])
for name in sys.argv[3:]:
    print(json.dumps(pipeline(model=f"me/{name}", trust_remote_code=True)(f"{folder}/speech/some.wav", **windows)))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The models, and a recording of several windows."""
    folder = tmp_path_factory.mktemp("made")
    for family in FAMILIES:
        saved(folder / family, tiny_model(family=family))
    blstm = load_family("blstm")
    acoustic = blstm(blstm.config_class(num_labels=3))
    saved(folder / ACOUSTIC, acoustic, acoustic.make_feature_extractor())
    (folder / "shipped").symlink_to(SHIPPED)
    (folder / "speech").mkdir()
    wave = np.concatenate([noise(1.3), np.zeros(RATE, np.float32), noise(0.9, 1)])
    soundfile.write(folder / "speech" / "some.wav", wave, RATE, subtype="FLOAT")
    return folder


def run(hub: HubEndpoint, made: Path, code: str, home: str, **environment: str) -> dict[str, dict]:
    """What a script prints of each model, in a process that knows the Hub."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(made), json.dumps(WINDOWS), *NAMES], capture_output=True, text=True,
        env=hub.environment(made / home, **environment), cwd=made, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(NAMES, map(json.loads, done.stdout.splitlines()), strict=True))


def close(found: dict, expected: dict, atol: float = 1e-5) -> bool:
    """Whether the distributions of an answer and of its windows are the same."""
    pairs = zip([found, *found["windows"]], [expected, *expected["windows"]], strict=True)
    return all(
        mine["status"] == theirs["status"]
        and mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=atol)
        for mine, theirs in pairs
    )


@pytest.mark.slow
def test_every_family_and_the_shipped_model_answer_from_the_hub_as_from_their_folders(made):
    with HubEndpoint() as hub:
        for name in NAMES:
            files = {path.name: path.read_bytes() for path in (made / name).iterdir() if path.is_file()}
            hub.store.create(f"me/{name}").put(files)
        here = run(hub, made, WITH_THE_PACKAGE, "home", PYTHONPATH=str(ROOT))
        elsewhere = run(hub, made, WITHOUT_THE_PACKAGE, "other_home", PYTHONPATH=os.devnull)
        assert not hub.unknown
    for name in NAMES:
        (answer,) = predict(made / "speech", made / name, progress=False, **WINDOWS)
        expected = answer.to_dict()
        said = here[name]
        assert close(said["predict"], expected) and close(elsewhere[name], expected), name
        assert [one for one in said["stream"] if one] == [
            pytest.approx(window["probabilities"], abs=1e-5)
            for window in expected["windows"]
            if window["probabilities"]
        ], name
        (whole,) = predict(made / "speech", made / name, progress=False)
        assert close(said["page"], whole.to_dict()), name
        (row,) = pq.read_table(made / "annotated" / name / "data" / "annotated-00000-of-00001.parquet").to_pylist()
        assert row["soft_label"] == pytest.approx(list(answer.probabilities.values()), abs=1e-5)
        assert said["model"]["name"] == f"me/{name}"
        assert close(said["onnx"], expected, 1e-4), name
