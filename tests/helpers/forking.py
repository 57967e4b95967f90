"""What a process that forks children, which are killed, must see to first."""

from __future__ import annotations

import threading

import tqdm


def share_no_lock() -> None:
    """Give tqdm a lock of this process. A child killed while it holds tqdm's own one, a semaphore that forked
    processes share, leaves it locked, and every later child waits for ever at its first progress bar."""
    tqdm.tqdm.set_lock(threading.RLock())
