"""Every method has every property, or says why it cannot.

Methods are found by listing. A property is a function of `suite_checks.py` or `suite_loads.py`; the conditions are
those of `suite_methods.BASE`: float32 on a CPU, no dropout, masking or layer drop unless a property is about them.
Each method, and each variant of one, learns, is saved and loaded; each method's loss is the same over accumulation.
The rest is run for one method of each kind (`suite_methods.ONE_OF_A_KIND`), for all others under `-m slow`. Padding
is the encoder's affair, so one method shows the properties on the other encoders. The two properties that need
processes of their own are in `test_two_ranks.py` and `test_killed_runs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import pytest
from helpers import suite_loads
from helpers.suite_checks import (
    check_accumulation,
    check_checkpointing,
    check_learns,
    check_precision,
    check_resume,
    check_skipped,
    check_unread,
)
from helpers.suite_methods import EVERY_KIND, METHODS, ONE_OF_A_KIND, PROPERTIES, VARIANTS, needs

from hf_ambiser.methods import load_method


SLOW_VARIANTS = [pytest.param(case, marks=pytest.mark.slow) for case in VARIANTS]
EVERY = [*EVERY_KIND, *SLOW_VARIANTS]


def on_encoders(cases):
    """Pairs of case and encoder: each case on log-mel, the first also on the others; all pairs under `-m slow`."""
    return [
        pytest.param(
            *getattr(case, "values", [case]), encoder, marks=getattr(case, "marks", ()) if usual else pytest.mark.slow
        )
        for place, case in enumerate(cases)
        for encoder in ("log-mel", "wav2vec2", "whisper")
        for usual in [encoder == "log-mel" or place == 0]
    ]


@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_declares_is_well_formed(method):
    trainer_class = load_method(method)
    known = {field.name for field in fields(trainer_class.arguments_class)}
    assert set(trainer_class.suite_settings) <= known
    for name, changes in trainer_class.variants.items():
        assert name.isidentifier() and changes and set(changes) <= known | {"model_fields"}, name
    for prop, (reason, holds_with) in trainer_class.exceptions.items():
        assert prop in PROPERTIES, f"{prop!r} is no property of the suite; it has {list(PROPERTIES)}"
        assert len(reason.split()) > 5, f"{prop}: say why"
        assert holds_with is None or (isinstance(holds_with, Mapping) and holds_with and set(holds_with) <= known)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Root of the saved models: <case>/model, <case>-adapter/{model,adapter}."""
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def learnt(saved, tmp_path_factory):
    """Trains a case the first time it is asked for, and saves it."""
    trainers = {}

    def learn(case):
        if case not in trainers:
            trainers[case] = check_learns(case, tmp_path_factory.mktemp("learnt"))
            suite_loads.save(trainers[case], saved / case)
        return trainers[case]

    return learn


@pytest.mark.parametrize("case", METHODS + VARIANTS)
def test_learns(case, learnt):
    needs(case, "learns")
    learnt(case)


@pytest.mark.parametrize("case", METHODS + VARIANTS)
def test_saves_and_loads(case, learnt, saved):
    needs(case, "loads")
    suite_loads.check_loads(saved / case, learnt(case))


@pytest.fixture(scope="module")
def adapted(saved):
    """Trains an adapter the first time it is asked for, and saves it with the model it is for."""
    trainers = {}

    def adapt(case):
        if case not in trainers:
            trainers[case] = suite_loads.train_adapter(case, saved / f"{case}-adapter")
        return trainers[case]

    return adapt


@pytest.mark.parametrize("case", EVERY)
def test_trains_and_loads_a_lora_adapter(case, adapted, saved):
    needs(case, "loads")
    trainer = adapted(case)
    frozen = [name for name, p in trainer.model.named_parameters() if "lora" not in name and p.requires_grad]
    assert frozen and all("head" in name for name in frozen), frozen
    suite_loads.check_adapter(saved / f"{case}-adapter", trainer)


@pytest.fixture(scope="module")
def elsewhere(learnt, adapted, saved):
    """One process without the package reads all saved models and adapters."""
    for case in METHODS + VARIANTS:
        learnt(case)
    for case in ONE_OF_A_KIND:
        adapted(case)
    return suite_loads.load_elsewhere(saved)


@pytest.mark.parametrize("case", METHODS + VARIANTS)
def test_loads_where_the_package_is_missing(case, elsewhere):
    needs(case, "loads")
    assert elsewhere[case] == ""


@pytest.mark.parametrize("case", ONE_OF_A_KIND)
def test_adapter_loads_where_the_package_is_missing(case, elsewhere):
    needs(case, "loads")
    assert elsewhere[f"{case}-adapter"] == ""


@pytest.mark.parametrize(("case", "encoder"), on_encoders([*METHODS, *SLOW_VARIANTS]))
def test_accumulation_changes_nothing(case, encoder, tmp_path):
    needs(case, "accumulation")
    check_accumulation(case, tmp_path, encoder=encoder)


@pytest.mark.parametrize("case", EVERY)
def test_stopped_and_resumed_with_an_adapter_is_bit_equal(case, tmp_path):
    needs(case, "resume")
    check_resume(case, tmp_path, lora=True, encoder="wav2vec2")


# Cached frames are drawn by the collator: from one copy, or from augmented ones, too.
CACHED = [ONE_OF_A_KIND[0], next(method for method in ONE_OF_A_KIND if load_method(method).needs_augmented)]


@pytest.mark.parametrize(
    "case",
    [*CACHED, *(pytest.param(case, marks=pytest.mark.slow) for case in METHODS + VARIANTS if case not in CACHED)],
)
def test_stopped_and_resumed_on_cached_frames_is_bit_equal(case, tmp_path):
    needs(case, "resume")
    check_resume(case, tmp_path, frozen=True, encoder="whisper")
    assert len(list((tmp_path / "frames").iterdir())) == 1, "the encoder is the same in all of them"


@pytest.mark.parametrize("case", EVERY)
def test_what_raters_say_of_ambiguous_clips_is_not_read(case, tmp_path):
    needs(case, "unread")
    check_unread(case, tmp_path)


@pytest.mark.parametrize("case", EVERY)
def test_a_skipped_step_changes_nothing(case, tmp_path, monkeypatch):
    needs(case, "skipped")
    check_skipped(case, tmp_path, monkeypatch)


@pytest.mark.parametrize("case", EVERY)
def test_bfloat16_keeps_losses_and_state_in_float32(case, tmp_path):
    needs(case, "precision")
    check_precision(case, tmp_path)


@pytest.mark.parametrize(("case", "encoder"), on_encoders(EVERY))
def test_activation_checkpointing_changes_nothing(case, encoder, tmp_path):
    needs(case, "checkpointing")
    check_checkpointing(case, tmp_path, encoder=encoder)
