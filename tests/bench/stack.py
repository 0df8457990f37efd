"""A stack of one's own: on free ports, in a folder of its own under .gozon, gone at the end."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stack import control
from stack.config import SYSTEM, WORKERS, LogLevel, Options
from stack.home import DEFAULT_HOME, Home, Stack

RATE_LIMIT_SCALE = 1_000_000
"""Limits are meant for people, not for a load generator."""
WORKERLESS = dict.fromkeys(WORKERS, 0)
"""Instances of a stack where nobody orders: workers are a third of its start."""


@asynccontextmanager
async def own_stack(
    name: str,
    instances: Mapping[str, int] | None = None,
    *,
    log_level: LogLevel = "warning",
    settings: Mapping[str, int] | None = None,
) -> AsyncIterator[Stack]:
    """Starts a stack and stops it at the end, whatever happens. Errors: stack.control.UpError."""
    # Not in /tmp: that may lie in memory, where a commit costs nothing.
    DEFAULT_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = Home(Path(tempfile.mkdtemp(prefix=f"{name}-", dir=DEFAULT_HOME)))
    options = Options(
        free_ports=True,
        # Its audit would be measured too.
        instances={SYSTEM: 0, **(instances or {})},
        rate_limit_scale=RATE_LIMIT_SCALE,
        log_level=log_level,
        settings=dict(settings or {}),
    )
    me = asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    try:
        await asyncio.to_thread(control.up, home, options, lambda _: None)
        yield Stack.load(home)
    finally:
        control.down(home)
        shutil.rmtree(home.path, ignore_errors=True)


def address(stack: Stack, process: str) -> str:
    """Where a process listens: host:port."""
    return f"127.0.0.1:{stack.config.ports[process]}"


def processes(stack: Stack) -> dict[str, dict[str, Any]]:
    """What the supervisor knows of each process now, by name: pid, state, restarts (see stack/state.py)."""
    found: dict[str, dict[str, Any]] = stack.home.state()["processes"]
    return found


def pids(stack: Stack) -> dict[str, int]:
    """The pid of each process that runs, by name."""
    return {name: facts["pid"] for name, facts in processes(stack).items() if facts["pid"]}
