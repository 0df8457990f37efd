"""What /proc tells of processes."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone.

    Together with the pid it names one process for ever: pids are used again.
    """
    fields = _stat(pid)
    # A zombie has ended, only its parent has not looked yet.
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def children(pid: int) -> list[int]:
    """Pids of a process's children, dead ones that nobody waited for included."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [other for other in pids if (fields := _stat(other)) and int(fields[1]) == pid]


def send(pid: int, signum: signal.Signals) -> None:
    """Signals a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name: state, parent, …; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
