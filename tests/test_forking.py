"""A killed child must not stop the children after it."""

from __future__ import annotations

import subprocess
import sys

from helpers.suite_methods import HELPERS, environment


CODE = """
import os, signal, tqdm
from helpers.forking import share_no_lock
share_no_lock()
list(tqdm.tqdm(range(3)))
child = os.fork()
if child == 0:
    tqdm.tqdm.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)
assert os.waitpid(child, 0)[1] == signal.SIGKILL
list(tqdm.tqdm(range(3)))
"""


def test_a_child_killed_while_it_draws_a_progress_bar_leaves_no_lock_behind():
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=60, env=environment())


def test_every_helper_that_forks_sees_to_it():
    forking = [path for path in HELPERS.glob("*.py") if "os.fork()" in path.read_text()]
    assert forking and all("share_no_lock()" in path.read_text() for path in forking)
