"""How many ratings does it save to rate next what `hf-ambiser suggest` suggests? And does it find careless raters?

python train_scripts/saved_ratings.py
python train_scripts/saved_ratings.py --dataset data/crema_d_six --held-out runs/crema_d_shipped_recipe/cells/soft_vote

All votes are hidden but one of each utterance, and revealed in rounds: in each round, 5 % of the utterances get one
more of their hidden votes, and a strategy chooses which. Labels are then compared with the shares of all votes.
Without --dataset, votes are simulated (`hf_ambiser.data.simulated`, no audio), the model's answers are the true
distributions with noise, and "all votes" are what infinitely many raters of the pool would say. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from tqdm import tqdm


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.simulated import SimulationOptions  # noqa: E402
from hf_ambiser.data.simulated.corpus import utterance_id  # noqa: E402
from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.labels.votes import entropy_bits, soft_labels  # noqa: E402
from hf_ambiser.metrics.distribution import js_divergence  # noqa: E402
from hf_ambiser.next_ratings.belief import Belief, fit_belief  # noqa: E402
from hf_ambiser.next_ratings.model_answers import held_out_answers  # noqa: E402
from hf_ambiser.next_ratings.rated_votes import RatedVotes, read_rated_votes  # noqa: E402
from hf_ambiser.next_ratings.rater_evidence import LOOKS_WRONG, rater_evidence  # noqa: E402


# The votes that are there and, for those still hidden, what the belief expects; or the shares of those that are there.
LABELS = ("votes and model", "votes alone")
ROUND = 0.05  # share of the utterances that are rated in a round
FIT_EVERY = 4  # rounds from one fit of the belief to the next


@dataclass(frozen=True)
class Hidden:
    """Votes to reveal.

    Args:
        model: `(N, K)` the model's answers.
        answers: `(N, T)` the class of each vote in the order of revealing, -1 after the last.
        target: `(N, K)` shares of all votes.
        size: `(N,)` the number of all votes; infinite in a simulation.
        raters: `(N, T)` who gives each vote; None if raters have no names.
    """

    model: np.ndarray
    answers: np.ndarray
    target: np.ndarray
    size: np.ndarray
    raters: np.ndarray | None = None


@dataclass(frozen=True)
class Revealed:
    """What is known when a strategy chooses: the votes so far, in `belief` and one by one."""

    hidden: Hidden
    given: np.ndarray
    belief: Belief


def active_lab(known: Revealed) -> np.ndarray:
    """Return how much cleanlab's ActiveLab wants another label of each utterance; it says so by a low score."""
    from cleanlab.multiannotator import get_active_learning_scores

    labels = np.full((len(known.given), int(known.hidden.raters.max()) + 1), np.nan)
    for turn in range(int(known.given.max())):
        rows = np.flatnonzero(known.given > turn)
        labels[rows, known.hidden.raters[rows, turn]] = known.hidden.answers[rows, turn]
    labels = labels[:, ~np.isnan(labels).all(axis=0)]
    with contextlib.redirect_stdout(io.StringIO()):  # it says at length who shares no utterance with others
        return -get_active_learning_scores(pd_frame(labels), known.hidden.model)[0]


def pd_frame(labels: np.ndarray):
    """Return labels `(N, R)`, NaN where a rater gave none, as cleanlab takes them."""
    import pandas

    return pandas.DataFrame(labels)


# Which utterances a strategy would rate next: those with the highest score. Ties are broken by chance.
Score = Callable[[Revealed], np.ndarray]
STRATEGIES: dict[str, Score] = {
    "random": lambda known: np.zeros(len(known.given)),
    "in turn": lambda known: -known.given,
    "most uncertain": lambda known: entropy_bits(known.belief.expected()),
    "suggested": lambda known: known.belief.gain(),
}
ACTIVE_LAB = "ActiveLab (cleanlab)"


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="a built data set with 5 votes or more an utterance")
    parser.add_argument("--held-out", type=Path, help="folder of finished runs that held its utterances out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of votes and of their order")
    parser.add_argument("--levels", type=int, nargs="+", default=[2, 3, 4], help="ratings an utterance (%(default)s)")
    parser.add_argument("--utterances", type=int, help="simulated (1000)")
    parser.add_argument("--noise", type=float, help="of the simulated model's logits (1.0)")
    parser.add_argument("--answers", type=int, nargs="+", help="of a simulated rater (3 20 40 80 160)")
    parser.add_argument("--cleanlab", action="store_true", help="compare with cleanlab too, which must be installed")
    args = parser.parse_args(argv)
    try:
        if args.cleanlab and args.dataset:
            raise ValueError("--cleanlab needs raters with names, so it goes without --dataset.")
        if (args.dataset is None) != (args.held_out is None):
            raise ValueError("--dataset and --held-out belong together; give both or none.")
        if min(args.levels) < 2:
            raise ValueError(f"--levels {args.levels}: each must be at least 2, for one vote is there from the start.")
        if args.dataset and any(value is not None for value in (args.utterances, args.noise, args.answers)):
            raise ValueError("--utterances, --noise and --answers are of a simulation, and --dataset came.")
        args.utterances = 1000 if args.utterances is None else args.utterances
        args.noise = 1.0 if args.noise is None else args.noise
        args.answers = args.answers or [3, 20, 40, 80, 160]
        lines = (
            savings(args) if args.dataset else [*savings(args), "", *careless(args.answers, args.seeds, args.cleanlab)]
        )
    except (ValueError, OSError) as error:
        print(f"saved_ratings.py: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def savings(args: argparse.Namespace) -> list[str]:
    """Return the table of the ratings that each strategy needs, as lines of Markdown."""
    if args.dataset:
        rated = read_rated_votes(args.dataset)
        model = held_out_answers(args.held_out, rated).probabilities
        told = (
            f"{len(rated.ids)} utterances of {args.dataset.name}, {rated.votes.sum() / len(rated.ids):.1f} votes each"
        )
    else:
        told = f"{args.utterances} simulated utterances, 10 votes each"
    curves: dict[tuple[str, str], list[np.ndarray]] = {}
    strategies = {**STRATEGIES, **({ACTIVE_LAB: active_lab} if args.cleanlab else {})}
    cells = [(seed, strategy) for seed in args.seeds for strategy in strategies]
    for seed, strategy in tqdm(cells, unit="cell"):
        hidden = shuffled(rated.votes, model, seed) if args.dataset else simulated(args.utterances, args.noise, seed)
        found = reveal(hidden, strategies[strategy], seed, max(args.levels) + 0.5)
        for label in LABELS:
            curves.setdefault((strategy, label), []).append(found[label])
    js = float(np.mean([js_divergence(hidden.target, hidden.model).mean()]))
    lines = [f"{told}; {len(args.seeds)} seeds. JS between the model and all votes: {js:.3f} bit."]
    for label in LABELS:
        levels = " | ".join(f"{level} (JS {_level(curves, label, level):.3f})" for level in args.levels)
        lines += ["", f"| {label}: ratings an utterance, and saved of them | {levels} |"]
        lines.append("|---|" + "---:|" * len(args.levels))
        for strategy in strategies:
            row = [_cell(curves, strategy, label, level) for level in args.levels]
            lines.append(f"| {strategy} | " + " | ".join(row) + " |")
    return lines


def shuffled(votes: np.ndarray, model: np.ndarray, seed: int) -> Hidden:
    """Return a data set's votes in a random order; utterances without 2 votes or an answer are left out.

    Raises:
        ValueError: If votes are fractions.
    """
    counts = np.rint(votes).astype(np.int64)
    if np.abs(votes - counts).max() > 1e-3:
        raise ValueError("the votes are fractions of raters' answers, so they cannot be revealed one by one.")
    use = (counts.sum(axis=1) >= 2) & ~np.isnan(model).any(axis=1)
    counts, model = counts[use], model[use]
    rng = np.random.default_rng(seed)
    answers = np.full((len(counts), counts.sum(axis=1).max()), -1)
    for row, given in enumerate(counts):
        answers[row, : given.sum()] = rng.permutation(np.repeat(np.arange(len(given)), given))
    return Hidden(model, answers, soft_labels(counts), counts.sum(axis=1).astype(np.float64))


def simulated(n: int, noise: float, seed: int) -> Hidden:
    """Return votes of ten raters an utterance, and a model that hears the true distribution with noise."""
    options = SimulationOptions(n_utterances=n, n_raters=40, votes_per_utterance=10, seed=seed)
    truth, ratings = _simulated(options)
    rng = np.random.default_rng([seed, 3])
    order = np.stack([rng.permutation(np.flatnonzero(ratings.utterance == row)) for row in range(n)])
    target = options.raters().expected(truth)
    return Hidden(noisy(truth, noise, seed), ratings.label[order], target, np.full(n, np.inf), ratings.rater[order])


def noisy(truth: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Return a simulated model's answers `(N, K)`: the true distribution, with normal noise on its logits."""
    rng = np.random.default_rng([seed, 1])
    return soft_labels(np.exp(np.log(truth + 0.02) + noise * rng.normal(size=truth.shape)))


def reveal(hidden: Hidden, score: Score, seed: int, until: float) -> dict[str, np.ndarray]:
    """Reveal votes until an utterance has `until` of them on average.

    Returns:
        For each of `LABELS` an array `(rounds, 2)`: votes an utterance, and mean JS (bits) from all votes.
    """
    rng = np.random.default_rng([seed, 2])
    n, k = hidden.target.shape
    total, given = (hidden.answers >= 0).sum(axis=1), np.zeros(n, dtype=np.int64)
    votes = np.zeros((n, k))
    rows = np.arange(n)
    curve: dict[str, list[tuple[float, float]]] = {label: [] for label in LABELS}
    belief: Belief | None = None
    for number in range(int((until - 1) / ROUND) + 1):
        votes[rows, hidden.answers[rows, given[rows]]] += 1
        given[rows] += 1
        fit = belief is None or number % FIT_EVERY == 0
        belief = fit_belief(hidden.model, votes) if fit or belief is None else belief.with_votes(votes)
        hidden_share = np.where(np.isinf(hidden.size), 1.0, 1 - given / hidden.size)[:, None]
        alone, expected = soft_labels(votes), belief.expected()
        # Of infinitely many votes those that are there are no part, and `expected` has learnt from them.
        both = (1 - hidden_share) * alone + hidden_share * expected
        for label, shares in zip(LABELS, (both, alone), strict=True):
            distance = float(js_divergence(hidden.target, shares).mean())
            curve[label].append((float(given.mean()), distance))
        chosen = np.lexsort((rng.random(n), -score(Revealed(hidden, given, belief))))
        rows = chosen[given[chosen] < total[chosen]][: round(ROUND * n)]
    return {label: np.array(points) for label, points in curve.items()}


def needed(curve: np.ndarray, level: float) -> float:
    """Return the votes an utterance at which a curve first comes down to a level; NaN if it does not."""
    below = np.flatnonzero(curve[:, 1] <= level)
    if len(below) == 0:
        return float("nan")
    if below[0] == 0:
        return float(curve[0, 0])
    (x0, y0), (x1, y1) = curve[below[0] - 1], curve[below[0]]
    return float(x0 + (x1 - x0) * (y0 - level) / (y0 - y1))


Curves = Mapping[tuple[str, str], Sequence[np.ndarray]]


def _at(curve: np.ndarray, votes: float) -> float:
    return float(np.interp(votes, curve[:, 0], curve[:, 1]))


def _level(curves: Curves, label: str, votes: int) -> float:
    return float(np.mean([_at(curve, votes) for curve in curves["random", label]]))


def _cell(curves: Curves, strategy: str, label: str, votes: int) -> str:
    """The ratings that bring a strategy as far as random choice comes with this many, and the share saved."""
    pairs = zip(curves[strategy, label], curves["random", label], strict=True)
    need = np.array([needed(curve, _at(random, votes)) for curve, random in pairs])
    if strategy == "random":
        return f"{votes:.2f}"
    if np.isnan(need).any():
        return "not reached"
    saved = 100 * (1 - need / votes)
    return f"{need.mean():.2f}: {saved.mean():.0f} % {_interval(saved)}".rstrip()


def _interval(values: np.ndarray) -> str:
    """The 95 % interval of a mean over seeds, by Student's t."""
    if len(values) < 2:
        return ""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"[{values.mean() - half:.0f}, {values.mean() + half:.0f}]"


def careless(answers: Sequence[int], seeds: Sequence[int], cleanlab: bool = False) -> list[str]:
    """Return a table of how many simulated raters are found who hardly listen, by how much they have answered."""
    lines = [
        f"40 simulated raters, 5 an utterance; {len(seeds)} seeds. Careless: reliability below 0.3.",
        "",
        "| answers of a rater | careless | of them found | others | of them accused |"
        " JS from the truth, votes in full | votes as raters count | careless below others, % of pairs |"
        + (" by cleanlab |" if cleanlab else ""),
        "|---:|---:|---:|---:|---:|---:|---:|---:|" + ("---:|" if cleanlab else ""),
    ]
    for n in answers:
        counts, js, below = np.zeros(4, dtype=np.int64), [], []
        for seed in seeds:
            options = SimulationOptions(n_utterances=8 * n, n_raters=40, votes_per_utterance=5, seed=seed)
            pool, truth, rated = options.raters(), _simulated(options)[0], simulated_votes(options)
            evidence = rater_evidence(rated)
            bad = {name for name, value in zip(pool.names, pool.reliability, strict=True) if value < 0.3}
            accused = {one.rater for one in evidence if one.verdict == LOOKS_WRONG}
            counts += [len(bad), len(bad & accused), len(pool.names) - len(bad), len(accused - bad)]
            counting = [rated.votes, rated.weighted({one.rater: one.high for one in evidence})]
            model = noisy(truth, 1.0, seed)
            labels = [fit_belief(model, votes).expected() for votes in counting]
            qualities = [{one.rater: one.reliability for one in evidence}]
            qualities += [annotator_quality(rated, model)] if cleanlab else []
            below.append([pairs_in_order(quality, bad) for quality in qualities])
            js.append([js_divergence(truth, label).mean() for label in labels])
        figures = [*map(str, counts), *(f"{value:.4f}" for value in np.mean(js, axis=0))]
        figures += [f"{100 * value:.0f}" for value in np.nanmean(below, axis=0)]
        lines.append(f"| {n} | " + " | ".join(figures) + " |")
    return lines


def annotator_quality(rated: RatedVotes, model: np.ndarray) -> dict[str, float]:
    """Return the quality that cleanlab's CROWDLAB gives to each rater."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    labels = np.full((len(rated.ids), len(rated.raters)), np.nan)
    labels[rated.utterance, rated.rater] = rated.answers.argmax(axis=1)
    found = get_label_quality_multiannotator(pd_frame(labels), model, verbose=False)["annotator_stats"]
    return {rated.raters[int(r)]: float(value) for r, value in found["annotator_quality"].items()}


def pairs_in_order(quality: Mapping[str, float], bad: set[str]) -> float:
    """Return the share of pairs of a careless and another rater in which the careless one has the lower quality."""
    others = [value for name, value in quality.items() if name not in bad]
    pairs = [(quality[name] < value) + 0.5 * (quality[name] == value) for name in bad for value in others]
    return float(np.mean(pairs)) if pairs else float("nan")


def simulated_votes(options: SimulationOptions) -> RatedVotes:
    """Return simulated ratings, rater by rater."""
    _, ratings = _simulated(options)
    k, n = len(options.classes), options.n_utterances
    answers = np.eye(k)[ratings.label]
    votes = np.zeros((n, k))
    np.add.at(votes, ratings.utterance, answers)
    return RatedVotes(
        ratings.ids, ("",) * n, options.classes, votes, ratings.utterance, ratings.rater, answers, ratings.raters
    )


def _simulated(options: SimulationOptions):
    k = len(options.classes)
    truth = np.array([options.mixture.draw(k, options.seed, i)[0] for i in range(options.n_utterances)])
    ids = [utterance_id(i) for i in range(options.n_utterances)]
    return truth, options.raters().rate(truth, ids, options.votes_per_utterance, options.seed)


if __name__ == "__main__":
    sys.exit(main())
