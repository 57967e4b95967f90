"""Every system of every shipped plan can be trained: it gets a model, its data and one step, on made speech."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.crema_d_tree import made_corpus
from helpers.shipped_plans import PLANS
from helpers.tiny_encoders import TINY_TRANSFORMER, TINY_WHISPER
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from hf_ambiser.cli import main
from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import prepare
from hf_ambiser.studies.cells import chosen_configs
from hf_ambiser.studies.plan import PlannedData, of_system, read_plan
from hf_ambiser.studies.step_time import timed_steps


# Fields on which a first step does not depend, so that systems of a tuning plan are tried once.
LATER = (
    *("learning_rate", "num_train_epochs", "warmup_steps", "weight_decay"),
    *("eval_strategy", "eval_steps", "save_strategy", "save_steps", "metric_for_best_model", "load_best_model_at_end"),
)
SPLITS = ("train_splits", "ambiguous_splits", "reveal_splits", "test_splits")
# A licensed release or a large made one is not built here. The data set that stands in has the same splits.
STAND_INS = {
    "ipr-paper": "ipr-strict",
    "slc-paper-loso": "slc-strict",
    "slc-strict": "slc-strict",
    "loso-strict": "kfold5-strict-0",
}
WITH_VOTES_OF_OUR_OWN = "hf-ambiser build crema_d --root $CREMA_D_ROOT"


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """The folder that a user works in: the release and the encoders are where the variables say."""
    folder = tmp_path_factory.mktemp("place")
    made_corpus(folder / "release", speakers=6, seconds=0.1)
    whisper = folder / "encoders" / "whisper-tiny.en"
    layers = {"encoder_layers": 4}  # as in tiny.en: plans freeze some of them
    WhisperEncoder(WhisperConfig(**TINY_WHISPER | layers)).save_pretrained(whisper)
    WhisperFeatureExtractor(feature_size=80, chunk_length=1).save_pretrained(whisper)
    wav2vec2 = folder / "encoders" / "wav2vec2"
    Wav2Vec2Model(Wav2Vec2Config(**TINY_TRANSFORMER)).save_pretrained(wav2vec2)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(wav2vec2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CREMA_D_ROOT", str(folder / "release"))
        patch.setenv("AMBISER_ENCODERS", str(folder / "encoders"))
        built("data/stand_in", "--policy", "crema-d-4", "--configs", "ipr-strict", "slc-strict", "kfold5-strict")
        yield folder


def built(out: str, *options: str) -> None:
    """Build a data set of the made release in this process."""
    command = [*shlex.split(WITH_VOTES_OF_OUR_OWN)[1:3], "--root", "release", "--out", out, *options]
    of_ipr = ["--min-per-class", "1"] if "--configs" not in options or any("ipr-" in one for one in options) else []
    assert main([*command, *of_ipr]) == 0


def data_of(planned: PlannedData) -> tuple[str, str]:
    """A data set with the splits that a plan wants, by its own command where that can be; a config of it."""
    if planned.build and planned.build.startswith(WITH_VOTES_OF_OUR_OWN) and "&&" not in planned.build:
        if not Path(planned.dataset).exists():
            words = shlex.split(planned.build.removeprefix(WITH_VOTES_OF_OUR_OWN))
            assert words[:2] == ["--out", planned.dataset]
            built(planned.dataset, *words[2:])
        return planned.dataset, chosen_configs(planned)[0]
    return "data/stand_in", STAND_INS[planned.configs[0]]


def arguments_here(fields: dict[str, Any], dataset: str, config: str, out: Path) -> RunArguments:
    """A system's arguments with data and an encoder of this place, without what needs a GPU or an earlier run."""
    not_here = ("bf16", "fp16", "tf32", *of_system(fields["method"]))
    fields = {name: value for name, value in fields.items() if name not in not_here}
    if str(fields.get("encoder", "")).startswith("facebook/wav2vec2"):
        fields |= {"encoder": str(Path("encoders/wav2vec2").resolve())}
    here = {"dataset": dataset, "dataset_config": config, "output_dir": str(out), "seed": 0}
    return RunArguments.from_mapping(
        fields | here | {"use_cpu": True, "disable_tqdm": True, "dataloader_num_workers": 0}
    )


def alike(value: Any) -> str:
    """A value as text. Numbers are alike, but for 0 and 1, which often leave something out."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "a number" if number and value not in (0, 1) else repr(value)


@cache
def kinds(path: Path) -> dict[str, dict[str, Any]]:
    """What a plan's systems are, as text -> the fields of the first one."""
    found: dict[str, dict[str, Any]] = {}
    for system in read_plan(path).systems:
        own = sorted((name, alike(value)) for name, value in system.fields.items() if name not in LATER)
        found.setdefault(repr(own), {**system.fields, "system": system.name})
    return found


def systems(path: Path) -> list[dict[str, Any]]:
    """Fields of the systems of a plan that no earlier plan has: each is tried once, on one data set."""
    earlier = [kind for other in PLANS[: PLANS.index(path)] for kind in kinds(other)]
    return [fields for kind, fields in kinds(path).items() if kind not in earlier]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_system_of_a_shipped_plan_takes_a_step(path, tmp_path):
    plan = read_plan(path)
    assert not [system.missing for system in plan.systems if system.missing]
    # Data sets that are not built here have one that stands in for all of them.
    places = list(dict.fromkeys(map(data_of, plan.datasets)))
    for dataset, config in places:
        splits = read_dataset_info(dataset)["configs"][config]["splits"]
        for system in plan.systems:
            arguments_here(system.fields, dataset, config, tmp_path)  # every number is one that is allowed
            named = [name for field in SPLITS for name in system.fields.get(field, [])]
            assert set(named) <= set(splits), (system.name, dataset)
    dataset, config = places[0]
    for fields in systems(path):
        name = fields["system"]
        # Opening a split takes most of the time.
        fields = fields | {"test_splits": fields.get("test_splits", ["test"])[:1]}
        arguments = arguments_here(fields, dataset, config, tmp_path / name)
        try:
            trainer, tests = prepare(arguments)
            trainer.check_arguments(begins=True)
            trainer.takes_ambiguous = lambda epoch: True  # type: ignore[method-assign]
            timed_steps(trainer, 0, 1)
        except Exception as error:
            error.add_note(f"system {name!r} of {path}")
            raise
        assert tests and all(torch.isfinite(p).all() for p in trainer.model.parameters()), name
