"""What the supervisor tells the world, in HOME/state.json."""

import os
import time
from typing import Any, Literal

from stack.home import Stack
from stack.proc import start_ticks

Phase = Literal["starting", "running", "stopping", "stopped", "failed"]


class State:
    """The file's content; every change is written at once."""

    def __init__(self, stack: Stack) -> None:
        self._home = stack.home
        self._data: dict[str, Any] = {
            "phase": "starting",
            "since": time.time(),
            "supervisor": {"pid": os.getpid(), "started": start_ticks(os.getpid())},
            # {"process": …, "reason": …} when the start failed.
            "error": None,
            # Parts of the start that are no processes: "running", "done" or "failed" by name.
            "steps": {},
            # By name: state, pid, started (ticks), since, restarts, last_exit, port, metrics_port.
            "processes": {},
        }

    def phase(self, phase: Phase) -> None:
        """Tells what the stack as a whole does."""
        self._data["phase"] = phase
        self._data["since"] = time.time()
        self._save()

    def error(self, name: str, reason: str) -> None:
        """Tells why the start failed."""
        self._data["error"] = {"process": name, "reason": reason}

    def step(self, name: str, state: Literal["running", "done", "failed"]) -> None:
        """Tells of a step of the start."""
        self._data["steps"][name] = state
        self._save()

    def process(self, name: str, **facts: Any) -> None:
        """Tells of a process."""
        self._data["processes"].setdefault(name, {}).update(facts)
        self._save()

    def _save(self) -> None:
        self._home.save_state(self._data)
