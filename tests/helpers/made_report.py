"""Made-up run folders of a study, written without any training: results, predictions, trajectories, and a data set."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import yaml

from hf_ambiser.report.groups import Group, find, group
from hf_ambiser.report.table import Table
from hf_ambiser.run_folder.columns import write_columns
from hf_ambiser.run_scores.complete import LATER
from hf_ambiser.training.validation import score, softmax


CLASSES = ["anger", "happiness", "sadness", "neutral"]
K = len(CLASSES)
ENVIRONMENT = {
    "python": "3.11.7",
    "versions": {"torch": "2.14.1", "transformers": "5.24.0"},
    "commit": "0123456789abcdef",
    "dirty": False,
    "machine": "x86_64",
    "threads": 1,
    "accelerator": None,
}


def made_clips(n: int = 48, fold: str | None = None, part: str = "d3", n_speakers: int = 4) -> dict[str, Any]:
    """The clips that one fold tests: five votes each, of speakers that no other fold tests."""
    number = int.from_bytes(f"{fold}/{part}".encode(), "big") % 2**32
    rng = np.random.default_rng(number)
    votes = np.stack([rng.multinomial(5, rng.dirichlet(np.ones(K) / 2)) for _ in range(n)]).astype(float)
    top = votes.max(axis=1, keepdims=True)
    unique = (votes == top).sum(axis=1) == 1
    return {
        "id": [f"{part}-{fold}-{i:03d}" for i in range(n)],
        "speaker": [f"f{fold}s{i % n_speakers}" for i in range(n)],
        "votes": votes,
        "consensus": np.where(unique, votes.argmax(axis=1), -1),
    }


def made_cell(
    folder: Path,
    system: str = "ipr",
    seed: int = 0,
    fold: str | None = None,
    family: str = "ipr-strict",
    skill: float = 1.0,
    clips: dict[str, dict[str, Any]] | None = None,
    arguments: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    embedding: int = 0,
    noise: int | None = None,
    **data: Any,
) -> Path:
    """A run folder with the figures of random logits that lean `skill` towards the votes; `data` changes its data."""
    about = {
        "corpus": "made", "classes": CLASSES, "dataset_config": family if fold is None else f"{family}-{fold}",
        "split_family": family, "fold": fold, "protocol": "paper" if "paper" in family else "strict",
        "content": "c0ffee",
        "split_fingerprint": f"split{fold}", "policy": "made-4", "policy_fingerprint": "ab12", "ambiguous": 0, **data,
    }  # fmt: skip
    clips = clips or {part: made_clips(fold=fold, part=part) for part in ("d3", "test_clear")}
    key = f"{system}/{fold}/{seed}" if noise is None else str(noise)
    rng = np.random.default_rng(int.from_bytes(key.encode(), "big") % 2**63)
    scores = {}
    for name, test in clips.items():
        logits = skill * test["votes"] + rng.normal(size=(len(test["votes"]), K))
        scores[name] = score(logits, test["votes"], test["consensus"], CLASSES)
        columns = {"id": test["id"], "speaker": test["speaker"], "probabilities": softmax(logits)}
        columns |= {"votes": test["votes"], "consensus": test["consensus"]}
        if embedding:
            projection = rng.normal(size=(K, embedding))
            columns["embedding"] = (logits @ projection).astype(np.float32)
        write_columns(folder / "predictions" / f"{name}.parquet", columns)
    given = {"method": "hard_vote", "dataset": "data/made", "seed": seed, **(arguments or {})}
    (folder / "arguments.yaml").write_text(yaml.safe_dump({**given, "output_dir": str(folder)}))
    results = {
        "system": system, "seed": seed, "method": given["method"], "data": about, "scores": scores,
        "environment": environment or ENVIRONMENT,
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def made_log(folder: Path, best: int | None = None, rate: float = 1e-3, **figures: Any) -> None:
    """Give a run folder a training log: one epoch of 10 steps for each value of `js`, `loss`, `wa`, `ua`.

    `best`: the place of the evaluation that validation chose the model at; None: the last model is scored.
    """
    path = folder / "results.json"
    log = []
    for place in range(max(map(len, figures.values()), default=0)):
        when = {"epoch": float(place + 1), "step": 10 * (place + 1)}
        measured = {f"eval_{name}": float(values[place]) for name, values in figures.items()}
        log += [{"loss": 1.0, "learning_rate": rate, **when}, {**measured, "eval_runtime": 0.1, **when}]
    results = {**json.loads(path.read_text()), "log": log}
    if best is not None:
        results["best_checkpoint"] = f"checkpoint-{10 * (best + 1)}"
        given = yaml.safe_load((folder / "arguments.yaml").read_text())
        (folder / "arguments.yaml").write_text(yaml.safe_dump({**given, "load_best_model_at_end": True}))
    path.write_text(json.dumps(results))


def made_whole(folder: Path, *args: Any, **more: Any) -> Path:
    """A run of IPR's splits that answered its whole test side; the utterances without a consensus are not scored."""
    clips = {part: made_clips(part=part) for part in ("test_clear", "d3", "test_no_consensus")}
    clips["test_no_consensus"]["consensus"][:] = -1
    made_cell(folder, *args, clips=clips, **more)
    results = json.loads((folder / "results.json").read_text())
    del results["scores"]["test_no_consensus"]
    (folder / "results.json").write_text(json.dumps({**results, "held_out_splits": list(clips)}))
    return folder


def make_old(folder: Path) -> None:
    """Take out of a run folder what runs of earlier versions did not store."""
    path = folder / "results.json"
    results = json.loads(path.read_text())
    results.pop("held_out_splits", None)
    for parts in results["scores"].values():
        parts.pop("consensus", None)
        for scores in parts.values():
            for name in LATER:
                scores.pop(name, None)
            scores["undefined"] = {k: v for k, v in scores["undefined"].items() if k.split(".")[0] not in LATER}
    path.write_text(json.dumps(results))


def made_trajectory(
    run: Path,
    n: int = 30,
    epochs: int = 4,
    seed: int = 0,
    warmup: int = 1,
    soft: bool = True,
    ids: list[str] | None = None,
) -> None:
    """Labels after each epoch: of a third of the clips the raters', of the others the method's after its warm-up."""
    rng = np.random.default_rng(seed)
    names = ids or [f"train-{i:03d}" for i in range(n)]
    n = len(names)
    # What the raters said is of the clips, not of the run.
    fixed = np.random.default_rng(int.from_bytes(names[0].encode(), "big") % 2**63)
    votes = np.stack([fixed.multinomial(5, fixed.dirichlet(np.ones(K) / 2)) for _ in range(n)]).astype(np.float32)
    consensus = np.where((votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1, votes.argmax(axis=1), -1)
    observed = np.eye(K, dtype=np.float32)[votes.argmax(axis=1)]
    observed[n // 3 :] = 0
    order = rng.permutation(n)  # the reference need not be in the trajectory's order
    rows = {
        "id": [names[i] for i in order],
        "reference_votes": votes[order].tolist(),
        "reference_label": consensus[order].tolist(),
        "true_distribution": np.zeros((n, K)).tolist(),
    }
    pq.write_table(pa.table(rows), run / "reference.parquet")
    label = rng.dirichlet(np.ones(K) / 2, size=n).astype(np.float32)
    for epoch in range(1, epochs + 1):
        label = (0.8 * label + 0.2 * rng.dirichlet(np.ones(K) / 2, size=n)).astype(np.float32)
        given = label * (np.arange(n) >= n // 3)[:, None] * (epoch > warmup)
        hard = np.eye(K, dtype=np.float32)[given.argmax(axis=1)] * (given.sum(axis=1, keepdims=True) > 0)
        columns = {"id": names, "observed": observed, "target": observed + hard, "weight": np.ones(n, np.float32)}
        if soft:
            columns |= {
                "soft_label": given,
                "classifier_label": np.where(given.any(axis=1), rng.integers(K, size=n), -1),
            }
        write_columns(run / "trajectory" / f"epoch_{epoch:04d}.parquet", columns)


def made_dataset(folder: Path, ids: list[str], content: str = "c0ffee", seconds: float = 0.3) -> Path:
    """A built data set's folder as far as a report opens it: what it is, and its audio."""
    folder.mkdir(parents=True)
    (folder / "build_report.json").write_text(json.dumps({"content": content, "configs": {}}))
    rows = []
    for i, name in enumerate(ids):
        t = np.arange(int(seconds * 16000)) / 16000
        stream = io.BytesIO()
        soundfile.write(stream, 0.3 * np.sin(2 * np.pi * (200 + 10 * i) * t), 16000, format="WAV", subtype="PCM_16")
        rows.append({"id": name, "audio": {"bytes": stream.getvalue(), "path": f"{name}.wav"}, "speaker": f"s{i % 3}"})
    (folder / "ipr-strict").mkdir()
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        table = pa.Table.from_pylist(part)
        pq.write_table(table, folder / "ipr-strict" / f"d2-{number:05d}-of-00002.parquet", row_group_size=8)
    return folder


def made_study(
    folder: Path,
    skills: dict[str, float],
    folds: int = 3,
    seeds: int = 2,
    family: str = "ipr-strict-kfold3",
    **more: Any,
) -> Path:
    """Every system, fold and seed of a study, one run folder each."""
    for system, skill in skills.items():
        for fold in range(folds):
            for seed in range(seeds):
                path = folder / "cells" / system / f"{family}-{fold}" / f"seed-{seed}"
                made_cell(path, system, seed, str(fold), family, skill, **more)
    return folder


def whole_group(folder: Path) -> Group:
    """The only group of the runs below a folder, with every figure that a report shows."""
    (one,) = group(find(folder)[0])
    return one.with_all_figures()


def rows_of(table: Table) -> dict[str, dict[str, str]]:
    """A table's rows as its CSV file has them, by their first column."""
    rows = csv.DictReader(io.StringIO(table.csv()))
    return {next(iter(row.values())): row for row in rows}
