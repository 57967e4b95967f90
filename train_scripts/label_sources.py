"""Which label source comes closest to the truth of a simulated corpus, by the number of raters an utterance has?

python train_scripts/label_sources.py

Votes alone are simulated (as `dataset_scripts/simulated.py` simulates them, no audio), labels made from them under the
policy's aggregations, and compared with the distribution the votes were drawn from. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.simulated import SimulationOptions  # noqa: E402
from hf_ambiser.data.simulated.corpus import utterance_id  # noqa: E402
from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.labels.aggregation import DEFAULTS  # noqa: E402
from hf_ambiser.labels.policies import get_policy  # noqa: E402
from hf_ambiser.labels.votes import entropy_bits, soft_labels, tally  # noqa: E402
from hf_ambiser.metrics.distribution import js_divergence  # noqa: E402


FIXED, AMOUNTS = 0.1, np.linspace(0, 1, 51)
MODELS = [name for name in DEFAULTS if name != "shares"]
SOURCES = {
    "uniform": "uniform",
    "shares": "shares of the votes",
    "smoothed": f"shares, {FIXED:.0%} uniform mixed in",
    "oracle": "shares, best amount mixed in (oracle)",
    **{name: name for name in MODELS},
}
FIGURES: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "js": ("JS from the true distribution, bit (0 is best)", lambda p, q: float(js_divergence(p, q).mean())),
    "accuracy": ("Top class is the true top class, % (a tie counts in part)", lambda p, q: 100 * _top(p, q)),
    "entropy": ("Entropy of the label, bit", lambda p, q: float(entropy_bits(q).mean())),
}


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    default = SimulationOptions()
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--raters", type=int, nargs="+", default=[1, 2, 3, 5], help="raters an utterance (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of corpus and raters")
    parser.add_argument("--utterances", type=int, default=default.n_utterances)
    parser.add_argument("--pool", type=int, default=default.n_raters, help="raters in all (%(default)s)")
    parser.add_argument("--spammers", type=float, default=default.spammers, help="share of the pool (%(default)s)")
    parser.add_argument("--within", choices=("corpus", "group"), default="corpus", help="fit to all, or each speaker")
    parser.add_argument("--out", type=Path, help="also write the tables here")
    args = parser.parse_args(argv)
    cells = [(seed, n) for seed in args.seeds for n in args.raters]
    found: dict[tuple[str, str, int], list[float]] = {}
    amounts: dict[int, list[float]] = {}
    truth_entropy: list[float] = []
    try:
        for seed, n in tqdm(cells, unit="cell"):
            options = SimulationOptions(
                n_utterances=args.utterances,
                n_raters=args.pool,
                votes_per_utterance=n,
                seed=seed,
                spammers=args.spammers,
            )
            truth, labels, amount = measure(options, args.within)
            amounts.setdefault(n, []).append(amount)
            truth_entropy.append(float(entropy_bits(truth).mean()))
            for source, q in labels.items():
                for figure, (_, compute) in FIGURES.items():
                    found.setdefault((figure, source, n), []).append(compute(truth, q))
    except (ValueError, OSError) as error:
        print(f"label_sources.py: {error}", file=sys.stderr)
        return 2
    mixed_in = ", ".join(f"{100 * np.mean(amounts[n]):.0f} % of {n}" for n in args.raters)
    lines = [
        f"{args.utterances} utterances, a pool of {args.pool} raters (spammers: {args.spammers:.0%}), each model"
        f" fitted to {'all utterances' if args.within == 'corpus' else 'each speaker alone'}; mean (sd) over"
        f" {len(args.seeds)} seeds. The truth holds {np.mean(truth_entropy):.3f} bit an utterance. Best amount mixed"
        f" in: {mixed_in} raters' shares."
    ]
    for figure, (title, _) in FIGURES.items():
        lines += ["", f"| {title} | " + " | ".join(f"{n} an utterance" for n in args.raters) + " |"]
        lines.append("|---|" + "---:|" * len(args.raters))
        digits = 1 if figure == "accuracy" else 3
        for source, name in SOURCES.items():
            values = [found[figure, source, n] for n in args.raters]
            lines.append(f"| {name} | " + " | ".join(_cell(v, digits) for v in values) + " |")
    text = "\n".join(lines)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    return 0


def measure(options: SimulationOptions, within: str) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Return true distributions (N, K), labels (N, K) by source, and the share of uniform that the oracle mixes in."""
    k = len(options.classes)
    truth = np.array([options.mixture.draw(k, options.seed, i)[0] for i in range(options.n_utterances)])
    ids = [utterance_id(i) for i in range(options.n_utterances)]
    rated = options.raters().rate(truth, ids, options.votes_per_utterance, options.seed)
    ratings = rated.arrays(group=np.arange(options.n_utterances) % options.n_speakers)
    shares = tally(get_policy("simulated-4"), ratings).soft_label
    mixed = {amount: (1 - amount) * shares + amount / k for amount in (FIXED, *AMOUNTS)}
    best = min(AMOUNTS, key=lambda amount: float(js_divergence(truth, mixed[amount]).mean()))
    labels = {"uniform": mixed[1.0], "shares": shares, "smoothed": mixed[FIXED], "oracle": mixed[best]}
    for name in MODELS:
        policy = get_policy("simulated-4", aggregation=name, aggregation_options={"within": within})
        labels[name] = tally(policy, ratings).soft_label
    return truth, labels, float(best)


def _top(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows whose top class is that of the truth; each of m equal top classes counts 1/m."""
    tops = soft_labels((labels >= labels.max(axis=1, keepdims=True) - 1e-9).astype(float))
    return float(tops[np.arange(len(truth)), truth.argmax(axis=1)].mean())


def _cell(values: list[float], digits: int) -> str:
    spread = f" ({np.std(values, ddof=1):.{digits}f})" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
