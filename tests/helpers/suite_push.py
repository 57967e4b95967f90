"""Run as a process: pushes what it is told to, each push in a child of its own that a test may kill at any request.

    python suite_push.py RUN

Reads one repository name a line; prints the child's `pid N`, and when it has ended `ended CODE` (negative: killed by
that signal). What is slow, imports and figures, is done once before; waiting between repetitions is left out.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import huggingface_hub._commit_api
import huggingface_hub.hf_api
import huggingface_hub.lfs  # noqa: F401

from hf_ambiser.cards import read_facts
from hf_ambiser.hub.push import PushError, PushOptions, push
from hf_ambiser.runs.push import publication


def main(run: Path) -> None:
    time.sleep = lambda seconds: None  # type: ignore[assignment]
    whole = publication(read_facts(run))
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                push(whole, line.strip(), PushOptions(say=lambda text: None))
                code = 0
            except PushError as error:
                print(error, file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        print("pid", pid, flush=True)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
