"""The frames of a frozen encoder on disk: the same training as without them, for every method, and safe files."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from helpers import made_data
from helpers.forking import fork, wait_for
from helpers.made_run import built, fields
from helpers.suite_methods import EVERY_KIND
from helpers.tiny_encoders import ENCODERS
from safetensors.torch import load_file, save_file

from hf_ambiser import train
from hf_ambiser.methods import load_method
from hf_ambiser.models import BLSTMConfig, FusionConfig, PrototypeConfig, load_family
from hf_ambiser.run_folder import layout
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run
from hf_ambiser.studies import step_time
from hf_ambiser.training import frame_cache
from hf_ambiser.training.checkpoints import mark_complete
from hf_ambiser.training.collator import AUGMENTED
from hf_ambiser.training.frame_cache import FrameCache, Wanted, content_key
from hf_ambiser.training.sampler import StepKey


NAMES = dict(enumerate(made_data.CLASSES))
CONFIGS = {
    "prototype": lambda **more: PrototypeConfig(
        ENCODERS["whisper"], id2label=NAMES, classifier_hidden_size=16, classifier_dropout=0.0, **more
    ),
    "fusion": lambda **more: FusionConfig(
        ENCODERS["whisper"], id2label=NAMES, minimum_seconds=0.4, segment_seconds=0.45, classifier_dropout=0.0,
        spatial_channels=(4, 4, 4, 4, 96), **more,
    ),
    "blstm": lambda **more: BLSTMConfig(
        ENCODERS["whisper"], input="encoder", id2label=NAMES, dense_hidden_size=8, lstm_hidden_size=4, dropout=0.0,
        **more,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def frozen(family="prototype", **more):
    torch.manual_seed(0)
    model = load_family(family)(CONFIGS[family](**more))
    model.freeze_encoder()
    return model


def cache_of(folder, model=None, **more) -> FrameCache:
    model = frozen() if model is None else model
    return FrameCache(folder, model, model.make_feature_extractor(), **more)


def wanted(n=5, samples=4000):
    waves = [np.random.default_rng(i).normal(0, 0.1, samples + 700 * i).astype(np.float32) for i in range(n)]
    return [Wanted(content_key(w.tobytes()), len(w), lambda w=w: w) for w in waves]


def make(method, folder, feature_cache, layers="last", epochs=2, **more):
    trainer_class = load_method(method)
    settings = {**trainer_class.suite_settings, **more}
    args = trainer_class.arguments_class(
        output_dir=str(folder), num_train_epochs=epochs, per_device_train_batch_size=8, per_device_eval_batch_size=4,
        optim="sgd", save_strategy="no", eval_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=1,
        feature_cache=str(feature_cache), **{"learning_rate": 0.01, **settings},
    )  # fmt: skip
    model = frozen(trainer_class.model_family, **frame_fields(trainer_class.model_family, layers))
    ambiguous = made_data.made_split(13, 1, labelled=trainer_class.ambiguous_target is not None, name="b")
    labelled = made_data.made_split(12, 0, name="a")
    return trainer_class(model, args, labelled, ambiguous_dataset=ambiguous if trainer_class.needs_ambiguous else None)


def frame_fields(family: str, layers: str) -> dict[str, object]:
    """Fields of a model on these layers; methods that change embeddings ask for something to learn below them."""
    below = {"projection_size": 8} if family == "prototype" and layers == "last" else {}
    return {"layers": layers, "standardize_frames": layers != "last", **below}


# ---- the same training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["last", "weighted_sum"])
@pytest.mark.parametrize("method", EVERY_KIND)
def test_every_method_learns_the_same_from_cached_frames(method, layers, tmp_path):
    # With the seed 0 and a copy for each epoch, the cached copies are those that are otherwise made anew.
    own = {"cached_copies": 4} if load_method(method).needs_augmented else {}
    results = {}
    for cached in (False, True):
        trainer = make(
            method, tmp_path / str(cached), tmp_path / "cache" if cached else "none", layers, seed=0,
            **(own if cached else {}),
        )  # fmt: skip
        assert (trainer.data._labelled.frames is not None) == cached
        trainer.train()
        test = made_data.made_split(9, 2, name="c")
        results[cached] = trainer.predict(test, ignore_keys=[]).predictions[0], trainer.bare_model().state_dict()
        if cached:
            assert trainer.evaluation_set(test)[0][0].encoded is not None
    family = load_method(method).model_family
    start = frozen(family, **frame_fields(family, layers)).state_dict()
    assert any((value != start[name]).any() for name, value in results[True][1].items() if name.startswith("head."))
    np.testing.assert_allclose(results[True][0], results[False][0], atol=2e-4, rtol=1e-3)
    for name, value in results[True][1].items():
        torch.testing.assert_close(value, results[False][1][name], atol=2e-4, rtol=1e-3, msg=name)
        if name.startswith("encoder."):
            assert torch.equal(value, start[name])


def test_half_precision_takes_half_the_size_and_changes_little(tmp_path):
    caches = {dtype: cache_of(tmp_path, dtype=dtype) for dtype in frame_cache.DTYPES}
    (one,) = wanted(1)
    for cache in caches.values():
        assert cache.fill([one]) == 1
    whole, half = (cache.read(one.key) for cache in caches.values())
    assert whole.dtype == np.float32 and half.dtype == np.float16 and isinstance(whole, np.memmap)
    np.testing.assert_allclose(half, whole, rtol=2**-10, atol=1e-6)
    assert caches["float32"].folder != caches["float16"].folder


def test_epochs_take_turns_with_the_copies(tmp_path):
    sets = [make("ipr", tmp_path / str(seed), tmp_path / "cache", seed=seed, cached_copies=2).data for seed in (0, 1)]
    cache = sets[0]._ambiguous.frames

    def copy(data, epoch):
        rows = data[StepKey(epoch, 0, (3,))]
        return next(row.encoded for row in rows if row.role == AUGMENTED)

    assert not np.array_equal(copy(sets[0], 0), copy(sets[0], 1))
    assert np.array_equal(copy(sets[0], 0), copy(sets[0], 2)) and np.array_equal(copy(sets[0], 0), copy(sets[1], 1))
    plain = [row.encoded for row in sets[0][StepKey(0, 0, (3,))] if row.role != AUGMENTED][1]
    assert not np.array_equal(copy(sets[0], 0), plain)
    files = list(cache.folder.rglob("*.npy"))
    assert len(files) == 12 + 13 + 2 * 13
    more = make("ipr", tmp_path / "more", tmp_path / "cache", cached_copies=2, augmentation={"kind": "noise"}).data
    # Of some utterances the mixture draws the noise alone, too, and so the same copy; but the files are others.
    keys = [{copy.key for copy in data._copies._cached[0]} for data in (more, sets[0])]
    assert len(keys[0]) == 13 and not keys[0] & keys[1], "another augmentation has files of its own"


# ---- when it is used ------------------------------------------------------------------------------------------------


def test_an_argument_acts_or_is_refused(tmp_path):
    learns = load_family("prototype")(CONFIGS["prototype"]())
    trainer_class = load_method("soft_vote")
    split = made_data.made_split(6, 0)

    def args(**more):
        return trainer_class.arguments_class(
            output_dir=str(tmp_path / "run"), use_cpu=True, save_strategy="no", disable_tqdm=True, **more
        )

    assert trainer_class(learns, args(), split).data._labelled.frames is None, "its encoder learns"
    with pytest.raises(ValueError, match=r"feature_cache='.*cache'.*frozen encoder.*Set freeze: encoder"):
        trainer_class(learns, args(feature_cache=str(tmp_path / "cache")), split)
    with pytest.raises(ValueError, match=r"cached_copies=2.*'soft_vote' keeps none"):
        trainer_class(frozen(), args(cached_copies=2), split)
    half = {"feature_cache_dtype": "float16"}
    with pytest.raises(ValueError, match=r"feature_cache_dtype='float16'.*encoder is not frozen.*Leave"):
        trainer_class(learns, args(**half), split)
    with pytest.raises(ValueError, match=r"encoder is frozen, and feature_cache is 'none'"):
        trainer_class(frozen(), args(**half, feature_cache="none"), split)
    with pytest.raises(ValueError, match="feature_cache='off' looks like a switch; allowed: auto, none, or a folder"):
        args(feature_cache="off")
    with pytest.raises(ValueError, match="names MY_FRAMES, a variable that the environment does not have"):
        trainer_class(frozen(), args(feature_cache="$MY_FRAMES/x"), split)
    with pytest.raises(ValueError, match="cached_copies=0 must be 1 or more"):
        args(cached_copies=0)
    with pytest.raises(ValueError, match=r"feature_cache_dtype='int8' is not one of \['float32', 'float16'\]"):
        args(feature_cache_dtype="int8")
    with_default = trainer_class(frozen(), args(), split).data._labelled.frames
    assert with_default.folder.parent == Path(os.environ["HF_HOME"], "hf_ambiser", "frames")


def test_a_run_of_the_command_uses_it_and_says_how_large_it_is(tmp_path, caplog):
    dataset = built(tmp_path / "built", n=40)
    given = {
        "method": "soft_vote",
        "freeze": "encoder",
        "feature_cache": str(tmp_path / "cache"),
        "warmup_epochs": ...,
    }
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(fields(dataset, tmp_path / "run", **given, num_train_epochs=1, seed=0)))
    assert train.main(["--config", str(config)]) == 0
    said = [record.message for record in caplog.records if "frozen encoder's frames" in record.message]
    assert said and all("GB in" in message and "are free" in message for message in said)
    files = list((tmp_path / "cache").rglob("*.npy"))
    times = {path: path.stat().st_mtime_ns for path in files}
    run(
        RunArguments.from_mapping(
            fields(dataset, tmp_path / "other", **given, num_train_epochs=1, seed=0, learning_rate=0.1)
        )
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == times, "not made again"


def test_an_estimate_of_a_study_counts_the_frames_for_no_cell(tmp_path, monkeypatch):
    given = {
        "method": "soft_vote",
        "freeze": "encoder",
        "feature_cache": str(tmp_path / "cache"),
        "warmup_epochs": ...,
    }
    cell = SimpleNamespace(fields=fields(built(tmp_path / "built", n=40), tmp_path / "run", **given), after=())
    clock, write = [0.0], FrameCache._write

    def slow_write(self, batch):
        clock[0] += 1000
        write(self, batch)

    monkeypatch.setattr(FrameCache, "_write", slow_write)
    monkeypatch.setattr(step_time, "time", SimpleNamespace(perf_counter=lambda: clock[0], monotonic=lambda: clock[0]))
    cost = step_time.measure({"soft_vote": cell}, jobs=1)["soft_vote"]
    assert clock[0] >= 1000 and cost.seconds == 0 and "0.0 s to open" in cost.words


# ---- what a file belongs to -----------------------------------------------------------------------------------------


def test_another_encoder_another_setting_or_another_audio_is_another_file(tmp_path):
    first = cache_of(tmp_path)
    changed = frozen()
    with torch.no_grad():
        changed.encoder.conv1.bias[0] += 1e-3
    others = [
        cache_of(tmp_path, changed),
        cache_of(tmp_path, frozen(layers="weighted_sum")),
        cache_of(tmp_path, frozen("fusion")),
        cache_of(tmp_path, dtype="float16"),
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 5
    same = [frozen("blstm"), frozen(pooling="mean_std", standardize_frames=True)]
    for model in same:  # the head decides nothing
        model.encoder.load_state_dict(first.model.encoder.state_dict())
        assert cache_of(tmp_path, model).folder == first.folder
    assert content_key(b"a") != content_key(b"b") and content_key(b"a", 5) != content_key(b"a", 6)
    cut = make("soft_vote", tmp_path / "a", tmp_path / "cache", max_seconds=0.3).data._labelled
    whole = make("soft_vote", tmp_path / "b", tmp_path / "cache").data._labelled
    assert not set(cut.keys) & set(whole.keys)
    assert [cut.frames.read(key).shape[1] for key in cut.keys] <= [
        whole.frames.read(key).shape[1] for key in whole.keys
    ]


def test_an_encoder_that_changed_after_its_frames_were_computed_is_refused(tmp_path):
    unfrozen, loaded = (make("soft_vote", tmp_path / name, tmp_path / "cache") for name in ("unfrozen", "loaded"))
    unfrozen.model.encoder.requires_grad_(True)
    with pytest.raises(ValueError, match=r"since then parameters of the encoder were unfrozen.*before you make"):
        unfrozen.train()
    with torch.no_grad():
        loaded.model.encoder.conv1.bias[0] += 1e-3
    with pytest.raises(ValueError, match="since then the encoder got other weights"):
        loaded.train()


def test_a_checkpoint_with_another_encoder_is_refused(tmp_path):
    trainer = make("soft_vote", tmp_path / "run", tmp_path / "cache")
    trainer.train()
    trainer.save_model(tmp_path / "same")
    with torch.no_grad():
        trainer.model.encoder.conv1.bias[0] += 1e-3
    trainer.save_model(tmp_path / "other")
    again = make("soft_vote", tmp_path / "again", tmp_path / "cache")
    again._load_from_checkpoint(str(tmp_path / "same"))
    with pytest.raises(ValueError, match="since then the encoder got other weights"):
        again._load_from_checkpoint(str(tmp_path / "other"))


def test_a_resumed_run_keeps_the_statistics_of_its_first_start(tmp_path):
    def trainer(epochs):
        return make("soft_vote", tmp_path / "run", tmp_path / "cache", "weighted_sum", epochs, save_steps=2, seed=0)

    first = trainer(1)
    first.args.save_strategy = "steps"
    first.train()
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    weights = load_file(checkpoint / "model.safetensors")
    weights["head.layer_mix.mean"] += 0.5  # as of other data
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    mark_complete(checkpoint)
    again = trainer(2)
    own = again.model.head.layer_mix.mean.clone()
    again.train(resume_from_checkpoint=str(checkpoint))
    torch.testing.assert_close(again.model.head.layer_mix.mean, own + 0.5)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_damaged_and_missing_files_are_made_again(tmp_path, caplog):
    cache, rows = cache_of(tmp_path), wanted()
    assert cache.fill(rows) == 5 and cache.fill(rows) == 0
    before = [np.array(cache.read(row.key)) for row in rows]
    cache.file(rows[0].key).write_bytes(cache.file(rows[0].key).read_bytes()[:100])
    cache.file(rows[1].key).unlink()
    whole = cache.file(rows[2].key).read_bytes()
    cache.file(rows[2].key).write_bytes(whole[:-4])
    cache.file(rows[3].key).write_bytes(bytes(len(whole)))  # as a machine leaves it that was switched off
    cache.file(rows[4].key).write_bytes(b"")
    assert cache.fill(rows) == 5 and "is damaged (100 bytes)" in caplog.text and cache.fill(rows) == 0
    for row, frames in zip(rows, before, strict=True):
        np.testing.assert_allclose(cache.read(row.key), frames, atol=1e-6)
    shutil.rmtree(cache.folder)
    with pytest.raises(FileNotFoundError, match="somebody has deleted cached frames"):
        cache.read(rows[0].key)


def test_a_full_disk_is_said_before_the_work(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    cache = cache_of(tmp_path)
    with pytest.raises(OSError, match=r"take 0.00 GB.*only 0.00 GB free.*feature_cache_dtype to float16.*none"):
        cache.fill(wanted())
    assert not list(tmp_path.rglob("*.npy"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"cannot be written to .*/file/.*another folder as feature_cache"):
        cache_of(tmp_path / "file").fill(wanted())


def test_two_machines_do_not_write_the_same_part_of_a_file(tmp_path, monkeypatch):
    parts = set()
    for host in ("one", "two"):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        with layout.whole(tmp_path / "file", shared=True) as part:
            part.write_text(host)
        parts.add(part.name)
    assert len(parts) == 2 and (tmp_path / "file").read_text() == "two"


def test_a_value_that_half_precision_cannot_hold_is_refused(tmp_path):
    model = frozen()
    with torch.no_grad():
        model.encoder.layer_norm.weight.fill_(1e6)
    with pytest.raises(ValueError, match=r"'float16' holds values up to 65504, and this encoder's frames reach \d+"):
        cache_of(tmp_path, model, dtype="float16").fill(wanted())
    assert cache_of(tmp_path, model).fill(wanted()) == 5


def filling(folder: Path, n: int) -> int:
    """A process that fills a cache and writes how many files it has made, beside the cache."""

    def fill() -> None:
        made = cache_of(folder, batch_size=1).fill(wanted(n))
        (folder / f"made-{os.getpid()}").write_text(str(made))

    return fork(fill)


def test_a_killed_fill_goes_on_where_it_stopped_and_two_at_once_agree(tmp_path):
    n, cache = 60, cache_of(tmp_path, batch_size=1)
    wanted(n)  # kept, so that no child makes them again
    process = filling(tmp_path, n)
    until = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.npy"))) < 3 and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    assert wait_for(process) == [-signal.SIGKILL]
    done = len(list(cache.folder.rglob("*.npy")))
    assert 3 <= done < n
    both = [filling(tmp_path, n) for _ in range(2)]
    assert wait_for(*both) == [0, 0]
    counts = [int((tmp_path / f"made-{process}").read_text()) for process in both]
    assert all(count <= n - done for count in counts), "what was there is not made again"
    assert cache.fill(wanted(n)) == 0 and len(list(cache.folder.rglob("[!.]*.npy"))) == n
    alone = cache_of(tmp_path / "alone", batch_size=1)
    alone.fill(wanted(n))
    for row in wanted(n):
        np.testing.assert_allclose(cache.read(row.key), alone.read(row.key), atol=1e-6)
