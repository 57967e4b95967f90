"""The command that runs a study: `hf-ambiser study`, and `train_scripts/cross_validate.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.system_errors import in_words


def main(argv: Sequence[str] | None = None, prog: str = "cross_validate.py") -> int:
    """Run or show a study. A mistake that a user can correct gives one line on standard error and exit status 2."""
    parser = CommandParser(
        prog=prog,
        description="Run a study: systems x folds x seeds, as a plan says; each cell is one ordinary run folder below"
        " --out. The same command again continues a study, however it was stopped: finished cells are not run again,"
        " half-finished ones continue, failed ones are tried again. Several such commands may share one study, on one"
        " machine or on several that share the folder.",
        epilog=f"example: {prog} --plan crema_d/study --jobs 2. Exit status: 0; 1 if a cell failed; 2 if the plan"
        " cannot be run.",
    )
    parser.add_argument(
        "--plan",
        required=True,
        help="YAML file, or the name of a shipped one (`hf-ambiser configs` lists them);"
        " hf_ambiser/studies/plan.py says what it holds",
    )
    parser.add_argument("--out", type=Path, help="the study's folder (default: runs/<name of the plan>)")
    parser.add_argument("--dry-run", action="store_true", help="print cells, split sizes and time; run nothing")
    parser.add_argument("--cells", metavar="i/n", help="only every n-th cell, beginning with the i-th")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="cells at a time; the cores are shared among them, at most OMP_NUM_THREADS for each",
    )
    parser.add_argument(
        "--drop-checkpoints",
        action="store_true",
        help="delete the checkpoints of every finished cell, about half of a study's disk space; the models stay",
    )
    args = parser.parse_args(argv)

    if args.dry_run and args.drop_checkpoints:
        parser.error("--drop-checkpoints does nothing with --dry-run, which deletes nothing; leave one of them out")

    # Imported here: the help should not wait for torch.
    from hf_ambiser.studies.cross_validate import run_study
    from hf_ambiser.studies.dispatch import check_jobs
    from hf_ambiser.studies.dry_run import describe
    from hf_ambiser.studies.plan import read_plan

    try:
        plan = read_plan(args.plan)
        out = args.out or Path("runs") / plan.name
        if args.dry_run:
            check_jobs(args.jobs)
            sys.stdout.write(describe(plan, out, args.cells, args.jobs))
            return 0
        return run_study(plan, out, args.cells, args.jobs, args.drop_checkpoints)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {in_words(error)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{prog}: stopped; the same command goes on\n")
        return 130
