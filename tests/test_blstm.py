"""The attention BLSTM: Eq. 1-3 frame by frame, the same as packed sequences, alone as padded, and exported."""

import copy
import math

import pytest
import torch
from helpers.made_data import tiny_config
from torch import nn

from hf_ambiser.models import load_family
from hf_ambiser.models.configuration_blstm import BLSTMConfig
from hf_ambiser.models.modeling_blstm import BLSTM


LENGTHS = (1, 7, 30, 19)
SAMPLES = (300, 4000, 9600, 6400)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def build(input="acoustic32", attention="logits", **fields):
    config = BLSTMConfig(
        encoder_config=tiny_config().encoder_config,
        input=input,
        attention=attention,
        **{"dense_hidden_size": 12, "lstm_hidden_size": 5, "num_labels": 3, **fields},
    )
    model = load_family("blstm")(config).eval()
    with torch.no_grad():  # far from even weights, so that what leaks through them shows
        model.head.attention.mul_(5)
    return model


def features(lengths=LENGTHS):
    return [torch.randn(n, 32) for n in lengths]


def padded(clips, name, size=0):
    size = max(size, *(len(c) for c in clips))
    values = torch.full((len(clips), size, *clips[0].shape[1:]), 9.0)  # padding is anything, not only 0
    mask = torch.zeros(len(clips), size, dtype=torch.long)
    for i, clip in enumerate(clips):
        values[i, : len(clip)], mask[i, : len(clip)] = clip, 1
    return {name: values, "attention_mask": mask}


def test_the_papers_sizes_are_the_defaults():
    model = load_family("blstm")(BLSTMConfig(num_labels=4))
    head = model.head
    assert (head.dense.in_features, head.dense.out_features, head.out_proj.out_features) == (32, 512, 4)
    assert head.blstm.forwards.hidden_size == head.blstm.backwards.hidden_size == 128
    assert head.dropout.p == 0.5 and head.attention.shape == (4,) and head.on_logits
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"head"}
    assert model.main_input_name == "input_features"


def literal(model, clip):
    """Eq. 1-3 of one clip, frame by frame, the LSTM cells written out, in float64."""
    head = copy.deepcopy(model.head).double()

    def cells(lstm, frames):
        h = c = torch.zeros(lstm.hidden_size, dtype=torch.float64)
        out = []
        for x in frames:
            gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
            i, f, g, o = gates.chunk(4)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h)
        return out

    frames = [(head.dense.weight @ x + head.dense.bias).clamp(min=0) for x in clip.double()]
    there, back = cells(head.blstm.forwards, frames), cells(head.blstm.backwards, frames[::-1])[::-1]
    outputs = [torch.cat(pair) for pair in zip(there, back, strict=True)]
    scores = [head.out_proj.weight @ h + head.out_proj.bias for h in outputs]
    looked_at = scores if head.on_logits else outputs
    e = [math.exp(float((h @ head.attention).detach())) for h in looked_at]  # Eq. 1
    alpha = [v / sum(e) for v in e]
    pooled = sum(a * h for a, h in zip(alpha, scores, strict=True))  # Eq. 2
    return pooled, sum(a * h for a, h in zip(alpha, outputs, strict=True)), torch.tensor(alpha)


@pytest.mark.parametrize("attention", ["logits", "hidden"])
def test_answers_are_equations_1_to_3(attention):
    model, clips = build(attention=attention), features()
    out = model(**padded(clips, "input_features"))
    for i, clip in enumerate(clips):
        logits, embedding, alpha = literal(model, clip)
        torch.testing.assert_close(out.logits[i].double(), logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(out.embedding[i].double(), embedding, rtol=0, atol=1e-5)
        torch.testing.assert_close(out.attention[i, : len(clip)].double(), alpha.double(), rtol=0, atol=1e-5)
        assert not out.attention[i, len(clip) :].any() and (len(clip) == 1 or alpha.max() > 1.5 / len(clip))
    assert out.embedding.dtype == out.attention.dtype == torch.float32


def test_without_packing_as_torchs_bidirectional_lstm_on_packed_sequences():
    ours, theirs = BLSTM(6, 5), nn.LSTM(6, 5, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            part = ours.backwards if name.endswith("_reverse") else ours.forwards
            parameter.copy_(getattr(part, name.removesuffix("_reverse")))
    frames, lengths = torch.randn(4, 30, 6), torch.tensor(LENGTHS)
    packed = nn.utils.rnn.pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    expected = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
    got = ours(frames, lengths)
    for i, n in enumerate(LENGTHS):
        torch.testing.assert_close(got[i, :n], expected[i, :n], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attention", ["logits", "hidden"])
@pytest.mark.parametrize("input", ["acoustic32", "log_mel", "encoder"])
def test_a_clip_has_the_same_answer_alone_padded_and_in_any_order(input, attention):
    model = build(input, attention)
    name = model.main_input_name
    clips = features() if name == "input_features" else [0.3 * torch.randn(n) for n in SAMPLES]
    with torch.no_grad():
        alone = torch.cat([model(**{name: clip[None]}).logits for clip in clips])
        assert alone.std(0).min() > 1e-3
        batch = model(**padded(clips, name, size=12000)).logits
        turned = model(**padded(clips[::-1], name)).logits.flip(0)
    torch.testing.assert_close(batch, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(turned, alone, rtol=0, atol=1e-5)


def test_padding_has_no_gradient():
    model = build()
    batch = padded(features(), "input_features")
    batch["input_features"].requires_grad_()
    model(**batch).logits.sum().backward()
    valid = batch["attention_mask"].bool()
    gradient = batch["input_features"].grad.abs().sum(-1)
    assert (gradient[valid] > 0).all() and not gradient[~valid].any()


@pytest.mark.parametrize("attention", ["logits", "hidden"])
def test_it_can_be_exported_with_any_number_of_clips(attention):
    model, batch = build(attention=attention), padded(features(), "input_features")
    clips = torch.export.Dim("clips", min=1, max=64)
    exported = torch.export.export(
        model, (), batch, dynamic_shapes={name: {0: clips} for name in batch}
    ).module()  # fmt: skip
    other = padded(features((30, 2)), "input_features")
    for inputs in (batch, other):
        torch.testing.assert_close(exported(**inputs).logits, model(**inputs).logits, rtol=1e-5, atol=1e-6)


def test_half_precision_keeps_embedding_and_attention_in_float32():
    model, batch = build().to(torch.bfloat16), padded(features(), "input_features")
    out = model(**batch)
    assert out.logits.dtype == torch.bfloat16
    assert out.embedding.dtype == out.attention.dtype == torch.float32


def test_loss_is_soft_cross_entropy_and_every_parameter_learns():
    model, batch = build(), padded(features(), "input_features")
    labels = torch.softmax(torch.randn(4, 3), dim=-1)
    out = model(**batch, labels=labels)
    torch.testing.assert_close(out.loss, -(labels * out.logits.log_softmax(-1)).sum(-1).mean())
    out.loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_dropout_acts_after_the_dense_layer_and_after_the_blstm():
    model, batch = build(dropout=0.5).train(), padded(features(), "input_features")
    seen = []
    model.head.dropout.register_forward_hook(lambda module, given, out: seen.append((given[0], out)))
    model(**batch)
    assert [given.shape[-1] for given, _ in seen] == [12, 10]
    for given, out in seen:
        kept = out != 0
        torch.testing.assert_close(out[kept], 2 * given[kept])
        assert 0.3 < float((~kept & (given != 0)).sum() / (given != 0).sum()) < 0.7


def test_saved_and_loaded_it_answers_the_same(tmp_path):
    for input in ("acoustic32", "log_mel"):
        model = build(input, "hidden")
        model.save_pretrained(tmp_path / input)
        again = type(model).from_pretrained(tmp_path / input).eval()
        clips = features() if input == "acoustic32" else [0.3 * torch.randn(n) for n in SAMPLES]
        batch = padded(clips, model.main_input_name)
        assert torch.equal(again(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize(
    "fields,words",
    [
        ({"input": "mfcc"}, "BLSTMConfig.input is 'mfcc'; allowed: one of acoustic32, log_mel, encoder"),
        ({"attention": "both"}, "attention is 'both'; allowed: one of logits, hidden"),
        ({"dropout": 1.0}, r"dropout is 1.0; allowed: in \[0, 1\)"),
        ({"lstm_hidden_size": 0}, "lstm_hidden_size is 0"),
        ({"input": "log_mel", "encoder_config": {"model_type": "wav2vec2"}}, "log_mel takes a LogMelConfig"),
    ],
)
def test_a_wrong_field_is_named(fields, words):
    with pytest.raises(ValueError, match=words):
        BLSTMConfig(**fields)


def test_the_other_input_a_wrong_shape_and_a_missing_encoder_are_named(tmp_path):
    model = build()
    with pytest.raises(ValueError, match="input='acoustic32' and got no input_features"):
        model(input_values=torch.zeros(1, 4000))
    with pytest.raises(ValueError, match=r"input_features has shape \(1, 4, 31\); allowed: \(B, frames, 32\)"):
        model(input_features=torch.zeros(1, 4, 31))
    with pytest.raises(ValueError, match="attention_mask has a row that is not ones followed by zeros"):
        model(input_features=torch.zeros(1, 3, 32), attention_mask=torch.tensor([[1, 0, 1]]))
    with pytest.raises(ValueError, match="log_mel.*and got no input_values"):
        build("log_mel")(input_features=torch.zeros(1, 4, 32))
    for call in (model.freeze_encoder, model.freeze_feature_encoder, model.lora_target_modules):
        with pytest.raises(ValueError, match="input='acoustic32' has none.*model_fields"):
            call()
    with pytest.raises(ValueError, match="input is 'log_mel'; allowed with an encoder: 'encoder' only"):
        type(model).from_encoder(tmp_path, input="log_mel")


def test_a_frozen_encoder_leaves_the_head_to_learn():
    model = build("encoder")
    model.freeze_encoder()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"head"} and model.lora_target_modules() == ["conv", "projection"]
