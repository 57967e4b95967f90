"""Which learning rates of meta's labels and weights have an effect? A toy problem of half a minute gave the defaults.

python train_scripts/meta_rates.py

1200 points of four Gaussian classes in the proportions of Fujioka et al.'s Table 1, with uniform label noise at a rate
of 30 %; a network of one hidden layer, 15 alternations. Uses the method's own steps (`methods/meta/state.py`). Prints,
as means over seeds: UA on other points with clean labels, the correction rate and the corruption rate of the learnt
labels, and how well w tells noisy from clean labels (AUROC).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.label_analysis.noise_recovery import auroc  # noqa: E402
from hf_ambiser.methods.meta.state import (  # noqa: E402
    RowOptimizer,
    gradients,
    initial_weights,
    moved_weight,
    with_mean_one,
)
from hf_ambiser.report.table import Table  # noqa: E402


COUNTS = (150, 290, 460, 300)
DIMENSIONS, SPREAD, NOISE_RATE = 12, 0.9, 0.3
ROUNDS, BATCH, HIDDEN, NETWORK_RATE = 15, 32, 128, 1e-3


@dataclass(frozen=True)
class Setting:
    """The learning rates of labels and weights; None: they are not learnt."""

    label_rate: float | None = None
    weight_rate: float | None = None
    label_scale: float = 1.0
    optimizer: str = "sgd"


SETTINGS = [
    Setting(),
    *(Setting(label_rate=rate) for rate in (0.1, 0.3, 1, 3, 10)),
    *(Setting(label_rate=rate, label_scale=5) for rate in (3, 10)),
    *(Setting(label_rate=rate, optimizer="adam") for rate in (0.1, 0.3)),
    *(Setting(weight_rate=rate) for rate in (0.03, 0.1, 0.3, 1)),
    Setting(weight_rate=0.1, optimizer="adam"),
    *(Setting(label_rate=1, weight_rate=rate) for rate in (0.1, 0.3)),
    Setting(label_rate=10, weight_rate=0.1, label_scale=5),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Try every setting and print."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="alternations (default: %(default)s)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # the layers are so small that threads only wait for each other
    rows = []
    for setting in tqdm(SETTINGS, unit="setting"):
        ua, correction, corruption, told = np.mean([tried(setting, seed, args.rounds) for seed in args.seeds], axis=0)
        learnt = " + ".join(name for name, rate in _rates(setting).items() if rate is not None) or "nothing"
        rates = ", ".join(f"{rate:g}" for rate in _rates(setting).values() if rate is not None)
        ours = [f"{100 * correction:.0f}", f"{100 * corruption:.1f}"] if setting.label_rate is not None else ["-", "-"]
        told_text = f"{told:.2f}" if setting.weight_rate is not None else "-"
        how = "Adam" if setting.optimizer == "adam" else "SGD"
        scale = f"{setting.label_scale:g}" if setting.label_rate is not None else ""
        rows.append([learnt, rates, scale, how if rates else "", f"{100 * ua:.1f}", *ours, told_text])
    heads = [
        "learnt",
        "rates",
        "label_scale",
        "optimiser",
        "UA %",
        "correction rate %",
        "corruption rate %",
        "AUROC of w",
    ]
    print(Table("meta_rates", heads, rows, f"Means over {len(args.seeds)} seeds.").markdown())
    return 0


def _rates(setting: Setting) -> dict[str, float | None]:
    return {"L": setting.label_rate, "w": setting.weight_rate}


def tried(setting: Setting, seed: int, rounds: int) -> tuple[float, float, float, float]:
    """Return UA, correction rate, corruption rate and AUROC of w, each between 0 and 1."""
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    k, right = len(COUNTS), torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    n, centre = len(right), SPREAD * torch.randn(k, DIMENSIONS, generator=rng)
    train, test = (centre[right] + torch.randn(n, DIMENSIONS, generator=rng) for _ in range(2))
    noisy = torch.rand(n, generator=rng) < NOISE_RATE
    other = (right + 1 + torch.randint(0, k - 1, (n,), generator=rng)) % k
    given = F.one_hot(torch.where(noisy, other, right), k).float()
    network = nn.Sequential(nn.Linear(DIMENSIONS, HIDDEN), nn.ReLU(), nn.Dropout(0.5), nn.Linear(HIDDEN, k))
    optimizer = torch.optim.Adam(network.parameters(), NETWORK_RATE)
    table = _start(setting, given)
    for turn in range(1, rounds + 1):
        network.train()
        target = _target(setting, table, given)
        for batch in torch.randperm(n, generator=rng).split(BATCH):
            cross_entropy = -(target[batch] * F.log_softmax(network(train[batch]), dim=1)).sum(dim=1)
            optimizer.zero_grad()
            (cross_entropy / table["w"][batch]).mean().backward()
            optimizer.step()
        with torch.no_grad():
            _learn(setting, table, target, F.log_softmax(network.eval()(train), dim=1), turn)
    with torch.no_grad():
        answer = network(test).argmax(dim=1)
    ua = float(torch.stack([(answer[right == c] == c).float().mean() for c in range(k)]).mean())
    now = _target(setting, table, given).argmax(dim=1)
    correction, corruption = (now == right)[noisy].float().mean(), (now != right)[~noisy].float().mean()
    told = auroc(table["w"].numpy(), noisy.numpy())
    assert told is not None  # there are noisy and clean labels
    return ua, float(correction), float(corruption), told


def _start(setting: Setting, given: Tensor) -> dict[str, Tensor]:
    rows = RowOptimizer(setting.optimizer)
    labels, weights = given * setting.label_scale, initial_weights(given, "eq4")
    return {"l": labels, "w": weights, **rows.columns("l", labels), **rows.columns("w", weights)}


def _target(setting: Setting, table: dict[str, Tensor], given: Tensor) -> Tensor:
    return given if setting.label_rate is None else torch.softmax(table["l"], dim=1)


def _learn(setting: Setting, table: dict[str, Tensor], target: Tensor, log_probability: Tensor, turn: int) -> None:
    """Take one label epoch with all rows at once, because each row has one step in it anyway."""
    of_labels, of_log_weight = gradients(target, table["w"], log_probability)
    rows, steps = RowOptimizer(setting.optimizer), torch.full((len(target),), turn)
    if setting.label_rate is not None:
        change, moments = rows.step("l", of_labels, setting.label_rate, table, steps)
        table |= {"l": table["l"] + change, **moments}
    if setting.weight_rate is not None:
        change, moments = rows.step("w", of_log_weight, setting.weight_rate, table, steps)
        table |= {"w": with_mean_one(moved_weight(table["w"], change)), **moments}


if __name__ == "__main__":
    sys.exit(main())
