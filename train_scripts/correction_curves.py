"""Do SLC's corrected labels come closer to the truth than votes do, by the number of annotators and by alpha?

python train_scripts/correction_curves.py --out runs/correction_curves

On simulated corpora, whose true distributions are known. Which clips are clear and which ambiguous is decided by nine
raters and stays the same; then the ambiguous ones keep the votes of only some of the nine, SLC is trained, and what it
made of their labels is compared with the truth. Beside it what needs no learning: the votes, and the votes with the
share alpha of the uniform distribution in place of the prediction. Prints Markdown and draws the curves
(curves.png, for the method's page). Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.labels import soft_labels  # noqa: E402
from hf_ambiser.metrics.distribution import js_divergence  # noqa: E402
from hf_ambiser.run_folder import write_whole  # noqa: E402


POOL = 9
POLICY = "simulated-4"
# A learning rate for an encoder from scratch; everything else as the method's defaults.
TRAINING = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 8,
    "save_strategy": "no",
    "eval_strategy": "no",
    "trajectory_every": 0,
    "disable_tqdm": True,
    "use_cpu": True,
}


def main(argv: list[str] | None = None) -> int:
    """Train every cell that is not there, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for corpora, cells, table and figure")
    parser.add_argument("--raters", type=int, nargs="+", default=[1, 2, 3, 5, 9], help=f"of {POOL} (%(default)s)")
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.1, 0.3, 0.6], help="(%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of corpus and model (%(default)s)")
    parser.add_argument("--clips", type=int, default=600, help="of each corpus (%(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="on all clips, after half as many on clear ones")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time, one thread each (%(default)s)")
    args = parser.parse_args(argv)
    wrong = [n for n in args.raters if not 1 <= n <= POOL] + [a for a in args.alphas if not 0 < a <= 1]
    if wrong:
        print(f"correction_curves.py: {wrong[0]}: raters go from 1 to {POOL}, alphas from 0 to 1.", file=sys.stderr)
        return 2
    size = (args.clips, args.epochs)
    cells = list(itertools.product(args.seeds, args.raters, args.alphas))
    # The first stage is the same for all cells of a seed: it reads clear clips only.
    _all(args.jobs, "stage 1", [(_prepare, (args.out, seed, *size)) for seed in args.seeds])
    _all(args.jobs, "cells", [(_measure, (args.out, *cell, *size)) for cell in cells])
    found = {cell: json.loads(_result(args.out, *cell, *size).read_text()) for cell in cells}
    text = _table(found, args.raters, args.alphas)
    print(text)
    write_whole(args.out / "curves.md", text + "\n")
    _draw(found, args.raters, args.alphas, args.out / "curves.png")
    return 0


def _all(jobs: int, what: str, calls: list[tuple[Any, tuple[Any, ...]]]) -> None:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_quiet) as pool:
        futures = [pool.submit(function, *values) for function, values in calls]
        for future in tqdm(as_completed(futures), total=len(futures), desc=what, unit="cell"):
            future.result()


def _quiet() -> None:
    """In each worker: no bars and figures of its own."""
    from datasets import disable_progress_bars

    disable_progress_bars()
    sys.stdout = open(os.devnull, "w")


def _place(out: Path, seed: int, clips: int) -> Path:
    return out / f"clips-{clips}" / f"seed-{seed}"


def _result(out: Path, seed: int, raters: int, alpha: float, clips: int, epochs: int) -> Path:
    return _place(out, seed, clips) / f"epochs-{epochs}" / f"raters-{raters}_alpha-{alpha:g}.json"


def _prepare(out: Path, seed: int, clips: int, epochs: int) -> None:
    """The corpus of a seed, its splits, and the temporal branch fine-tuned on its clear clips."""
    from hf_ambiser.data.build import build
    from hf_ambiser.data.corpora import simulated
    from hf_ambiser.methods.slc.finetuning import FOLDER, RESULT, finetuned_branch

    place = _place(out, seed, clips)
    if not (place / "dataset" / "build_report.json").is_file():
        shutil.rmtree(place / "dataset", ignore_errors=True)
        simulated.generate(place / "corpus", n_utterances=clips, n_raters=POOL, votes_per_utterance=POOL, seed=seed)
        build(
            "simulated", place / "corpus", place / "dataset", configs=("slc-strict",), seed=seed, min_per_class=1,
            progress=False,
        )  # fmt: skip
    folder = place / f"epochs-{epochs}" / "stage_1"
    if not (folder / FOLDER / RESULT).is_file():
        trainer = _trainer(place, folder, seed, POOL, 0.3, epochs)
        finetuned_branch(trainer, trainer.args, trainer.args.finetune_epochs)


def _trainer(place: Path, folder: Path, seed: int, raters: int, alpha: float, epochs: int) -> Any:
    import torch
    from transformers import set_seed
    from transformers.utils import logging

    from hf_ambiser.data.loading import load_split
    from hf_ambiser.data.training_set import TrainingSet
    from hf_ambiser.methods import load_method
    from hf_ambiser.runs.arguments import ModelArguments
    from hf_ambiser.runs.build_model import build_model

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    method = load_method("slc")
    clear, ambiguous = (load_split(place / "dataset", "slc-strict", split) for split in ("clear", "ambiguous"))
    labels = _of_some(ambiguous["ratings"], raters, seed)
    ambiguous = ambiguous.remove_columns("soft_label").add_column("soft_label", labels.tolist())
    set_seed(seed)
    model, extractor = build_model(ModelArguments(), method.model_family, _classes(), folder)
    args = method.arguments_class(
        output_dir=str(folder),
        seed=seed,
        alpha=alpha,
        num_train_epochs=epochs,
        finetune_epochs=epochs // 2,
        **TRAINING,
    )
    data = TrainingSet(clear, ambiguous, ambiguous_target=method.ambiguous_target, seed=seed)
    return method(model, args, data, feature_extractor=extractor)


def _classes() -> list[str]:
    from hf_ambiser.label_policies import get_policy

    return list(get_policy(POLICY).classes)


def _of_some(ratings: list[list[dict[str, Any]]], n: int, seed: int) -> np.ndarray:
    """`(N, K)` vote shares of n of each clip's raters; fewer raters are always among the more."""
    from hf_ambiser.label_policies import get_policy
    from hf_ambiser.labels import RatingArrays, tally

    kept = []
    for i, given in enumerate(ratings):
        order = np.random.default_rng((seed, i)).permutation(len(given))[:n]
        kept.append([(given[j]["labels"], False) for j in order])
    return tally(get_policy(POLICY), RatingArrays.from_lists(kept)).soft_label


def _measure(out: Path, seed: int, raters: int, alpha: float, clips: int, epochs: int) -> None:
    """Train one cell and write its distances; nothing if that was done before."""
    from hf_ambiser.data.loading import load_split
    from hf_ambiser.methods.slc.finetuning import FOLDER

    path = _result(out, seed, raters, alpha, clips, epochs)
    if path.is_file():
        return
    place = _place(out, seed, clips)
    folder = path.with_suffix("")
    shutil.copytree(path.parent / "stage_1" / FOLDER, folder / FOLDER, dirs_exist_ok=True)
    trainer = _trainer(place, folder, seed, raters, alpha, epochs)
    trainer.train()
    n = trainer.data.n_labelled
    votes = trainer.table.observed[n:].double().numpy()
    corrected = soft_labels(trainer.table.columns["target"][n:].double().numpy())
    prediction = soft_labels((corrected - (1 - alpha) * votes).clip(min=0))
    truths = load_split(place / "dataset", "slc-strict", "ambiguous")
    true_of = dict(zip(truths["id"], truths["true_distribution"], strict=True))
    truth = soft_labels(np.array([true_of[name] for name in trainer.data.ids[n:]]))
    k = votes.shape[1]
    amounts = np.linspace(0, 1, 21)
    distances = {
        "n": len(votes),
        "votes": _js(truth, votes),
        "corrected": _js(truth, corrected),
        "smoothed": _js(truth, (1 - alpha) * votes + alpha / k),
        "smoothed_best": min(_js(truth, (1 - a) * votes + a / k) for a in amounts),
        "prediction": _js(truth, prediction),
        "uniform": _js(truth, np.full_like(votes, 1 / k)),
    }
    write_whole(path, json.dumps(distances))
    shutil.rmtree(folder)


def _js(truth: np.ndarray, label: np.ndarray) -> float:
    return float(js_divergence(truth, label).mean())


Found = dict[tuple[int, int, float], dict[str, float]]


def _values(found: Found, what: str, raters: int, alpha: float) -> np.ndarray:
    """One figure over the seeds."""
    return np.array([cell[what] for (_, n, a), cell in found.items() if (n, a) == (raters, alpha)])


def _table(found: Found, raters: list[int], alphas: list[float]) -> str:
    """JS from the truth, mean (sd) over seeds."""

    def row(name: str, what: str, alpha: float) -> str:
        cells = [_values(found, what, n, alpha) for n in raters]
        return (
            f"| {name} | " + " | ".join(f"{c.mean():.3f} ({c.std(ddof=min(len(c) - 1, 1)):.3f})" for c in cells) + " |"
        )

    clips, seeds = [int(cell["n"]) for cell in found.values()], {seed for seed, *_ in found}
    lines = [
        f"{min(clips)} to {max(clips)} ambiguous clips a corpus, mean (sd) over {len(seeds)} seeds.",
        "",
        "| JS from the truth, bit | " + " | ".join(f"{n} rater{'s' * (n > 1)}" for n in raters) + " |",
        "|---|" + "---|" * len(raters),
        row("uniform", "uniform", alphas[0]),
        row("votes", "votes", alphas[0]),
        row("votes, best amount of uniform (knows the truth)", "smoothed_best", alphas[0]),
    ]
    for alpha in alphas:
        lines.append(row(f"corrected, alpha {alpha:g}", "corrected", alpha))
        lines.append(row(f"votes, {alpha:.0%} uniform", "smoothed", alpha))
    lines.append(row(f"the model alone (trained with alpha {alphas[0]:g})", "prediction", alphas[0]))
    return "\n".join(lines)


def _draw(found: Found, raters: list[int], alphas: list[float], out: Path) -> None:
    """Corrected (solid) and smoothed (dashed) labels' distance over alpha, one colour a number of raters."""
    from hf_ambiser.plotting import new_axes, save

    figure, axes = new_axes(
        "alpha: share of the prediction (solid) or of the uniform distribution (dashed)", "JS from the truth (bit)"
    )
    for i, n in enumerate(raters):
        votes = _values(found, "votes", n, alphas[0]).mean()
        for what, style in (("corrected", "-o"), ("smoothed", "--")):
            curve = [votes, *(_values(found, what, n, alpha).mean() for alpha in alphas)]
            label = f"{n} rater{'s' * (n > 1)}" if what == "corrected" else None
            axes.plot([0, *alphas], curve, style, color=f"C{i}", markersize=3, label=label)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    save(figure, out)


if __name__ == "__main__":
    raise SystemExit(main())
