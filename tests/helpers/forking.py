"""Children that are forked: they need not import torch and transformers again, which takes longer than most tests."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable

import tqdm


def share_no_lock() -> None:
    """Give tqdm a lock of this process. A child killed while it holds tqdm's own one, a semaphore that forked
    processes share, leaves it locked, and every later child waits for ever at its first progress bar."""
    tqdm.tqdm.set_lock(threading.RLock())


def fork(body: Callable[[], object], **environment: str) -> int:
    """Call a function in a child with these environment variables; the child's process id.

    The child ends with status 0, with the status of a `SystemExit`, or with 1 after the traceback. It leaves nothing
    that a process does at its end, such as `atexit`, for that belongs to the process that was forked.
    """
    share_no_lock()
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.environ.update(environment)
        body()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def wait_for(*children: int) -> list[int]:
    """Exit status of each child, negative where a signal ended it."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
