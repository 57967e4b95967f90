"""Clients of the Hub on loopback: processes, for the test process itself is offline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from helpers.hub_endpoint import HubEndpoint


ROOT = Path(__file__).parents[2]


class HubClient:
    """A process that pushes and runs commands, for importing costs more than pushing; close it by `with`.

    Args:
        hub: The Hub; a request that it answers with `kill` kills the child that made it.
        home: The client's HF_HOME.
        run: A finished run, whose publication `push` sends.
        **environment: More environment variables.
    """

    def __init__(self, hub: HubEndpoint, home: Path, run: Path | None = None, **environment: str) -> None:
        self.pid = 0
        script = str(Path(__file__).with_name("hub_process.py"))
        environment = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **environment}
        self.process = subprocess.Popen(
            [sys.executable, script, *([str(run)] if run else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=hub.environment(home, **environment),
        )  # fmt: skip
        hub.on_kill = lambda: os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0

    def push(self, repo: str) -> int:
        """Push the run; the exit status, negative where the child was killed."""
        return self._do(repo)[1]

    def commands(self, *cases: list) -> list[tuple[int, str, str]]:
        """Exit status, output and errors of commands such as `["hf-ambiser", "push", ...]`; a corpus' name builds it.

        A case may end in a mapping of environment variables that are changed before it (and stay, for these cases).
        """
        answers, status = self._do([(c[:-1], c[-1]) if isinstance(c[-1], dict) else (c, {}) for c in cases])
        assert status == 0 and len(answers) == len(cases), (status, answers)
        return [tuple(answer) for answer in answers]

    def _do(self, task: object) -> tuple[list, int]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        answers: list = []
        for line in self.process.stdout:
            word, _, rest = line.partition(" ")
            if word == "pid":
                self.pid = int(rest)
            elif word == "ended":
                return answers, int(rest)
            else:
                answers.append(json.loads(line))
        raise AssertionError("the client has ended; what it said is on standard error")
