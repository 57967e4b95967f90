"""Clients of the Hub on loopback: processes, for the test process itself is offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from helpers.hub_endpoint import HubEndpoint


ROOT = Path(__file__).parents[2]
# Runs several commands in one process, for importing costs more than pushing; no waiting between repetitions.
_COMMANDS = """
import contextlib, io, json, os, sys, time
time.sleep = lambda seconds: None
import hf_ambiser.train, hf_ambiser.data.build_cli
from hf_ambiser.cli import main
mains = {"hf-ambiser": main, "train.py": hf_ambiser.train.main}
for (program, *words), changes in json.loads(sys.argv[1]):
    os.environ.update(changes)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        call = mains.get(program)
        status = call(words) if call else hf_ambiser.data.build_cli.main(program, words)
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def commands(hub: HubEndpoint, home: Path, *cases: list[str], **environment: str) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of commands such as `["hf-ambiser", "push", ...]`; a corpus' name builds it.

    A case may end in a mapping of environment variables that are changed before it (and stay).
    """
    split = [(case[:-1], case[-1]) if isinstance(case[-1], dict) else (case, {}) for case in cases]
    variables = hub.environment(home, HF_HUB_DISABLE_PROGRESS_BARS="1", PYTHONPATH=str(ROOT), **environment)
    call = [sys.executable, "-c", _COMMANDS, json.dumps(split)]
    done = subprocess.run(call, capture_output=True, text=True, env=variables, timeout=300)
    answers = [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(answers) == len(cases), done.stderr[-4000:]
    return answers
