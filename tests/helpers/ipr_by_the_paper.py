"""Sun et al. (2024), section 2, written down a second time: clip by clip and class by class, in float64.

Nothing here comes from the package but the encoder (the paper's Encoder(x; theta)), called on one clip at a time.
Where the paper leaves something open, the project's reading is taken and named. Tensors are used for autograd only.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum()


def unit(v: Tensor) -> Tensor:
    return v / torch.sqrt(dot(v, v))


def largest(values: list[Tensor]) -> int:
    """Index of the largest, the first of equals."""
    numbers = [float(v.detach()) for v in values]
    return numbers.index(max(numbers))


def log_sum_exp(values: list[Tensor]) -> Tensor:
    top = max(float(v.detach()) for v in values)
    return top + torch.log(sum(torch.exp(v - top) for v in values))


# ---- Eq. 1-2: embeddings and class means ---------------------------------------------------------------------------


class Model:
    """Encoder and MLP of a trained model, in float64, one clip at a time."""

    def __init__(self, model: torch.nn.Module) -> None:
        model = copy.deepcopy(model).double().eval()
        self.encoder, self.head = model.encoder, model.head
        self.parameters = dict(model.named_parameters())

    def embed(self, waveform: Tensor) -> Tensor:
        """Eq. 1: the mean of the encoder's frames; the clip is alone, so there is no padding."""
        frames = list(self.encoder(waveform[None]).last_hidden_state[0])
        return sum(frames) / len(frames)

    def mlp(self, q: Tensor) -> list[Tensor]:
        """Scores of the classes: a hidden layer with ReLU, and an output layer."""
        dense, out = self.head.dense, self.head.out_proj
        hidden = [dot(row, q) + b for row, b in zip(dense.weight, dense.bias, strict=True)]
        hidden = torch.stack([h if float(h.detach()) > 0 else h * 0 for h in hidden])
        return [dot(row, hidden) + b for row, b in zip(out.weight, out.bias, strict=True)]


def class_means(
    model: Model, clips: list[tuple[Tensor, int]], n_classes: int, centre: Tensor | None = None
) -> list[Tensor]:
    """Eq. 2, normalised (the project's reading); not in the paper: of embeddings less a centre."""
    prototypes = []
    for c in range(n_classes):
        q = [model.embed(x).detach() for x, y in clips if y == c]
        q = [v if centre is None else v - centre for v in q]
        prototypes.append(unit(sum(q) / len(q)))
    return prototypes


def mean_embedding(model: Model, clips: list[tuple[Tensor, int]]) -> Tensor:
    """Not in the paper: the centre, the mean over all labelled clips."""
    return sum(model.embed(x).detach() for x, _ in clips) / len(clips)


# ---- Eq. 3-4: pseudo labels, and what moves a prototype ------------------------------------------------------------


def similarities(k: Tensor, prototypes: list[Tensor]) -> list[Tensor]:
    """s_c = k^T p_c."""
    return [dot(k, p) for p in prototypes]


def proportions(k: Tensor, prototypes: list[Tensor], temperature: float) -> list[float]:
    """The ambiguous soft label as shares: softmax of s over a temperature (the project's reading)."""
    scores = [float(s) / temperature for s in similarities(k, prototypes)]
    e = [math.exp(s - max(scores)) for s in scores]
    return [x / sum(e) for x in e]


def moved_once(p: Tensor, k: Tensor, s_c: float, gamma: float) -> Tensor:
    """Eq. 4."""
    return unit(gamma * p + (1 - gamma) * k * s_c)


def moved_together(p: Tensor, ks: list[tuple[Tensor, float]], gamma: float) -> Tensor:
    """The project's rule for the n samples of one step that move a class; Eq. 4 for n = 1."""
    n = len(ks)
    mean = sum(k * s for k, s in ks) / n
    return unit(gamma**n * p + (1 - gamma**n) * mean)


# ---- Eq. 5-7 -------------------------------------------------------------------------------------------------------


def contrast_instance(anchors: list[Tensor], copies: list[Tensor], tau: float) -> Tensor:
    """Eq. 5 as printed: a sample against its own copy among the copies; mean over samples."""
    total = 0.0
    for i, x in enumerate(anchors):
        scores = [dot(x, y) / tau for y in copies]
        total = total - (scores[i] - log_sum_exp(scores))
    return total / len(anchors)


def contrast_instance_all_views(anchors: list[Tensor], copies: list[Tensor], tau: float) -> Tensor:
    """Eq. 5, its sum read over clean samples and copies: a sample against its own copy among all other views."""
    total = 0.0
    for i, x in enumerate(anchors):
        others = [y for j, y in enumerate(anchors) if j != i] + copies
        total = total - (dot(x, copies[i]) / tau - log_sum_exp([dot(x, y) / tau for y in others]))
    return total / len(anchors)


def aligned(share: list[float], class_shares: list[float], mean: list[float]) -> list[float]:
    """ReMixMatch, section 3.1: Normalize(q p / mean of q)."""
    scaled = [q * p / m for q, p, m in zip(share, class_shares, mean, strict=True)]
    return [x / sum(scaled) for x in scaled]


def contrast_pseudo_label(views: list[Tensor], labels: list[int], tau: float) -> Tensor:
    """Section 2.3's prose: of 2N views those of the same pseudo label are positive; mean over the 2N views."""
    total = views[0].sum() * 0
    for i, x in enumerate(views):
        others = [j for j in range(len(views)) if j != i]
        positive = [j for j in others if labels[j] == labels[i]]
        for j in positive:
            share = dot(x, views[j]) / tau - log_sum_exp([dot(x, views[a]) / tau for a in others])
            total = total - share / len(positive)
    return total / len(views)


def cross_entropy(scores: list[Tensor], y: int) -> Tensor:
    return -(scores[y] - log_sum_exp(scores))


def ramp(e_c: int, e_m: float, w_m: float, r: float) -> float:
    """Eq. 7."""
    return min(w_m * (r ** (e_c / (e_m / 2)) - 1) / (r - 1), w_m)


@dataclass
class Settings:
    alpha: float
    mu: float
    gamma: float
    tau: float
    temperature: float
    contrastive: str
    update: str
    movers: str = "ambiguous"
    centre: Tensor | None = None
    class_shares: list[float] | None = None  # with distribution alignment
    mean: list[float] | None = None


@dataclass
class Step:
    """What one optimiser step gives."""

    loss: Tensor
    pseudo: list[int]
    soft: list[list[float]]
    classified: list[int]
    prototypes: list[Tensor]
    one_after_the_other: list[Tensor]
    movers: list[int] = field(default_factory=list)
    unaligned: list[list[float]] = field(default_factory=list)


def step(
    model: Model,
    labelled: list[tuple[Tensor, int]],
    ambiguous: list[tuple[Tensor, Tensor]],
    prototypes: list[Tensor],
    beta: float,
    settings: Settings,
) -> Step:
    """One step: `labelled` clips with their class, `ambiguous` clips with their augmented copy."""
    # L_cls(x^q, y)
    supervised = sum(cross_entropy(model.mlp(model.embed(x)), y) for x, y in labelled) / len(labelled)
    loss = settings.alpha * supervised
    if not ambiguous:
        return Step(loss, [], [], [], prototypes, prototypes)

    q = [model.embed(x) for x, _ in ambiguous]
    q_aug = [model.embed(x) for _, x in ambiguous]
    k, k_aug = [unit(v) for v in q], [unit(v) for v in q_aug]  # normalised: the project's reading
    scores, scores_aug = [model.mlp(v) for v in q], [model.mlp(v) for v in q_aug]

    # What is compared with prototypes: k, or, if it is centred (not in the paper), the direction from the centre.
    seen = [unit(v - settings.centre) if settings.centre is not None else unit(v) for v in q]
    seen_aug = [unit(v - settings.centre) if settings.centre is not None else unit(v) for v in q_aug]
    soft = [proportions(v.detach(), prototypes, settings.temperature) for v in seen]
    unaligned = soft
    soft_aug = [proportions(v.detach(), prototypes, settings.temperature) for v in seen_aug]
    if settings.class_shares is not None:
        soft = [aligned(s, settings.class_shares, settings.mean) for s in soft]
        soft_aug = [aligned(s, settings.class_shares, settings.mean) for s in soft_aug]

    # Eq. 3 (a softmax keeps the order), and L_cls(x^k, y hat)
    pseudo = [s.index(max(s)) for s in soft]
    pseudo_aug = [s.index(max(s)) for s in soft_aug]
    if settings.class_shares is None:
        assert pseudo == [largest(similarities(v.detach(), prototypes)) for v in seen]
    loss = loss + beta * sum(cross_entropy(s, z) for s, z in zip(scores, pseudo, strict=True)) / len(ambiguous)

    # L_con
    if settings.contrastive == "instance":
        contrast = contrast_instance(k, k_aug, settings.tau)
    elif settings.contrastive == "instance_all_views":
        contrast = contrast_instance_all_views(k, k_aug, settings.tau)
    else:
        contrast = contrast_pseudo_label(k + k_aug, pseudo + pseudo_aug, settings.tau)
    loss = loss + settings.mu * contrast

    # Eq. 4: who moves which class.
    classified, classified_aug = [largest(s) for s in scores], [largest(s) for s in scores_aug]
    new, sequential, movers = [], [], []
    for c, p in enumerate(prototypes):
        moving = []
        for i in range(len(ambiguous)):
            if settings.update == "classifier_agreement":
                moves = classified[i] == c and classified_aug[i] == c
            elif settings.update == "prototype_agreement":
                moves = pseudo[i] == c and pseudo_aug[i] == c
            else:
                moves = True
            if moves:
                moving.append((seen[i].detach(), soft[i][c]))
        for x, y in labelled if settings.movers == "all" else []:
            if y == c:
                v = model.embed(x).detach()
                moving.append((unit(v - settings.centre) if settings.centre is not None else unit(v), 1.0))
        movers.append(len(moving))
        new.append(moved_together(p, moving, settings.gamma) if moving else p)
        one = p
        for v, s in moving:
            one = moved_once(one, v, s, settings.gamma)
        sequential.append(one)
    return Step(loss, pseudo, soft, classified, new, sequential, movers, unaligned)
