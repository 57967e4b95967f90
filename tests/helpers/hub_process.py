"""Run as a process: a client of the Hub that does what it is told, each time in a child that may be killed.

    python hub_process.py [RUN]

Reads a line of JSON a task: the name of a repository, to which the run is pushed, or a list of commands, each with the
environment variables that are changed before it. Prints the child's `pid N`, for each command a line of JSON (exit
status, output, errors), and when the child has ended `ended CODE` (negative: killed by that signal). What is slow,
imports and figures, is done once before; `HUB_PROCESS_IMPORTS` names more modules that the children need. Waiting
between repetitions is left out.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import time
import traceback
from pathlib import Path

import huggingface_hub._commit_api
import huggingface_hub.hf_api
import huggingface_hub.lfs  # noqa: F401

from helpers.forking import share_no_lock
from hf_ambiser.cards import read_facts
from hf_ambiser.cli import main as hf_ambiser
from hf_ambiser.hub.push import PushError, PushOptions, push
from hf_ambiser.runs.push import publication


def command(program: str, words: list[str]) -> int:
    """`hf-ambiser push ...`, `train.py ...`; a corpus' name builds it."""
    if program == "hf-ambiser":
        return hf_ambiser(words)
    if program == "train.py":
        from hf_ambiser.train import main as train

        return train(words)
    from hf_ambiser.data.build_cli import main as build

    return build(program, words)


def run_commands(cases: list) -> None:
    for (program, *words), changes in cases:
        os.environ.update(changes)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = command(program, words)
        print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)


def main(run: Path | None) -> None:
    share_no_lock()
    for name in os.environ.get("HUB_PROCESS_IMPORTS", "").split():
        importlib.import_module(name)
    time.sleep = lambda seconds: None  # type: ignore[assignment]
    whole = publication(read_facts(run)) if run else None
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if isinstance(task, str):
                    assert whole is not None
                    push(whole, task, PushOptions(say=lambda text: None))
                else:
                    run_commands(task)
                code = 0
            except PushError as error:
                print(error, file=sys.stderr, flush=True)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print("pid", pid, flush=True)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
