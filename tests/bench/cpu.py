"""What processes cost, as /proc tells."""

import os
import resource
from collections.abc import Mapping
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Measures from its creation until `stop`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._busy = _busy_seconds()
        self._before = cpu_seconds(self._pids)
        self._children = _children_seconds()

    def stop(self) -> tuple[dict[str, float], float, float]:
        """Returns CPU seconds: by process, of our own children that have ended meanwhile, and of everybody else."""
        used = {name: total - self._before[name] for name, total in cpu_seconds(self._pids).items()}
        children = _children_seconds() - self._children
        return used, children, _busy_seconds() - self._busy - sum(used.values()) - children


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Returns the CPU seconds each process has used by now, with all its descendants, living and dead."""
    stats = {int(entry.name): fields for entry in Path("/proc").iterdir() if (fields := _stat(entry))}
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(pid)

    def ticks(pid: int) -> int:
        if pid not in stats:
            return 0
        # User and system time of its own, and of the children it has waited for: ended backends of PostgreSQL.
        own = sum(map(int, stats[pid][11:15]))
        return own + sum(ticks(child) for child in children.get(pid, ()))

    return {name: ticks(pid) / TICKS_PER_SECOND for name, pid in pids.items()}


def resident_bytes(pids: Mapping[str, int]) -> dict[str, int]:
    """Returns how much memory each process has in RAM now, without that of its children."""
    return {name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for name, pid in pids.items()}


def _stat(entry: Path) -> list[str]:
    """Fields of /proc/PID/stat after the name: state, parent, …; empty when it is no process or gone."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdecimal() else []
    except (FileNotFoundError, ProcessLookupError):
        return []


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _busy_seconds() -> float:
    """CPU seconds that anybody has used on this machine."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / TICKS_PER_SECOND
