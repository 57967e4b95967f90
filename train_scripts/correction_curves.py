"""Do SLC's corrected labels come closer to the truth than votes do, by the number of raters and by alpha?

python train_scripts/correction_curves.py --out runs/correction_curves
python train_scripts/correction_curves.py --out runs/correction_curves_crema_d --dataset data/crema_d_six \
  --dataset-config slc-strict-kfold5-0 --config crema_d/whisper_slc --raters 1 2 4 --held-out 4

On simulated corpora, whose true distributions are known. Nine raters decide which utterances are clear and which are
ambiguous, and that stays the same; then the ambiguous ones keep the votes of only some of the nine, SLC is trained,
and what it made of their labels is compared with the truth. Beside it what needs no learning: the votes, and the
votes with the share alpha of the uniform distribution in place of the prediction. Prints Markdown and draws the
curves (curves.png, for the method's page). Stopped, the same command goes on.

With `--dataset`, on a built data set of real speech, whose truth nobody knows: of every ambiguous utterance some
raters are held out, and labels are compared with their answers. The squared distance to these is, but for a constant,
the one to the distribution that raters are drawn from, and so tells which of two labels is closer to it. Utterances
with too few votes for the classes are left out, and counted. `--config` names the model and the schedule; without it,
it is SLC's model with an encoder from scratch.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.loading import dataset_config, read_dataset_info  # noqa: E402
from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.labels.votes import soft_labels  # noqa: E402
from hf_ambiser.metrics.distribution import js_divergence  # noqa: E402
from hf_ambiser.run_folder.layout import write_whole  # noqa: E402


if TYPE_CHECKING:
    from hf_ambiser.labels.policies import LabelPolicy

POOL = 9
CONFIG = "slc-strict"  # of the simulated corpora
# A learning rate for an encoder from scratch; everything else as the method's defaults.
TRAINING = {"method": "slc", "learning_rate": 1e-3, "per_device_train_batch_size": 8, "num_train_epochs": 10}
# Only the labels of the end are looked at.
QUIET = {
    "save_strategy": "no",
    "eval_strategy": "no",
    "load_best_model_at_end": False,
    "early_stopping_patience": None,
    "trajectory_every": 0,
    "disable_tqdm": True,
    "use_cpu": True,
}


@dataclass(frozen=True)
class Study:
    """What all cells have in common, and where they lie.

    Args:
        out: Folder of all.
        recipe: Arguments of a run: the model and the schedule. `epochs` are those on all utterances.
        utterances: Of each simulated corpus.
        dataset: A built one instead; of its raters `most` may be kept, and `held_out` others say what is right.
        dataset_config: Its config.
        most: The largest number of raters of any cell.
        held_out: How many raters labels are compared with.
    """

    out: Path
    recipe: dict[str, Any]
    utterances: int
    dataset: Path | None
    dataset_config: str
    most: int
    held_out: int

    @property
    def epochs(self) -> int:
        """Epochs on all utterances."""
        return int(self.recipe["num_train_epochs"])

    def place(self, seed: int) -> Path:
        """The folder of a seed's cells and of its simulated corpus."""
        recipe = hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()[:8]
        if self.dataset is None:
            return self.out / f"clips-{self.utterances}-{recipe}" / f"seed-{seed}"
        raters = f"{self.most}-of-{self.most + self.held_out}"
        return self.out / f"{self.dataset.name}-{self.dataset_config}-{raters}-{recipe}" / f"seed-{seed}"

    def data(self, seed: int) -> Path:
        """The data set of a seed."""
        return self.dataset or self.place(seed) / "dataset"

    def result(self, seed: int, raters: int, alpha: float) -> Path:
        """What a cell writes at its end."""
        return self.place(seed) / f"epochs-{self.epochs}" / f"raters-{raters}_alpha-{alpha:g}.json"


def main(argv: list[str] | None = None) -> int:
    """Train every cell that is not there, then print and draw."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for corpora, cells, table and figure")
    parser.add_argument("--dataset", type=Path, help="built data set (default: simulated corpora)")
    parser.add_argument("--dataset-config", help=f"its config ({CONFIG})")
    parser.add_argument("--held-out", type=int, help="raters of it that labels are compared with (3)")
    parser.add_argument("--config", help="of a run of method slc: its model and schedule (default: from scratch)")
    parser.add_argument("--raters", type=int, nargs="+", default=[1, 2, 3, 5, 9], help=f"of {POOL} (%(default)s)")
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.1, 0.3, 0.6], help="(%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of corpus and model (%(default)s)")
    parser.add_argument("--utterances", type=int, help="of each simulated corpus (600)")
    parser.add_argument("--epochs", type=int, help="on all utterances, after half as many on clear ones (10)")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time, one thread each (%(default)s)")
    args = parser.parse_args(argv)
    if args.dataset is None and (args.held_out is not None or args.dataset_config is not None):
        parser.error("--held-out and --dataset-config are of --dataset: what is right is known of a simulated corpus.")
    if args.dataset is not None and args.utterances is not None:
        parser.error("--utterances is of simulated corpora, and --dataset came. Leave one of the two out.")
    args.held_out = 3 if args.held_out is None else args.held_out
    args.utterances = 600 if args.utterances is None else args.utterances
    args.dataset_config = args.dataset_config or CONFIG
    wrong = [n for n in [*args.raters, args.held_out] if not 1 <= n <= POOL] + [
        a for a in args.alphas if not 0 < a <= 1
    ]
    if wrong:
        print(f"correction_curves.py: {wrong[0]}: raters go from 1 to {POOL}, alphas from 0 to 1.", file=sys.stderr)
        return 2
    try:
        if args.dataset is not None:
            dataset_config(read_dataset_info(args.dataset), args.dataset, args.dataset_config)
        recipe = _recipe(args.config, args.epochs)
        study = Study(
            args.out, recipe, args.utterances, args.dataset, args.dataset_config, max(args.raters), args.held_out
        )
    except (ValueError, OSError) as error:
        print(f"correction_curves.py: {error}", file=sys.stderr)
        return 2
    cells = list(itertools.product(args.seeds, args.raters, args.alphas))
    # The first stage is the same for all cells of a seed: it reads clear utterances only.
    _all(args.jobs, "stage 1", [(_prepare, (study, seed)) for seed in args.seeds])
    _all(args.jobs, "cells", [(_measure, (study, *cell)) for cell in cells])
    found = {cell: json.loads(study.result(*cell).read_text()) for cell in cells}
    text = _table(found, args.raters, args.alphas, study)
    print(text)
    write_whole(args.out / "curves.md", text + "\n")
    _draw(found, args.raters, args.alphas, args.out / "curves.png", study)
    return 0


def _recipe(config: str | None, epochs: int | None) -> dict[str, Any]:
    """Arguments of a run without those of its data."""
    from hf_ambiser.runs.config_files import read_config

    about_data = ("dataset", "dataset_config", "train_splits", "ambiguous_splits", "test_splits", "output_dir", "seed")
    recipe = {k: v for k, v in (read_config(config) if config else TRAINING).items() if k not in about_data}
    if recipe.get("method") != "slc":
        raise ValueError(
            f"--config {config}: method {recipe.get('method')!r} is not 'slc', whose labels are looked at."
        )
    if epochs or not config:
        epochs = epochs or TRAINING["num_train_epochs"]
        recipe |= {"num_train_epochs": epochs, "finetune_epochs": epochs // 2}
    return recipe | QUIET


def _all(jobs: int, what: str, calls: list[tuple[Any, tuple[Any, ...]]]) -> None:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_quiet) as pool:
        futures = [pool.submit(function, *values) for function, values in calls]
        for future in tqdm(as_completed(futures), total=len(futures), desc=what, unit="cell"):
            future.result()


def _quiet() -> None:
    """Switch off progress bars and figures in a worker."""
    from datasets import disable_progress_bars

    disable_progress_bars()
    sys.stdout = open(os.devnull, "w")


def _prepare(study: Study, seed: int) -> None:
    """Make the corpus of a seed, its splits, and the temporal branch, fine-tuned on its clear utterances."""
    from hf_ambiser.data.build import build
    from hf_ambiser.data.corpora import simulated
    from hf_ambiser.methods.slc.finetuning import FOLDER, RESULT, finetuned_branch

    data = study.data(seed)
    if study.dataset is None and not (data / "build_report.json").is_file():
        shutil.rmtree(data, ignore_errors=True)
        corpus = study.place(seed) / "corpus"
        simulated.generate(corpus, n_utterances=study.utterances, n_raters=POOL, votes_per_utterance=POOL, seed=seed)
        build("simulated", corpus, data, configs=(CONFIG,), seed=seed, progress=False)
    folder = study.place(seed) / f"epochs-{study.epochs}" / "stage_1"
    if not (folder / FOLDER / RESULT).is_file():
        trainer, *_ = _trainer(study, folder, seed, study.most, 0.3)
        finetuned_branch(trainer, trainer.args, trainer.args.finetune_epochs)


def _trainer(
    study: Study, folder: Path, seed: int, raters: int, alpha: float
) -> tuple[Any, dict[str, np.ndarray], int]:
    """Return a cell's trainer, the truth of each ambiguous utterance by id, and how many have too few votes."""
    import torch
    from transformers import set_seed
    from transformers.utils import logging

    from hf_ambiser.data.loading import load_split
    from hf_ambiser.labels.policies import LabelPolicy
    from hf_ambiser.methods import load_method
    from hf_ambiser.runs.arguments import RunArguments
    from hf_ambiser.runs.build_model import build_model

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    about_data = {"dataset": str(study.data(seed)), "dataset_config": study.dataset_config}
    run = RunArguments.from_mapping(
        {**study.recipe, **about_data, "output_dir": str(folder), "seed": seed, "alpha": alpha}
    )
    method = load_method(run.method)
    policy = LabelPolicy.from_dict(read_dataset_info(study.data(seed))["policy"])
    clear, ambiguous = (load_split(study.data(seed), study.dataset_config, split) for split in ("clear", "ambiguous"))
    left_out = 0
    if study.dataset is None:
        truth = soft_labels(np.array(ambiguous["true_distribution"]))
    else:
        enough = [
            i for i, r in enumerate(ambiguous["ratings"]) if len(_counted(r, policy)) >= study.most + study.held_out
        ]
        left_out = len(ambiguous) - len(enough)
        ambiguous = ambiguous.select(enough)
        # The last of an order of which the first are kept: nobody is both.
        truth = _of_some(ambiguous["ratings"], -study.held_out, seed, policy)
    labels = _of_some(ambiguous["ratings"], raters, seed, policy)
    ambiguous = ambiguous.remove_columns("soft_label").add_column("soft_label", labels.tolist())
    set_seed(seed)
    model, extractor = build_model(run.model, method.model_family, list(policy.classes), folder)
    trainer = method(model, run.training, clear, feature_extractor=extractor, ambiguous_dataset=ambiguous)
    return trainer, dict(zip(ambiguous["id"], truth, strict=True)), left_out


def _counted(ratings: list[dict[str, Any]], policy: LabelPolicy) -> list[dict[str, Any]]:
    """Keep the ratings that are votes for one of the classes."""
    return [given for given in ratings if policy.class_map.get(given["labels"][0].lower()) is not None]


def _of_some(ratings: list[list[dict[str, Any]]], n: int, seed: int, policy: LabelPolicy) -> np.ndarray:
    """Vote shares `(N, K)` of n raters of each utterance (below 0: the last n). Larger n contain the smaller ones."""
    from hf_ambiser.labels.votes import RatingArrays, tally

    kept = []
    for i, given in enumerate(ratings):
        votes = _counted(given, policy)
        order = np.random.default_rng((seed, i)).permutation(len(votes))
        kept.append([(votes[j]["labels"], False) for j in (order[:n] if n > 0 else order[n:])])
    return tally(policy, RatingArrays.from_lists(kept)).soft_label


def _measure(study: Study, seed: int, raters: int, alpha: float) -> None:
    """Train one cell and write its distances, unless that was done before."""
    from hf_ambiser.methods.slc.finetuning import FOLDER

    path = study.result(seed, raters, alpha)
    if path.is_file():
        return
    folder = path.with_suffix("")
    shutil.copytree(path.parent / "stage_1" / FOLDER, folder / FOLDER, dirs_exist_ok=True)
    trainer, true_of, left_out = _trainer(study, folder, seed, raters, alpha)
    trainer.train(resume_from_checkpoint=True)  # it goes on from the first stage that was copied
    n = trainer.data.n_labelled
    votes = trainer.table.observed[n:].double().numpy()
    corrected = soft_labels(trainer.table.columns["target"][n:].double().numpy())
    prediction = soft_labels((corrected - (1 - alpha) * votes).clip(min=0))
    truth = np.array([true_of[name] for name in trainer.data.ids[n:]])
    k = votes.shape[1]
    distance = _js if study.dataset is None else _squared
    distances = {
        "n": len(votes),
        "left_out": left_out,
        "votes": distance(truth, votes),
        "corrected": distance(truth, corrected),
        "smoothed": distance(truth, (1 - alpha) * votes + alpha / k),
        "smoothed_best": min(distance(truth, (1 - a) * votes + a / k) for a in np.linspace(0, 1, 21)),
        "prediction": distance(truth, prediction),
        "uniform": distance(truth, np.full_like(votes, 1 / k)),
    }
    write_whole(path, json.dumps(distances))
    shutil.rmtree(folder)


def _js(truth: np.ndarray, label: np.ndarray) -> float:
    return float(js_divergence(truth, label).mean())


def _squared(truth: np.ndarray, label: np.ndarray) -> float:
    return float(((truth - label) ** 2).sum(axis=1).mean())


Found = dict[tuple[int, int, float], dict[str, float]]


def _values(found: Found, what: str, raters: int, alpha: float) -> np.ndarray:
    """Collect one figure over the seeds."""
    return np.array([cell[what] for (_, n, a), cell in found.items() if (n, a) == (raters, alpha)])


def _table(found: Found, raters: list[int], alphas: list[float], study: Study) -> str:
    """Format the distance from the truth: mean (standard deviation) over seeds."""

    def row(name: str, what: str, alpha: float) -> str:
        cells = [_values(found, what, n, alpha) for n in raters]
        return (
            f"| {name} | " + " | ".join(f"{c.mean():.3f} ({c.std(ddof=min(len(c) - 1, 1)):.3f})" for c in cells) + " |"
        )

    utterances, seeds = [int(cell["n"]) for cell in found.values()], {seed for seed, *_ in found}
    scope = "a corpus"
    if study.dataset is not None:
        left_out = next(iter(found.values()))["left_out"]
        scope = f"with at least {study.most + study.held_out} votes ({left_out} with fewer are left out)"
    lines = [
        f"{min(utterances)} to {max(utterances)} ambiguous utterances {scope}, mean (sd) over {len(seeds)} seeds.",
        "",
        f"| {_title(study)} | " + " | ".join(f"{n} rater{'s' * (n > 1)}" for n in raters) + " |",
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


def _title(study: Study) -> str:
    return "JS from the truth, bit" if study.dataset is None else f"squared distance to {study.held_out} other raters"


def _draw(found: Found, raters: list[int], alphas: list[float], out: Path, study: Study) -> None:
    """Draw the distance of corrected (solid) and smoothed (dashed) labels over alpha; a colour a number of raters."""
    from hf_ambiser.plotting.axes import new_axes
    from hf_ambiser.plotting.figure import save

    x = "alpha: share of the prediction (solid) or of the uniform distribution (dashed)"
    figure, axes = new_axes(x, _title(study))
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
