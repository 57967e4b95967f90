"""What runs made of label noise: figures by hand on made runs, and the whole way on a tiny corpus."""

import json
import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from helpers.made_report import made_cell
from helpers.made_run import TINY
from helpers.scripts import load_script
from sklearn.metrics import roc_auc_score

from hf_ambiser import cli
from hf_ambiser.data.noise_record import LABEL_NOISE
from hf_ambiser.label_analysis.noise_recovery import auroc, noise_recovery, precision_at_k
from hf_ambiser.report.groups import find, group
from hf_ambiser.report.label_noise import gain_table, groups_with_noise, kept_epoch, recovery_table, side_by_side, text
from hf_ambiser.run_folder.columns import write_columns
from hf_ambiser.runs.config_files import SHIPPED
from hf_ambiser.studies import dispatch
from hf_ambiser.studies.plan import PlanError, read_plan


pytestmark = pytest.mark.usefixtures("blank_figures")
torch.set_num_threads(1)
FORK = multiprocessing.get_context("fork")
PLANS = [SHIPPED / "label_noise" / f"{name}.yaml" for name in ("crema_d", "simulated")]
#         noisy -----  clean ---------------  ambiguous
RATERS = [0, 1, 2, 3, 0, 0, 1, 1, 2, -1, 3]
GIVEN = [1, 0, 1, 0, 0, 0, 1, 1, 2, 2]
TARGET = [0, 1, 1, 2, 0, 1, 1, 1, 2, 2, 0]  # two of four corrected, one of five corrupted
WEIGHT = [1, 2, 3, 2, 2, 3, 4, 1, 5, 9, 0]
# Clean weights: 2 3 4 1 5. A noisy 1 is below four and ties one; a 2 (twice) below three, a 3 below two, tying one.
AUROC = (4.5 + 3.5 + 3.5 + 2.5) / 20
# Given 0: noisy 2, 2 against clean 2, 3; given 1: noisy 1, 3 against clean 4, 1; given 2 has no noisy label.
WITHIN = (1.5 + 1.5 + 1.5 + 1) / 8


def noise(how: str = "uniform", share: float = 0.4, n: int = 4) -> dict:
    counts = {"clear": {"labels": 10, "replaced": n, "from_to": {}}}
    return {
        "config": "slc-strict", "splits": ["clear"], "how": how, "share": share, "seed": 0, "source_content": "c0",
        "without_confusion": [], "counts": counts,
    }  # fmt: skip


def made(folder: Path, system: str, seed: int, how: str = "uniform", target=TARGET, **more) -> Path:
    data = {"labelled": 10, "train_splits": ["clear"], "content": f"content-{how}", LABEL_NOISE: noise(how), **more}
    run = made_cell(
        folder / how / system / str(seed),
        system,
        seed,
        family="slc-strict",
        arguments={"dataset": f"data/{how}"},
        **data,
    )
    eye = np.eye(4, dtype=np.float32)
    ids = [f"u{i}" for i in range(11)]
    observed = np.concatenate([eye[GIVEN], np.zeros((1, 4), np.float32)])
    soft = 0.6 * eye[target] + 0.1  # a learned label is no one-hot
    for epoch, labels in ((1, observed), (2, soft)):
        columns = {"id": ids, "observed": observed, "target": labels, "weight": np.array(WEIGHT, np.float32)}
        write_columns(run / "trajectory" / f"epoch_{epoch:04d}.parquet", columns)
    order = np.random.default_rng(seed).permutation(11)
    reference = {
        "id": [ids[i] for i in order],
        "reference_votes": [[0.0] * 4] * 11,
        "reference_label": [RATERS[i] for i in order],
        "true_distribution": [[0.0] * 4] * 11,
    }
    pq.write_table(pa.table(reference), run / "reference.parquet")
    return run


def data_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())["data"]


def test_correction_corruption_and_auroc_by_hand(tmp_path):
    run = made(tmp_path, "labels", 0)
    found = noise_recovery(run, data_of(run))
    assert (found.n_noisy, found.n_clean) == (4, 5)  # one utterance has no consensus, one is not labelled
    assert (found.correction_rate, found.corruption_rate) == (2 / 4, 1 / 5)
    assert found.label_accuracy == pytest.approx(6 / 9)
    assert found.auroc == pytest.approx(AUROC) and found.auroc_within_class == pytest.approx(WITHIN)


def test_labels_in_the_epoch_of_the_network_that_was_kept(tmp_path):
    made(tmp_path, "attention", 0, target=[*GIVEN, 0])
    run = made(tmp_path, "labels", 0)
    (first,) = [cell for cell in find(tmp_path)[0] if cell.system == "labels"]
    assert kept_epoch(first) is None  # nothing says which: the last
    results = json.loads((run / "results.json").read_text())
    results |= {"best_checkpoint": "checkpoint-12", "log": [{"step": 6, "epoch": 0.5}, {"step": 12, "epoch": 1.0}]}
    (run / "results.json").write_text(json.dumps(results))
    (chosen,) = [cell for cell in find(tmp_path)[0] if cell.system == "labels"]
    assert kept_epoch(chosen) is None  # the best was counted, for patience perhaps, and not kept
    with (run / "arguments.yaml").open("a") as file:
        file.write("load_best_model_at_end: true\n")
    cells, _ = find(tmp_path)
    assert [kept_epoch(cell) for cell in cells if cell.system == "labels"] == [1]
    groups = groups_with_noise(group(cells))
    last, then = (recovery_table(groups, kept).entries[1] for kept in (False, True))
    assert (last[5].text, then[5].text) == ("50.0", "0.0")  # after epoch 1 nothing was corrected yet
    said = text(groups, "test_clear", "attention", None)
    assert "the best on validation:" in said and "which is not the last" in said


def test_precision_at_k_is_among_the_lowest_weights_equal_ones_drawn_by_lot():
    noisy = np.array([True, True, False, False, False])
    assert precision_at_k(np.array([1.0, 5, 2, 3, 4]), noisy) == 1 / 2
    assert precision_at_k(np.array([1.0, 2, 2, 2, 4]), noisy) == pytest.approx((1 + 1 / 3) / 2)
    assert precision_at_k(np.ones(5), noisy) == pytest.approx(2 / 5)
    assert precision_at_k(np.ones(2), np.zeros(2, dtype=bool)) is None
    rng = np.random.default_rng(0)
    weight, wrong = rng.integers(0, 4, 30).astype(float), rng.random(30) < 0.4
    m = int(wrong.sum())
    draws = [wrong[np.lexsort((rng.random(30), weight))[:m]].mean() for _ in range(4000)]
    assert precision_at_k(weight, wrong) == pytest.approx(np.mean(draws), abs=0.01)


def test_auroc_is_scikit_learns_and_one_half_where_weights_tell_nothing():
    rng = np.random.default_rng(0)
    for _ in range(20):
        score, positive = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.3
        assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score))
        stratum = rng.integers(0, 3, 40)
        pairs = [
            (score[i] > score[j]) + (score[i] == score[j]) / 2
            for i in np.flatnonzero(positive) for j in np.flatnonzero(~positive) if stratum[i] == stratum[j]
        ]  # fmt: skip
        assert auroc(score, positive, stratum) == pytest.approx(np.mean(pairs))
    assert auroc(np.ones(4), np.array([True, False, True, False])) == 0.5
    assert auroc(np.ones(2), np.array([True, True])) is None


def test_runs_that_do_not_fit_are_refused_in_one_line(tmp_path):
    run = made(tmp_path, "labels", 0)
    data = data_of(run)
    for changed, words in (
        ({**data, LABEL_NOISE: noise(n=3)}, "4 labels differ from the raters', but 3 are noisy in clear"),
        ({k: v for k, v in data.items() if k != LABEL_NOISE}, "was not trained on label noise"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            noise_recovery(run, changed)
        assert "\n" not in str(error.value)
    for path in (run / "trajectory").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="has no label trajectory"):
        noise_recovery(run, data)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for how in ("uniform", "confusion"):
        for seed in range(3):
            made(folder, "attention", seed, how, target=[*GIVEN, 0])
            made(folder, "labels", seed, how)
    made_cell(folder / "clean", "attention", 0, family="slc-strict")  # no label noise: in no table
    return folder


def test_tables_hold_every_data_set_and_system_with_differences_over_seeds(study):
    cells, _ = find(study)
    groups = groups_with_noise(group(cells))
    table = recovery_table(groups)
    assert [[e.text for e in row[:5]] for row in table.entries] == [
        ["made", f"{how} 40 %", "4 of 9", system, "3"]
        for how in ("confusion", "uniform")
        for system in ("attention", "labels")
    ]
    assert [e.parts["mean"] for e in table.entries[1][5:8]] == pytest.approx([50, 20, 100 * 6 / 9])
    assert table.entries[0][5].text.startswith("0.0 ")  # the baseline corrects nothing
    gain = gain_table(groups, "test_clear", "attention")
    for row, how in ((gain.entries[1], "confusion"), (gain.entries[3], "uniform")):
        ua = {
            (cell.system, cell.seed): cell.figure("test_clear", "ua")
            for cell in cells if cell.data["content"] == f"content-{how}"
        }  # fmt: skip
        differences = [ua["labels", seed] - ua["attention", seed] for seed in range(3)]
        assert row[4].parts["mean"] == pytest.approx(100 * np.mean([ua["labels", seed] for seed in range(3)]))
        assert row[5].parts["difference"] == pytest.approx(100 * np.mean(differences))
        assert row[2].text == "labels" and row[6].parts[""] == row[7].parts[""]  # one comparison: Holm changes nothing
    assert gain.entries[0][5].text == "-" and "paired t over seeds" in gain.note
    beside = side_by_side(table, ["corruption rate %", "correction rate %"])
    assert beside.columns == ["corruption rate % / correction rate %", "made, confusion 40 %", "made, uniform 40 %"]
    assert [row[0].text for row in beside.entries] == ["attention", "labels"]
    assert beside.entries[1][2].text == "20.0 (0.0) / 50.0 (0.0)"
    assert side_by_side(gain, [gain.columns[5]]).entries[1][1].text.endswith("]")


@pytest.fixture
def here(monkeypatch):
    """Everything in this process, or forked from it: what is imported is imported once."""
    monkeypatch.setattr(dispatch, "_start_server", lambda: None)
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: FORK)
    monkeypatch.setattr(FORK, "set_forkserver_preload", lambda modules: None, raising=False)
    # A process that is forked after OpenMP had threads waits for them for ever, so cells keep to one thread.
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)


def give(words: list[str]):
    """A build command, in this process."""
    assert words[1:3] == ["-m", "hf_ambiser.cli"]
    return SimpleNamespace(returncode=cli.main(words[3:]))


def test_the_command_reads_a_study_and_refuses_in_one_line(study, tmp_path, capsys):
    main = load_script("train_scripts/label_noise.py").main
    assert main(["--study", str(study), "--reference", "labels", "--out", str(tmp_path / "tables.md")]) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "tables.md").read_text().strip() == said.strip()
    assert "### made, confusion 40 %: UA % on test_clear of labels" in said and "bootstrap over utterances" in said
    assert "Label noise was added on purpose" in said
    for more, words in (
        (["--split", "d4"], "was not scored on 'd4'"),
        (["--baseline", "base"], "no finished run of the system 'base' (baseline)"),
        (["--reference", "other"], "no finished run of the system 'other' (reference)"),
    ):
        assert main(["--study", str(study), *more]) == 2
        error = capsys.readouterr().err
        assert error.startswith("label_noise.py: ") and words in error and error.count("\n") == 1


def test_a_study_that_is_only_read_takes_no_arguments_of_its_runs(tmp_path, capsys):
    main = load_script("train_scripts/label_noise.py").main
    for more in (["--jobs", "2"], ["--runs", "x"]):
        with pytest.raises(SystemExit):
            main(["--study", str(tmp_path), *more])
        assert "--runs and --jobs are of --plan" in capsys.readouterr().err


def tiny_plan(folder: Path) -> Path:
    build = (
        "hf-ambiser build simulated --root corpus --out base --n-utterances 60 --configs slc-strict"
        " --no-progress && hf-ambiser add-label-noise --dataset base --how confusion --share 0.4"
        " --no-progress --out noisy"
    )
    systems = {name: {"method": method} for name, method in (("attention", "hard_vote"), ("soft_vote", "soft_vote"))}
    content = {
        "name": "tiny",
        "datasets": [{"dataset": "noisy", "configs": ["slc-strict"], "build": build}],
        "seeds": [0],
        "shared": {
            "train_splits": ["clear"], "ambiguous_splits": [], "test_splits": ["test_clear"], "encoder_fields": TINY,
            "model_fields": {"classifier_hidden_size": 16}, "num_train_epochs": 1, "use_cpu": True,
            "per_device_train_batch_size": 8,
        },
        "systems": systems,
    }  # fmt: skip
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_one_command_builds_runs_and_tells_and_a_second_one_runs_nothing(tmp_path, here, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = load_script("train_scripts/label_noise.py")
    monkeypatch.setattr(command, "subprocess", SimpleNamespace(run=give))
    assert command.main(["--plan", str(tiny_plan(tmp_path)), "--runs", "runs"]) == 0
    said = capsys.readouterr().out
    results = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("results.json")}
    assert len(results) == 2
    for path in results:
        run = json.loads(path.read_text())
        there = json.loads(Path("noisy/build_report.json").read_text())
        assert run["data"][LABEL_NOISE] == there[LABEL_NOISE] and run["data"]["content"] == there["content"]
        assert "Label noise was added on purpose" in (path.parent / "model" / "README.md").read_text()
        found = noise_recovery(path.parent, run["data"])  # these methods believe what they are given
        assert (
            found.correction_rate == found.corruption_rate == 0.0
            and found.n_noisy == there[LABEL_NOISE]["counts"]["clear"]["replaced"]
        )
        assert found.auroc == 0.5
    assert "| simulated, confusion 40 % |" in said and "| attention | 0.0 / 0.0 / 60.0 |" in said
    assert "(one seed)" in said
    built = Path("base/build_report.json").stat().st_mtime_ns
    assert command.main(["--plan", "tiny.yaml", "--runs", "runs"]) == 0
    assert said.partition("|")[2] == capsys.readouterr().out.partition("|")[2]
    assert {path: path.stat().st_mtime_ns for path in results} == results
    assert Path("base/build_report.json").stat().st_mtime_ns == built


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_plans_build_what_they_read(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # data sets that a user has built here are not built again
    command, plan, given = load_script("train_scripts/label_noise.py"), read_plan(path), []
    monkeypatch.setenv("CREMA_D_ROOT", "/release")

    def take(words: list[str]):
        given.append(words)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(run=take))
    command.build_data(plan)
    # The corpus once, then each data set of the plan from it.
    assert [words[words.index("--out") + 1] for words in given][1:] == [data.dataset for data in plan.datasets]
    asked = {
        f"{words[words.index('--how') + 1]}-{100 * float(words[words.index('--share') + 1]):.0f}"
        for words in given if words[3] == "add-label-noise"
    }  # fmt: skip
    assert (
        asked
        == {data.name for data in plan.datasets}
        == {f"{a}-{b}" for a in ("uniform", "confusion") for b in (20, 40)}
    )


def test_build_commands_that_cannot_be_given_are_refused(tmp_path, monkeypatch):
    command = load_script("train_scripts/label_noise.py")
    monkeypatch.delenv("CREMA_D_ROOT", raising=False)
    with pytest.raises(PlanError, match="variable CREMA_D_ROOT is not set"):
        command.build_data(read_plan(next(path for path in PLANS if path.stem == "crema_d")))
    content = yaml.safe_load(tiny_plan(tmp_path).read_text())
    content["datasets"][0]["build"] = "rm -r data --out x"
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(PlanError, match="is not `python dataset_scripts"):
        command.build_data(read_plan(tmp_path / "bad.yaml"))
