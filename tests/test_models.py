"""Models: loss, prototypes, pretrained weights, configurations, errors; log-mel against a slow transcription."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from helpers.tiny_encoders import (
    ENCODERS,
    TINY_TRANSFORMER,
    batch,
    build,
    clips,
    difference_alone_or_padded,
)
from transformers import (
    AutoConfig,
    Wav2Vec2Config,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
    pipeline,
)

from hf_ambiser.models import (
    LogMelConfig,
    LogMelModel,
    PrototypeConfig,
    PrototypeForAudioClassification,
    available_families,
    class_names,
    default_feature_extractor,
    load_family,
    register,
    valid_frames,
)
from hf_ambiser.models.valid_batch_norm import ValidBatchNorm


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    register()


@torch.no_grad()
def test_group_norm_over_valid_frames_is_torchs_on_the_cut_out_clip():
    layer = torch.nn.Module()
    layer.conv, layer.activation = torch.nn.Conv1d(1, 5, 10, stride=5), torch.nn.Identity()
    layer.layer_norm = torch.nn.GroupNorm(5, 5)
    layer.layer_norm.weight.normal_(), layer.layer_norm.bias.normal_()
    repaired = valid_frames.ValidFrameGroupNormLayer(layer)
    wave = torch.randn(2, 1, 400) + 2
    repaired.valid_samples = torch.tensor([203, 400])
    padded = repaired(wave)
    repaired.valid_samples = None
    short = repaired(wave[:1, :, :203])
    torch.testing.assert_close(padded[:1, :, : short.shape[-1]], short, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded[1:], repaired(wave[1:]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [[1, 30, 17], [30, 30, 30]])
def test_group_norm_of_each_utterance_alone_is_the_masked_one(frames):
    layer = torch.nn.Module()
    layer.conv, layer.activation, layer.layer_norm = None, None, torch.nn.GroupNorm(5, 5)
    layer.layer_norm.weight.data.normal_(), layer.layer_norm.bias.data.normal_()
    repaired, mask = valid_frames.ValidFrameGroupNormLayer(layer), valid_frames.length_mask(torch.tensor(frames), 30)
    values, found = torch.randn(3, 5, 30) + 2, []
    for norm in (lambda x: repaired._each_alone(x, frames), lambda x: repaired._all_masked(x, torch.tensor(frames))):
        leaf, pulled = (
            values.clone().requires_grad_(True),
            torch.randn(5, 30, generator=torch.Generator().manual_seed(1)),
        )
        layer.layer_norm.zero_grad()
        (normed := norm(leaf) * mask[:, None]).mul(pulled).sum().backward()
        found.append((normed.detach(), leaf.grad, layer.layer_norm.weight.grad, layer.layer_norm.bias.grad))
    for alone, masked in zip(*found, strict=True):
        torch.testing.assert_close(alone, masked, atol=1e-3, rtol=1e-4)


def test_minimum_samples_is_a_receptive_field():
    plain = Wav2Vec2Config(mask_time_prob=0.0)
    assert valid_frames.minimum_samples(plain) == 400  # 25 ms
    masked = Wav2Vec2Config(mask_time_prob=0.05, mask_time_length=10)
    assert valid_frames.minimum_samples(masked) == 400 + 10 * 320  # ten more steps of 20 ms
    assert valid_frames.minimum_samples(Wav2Vec2Config(mask_time_prob=0.05, apply_spec_augment=False)) == 400


def literal_log_mel(wave: np.ndarray, config: LogMelConfig) -> np.ndarray:
    """Frame by frame, by the definition of each step, in float64."""
    size, bands = config.frame_length, config.n_mels
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / size) for n in range(size)])
    frequencies = np.array([k * config.sampling_rate / config.n_fft for k in range(config.n_fft // 2 + 1)])
    turn = np.exp(-2j * np.pi * np.outer(np.arange(len(frequencies)), np.arange(size)) / config.n_fft)

    def mel(hertz):
        return 2595 * math.log10(1 + hertz / 700)

    low, high = mel(config.min_frequency), mel(config.max_frequency)
    edges = [700 * (10 ** ((low + (high - low) * i / (bands + 1)) / 2595) - 1) for i in range(bands + 2)]
    rows = []
    for start in range(0, len(wave) - size + 1, config.hop_length):
        power = np.abs(turn @ (wave[start : start + size] * window)) ** 2
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
            energy = float((np.maximum(0, np.minimum(rising, falling)) * power).sum())
            row.append((math.log(max(energy, config.mel_floor)) - config.log_mel_mean) / config.log_mel_std)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("fields", [{}, {"n_fft": 512, "n_mels": 23, "hop_length": 100, "max_frequency": 4000.0}])
def test_log_mel_is_the_slow_transcription(fields):
    config = LogMelConfig(**fields)
    model = LogMelModel(config)
    wave = clips((2011,))[0]
    wave[:500] = 0  # digital silence: the floor
    expected = literal_log_mel(wave.double().numpy(), config)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = model.frontend(wave[None])[0]
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-4)
    half = copy.deepcopy(model).to(torch.bfloat16)
    torch.testing.assert_close(half.frontend(wave[None])[0], got)
    assert half(wave[None]).last_hidden_state.dtype == torch.bfloat16


def test_log_mel_keeps_the_level():
    model = LogMelModel(LogMelConfig())
    wave = clips((4000,))[0][None]
    shift = (model.frontend(2 * wave) - model.frontend(wave)).mean()
    assert shift.item() == pytest.approx(math.log(4) / 3.5, abs=1e-4)  # power, over log_mel_std


@pytest.mark.parametrize("norm_over", ["channels", "frame"])
def test_norms_are_the_slow_transcription_and_no_frame_reads_another(norm_over):
    config = LogMelConfig(norm_over=norm_over, conv_channels=(3,), conv_strides=((2, 2),), n_mels=8)
    block = LogMelModel(config).eval().blocks[0]
    torch.nn.init.normal_(block.layer_norm.weight)
    torch.nn.init.normal_(block.layer_norm.bias)
    given = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    got = block._normalised(given, torch.ones(2, 5, dtype=torch.bool))
    for b, t in itertools.product(range(2), range(5)):
        groups = [given[b, :, t]] if norm_over == "frame" else [given[b, :, t, [m]] for m in range(4)]
        scaled = [(g - g.mean()) / (g.var(unbiased=False) + config.layer_norm_eps).sqrt() for g in groups]
        for c in range(3):
            want = torch.cat(scaled, dim=1)[c] * block.layer_norm.weight[c] + block.layer_norm.bias[c]
            torch.testing.assert_close(got[b, c, t], want)


@pytest.mark.parametrize("norm_over", ["channels", "frame", "batch", "none"])
def test_either_norm_gives_the_same_frames_alone_and_in_a_padded_batch(norm_over):
    model = LogMelModel(LogMelConfig(norm_over=norm_over))
    if norm_over == "batch":  # with moving averages that have moved
        model.train()(torch.stack(clips((7000, 7000))))
    model.eval()
    short, long = clips((4000, 9000))
    padded = torch.stack([torch.nn.functional.pad(short, (0, 5000)), long])
    mask = torch.ones(2, 9000, dtype=torch.long)
    mask[0, 4000:] = 0
    together, alone = model(padded, mask).last_hidden_state[0], model(short[None]).last_hidden_state[0]
    torch.testing.assert_close(together[: len(alone)], alone)


def made_batch_norm():
    norm = ValidBatchNorm(3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm, torch.randn(2, 3, 5, 4), torch.arange(5)[None] < torch.tensor([[5], [2]])


def test_batch_norm_is_the_slow_transcription_over_valid_positions():
    norm, given, valid = made_batch_norm()
    spoilt = torch.where(valid[:, None, :, None], given, 1e3)
    got = norm.train()(spoilt, valid)
    for c in range(3):
        read = [float(given[b, c, t, m]) for b in range(2) for t in range((5, 2)[b]) for m in range(4)]
        mean = sum(read) / len(read)
        squares = sum((x - mean) ** 2 for x in read)
        want = (given[:, c] - mean) / math.sqrt(squares / len(read) + norm.eps) * norm.weight[c] + norm.bias[c]
        torch.testing.assert_close(got[:, c][valid], want[valid])
        # The moving averages begin with 0 and 1, and take a tenth of each batch; of the variance, the unbiased one.
        assert float(norm.running_mean[c]) == pytest.approx(0.1 * mean, abs=1e-6)
        assert float(norm.running_var[c]) == pytest.approx(0.9 + 0.1 * squares / (len(read) - 1), abs=1e-6)


def test_batch_norm_without_padding_is_torchs_in_training_and_in_evaluation():
    norm, given, _ = made_batch_norm()
    torchs = torch.nn.BatchNorm2d(3)
    torchs.load_state_dict(norm.state_dict())
    everything = torch.ones(2, 5, dtype=torch.bool)
    for mode in (True, False):
        torch.testing.assert_close(norm.train(mode)(given, everything), torchs.train(mode)(given))
    torch.testing.assert_close(norm.running_var, torchs.running_var)


def test_batch_norm_that_does_not_learn_answers_with_its_moving_averages_and_keeps_them():
    norm, given, valid = made_batch_norm()
    norm.train()(given, valid)
    kept, answer = norm.running_mean.clone(), norm.eval()(given, valid)
    norm.requires_grad_(False)
    torch.testing.assert_close(norm.train()(given, valid), answer, atol=0, rtol=0)
    torch.testing.assert_close(norm.running_mean, kept, atol=0, rtol=0)


def test_log_mel_masks_about_the_asked_share_and_only_in_training():
    model = LogMelModel(LogMelConfig(mask_time_prob=0.2, mask_freq_width=8, n_mels=40))
    features = torch.ones(200, 100, 40)
    masked = model._mask_features(features) == 0
    frames, bands = masked.all(2), masked.all(1)
    assert 0.14 < frames.float().mean() < 0.23  # 1 - (1 - .2/10)^10 = 0.183
    widths = bands.sum(1)
    assert widths.max() == 8 and widths.min() == 0 and abs(widths.float().mean() - 4) < 0.6
    torch.manual_seed(3)
    first = model._mask_features(features)
    torch.manual_seed(3)
    torch.testing.assert_close(model._mask_features(features), first)
    model.eval()
    wave = clips((4000,))[0][None]
    torch.testing.assert_close(model(wave).last_hidden_state, model(wave).last_hidden_state)


def test_loss_of_indices_is_loss_of_one_hot_distributions():
    model = build("log-mel")
    inputs = batch(clips((4000, 6000, 8000)))
    labels = torch.tensor([2, 0, 1])
    hard = model(**inputs, labels=labels)
    soft = model(**inputs, labels=torch.eye(3)[labels])
    torch.testing.assert_close(hard.loss, soft.loss)
    torch.testing.assert_close(hard.loss, torch.nn.functional.cross_entropy(hard.logits, labels))
    target = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1]])
    expected = -sum(
        target[i, k] * (hard.logits[i, k] - hard.logits[i].exp().sum().log()) for i in range(3) for k in range(3)
    )
    torch.testing.assert_close(model(**inputs, labels=target).loss, expected / 3)


def test_similarity_is_the_cosine_and_the_soft_label_its_softmax():
    model = build("log-mel", prototype_temperature=0.5)
    out = model(**batch(clips((4000, 9000))))
    prototypes = model.head.prototypes
    torch.testing.assert_close(prototypes.norm(dim=-1), torch.ones(3))
    for b in range(2):
        for k in range(3):
            cosine = torch.dot(out.embedding[b], prototypes[k]) / out.embedding[b].norm() / prototypes[k].norm()
            torch.testing.assert_close(out.prototype_similarity[b, k], cosine)
    weights = torch.exp(out.prototype_similarity / 0.5)
    torch.testing.assert_close(out.ambiguous_soft_label, weights / weights.sum(-1, keepdim=True))
    assert "prototypes" not in dict(model.head.named_parameters())


@torch.no_grad()
def test_prototypes_missing_from_a_checkpoint_are_unit_vectors(tmp_path):
    model = build("log-mel")
    state = {key: value for key, value in model.state_dict().items() if "prototypes" not in key}
    model.save_pretrained(tmp_path, state_dict=state)
    again = PrototypeForAudioClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again.head.prototypes.norm(dim=-1), torch.ones(3))


@torch.no_grad()
@pytest.mark.parametrize("checkpoint_class", [Wav2Vec2Model, Wav2Vec2ForPreTraining])
def test_from_encoder_takes_the_weights_of_a_saved_vanilla_encoder(checkpoint_class, tmp_path):
    config = Wav2Vec2Config(
        feat_extract_norm="group",
        num_codevectors_per_group=4,
        codevector_dim=4,
        proj_codevector_dim=4,
        **TINY_TRANSFORMER,
    )
    vanilla = checkpoint_class(config).eval().to(torch.float16)
    vanilla.save_pretrained(tmp_path)
    model = PrototypeForAudioClassification.from_encoder(
        tmp_path,
        id2label={0: "anger", 1: "neutral", 2: "sadness"},
        pooling="mean_std",
        encoder_kwargs={"layerdrop": 0.0},
    ).eval()
    inner = vanilla if checkpoint_class is Wav2Vec2Model else vanilla.wav2vec2
    for key, value in inner.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[key], value.float()), key
    assert model.dtype == torch.float32, "a checkpoint in half precision is trained in single"
    assert model.config.label2id == {"anger": 0, "neutral": 1, "sadness": 2} and model.config.num_labels == 3
    assert model.encoder.config.layerdrop == 0.0
    assert difference_alone_or_padded(model, clips((4000, 16000))) < 1e-5
    with pytest.raises(ValueError, match="layer_drop"):
        PrototypeForAudioClassification.from_encoder(tmp_path, num_labels=3, encoder_kwargs={"layer_drop": 0.0})


@torch.no_grad()
def test_from_encoder_takes_a_log_mel_encoder_and_refuses_a_whole_model(tmp_path):
    encoder = LogMelModel(ENCODERS["log-mel"])
    encoder.save_pretrained(tmp_path / "encoder")
    model = PrototypeForAudioClassification.from_encoder(tmp_path / "encoder", num_labels=5)
    for key, value in encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[key], value), key
    model.save_pretrained(tmp_path / "whole")
    with pytest.raises(ValueError, match="from_pretrained"):
        PrototypeForAudioClassification.from_encoder(tmp_path / "whole")


@torch.no_grad()
def test_bfloat16_autocast_keeps_similarities_in_float32():
    model = build("wav2vec2 group norm")
    inputs = batch(clips((4000, 9000)))
    expected = model(**inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**inputs, labels=torch.tensor([0, 1]))
    assert out.prototype_similarity.dtype == out.ambiguous_soft_label.dtype == out.loss.dtype == torch.float32
    torch.testing.assert_close(out.prototype_similarity, expected.prototype_similarity, atol=0.05, rtol=0)
    directions = torch.nn.functional.normalize(model.head.prototypes, dim=-1)
    exact = torch.nn.functional.normalize(out.embedding, dim=-1) @ directions.T
    torch.testing.assert_close(out.prototype_similarity, exact)


@pytest.mark.parametrize("name", ["log-mel", "wav2vec2 group norm"])
@torch.no_grad()
def test_pipeline_gives_the_probabilities_of_forward(name):
    names = {0: "anger", 1: "neutral", 2: "sadness"}
    config = PrototypeConfig(ENCODERS[name], id2label=names, label2id={v: k for k, v in names.items()})
    model = PrototypeForAudioClassification(config).eval()
    extractor = default_feature_extractor(config.encoder_config)
    waves = [w.numpy() for w in clips((700, 16000, 9000))]
    classify = pipeline("audio-classification", model=model, feature_extractor=extractor, device="cpu")
    answer = classify(waves, top_k=None, batch_size=1)
    inputs = extractor(waves, sampling_rate=16000, padding=True, return_tensors="pt")
    assert extractor.do_normalize == (name != "log-mel")
    for row, expected in zip(answer, model(**inputs).logits.softmax(-1), strict=True):
        scores = {item["label"]: item["score"] for item in row}
        assert [scores[names[k]] for k in range(3)] == pytest.approx(expected.tolist(), abs=1e-5)


def test_configuration_round_trip_without_remote_code(tmp_path):
    encoder = LogMelConfig(n_mels=24).to_dict() | {"auto_map": {"AutoConfig": "evil.Evil"}, "trust_remote_code": True}
    config = PrototypeConfig(encoder, num_labels=4)
    assert isinstance(config.encoder_config, LogMelConfig) and config.encoder_config.n_mels == 24
    config.encoder_config.auto_map = {"AutoConfig": "evil.Evil"}
    config.save_pretrained(tmp_path)
    assert (
        "evil" not in (tmp_path / "config.json").read_text() and "trust" not in (tmp_path / "config.json").read_text()
    )
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, PrototypeConfig) and again.encoder_config.n_mels == 24 and again.num_labels == 4
    assert isinstance(PrototypeConfig().encoder_config, LogMelConfig)
    given = Wav2Vec2Config(hidden_size=24)
    given.auto_map = {"AutoConfig": "evil.Evil"}
    kept = PrototypeConfig(given).encoder_config
    assert kept.hidden_size == 24 and not hasattr(kept, "auto_map") and hasattr(given, "auto_map")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PrototypeConfig(pooling="max"), ["pooling", "'max'", "mean_std"]),
        (lambda: PrototypeConfig(prototype_temperature=0.0), ["prototype_temperature", "0.0", "above 0"]),
        (lambda: PrototypeConfig({"model_type": "wav2vec9"}), ["encoder_config", "wav2vec9", "wavlm"]),
        (lambda: PrototypeConfig(3), ["encoder_config", "int"]),
        (lambda: LogMelConfig(conv_strides=((1, 1),)), ["conv_strides", "4"]),
        (lambda: LogMelConfig(max_frequency=9000.0), ["max_frequency", "9000.0", "8000.0"]),
        (lambda: LogMelModel(LogMelConfig(n_mels=200)), ["n_mels", "200", "n_fft"]),
        (lambda: build("log-mel")(torch.zeros(16000)), ["input_values", "(16000,)"]),
        (lambda: build("log-mel")(torch.zeros(1, 0)), ["input_values", "(1, 0)"]),
        (lambda: build("log-mel")(torch.zeros(1, 4), torch.tensor([[0, 0, 1, 1]])), ["attention_mask", "right"]),
        (lambda: build("log-mel")(torch.zeros(1, 4), torch.tensor([[0, 0, 0, 0]])), ["attention_mask", "right"]),
        (lambda: build("log-mel")(torch.zeros(1, 4), torch.ones(1, 3)), ["attention_mask", "(1, 3)", "(1, 4)"]),
        (lambda: build("log-mel")(torch.zeros(1, 4), labels=torch.tensor([-1])), ["labels", "-1", "0 to 2"]),
        (lambda: build("log-mel")(torch.zeros(1, 4), labels=torch.ones(1, 4)), ["labels", "(1, 4)", "(1, 3)"]),
        (
            lambda: PrototypeForAudioClassification(
                PrototypeConfig(Wav2Vec2Config(**TINY_TRANSFORMER, add_adapter=True))
            ),
            ["add_adapter", "True"],
        ),
        (
            lambda: PrototypeForAudioClassification(PrototypeConfig({"model_type": "bert", "num_hidden_layers": 1})),
            ["bert", "conv_kernel"],
        ),
    ],
)
def test_errors_name_the_thing_the_value_and_what_is_allowed(make, words):
    with pytest.raises(ValueError) as error:
        make()
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("family", available_families())
def test_names_of_classes_say_their_numbers_too(family):
    config = load_family(family).config_class(id2label={0: "calm", 1: "loud"})
    assert config.label2id == {"calm": 0, "loud": 1} and config.num_labels == 2


def test_class_names_follow_their_index_and_not_their_place():
    config = PrototypeConfig(id2label={2: "c", 0: "a", 1: "b"})
    assert class_names(config) == ["a", "b", "c"]
