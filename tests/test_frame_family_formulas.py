"""The heads of the frame families against slow, literal transcriptions, step by step, of one utterance."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.made_data import tiny_config, tiny_model
from torch import nn

from hf_ambiser.models import load_family
from hf_ambiser.models.attentive_lstm import AttentiveLSTM
from hf_ambiser.models.configuration_alexnet import AlexNetConfig
from hf_ambiser.models.masked_convolution import ConvolutionBlock
from hf_ambiser.models.modeling_alexnet import AlexNetHead, stretched
from hf_ambiser.models.modeling_capsnet import route


TIMES = (5, 14)  # frames of two utterances, side by side
BANDS = 16


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def head_of(family, **fields):
    config = tiny_config(family=family).to_dict()
    return tiny_model(load_family(family).config_class(**{**config, **fields}), family=family).head.eval()


def made():
    """Frames of two utterances, with anything in the padding, and which are valid."""
    frames = torch.randn(2, max(TIMES), BANDS)
    valid = torch.arange(max(TIMES))[None] < torch.tensor(TIMES)[:, None]
    return frames.masked_fill(~valid[:, :, None], 7.0), valid


def literal_block(block: ConvolutionBlock, image):
    """Place by place: the convolution with zeros outside, norm over channels, ReLU, maximum of each patch."""
    channels, times, features = image.shape
    out = torch.zeros(len(block.conv.weight), times, features)
    height, width = block.conv.kernel_size
    for t in range(times):
        for f in range(features):
            total = block.conv.bias.clone()
            for i in range(height):
                for j in range(width):
                    at, of = t + i - (height - 1) // 2, f + j - (width - 1) // 2
                    if 0 <= at < times and 0 <= of < features:
                        total += block.conv.weight[:, :, i, j] @ image[:, at, of]
            mean, variance = total.mean(), total.var(unbiased=False)
            norm = block.layer_norm
            out[:, t, f] = ((total - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias).clamp_min(0)
    high, wide = block.pool
    pooled = torch.zeros(len(out), math.ceil(times / high), math.ceil(features / wide))
    for t in range(pooled.shape[1]):
        for f in range(pooled.shape[2]):
            pooled[:, t, f] = out[:, t * high : (t + 1) * high, f * wide : (f + 1) * wide].amax((1, 2))
    return pooled


def literal_lstm(lstm: nn.LSTM, frames):
    h = c = torch.zeros(lstm.hidden_size)
    out = []
    for x in frames:
        gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return out


def literal_attentive_lstm(part: AttentiveLSTM, frames):
    if hasattr(part.recurrent, "backwards"):
        there = literal_lstm(part.recurrent.forwards, frames)
        back = literal_lstm(part.recurrent.backwards, list(frames)[::-1])[::-1]
        hidden = [torch.cat(pair) for pair in zip(there, back, strict=True)]
    else:
        hidden = literal_lstm(part.recurrent.lstm, frames)
    shares = [math.exp(float(part.attention.weight[0] @ h)) for h in hidden]
    return sum(share / sum(shares) * h for share, h in zip(shares, hidden, strict=True))


def compare(head, literal):
    frames, valid = made()
    logits, embedding = head(frames, valid)
    for i, n in enumerate(TIMES):
        expected_logits, expected = literal(frames[i, :n])
        torch.testing.assert_close(logits[i], expected_logits, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(embedding[i], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("attention", "pooled_layers"), [("softmax", (1, 2, 3)), ("none", (2, 3))])
def test_attention_pooling_is_the_sum_over_positions_of_both_maps(attention, pooled_layers):
    head = head_of("cnn_attention", attention=attention, pooled_layers=pooled_layers, channels=(4, 3, 3, 4, 5))
    head.bottom_up.weight.mul_(5)  # far from even weights
    assert [tuple(block.conv.kernel_size) for block in head.first] == [(2, 10), (8, 2)]

    def literal(frames):
        image = torch.cat([literal_block(block, frames[None]) for block in head.first])
        for block in head.blocks:
            image = literal_block(block, image)
        positions = [image[:, t, f] for t in range(image.shape[1]) for f in range(image.shape[2])]
        bottom_up = [float(head.bottom_up(x)) for x in positions]
        if attention == "softmax":
            weights = [math.exp(score) / sum(map(math.exp, bottom_up)) for score in bottom_up]
        else:
            weights = [score / len(positions) for score in bottom_up]
        top_down = [head.out_proj(x) for x in positions]
        return (
            sum(w * scores for w, scores in zip(weights, top_down, strict=True)),
            sum(w * x for w, x in zip(weights, positions, strict=True)),
        )

    compare(head, literal)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("feature_attention", ["frame", "utterance", "none"])
def test_attention_over_values_then_an_lstm_then_attention_over_frames(feature_attention, bidirectional):
    head = head_of("attention_lstm", feature_attention=feature_attention, bidirectional=bidirectional)

    def literal(frames):
        if feature_attention != "none":
            scores = [head.feature_attention.weight @ x + head.feature_attention.bias for x in frames]
            if feature_attention == "utterance":
                scores = [sum(scores) / len(scores)] * len(scores)
            weights = [BANDS * score.exp() / score.exp().sum() for score in scores]
            frames = [w * x for w, x in zip(weights, frames, strict=True)]
        embedding = literal_attentive_lstm(head.recurrent, frames)
        return head.out_proj(head.dense(embedding).clamp_min(0)), embedding

    compare(head, literal)


def literal_squash(s):
    length = float(s.norm())
    return s * 0 if length == 0 else length**2 / (1 + length**2) * s / length


def literal_routing(votes, iterations):
    """Procedure 1 of Sabour et al.: `votes` is a list over lower capsules of lists over upper capsules."""
    classes = len(votes[0])
    b = [[0.0] * classes for _ in votes]
    for _ in range(iterations):
        c = [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in b]
        v = [literal_squash(sum(c[i][j] * votes[i][j] for i in range(len(votes)))) for j in range(classes)]
        b = [[b[i][j] + float(votes[i][j] @ v[j]) for j in range(classes)] for i in range(len(votes))]
    return v


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_routing_is_the_published_procedure_and_votes_of_zeros_change_nothing(iterations):
    votes = torch.randn(7, 3, 5)
    expected = torch.stack(literal_routing([list(row) for row in votes], iterations))
    torch.testing.assert_close(route(votes, iterations), expected, atol=1e-5, rtol=1e-4)
    more = torch.cat([votes, torch.zeros(20, 3, 5)])
    torch.testing.assert_close(route(more, iterations), expected, atol=1e-5, rtol=1e-4)
    assert (expected.norm(dim=-1) < 1).all()


@pytest.mark.parametrize("length_scale", [None, 10.0])
def test_capsules_of_windows_become_capsules_of_the_utterance(length_scale):
    head = head_of(
        "capsnet", channels=(4, 3, 4), primary_capsules=2, primary_capsule_size=3, class_capsule_size=4,
        window_frames=8, window_shift=4, length_scale=length_scale,
    )  # fmt: skip

    def upper(layer, lower, kinds):
        """`lower` is a list of capsules, `kinds` says which matrices each of them has."""
        votes = [[layer.weight[kind, j] @ u for j in range(4)] for u, kind in zip(lower, kinds, strict=True)]
        return literal_routing(votes, 3)

    def literal(frames):
        image = torch.cat([literal_block(block, frames[None]) for block in head.first])
        for block in head.blocks:
            image = literal_block(block, image)
        _, steps, features = image.shape
        windows = []
        for start in range(steps):  # a window of two steps begins at each step
            lower, kinds = [], []
            for i in range(min(2, steps - start)):
                for f in range(features):
                    values = head.primary.weight @ image[:, start + i, f]
                    for p in range(2):
                        lower.append(literal_squash(values[3 * p : 3 * p + 3]))
                        kinds.append((i * features + f) * 2 + p)
            windows.append(upper(head.window_capsules, lower, kinds))
        lower = [capsule for window in windows for capsule in window]
        capsules = upper(head.utterance_capsules, lower, list(range(4)) * len(windows))
        lengths = torch.stack([capsule.norm() for capsule in capsules])
        return lengths.log() if length_scale is None else length_scale * lengths, torch.cat(capsules)

    compare(head, literal)


@pytest.mark.parametrize("size", [5, 23, 40])
def test_an_utterance_is_stretched_as_torch_does_it_alone(size):
    frames, valid = made()
    got = stretched(frames, valid.sum(1), size)
    for i, n in enumerate(TIMES):
        alone = nn.functional.interpolate(frames[i, :n].T[None], size=size, mode="linear", align_corners=False)
        torch.testing.assert_close(got[i], alone[0].T, atol=1e-5, rtol=1e-5)


def test_alexnet_has_its_published_stages_and_number_of_weights():
    with torch.device("meta"):
        head = AlexNetHead(AlexNetConfig(num_labels=1000))
    seen = []
    for layer in head.layers:
        layer.register_forward_hook(lambda layer, given, out: seen.append(tuple(out.shape[1:])))
    hidden = torch.empty(1, 1, 227, 227, device="meta")
    for layer in head.layers:
        hidden = layer(hidden)
    assert seen == [(64, 27, 27), (192, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)]
    assert [layer.in_features for layer in head.dense] == [9216, 4096]
    # 61,100,840 of the one-column AlexNet for 1000 classes, whose first layer sees three colours and not one.
    assert sum(p.numel() for p in head.parameters()) == 61_100_840 - 2 * 64 * 11 * 11


def test_alexnet_sees_each_utterance_as_an_image_of_one_size():
    head = head_of("alexnet")

    def literal(frames):
        image = nn.functional.interpolate(frames[None, None], size=(63, 63), mode="bilinear", align_corners=False)
        for layer, (stride, padding) in zip(head.layers, ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1)), strict=True):
            image = nn.functional.conv2d(image, layer.conv.weight, layer.conv.bias, stride, padding).clamp_min(0)
            image = nn.functional.max_pool2d(image, 3, 2) if layer.pool else image
        hidden = image.flatten()
        for layer in head.dense:
            hidden = (layer.weight @ hidden + layer.bias).clamp_min(0)
        return head.out_proj(hidden), hidden

    compare(head, literal)


@pytest.mark.parametrize("fusion", ["attention", "concatenation"])
def test_both_branches_of_amsnet_are_joined(fusion):
    head = head_of("amsnet", fusion=fusion, channels=(3, 4), squeeze_factor=2)

    def literal(frames):
        image = frames[None]
        for block, gate in zip(head.blocks, head.gates, strict=True):
            image = literal_block(block, image)
            means = torch.stack([channel.mean() for channel in image])
            shares = 1 / (1 + (-gate.excite(gate.squeeze(means).clamp_min(0))).exp())
            image = torch.stack([share * channel for share, channel in zip(shares, image, strict=True)])
        branches = [
            head.of_frames(literal_attentive_lstm(head.recurrent, frames)).clamp_min(0),
            head.of_utterance(torch.stack([channel.mean() for channel in image])).clamp_min(0),
        ]
        if fusion == "attention":
            scores = [math.exp(float(head.connection_score.weight[0] @ head.connection(x).tanh())) for x in branches]
            branches = [score / sum(scores) * x for score, x in zip(scores, branches, strict=True)]
        embedding = torch.cat(branches)
        return head.out_proj(head.dense(embedding).clamp_min(0)), embedding

    compare(head, literal)
