"""Do learned labels and weights find noisy labels? A study on label noise that was added on purpose, and its tables.

python train_scripts/label_noise.py --plan label_noise/simulated --jobs 2

builds the plan's data sets (by their `build` commands; a data set that is there is kept), runs its cells as
`cross_validate.py` does, and prints the tables. After any interruption the same command goes on. `--study FOLDER`
instead of `--plan` only reads the finished runs. Exit status: 0; 1 if a cell failed; 2 if you have to put something
right.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.data.build import REPORT
from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.report.groups import find, group
from hf_ambiser.report.label_noise import text
from hf_ambiser.report.planned import read_planned
from hf_ambiser.run_folder.layout import write_whole
from hf_ambiser.studies import study_cli
from hf_ambiser.studies.plan import Plan, PlanError, read_plan


REPOSITORY = Path(__file__).resolve().parents[1]
KEEPS_WHAT_IS_THERE = ("add-label-noise", "dataset_scripts/add_label_noise.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Build, run and print. A mistake gives one line on standard error and exit status 2."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--plan", help="YAML file, or name, of a study; its data sets are built and its cells run")
    what.add_argument("--study", type=Path, help="a study's folder, only to be read")
    parser.add_argument("--runs", type=Path, help="the study's folder of --plan (default: runs/<name of the plan>)")
    parser.add_argument("--jobs", type=int, help="cells at a time (default: 1)")
    parser.add_argument("--split", default="test_clear", help="clean test split (default: %(default)s)")
    parser.add_argument(
        "--baseline", default="attention", help="system that gains are differences to (default: %(default)s)"
    )
    parser.add_argument("--reference", help="system to compare with each other one, over utterances as well")
    parser.add_argument("--out", type=Path, help="Markdown file to write the tables to as well")
    args = parser.parse_args(argv)
    if args.study and (args.runs is not None or args.jobs is not None):
        parser.error("--runs and --jobs are of --plan: --study is only read. Leave them out.")
    study, status = args.study, 0
    try:
        if args.plan:
            plan = read_plan(args.plan)
            study = args.runs or Path("runs") / plan.name
            build_data(plan)
            status = study_cli.main(
                ["--plan", args.plan, "--out", str(study), "--jobs", str(1 if args.jobs is None else args.jobs)]
            )
            if status not in (0, 1):
                return status
        cells, unfinished = find(study)
        planned = read_planned(study, cells)  # written by the runner, so that an old study keeps its plan's order
        order = planned.systems if planned else []
        tables = text(group(cells, order), args.split, args.baseline, args.reference)
        if unfinished:
            tables += f"\n{len(unfinished)} runs below {study.name} are not finished and not in these tables.\n"
        print(tables)
        if args.out:
            write_whole(args.out, tables)
    except (ValueError, OSError) as error:
        print(f"label_noise.py: {error}", file=sys.stderr)
        return 2
    return status


def build_data(plan: Plan) -> None:
    """Run the `build` commands of a plan's data sets (`hf-ambiser build ... && ...`) one after the other.

    A data set that is there is not built again.

    Raises:
        PlanError: If a command makes no data set, needs a variable that is not set, or fails.
    """
    for command in dict.fromkeys(c.strip() for data in plan.datasets for c in data.build.split("&&") if c.strip()):
        words = shlex.split(os.path.expandvars(command))
        unset = re.search(r"\$\w+", " ".join(words))
        if unset:
            raise PlanError(f"the environment variable {unset[0][1:]} is not set; the plan's build command needs it.")
        if words[0] == "hf-ambiser" and words[1:2] in (["build"], ["add-label-noise"]):
            program = ["-m", "hf_ambiser.cli", words[1]]
        elif words[0] == "python" and words[1:2] and words[1].startswith("dataset_scripts/"):
            program = [str(REPOSITORY / words[1])]
        else:
            program = []
        if not program or "--out" not in words[:-1]:
            raise PlanError(
                f"build command {command!r} is not `python dataset_scripts/... --out FOLDER`, nor `hf-ambiser build"
                " CORPUS ... --out FOLDER`, nor `hf-ambiser add-label-noise ... --out FOLDER`."
            )
        out = Path(words[words.index("--out") + 1])
        if (out / REPORT).is_file() and words[1] not in KEEPS_WHAT_IS_THERE:
            continue
        print(f"building {out}", file=sys.stderr)
        if subprocess.run([sys.executable, *program, *words[2:]]).returncode:
            raise PlanError(f"building {out} failed, see above: {command}")


if __name__ == "__main__":
    sys.exit(main())
