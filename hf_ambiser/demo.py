"""The demo, on a corpus that needs no download: simulate, split, train four systems, compare, draw."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hf_ambiser.data.build import BuildReport, build
from hf_ambiser.data.corpora import simulated
from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.data.splits import SplitError
from hf_ambiser.label_analysis.corrected import distance_from_truth
from hf_ambiser.methods.ipr.figures import plot_prototype_similarity, plot_pseudo_label_agreement
from hf_ambiser.report.write import FOLDER, write_report
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.runs.arguments import RunArguments
from hf_ambiser.runs.run import run


CONFIG = "ipr-strict"
TEST = "d3"  # the held-out speakers' most ambiguous utterances

# The systems of IPR's Table 3. They share encoder, schedule and seed, and differ only in what the table varies.
SYSTEMS: dict[str, dict[str, Any]] = {
    "baseline": {"method": "hard_vote"},
    "baseline_plus": {"method": "self_training", "warmup_epochs": 3},
    "ipr": {"method": "ipr", "warmup_epochs": 3},
    "supervised": {"method": "hard_vote", "train_splits": ["d1", "d2"], "reveal_splits": ["d2"]},
}
_SHARED: dict[str, Any] = {
    "dataset_config": CONFIG,
    "num_train_epochs": 15,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 32,
    "logging_strategy": "epoch",
    "save_total_limit": 1,
    "use_cpu": True,
    "disable_tqdm": False,
    "encoder_fields": {"conv_channels": [16, 32, 48, 64], "hidden_size": 64},
}


@dataclass(frozen=True)
class Demo:
    """A demo: where it writes, and how large it is.

    Args:
        out: Folder; a demo that was stopped resumes in it.
        n_utterances: Number of simulated utterances.
        seed: Seed of corpus and training.
        say: Function that prints its messages.
    """

    out: Path
    n_utterances: int = 1000
    seed: int = 0
    say: Callable[[str], None] = print

    @property
    def corpus(self) -> Path:
        """The simulated release."""
        return self.out / "simulated_corpus"

    @property
    def dataset(self) -> Path:
        """The built data set."""
        return self.out / "dataset"

    def run(self) -> Path:
        """Run the whole demo and return the path of the results table."""
        start = time.monotonic()
        self.check_size()
        self.say(f"1/4 Simulating {self.n_utterances} utterances with known true emotion distributions: {self.corpus}")
        with tqdm(total=self.n_utterances, unit="utterance") as bar:
            simulated.generate(
                self.corpus, n_utterances=self.n_utterances, n_speakers=20, seed=self.seed, progress=bar.update
            )
        self.say(f"2/4 Building {CONFIG} from the raters' votes: {self.dataset}")
        if not (self.dataset / "build_report.json").is_file():
            report = self.build()
            self.say(report.summary())
        for i, name in enumerate(SYSTEMS, 1):
            self.say(f"3/4 Training {name} ({i} of {len(SYSTEMS)}): {self.folder(name)}")
            run(self.arguments(name))
        table = self.write_results()
        self.say("4/4 " + table.read_text())
        self.say(self.farewell(table, time.monotonic() - start))
        return table

    def build(self) -> BuildReport:
        """Build the data set.

        Raises:
            ValueError: If there are too few utterances for its splits.
        """
        try:
            return build(
                "simulated", self.corpus, self.dataset, configs=[CONFIG], seed=self.seed, d1_quota="per_class"
            )
        except SplitError as error:
            raise ValueError(
                f"--n-utterances {self.n_utterances} is too few for the demo: its splits ({CONFIG}) need some of every"
                " class. Give --n-utterances 400 or more, and another --out."
            ) from error

    def check_size(self) -> None:
        """Refuse a folder whose data set has another size, because its runs would be shown as those of this demo."""
        if (self.dataset / "build_report.json").is_file():
            there = read_dataset_info(self.dataset)["counts"]["in"]
            if there != self.n_utterances:
                raise ValueError(
                    f"{self.out} holds a demo of {there} utterances, not {self.n_utterances}. Give another --out, or"
                    f" --n-utterances {there} to resume it."
                )

    def folder(self, system: str) -> Path:
        """Return the run folder of one system."""
        return self.out / "runs" / system / str(self.seed)

    def arguments(self, system: str) -> RunArguments:
        """Return the arguments of one system's run."""
        fields = {
            **_SHARED,
            **SYSTEMS[system],
            "system": system,
            "dataset": str(self.dataset),
            "output_dir": str(self.folder(system)),
            "seed": self.seed,
        }
        return RunArguments.from_mapping(fields)

    def write_results(self) -> Path:
        """Write the comparison, the distance of corrected labels from the truth, and the paper's two figures."""
        ipr = self.folder("ipr")
        classes = read_dataset_info(self.dataset)["classes"]
        plot_prototype_similarity(ipr, self.out / "figures" / "prototype_similarity.png", classes)
        plot_pseudo_label_agreement(ipr, self.out / "figures" / "pseudo_label_agreement.png")
        report = write_report(self.out / "runs", splits=[TEST])
        # The report's links to figures are relative to the report's own folder.
        report = report.replace("](figures/", f"](runs/{FOLDER}/figures/")
        text = report + truth_table(distance_from_truth(ipr))
        path = self.out / "results.md"
        path.write_text(text)
        return path

    def farewell(self, table: Path, seconds: float) -> str:
        """Return a text that says where everything is and what to do next."""
        ipr = RunFolder(self.folder("ipr"))
        return "\n".join(
            [
                f"Done in {seconds:.0f} s. One seed of a small simulation: an example, not a finding.",
                f"  results table   {table}",
                f"  to listen to    {self.out / 'runs' / FOLDER / 'report.html'}",
                f"  figures         {self.out / 'figures'}/prototype_similarity.png, pseudo_label_agreement.png",
                f"  checkpoints     {ipr.model} (and one beside each other system)",
                f"  model card      {ipr.card}",
                f"  label history   {ipr.trajectory}",
                f"  all figures     {ipr.results}",
                "Next: load the model,",
                "  from transformers import pipeline; import hf_ambiser",
                f"  pipeline('audio-classification', '{ipr.model}')(waveform_at_16_kHz)",
                f"share it: hf-ambiser push {ipr.path} your-account/ipr-demo --dry-run",
                "or train on real speech: hf-ambiser build crema_d --help, then hf-ambiser configs.",
            ]
        )


def truth_table(distance: dict[str, float | int]) -> str:
    """Return a Markdown table: how far each label of the ambiguous utterances is from the truth."""
    rows = [
        ("raters' votes", distance["votes"]),
        (f"votes, {distance['smoothing']:.0%} mixed with uniform (best share)", distance["votes_smoothed"]),
        ("IPR's soft label", distance["method"]),
        ("uniform", distance["uniform"]),
    ]
    lines = [f"| label of the {distance['n']} unlabelled utterances | JS from the truth (bit) |", "|---|---|"]
    return "\n" + "\n".join([*lines, *(f"| {name} | {value:.3f} |" for name, value in rows)]) + "\n"
