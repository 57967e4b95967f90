"""Draw the figures of docs/concepts.md, each from the package's own functions on simulated ratings.

python docs/figures/concepts.py                 all of them, beside this file
python docs/figures/concepts.py soft_label      one of them
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from hf_ambiser.data.simulated import DirichletMixture, Raters
from hf_ambiser.data.splits import (
    CLEAR_AGREEMENT,
    MODERATE_AGREEMENT,
    Split,
    SplitInput,
    SplitOptions,
    make_split,
    tiers,
)
from hf_ambiser.labels.policies import get_policy
from hf_ambiser.labels.votes import RatingArrays, VoteTable, entropy_bits, tally
from hf_ambiser.plotting.colours import NONE, colour
from hf_ambiser.plotting.panels import grid, panels


HERE = Path(__file__).parent
CLASSES = get_policy("simulated-4").classes
N, SPEAKERS, SEED = 600, 10, 0
# The same figure gives the same file: no date, no random names inside.
matplotlib.rcParams.update({"svg.hashsalt": "hf_ambiser", "font.size": 9})


def truth(n: int = N) -> np.ndarray:
    """`(n, K)` the true distributions of a simulated corpus."""
    return np.array([DirichletMixture().draw(len(CLASSES), SEED, i)[0] for i in range(n)])


def votes(n: int = N, raters: int = 5) -> VoteTable:
    """Votes of that many simulated raters for each utterance."""
    pool = Raters.draw(CLASSES, 12, SEED)
    ratings = pool.rate(truth(n), [f"sim_{i:06d}" for i in range(n)], np.full(n, raters), SEED)
    return tally(get_policy("simulated-4"), ratings.arrays())


def stacked(axis: Any, rows: np.ndarray, labels: Sequence[str], classes: Sequence[str] = CLASSES) -> None:
    """One horizontal bar a row `(n, K)`, with one colour a class; a row of zeros stays empty."""
    left = np.zeros(len(rows))
    for k, name in enumerate(classes):
        axis.barh(range(len(rows)), rows[:, k], left=left, color=colour(k), label=name, height=0.7)
        left += rows[:, k]
    axis.set_yticks(range(len(rows)), labels)
    axis.set_xlim(0, 1)
    axis.invert_yaxis()
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(left=False)


def below(figure: Any, axis: Any, columns: int = 5) -> None:
    """One legend for all panels, below them."""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)


def draw_votes() -> Any:
    """What three raters said of one utterance, counted in three ways."""
    said = [(["anger"], False), (["neutral", "sadness"], False), (["sadness"], False)]
    figure, axes = panels(3, 2.5, 1.6)
    for axis, how in zip(axes, ("first", "each", "fractional"), strict=True):
        table = tally(get_policy("iemocap-4", multi_label=how), RatingArrays.from_lists([said]))
        order = range(len(CLASSES))
        axis.bar(order, table.votes[0], color=[colour(k) for k in order])
        for k in order:
            axis.annotate(f"{table.votes[0, k]:g}", (k, table.votes[0, k]), ha="center", va="bottom", fontsize=8)
        axis.set_xticks(order, CLASSES, fontsize=7)
        axis.set_ylim(0, 2.4)
        axis.set_title(f"multi_label: {how}", fontsize=9)
        grid(axis)
    axes[0].set_ylabel("votes")
    return figure


def draw_policy() -> Any:
    """The consensus label of the same utterances under different policies."""
    ratings = [
        ["anger", "anger", "anger"],
        ["anger", "anger", "neutral"],
        ["anger", "anger", "neutral", "sadness", "happiness"],
        ["anger", "neutral", "sadness"],
        ["happiness", "excited", "neutral"],
        ["neutral", "frustration", "frustration"],
    ]
    arrays = RatingArrays.from_lists([[([label], False) for label in one] for one in ratings])
    policies = {
        "plurality": get_policy("iemocap-4"),
        "majority": get_policy("iemocap-4", rule="majority"),
        "classes merged\nbefore": get_policy("iemocap-4", merge="before"),
        "no excitement": get_policy("iemocap-4-no-excitement"),
    }
    labels = np.array([tally(policy, arrays).label for policy in policies.values()]).T
    figure, (axis,) = panels(1, 7.4, 2.7)
    for row, column in np.ndindex(labels.shape):
        label = labels[row, column]
        axis.barh(row, 0.94, left=column + 0.03, height=0.8, color=colour(label))
        name = CLASSES[label] if label >= 0 else "no label"
        axis.text(column + 0.5, row, name, ha="center", va="center", color="white", fontsize=9)
    axis.set_yticks(range(len(ratings)), [", ".join(one) for one in ratings])
    axis.set_xticks(np.arange(len(policies)) + 0.5, list(policies))
    axis.xaxis.tick_top()
    axis.invert_yaxis()
    axis.set_frame_on(False)
    axis.tick_params(length=0)
    return figure


def draw_soft_label() -> Any:
    """The true distribution of four utterances, and the soft label that 1, 3, 5 and 12 raters give."""
    numbers = (1, 3, 5, 12)
    tables = {raters: votes(N, raters).soft_label for raters in numbers}
    # Utterances at even distances in the order of their true entropy, so that none is chosen by hand.
    p = truth()
    shown = np.argsort(entropy_bits(p))[np.linspace(0, N - 1, 4).astype(int)]
    figure, axes = panels(4, 1.9, 1.7)
    for axis, i in zip(axes, shown, strict=True):
        rows = np.array([p[i], *(tables[raters][i] for raters in numbers)])
        names = ["truth", *(f"{raters} rater{'s' * (raters > 1)}" for raters in numbers)]
        stacked(axis, rows, names if axis is axes[0] else [""] * len(names))
        axis.set_title(f"entropy {entropy_bits(p[i]):.2f} bit", fontsize=9)
        axis.set_xticks([0, 0.5, 1])
    below(figure, axes[0])
    return figure


def draw_ambiguity() -> Any:
    """Agreement and entropy of utterances with five votes each, and the tiers."""
    table = votes()
    points = np.stack([table.agreement, table.entropy], axis=1).round(6)
    tier = np.array(tiers(table.label, table.agreement))
    figure, (axis,) = panels(1, 6.4, 3.2)
    for k, name in enumerate(("clear", "moderate", "ambiguous", "no_consensus")):
        places, count = np.unique(points[tier == name], axis=0, return_counts=True)
        colours = NONE if name == "no_consensus" else colour(k)
        axis.scatter(places[:, 0], places[:, 1], s=4 * count + 20, color=colours, label=name, alpha=0.8)
        for (x, y), n in zip(places, count, strict=True):
            axis.annotate(str(n), (x, y), xytext=(13, 5), textcoords="offset points", fontsize=8)
    for threshold in (CLEAR_AGREEMENT, MODERATE_AGREEMENT):
        axis.axvline(threshold, color="grey", linestyle="--", linewidth=1)
    axis.set_xlim(0.1, 1.12)
    axis.set_ylim(-0.25, 2.25)
    axis.set_xlabel("agreement: share of the consensus class among the votes")
    axis.set_ylabel("entropy of the soft label (bit)")
    grid(axis)
    legend = figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([50])
    return figure


def divided(config: str) -> tuple[SplitInput, Split]:
    """The simulated utterances and one split of them."""
    table = votes()
    speaker = np.array([f"speaker {i % SPEAKERS + 1}" for i in range(N)])
    data = SplitInput(
        id=np.array([f"sim_{i:06d}" for i in range(N)]),
        speaker=speaker,
        group=speaker,
        label=table.label,
        agreement=table.agreement,
        entropy=table.entropy,
        votes=table.votes,
        kept=table.kept,
        classes=CLASSES,
    )
    return data, make_split(data, config, SplitOptions(d1_quota="per_class"))


# Splits in the order in which they are stacked, with the number of their colour.
PARTS = {"d1": 0, "d2": 1, "clear": 0, "ambiguous": 1, "validation": 7, "test_clear": 5, "d3": 2, "test_ambiguous": 2}


def own_parts(split: Split) -> list[str]:
    """The splits with a label, in the order of `PARTS`; those that repeat others are left out."""
    return [name for name in PARTS if name in split.names and name not in split.aliases]


def draw_protocols() -> Any:
    """How many utterances of each speaker are in each split, under both protocols."""
    figure, axes = panels(2, 3.7, 2.6, share=True)
    for axis, config in zip(axes, ("ipr-paper", "ipr-strict"), strict=True):
        data, split = divided(config)
        speakers = [f"speaker {i + 1}" for i in range(SPEAKERS)]
        left = np.zeros(SPEAKERS)
        for name in own_parts(split):
            count = np.array([(data.speaker[split.rows(name)] == speaker).sum() for speaker in speakers])
            axis.barh(range(SPEAKERS), count, left=left, color=colour(PARTS[name]), label=name)
            left += count
        axis.set_title(config, fontsize=10)
        axis.set_yticks(range(SPEAKERS), speakers)
        axis.set_xlabel("utterances with a consensus label")
        axis.set_xlim(0, 1.08 * N / SPEAKERS)
        grid(axis)
    axes[0].invert_yaxis()
    below(figure, axes[1])
    return figure


def draw_splits() -> Any:
    """How many utterances of each agreement are in each split."""
    figure, axes = panels(2, 3.7, 2.5)
    for axis, config in zip(axes, ("ipr-strict", "slc-strict"), strict=True):
        data, split = divided(config)
        levels = np.arange(2, 6) / 5
        below_it = np.zeros(len(levels))
        for name in own_parts(split):
            agreement = data.agreement[split.rows(name)].round(6)
            count = np.array([(agreement == level.round(6)).sum() for level in levels])
            axis.bar(levels, count, width=0.15, bottom=below_it, color=colour(PARTS[name]), label=name)
            below_it += count
        axis.set_title(config, fontsize=10)
        axis.set_xticks(levels)
        axis.set_ylim(0, 1.6 * below_it.max())
        axis.set_xlabel("agreement")
        axis.legend(fontsize=8, frameon=False, loc="upper left")
        grid(axis)
    axes[0].set_ylabel("utterances")
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "votes": draw_votes,
    "policy": draw_policy,
    "soft_label": draw_soft_label,
    "ambiguity": draw_ambiguity,
    "protocols": draw_protocols,
    "splits": draw_splits,
}


def main() -> None:
    """Draw the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)} (default: all)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write (default: this one)")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(FIGURES))
    if unknown:
        parser.error(f"there is no figure {unknown}; choose of {list(FIGURES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or FIGURES:
        FIGURES[name]().savefig(args.out / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
