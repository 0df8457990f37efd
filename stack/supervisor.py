"""The supervisor: a daemon that brings one stack up, restarts what crashes, and takes everything down.

`gozon up` prepares HOME and detaches `python -m stack.supervisor HOME`. What it does is written to
HOME/state.json. SIGTERM or SIGINT stops everything; when it is killed the kernel ends its children (PDEATHSIG).
It has one thread, and starts children from it: PDEATHSIG tells of the death of a thread, not of a process.
"""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stack import edge, probes, servers
from stack.children import Child, Children, StartError
from stack.config import SERVICES
from stack.home import Home, Stack
from stack.processes import Stage, environment, migration, processes
from stack.state import State

LOG_BYTES = 64 * 1024 * 1024
LOG_CHECK_SECONDS = 10.0
# How long requests under way may take to end once the stack goes down.
DRAIN_SECONDS = 2.0
DRAIN_POLL_SECONDS = 0.03
# Exit codes, for whoever started us.
FAILED, ALREADY_RUNNING = 1, 75


class Supervisor:
    """Brings a stack up, keeps it up, takes it down."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._state = State(stack)
        self._children = Children(stack.home)
        self._all = {process.name: Child(process, self._children, self._state) for process in processes(stack)}

    async def run(self) -> int:
        """Runs until a signal, or a start that fails; returns the exit code."""
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        rotation = asyncio.create_task(self._cap_logs())
        start = asyncio.create_task(self._bring_up())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({start, stopped}, return_when=asyncio.FIRST_COMPLETED)
        error = start.exception() if start.done() else None
        if error:
            name, reason = (error.name, error.reason) if isinstance(error, StartError) else ("supervisor", repr(error))
            print(f"start failed: {name}: {reason}", flush=True)
            self._state.error(name, reason)
        elif start.done():
            print("running", flush=True)
            self._state.phase("running")
            await stopped
        await _cancel(start)
        self._state.phase("stopping")
        await self._take_down()
        await _cancel(rotation)
        await _cancel(stopped)
        self._state.phase("failed" if error else "stopped")
        print("stopped", flush=True)
        return FAILED if error else 0

    async def _bring_up(self) -> None:
        servers.write_configs(self._stack)
        edge.write(self._stack, self._stack.home.envoy_config)
        others = [name for name in self._names(Stage.SERVERS) if name != "postgres"]
        await _together(self._start_postgres(), *(self._start(name) for name in others))
        await _together(*(self._start(name) for name in self._names(Stage.SERVICES)))
        await _together(*(self._start(name) for name in (*self._names(Stage.WORKERS), *self._names(Stage.EDGE))))

    async def _start_postgres(self) -> None:
        if not self._stack.config.postgres:
            await self._start_own_postgres()
        async with self._step("databases"):
            await servers.create_databases(self._stack)
        await _together(*(self._migrate(name) for name in SERVICES))

    async def _start_own_postgres(self) -> None:
        if not self._stack.home.postgres_data.exists():
            async with self._step("initdb"):
                cluster = servers.NewCluster(self._stack)
                try:
                    await self._children.run("initdb", cluster.command, environment({}))
                    cluster.finish()
                finally:
                    cluster.discard()
        await self._start("postgres")

    async def _migrate(self, name: str) -> None:
        async with self._step(f"{name}-migrate"):
            await self._children.run(f"{name}-migrate", *migration(self._stack, name))

    async def _start(self, name: str) -> None:
        self._all[name].start()
        await self._all[name].first_ready()

    @asynccontextmanager
    async def _step(self, name: str) -> AsyncIterator[None]:
        self._state.step(name, "running")
        try:
            yield
        except BaseException:
            self._state.step(name, "failed")
            raise
        self._state.step(name, "done")

    async def _take_down(self) -> None:
        await self._drain_edge()
        for stage in reversed(Stage):
            await asyncio.gather(*(self._all[name].stop() for name in self._names(stage)))

    async def _drain_edge(self) -> None:
        """Lets the edge refuse new connections and end its requests: on SIGTERM it would drop them."""
        port = self._stack.config.ports["envoy-admin"]
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await probes.http_request("POST", port, "/drain_listeners?graceful")
                while await edge.active_requests(port):  # noqa: ASYNC110 - there is nothing to wait on
                    await asyncio.sleep(DRAIN_POLL_SECONDS)
        except probes.NO_ANSWER:
            pass  # not running, or long streams: those end with it

    def _names(self, stage: Stage) -> list[str]:
        return [name for name, child in self._all.items() if child.process.stage == stage]

    async def _cap_logs(self) -> None:
        """Keeps each log below twice LOG_BYTES: one old part and one that grows. Writers append, so this is safe."""
        while True:
            await asyncio.sleep(LOG_CHECK_SECONDS)
            for log in self._stack.home.logs.glob("*.log"):
                if log.stat().st_size > LOG_BYTES:
                    shutil.copyfile(log, log.with_suffix(".log.1"))
                    log.open("w").close()


async def _together(*jobs: Coroutine[Any, Any, None]) -> None:
    """Runs jobs at the same time; the first error cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


def main() -> int:
    """Supervises the stack in the home folder that is the only argument, until it is told to stop."""
    home = Home(Path(sys.argv[1]))
    home.create()
    lock = home.lock()
    if lock is None:
        print("a supervisor is running here already", flush=True)
        return ALREADY_RUNNING
    return asyncio.run(Supervisor(Stack.load(home)).run())


if __name__ == "__main__":
    sys.exit(main())
