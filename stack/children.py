"""Children of the supervisor: starting them, noticing that they died, starting them again, stopping them."""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from typing import Literal

from stack import proc
from stack.home import Home
from stack.probes import ask
from stack.processes import Process, environment
from stack.state import State

PROBE_SECONDS = 0.03
READY_SECONDS = 60.0
# A process that died is started again after the first pause, doubled each time it dies soon, up to the last.
FIRST_PAUSE_SECONDS = 0.1
LAST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 10.0
# While the stack comes up, a process that dies this often before it was ever ready is given up.
TRIES = 3

_PR_SET_CHILD_SUBREAPER = 36


class StartError(Exception):
    """A step or process of the start failed; the stack goes down again."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class Children:
    """Starts programs and knows which are ours, so that what a dead one left behind can be told apart."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._pids: set[int] = set()
        # Orphans of our children become our own children.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self, name: str, argv: list[str], env: dict[str, str]) -> tuple[int, asyncio.Future[int]]:
        """Starts a program that writes to its log. Returns its pid and a future of its exit code."""
        with self._home.log(name).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - commands of stack/processes.py
                argv, env=env, cwd=self._home.path, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._pids.add(child.pid)
        loop = asyncio.get_running_loop()
        exited: asyncio.Future[int] = loop.create_future()
        # Readable as soon as the process is dead; no thread and no SIGCHLD handler needed.
        handle = os.pidfd_open(child.pid)

        def reap() -> None:
            loop.remove_reader(handle)
            os.close(handle)
            self._pids.discard(child.pid)
            code = child.wait()
            self._end_orphans()
            if not exited.done():
                exited.set_result(code)

        loop.add_reader(handle, reap)
        return child.pid, exited

    async def run(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        """Runs a program to its end. Raises StartError when it fails; kills it when cancelled."""
        pid, exited = self.start(name, argv, env)
        try:
            code = await asyncio.shield(exited)
        except asyncio.CancelledError:
            proc.send(pid, signal.SIGKILL)
            await exited
            raise
        if code != 0:
            raise StartError(name, describe_exit(code))

    def _end_orphans(self) -> None:
        """Ends what a dead child left: PostgreSQL's backends outlive a killed postmaster and would block the next."""
        for pid in proc.children(os.getpid()):
            if pid not in self._pids:
                proc.send(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


class Child:
    """One process that is kept running."""

    def __init__(self, process: Process, children: Children, state: State) -> None:
        self.process = process
        self._children = children
        self._state = state
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._pid: int | None = None
        self._restarts = 0
        self._task: asyncio.Task[None] | None = None
        state.process(
            process.name,
            state="waiting",
            pid=None,
            started=None,
            since=None,
            restarts=0,
            last_exit=None,
            port=process.port,
            metrics_port=process.metrics_port or None,
        )

    def start(self) -> None:
        """Starts it, and again whenever it dies, until `stop`."""
        self._task = asyncio.create_task(self._keep_running())

    async def first_ready(self) -> None:
        """Waits until it is ready for the first time. Raises StartError when it won't be."""
        assert self._task is not None
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._task}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._task.done():
            self._task.result()
        if not self._ready.is_set():
            raise StartError(self.process.name, f"was not ready within {READY_SECONDS:.0f} s")

    async def stop(self) -> None:
        """Asks it to stop, kills it when it does not, and returns when it is gone."""
        self._stopping.set()
        if self._task is None:
            return
        if self._pid is not None:
            self._change("stopping")
            proc.send(self._pid, self.process.stop_signal)
        done, _ = await asyncio.wait({self._task}, timeout=self.process.stop_seconds)
        if not done:
            if self._pid is not None:
                proc.send(self._pid, signal.SIGKILL)
            await asyncio.wait({self._task})
        failed = self._task.exception() is not None
        self._change("failed" if failed else "stopped")

    async def _keep_running(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            code = await self._run_once()
            if self._stopping.is_set():
                return
            if not self._ready.is_set() and self._restarts + 1 >= TRIES:
                raise StartError(self.process.name, f"died {TRIES} times: {describe_exit(code)}")
            if time.monotonic() - started >= STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._restarts += 1
            print(f"{self.process.name}: {describe_exit(code)}; starting it again in {pause:.1f} s", flush=True)
            self._change("restarting", restarts=self._restarts, last_exit=describe_exit(code))
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
                return
            except TimeoutError:
                pause = min(pause * 2, LAST_PAUSE_SECONDS)

    async def _run_once(self) -> int:
        process = self.process
        self._pid, exited = self._children.start(process.name, process.argv, environment(process.env))
        self._change("starting", since=time.time())
        watch = asyncio.create_task(self._watch())
        try:
            return await exited
        finally:
            watch.cancel()
            self._pid = None

    async def _watch(self) -> None:
        while not await ask(self.process.probe):  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(PROBE_SECONDS)
        self._ready.set()
        if not self._stopping.is_set():
            self._change("ready")

    def _change(
        self,
        state: Literal["starting", "ready", "restarting", "stopping", "stopped", "failed"],
        **facts: float | str,
    ) -> None:
        started = proc.start_ticks(self._pid) if self._pid else None
        self._state.process(self.process.name, state=state, pid=self._pid, started=started, **facts)


def describe_exit(code: int) -> str:
    """Says in words how a process ended, from its return code."""
    if code >= 0:
        return f"exited with code {code}"
    return f"killed by {signal.Signals(-code).name}"
