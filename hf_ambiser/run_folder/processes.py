"""Which machine and process this is, and whether another process of it still lives."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path


# The birth of a process that lives, where the system does not tell when it was born.
UNKNOWN = "unknown"


def this_host() -> str:
    """Name the machine, its boot and the process space: processes with the same name can see each other's ids."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def birth(pid: int) -> str:
    """Return when a process of this machine was born, `UNKNOWN` if the system does not tell, "" if it is not alive."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no system has so large a number
        return ""
    except PermissionError:
        pass  # it is another user's
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        # Linux may hide the processes of other users, and other systems have no such file.
        return UNKNOWN
    return "" if state == "Z" else fields[18]  # field 22 of proc(5): start time
