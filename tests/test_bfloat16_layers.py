"""Layers that the CPU computes wrongly in bfloat16: found once, named, computed in float32, gradients too."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import peft
import pytest
import torch
from helpers.made_data import tiny_config, tiny_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, Data2VecAudioConfig

from hf_ambiser.models import PrototypeConfig, available_families, bfloat16_layers, load_family
from hf_ambiser.models.bfloat16_layers import guard_bfloat16


BFLOAT16 = torch.bfloat16
POSITIONAL = "encoder.pos_conv_embed.conv"
FORWARD, BACKWARD = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default


def turned(right: torch.Tensor) -> torch.Tensor:
    """The right numbers in wrong places."""
    return right.flatten().flip(0).view(right.shape)


class MadeCPU(TorchDispatchMode):
    """A CPU on which grouped convolutions in bfloat16 are right, or wrong, whatever this machine's own are."""

    def __init__(self, forward: bool = True, backward: bool = True, wrong: Any = turned) -> None:
        super().__init__()
        self.faulty, self.wrong = {FORWARD: forward, BACKWARD: backward}, wrong
        self.calls = 0  # of such convolutions forward, trials among them

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        place = {FORWARD: 8, BACKWARD: 9}.get(func)
        if place is None or args[place] == 1 or args[1].dtype != BFLOAT16:
            return func(*args, **(kwargs or {}))
        self.calls += func is FORWARD
        wide = [a.float() if isinstance(a, torch.Tensor) else a for a in args]
        right = func(*wide, **(kwargs or {}))
        spoil = self.wrong if self.faulty[func] else lambda tensor: tensor
        if func is FORWARD:
            return spoil(right).to(BFLOAT16)
        return tuple(None if tensor is None else spoil(tensor.to(BFLOAT16)) for tensor in right)


def right_cpu() -> MadeCPU:
    return MadeCPU(forward=False, backward=False)


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """As if nothing had been tried yet, nor after."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    forget()
    yield
    forget()


def forget() -> None:
    bfloat16_layers._is_wrong.cache_clear()
    bfloat16_layers._wrong_layers.cache_clear()


@pytest.fixture
def trials(monkeypatch) -> list[Any]:
    """The shapes that were tried, one entry for each trial."""
    tried, shape_is_wrong = [], bfloat16_layers._is_wrong.__wrapped__

    @bfloat16_layers.cache
    def counted(shape):
        tried.append(shape)
        return shape_is_wrong(shape)

    monkeypatch.setattr(bfloat16_layers, "_is_wrong", counted)
    return tried


def build(family: str = "prototype", encoder: str = "wav2vec2") -> Any:
    return tiny_model(tiny_config(encoder=encoder, family=family), family=family).eval()


def unguarded(model: Any) -> Any:
    """A copy without what `guard_bfloat16` did."""
    bare = copy.deepcopy(model)
    for layer in bare.modules():
        vars(layer).pop("_conv_forward", None)
    return bare


def clips() -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    mask = torch.ones(2, 6400, dtype=torch.long)
    mask[1, 4000:] = 0
    return {"input_values": 0.3 * torch.randn(2, 6400, generator=noise) * mask, "attention_mask": mask}


def frames(model: Any, how: str) -> torch.Tensor:
    """The encoder's valid frames side by side, computed in float32, or in bfloat16 by autocast or by the weights."""
    if how == "weights":
        model = copy.deepcopy(model).to(BFLOAT16)
    within = torch.autocast("cpu", BFLOAT16) if how == "autocast" else contextlib.nullcontext()
    with torch.no_grad(), within:
        hidden, valid = model.encode(**clips())
    return hidden[valid].float()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a.float() - b.float()).norm() / b.float().norm()).item()


def warnings_of(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == bfloat16_layers.__name__]


# ---- the families ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["autocast", "weights"])
@pytest.mark.parametrize("family", available_families())
def test_a_wrong_layer_is_computed_in_float32_and_named_once(family, how, caplog, trials):
    model, seen = build(family), []
    exact = frames(model, "float32")
    assert trials == []
    with MadeCPU() as cpu:
        assert distance(frames(unguarded(model), how), exact) > 0.3, "the planted fault does nothing"
        before = cpu.calls
        assert distance(frames(model, how), exact) < 0.05
        assert len(trials) == 1 and cpu.calls == before + 1, "only the trial runs in bfloat16"
        torch.testing.assert_close(frames(model, how), frames(build(family), how), atol=0, rtol=0)
        assert len(trials) == 1 and cpu.calls == before + 1
        # The whole model, and what the layers above are given: bfloat16, as without the fault.
        positional = model.encoder.encoder.pos_conv_embed.conv
        positional.register_forward_hook(lambda layer, given, out: seen.append(out.dtype))
        with torch.no_grad(), torch.autocast("cpu", BFLOAT16):
            logits = model(**clips()).logits
    assert seen == [BFLOAT16]
    with torch.no_grad():
        assert distance(logits, model(**clips()).logits) < 0.1
    (said,) = warnings_of(caplog)
    assert POSITIONAL in said and "bfloat16" in said and "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16" in said


@pytest.mark.parametrize("how", ["autocast", "weights"])
@pytest.mark.parametrize("family", available_families())
def test_a_right_layer_stays_in_bfloat16_and_nothing_is_said(family, how, caplog, trials):
    model = build(family)
    with right_cpu() as cpu:
        expected = frames(unguarded(model), how)
        torch.testing.assert_close(frames(model, how), expected, atol=0, rtol=0)
    assert len(trials) == 1 and cpu.calls == 3, "twice the layer and once the trial"
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("encoder", ["log-mel", "wav2vec2"])
@pytest.mark.parametrize("family", available_families())
def test_no_grouped_convolution_of_a_family_is_left_out(family, encoder, trials):
    model = build(family, encoder)
    grouped = [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d) and m.groups > 1]
    assert len(grouped) == (encoder == "wav2vec2") and all("_conv_forward" in vars(layer) for layer in grouped)
    if encoder == "log-mel":
        with MadeCPU() as cpu, torch.autocast("cpu", BFLOAT16):
            model(**clips(), labels=torch.tensor([0, 1])).loss.backward()
        assert trials == [] and cpu.calls == 0


def test_all_wrong_layers_of_an_encoder_are_in_one_line_and_their_kind_is_tried_once(caplog, trials):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}
    config = Data2VecAudioConfig(**sizes, **convolutions, num_conv_pos_embedding_groups=2, initializer_range=0.3)
    model = load_family("prototype")(PrototypeConfig(config, num_labels=3)).eval()
    exact = frames(model, "float32")
    with MadeCPU():
        # Here padding is repaired between the layers, by the lengths of the batch.
        assert (
            distance(frames(model, "autocast"), exact)
            < 0.05
            < 0.3
            < distance(frames(unguarded(model), "autocast"), exact)
        )
    (said,) = warnings_of(caplog)
    assert all(f"encoder.pos_conv_embed.layers.{i}.conv" in said for i in range(3)) and len(trials) == 1


def test_float32_and_other_devices_are_never_tried(monkeypatch, caplog):
    def never(shape):
        raise AssertionError("tried")

    monkeypatch.setattr(bfloat16_layers, "_is_wrong", never)
    model = build().train()
    with MadeCPU():
        model(**clips(), labels=torch.tensor([0, 1])).loss.backward()
        with torch.autocast("cpu", BFLOAT16, enabled=False):
            model(**clips())
        # A device without numbers stands for a GPU.
        elsewhere = nn.Conv1d(16, 16, 16, groups=2, device="meta", dtype=BFLOAT16)
        guard_bfloat16(elsewhere)
        with torch.autocast("cpu", BFLOAT16):
            assert elsewhere(torch.empty(1, 16, 50, device="meta", dtype=BFLOAT16)).device.type == "meta"
        with pytest.raises(AssertionError, match="tried"), torch.autocast("cpu", BFLOAT16):
            model(**clips())
    assert warnings_of(caplog) == []


# ---- training ----------------------------------------------------------------------------------------------------


def gradients(model: Any, how: str) -> dict[str, torch.Tensor]:
    model = copy.deepcopy(model).train()
    model = model.to(BFLOAT16) if how == "weights" else model
    within = torch.autocast("cpu", BFLOAT16) if how == "autocast" else contextlib.nullcontext()
    with within:
        hidden, valid = model.encode(**clips())
        loss = hidden[valid].float().sin().sum()
    loss.backward()
    return {name: p.grad for name, p in model.encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("fault", [{}, {"forward": False}, {"backward": False}])
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_gradients_are_right_if_either_direction_is_wrong(how, fault, caplog):
    model = build()
    exact = gradients(model, "float32")
    names = [name for name in exact if POSITIONAL in name]
    assert len(names) == 3 and any("original1" in name for name in names)  # weight_norm's two and the bias
    with right_cpu():
        rounded = gradients(model, how)
    forget()
    with MadeCPU(**fault):
        spoilt, got = gradients(unguarded(model), how), gradients(model, how)
    assert got.keys() == exact.keys() and all(got[name].dtype == rounded[name].dtype for name in got)

    def far(found):
        return max(distance(found[name], exact[name]) for name in names)

    assert far(got) < 1.2 * far(rounded) + 0.01 and far(spoilt) > 2 * far(rounded) + 0.1
    assert len(warnings_of(caplog)) == 1


def test_the_first_run_may_be_inside_a_checkpoint():
    layer = nn.Conv1d(16, 16, 16, groups=2)
    guard_bfloat16(layer)
    values = torch.randn(2, 16, 50, requires_grad=True)
    (exact,) = torch.autograd.grad(layer(values).square().sum(), values)
    with MadeCPU(), torch.autocast("cpu", BFLOAT16):
        output = checkpoint(layer, values, use_reentrant=False)
        (got,) = torch.autograd.grad(output.float().square().sum(), values)
    assert distance(got, exact) < 0.02


def test_the_trial_leaves_the_random_numbers_alone():
    layer = nn.Conv1d(16, 16, 16, groups=2)
    guard_bfloat16(layer)
    state = torch.get_rng_state()
    with torch.autocast("cpu", BFLOAT16), torch.inference_mode():
        layer(torch.zeros(1, 16, 50))
    assert bfloat16_layers._is_wrong.cache_info().misses == 1
    assert torch.equal(torch.get_rng_state(), state)


# ---- copies, adapters, files -------------------------------------------------------------------------------------


def test_names_of_weights_are_the_encoders_own():
    model = build()
    own = AutoModel.from_config(model.config.encoder_config)
    assert list(model.encoder.state_dict()) == list(own.state_dict())
    assert not any(key.startswith("_conv_forward") for key in model.state_dict())


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_saved_and_loaded_copied_and_adapted_models_are_guarded(how, tmp_path):
    model = build()
    exact = frames(model, "float32")
    with MadeCPU():
        frames(model, how)  # saved after the fault was met
        model.save_pretrained(tmp_path)
        again = type(model).from_pretrained(tmp_path)
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
        assert distance(frames(again, how), exact) < 0.05
        low = type(model).from_pretrained(tmp_path, dtype=BFLOAT16)
        assert low.encoder.encoder.pos_conv_embed.conv.weight.dtype == BFLOAT16
        assert distance(frames(low, "as it is"), exact) < 0.05
        targets = peft.LoraConfig(target_modules=model.lora_target_modules(), modules_to_save=["head"])
        adapted = peft.get_peft_model(again, targets).eval()
        assert distance(frames(adapted.base_model.model, how), exact) < 0.05
        assert distance(frames(adapted.merge_and_unload(), how), exact) < 0.05


def test_an_adapter_of_the_wrong_layer_itself_keeps_it_guarded():
    model = build()
    exact = frames(model, "float32")
    with pytest.warns(UserWarning, match="groups > 1"):
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["pos_conv_embed.conv"])).eval()
    with MadeCPU():
        # The adapter's part is zero at the start, whatever computes it.
        assert distance(frames(adapted.base_model.model, "autocast"), exact) < 0.05


def test_a_copy_is_guarded_by_itself():
    model = build()
    copied = copy.deepcopy(model)
    layers = [m.encoder.encoder.pos_conv_embed.conv for m in (model, copied)]
    assert [layer._conv_forward.args[0] is layer for layer in layers] == [True, True]
    with torch.no_grad():
        for parameter in layers[0].parameters():
            parameter.zero_()
    exact = frames(copied, "float32")
    with MadeCPU():
        assert distance(frames(copied, "autocast"), exact) < 0.05
    plain = nn.Sequential(nn.Conv1d(4, 4, 3, groups=2))
    guard_bfloat16(plain)
    torch.save(plain, stream := io.BytesIO())
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    assert loaded[0]._conv_forward.args[0] is loaded[0]


# ---- layers of every kind ----------------------------------------------------------------------------------------

LAYERS = {
    "long kernel": partial(nn.Conv1d, 32, 32, 128, padding=64, groups=16),
    "one channel a group": partial(nn.Conv1d, 8, 8, 31, groups=8, bias=False),
    "steps": partial(nn.Conv1d, 4, 8, 3, stride=2, dilation=30, groups=2),
    "same": partial(nn.Conv1d, 4, 4, 5, padding="same", groups=2),
    "around": partial(nn.Conv1d, 4, 4, 5, padding=2, padding_mode="circular", groups=2),
    "two axes": partial(nn.Conv2d, 4, 6, (3, 5), stride=(2, 1), padding=(1, 2), groups=2),
}


@pytest.mark.parametrize("wrong", [torch.zeros_like, turned, lambda t: t * float("nan")])
@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer(name, wrong, trials):
    layer = LAYERS[name]()
    values = torch.randn(2, layer.in_channels, *(70 for _ in layer.kernel_size))
    exact = layer(values)
    guard_bfloat16(layer)
    torch.testing.assert_close(layer(values), exact, atol=0, rtol=0)
    with MadeCPU(wrong=wrong), torch.autocast("cpu", BFLOAT16):
        assert distance(layer(values), exact) < 0.01
        assert distance(copy.deepcopy(layer).to(BFLOAT16)(values), exact) < 0.01
    assert len(trials) == 1


@pytest.mark.parametrize("name", LAYERS)
def test_rounding_is_not_taken_for_a_fault(name, caplog):
    layer = LAYERS[name]()
    guard_bfloat16(layer)
    with right_cpu(), torch.autocast("cpu", BFLOAT16):
        layer(torch.randn(2, layer.in_channels, *(70 for _ in layer.kernel_size)))
    assert warnings_of(caplog) == []


def test_without_onednn_there_is_no_trial_whose_answer_would_stay(trials):
    layer = LAYERS["long kernel"]()
    guard_bfloat16(layer)
    with torch.autocast("cpu", BFLOAT16):
        with torch.backends.mkldnn.flags(enabled=False):
            layer(torch.zeros(1, 32, 50))
        assert trials == []
        layer(torch.zeros(1, 32, 50))
    assert len(trials) == 1


def test_an_exported_layer_is_in_float32(trials):
    layer, values = LAYERS["long kernel"]().to(BFLOAT16), torch.randn(2, 32, 50).to(BFLOAT16)
    exact = copy.deepcopy(layer).float()(values.float())
    guard_bfloat16(layer)
    for strict in (False, True):
        exported = torch.export.export(layer, (values,), strict=strict).module()
        with MadeCPU():
            assert distance(exported(values), exact) < 0.01
    assert trials == []
