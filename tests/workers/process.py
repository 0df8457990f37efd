"""A worker of a test's own, beside those of a stack or instead of them."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from stack import binaries, proc
from stack.home import Stack
from stack.processes import environment, worker_env
from tests.support import PATIENCE_SECONDS, eventually, free_port, unique


async def metrics(port: int, name: str) -> list[tuple[dict[str, str], float]]:
    """Returns the samples of a metric at a metrics port: labels and value."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    families = text_string_to_metric_families(text)
    return [(sample.labels, sample.value) for family in families for sample in family.samples if sample.name == name]


class Worker:
    """A worker of one kind, to be killed, or stopped as its supervisor would."""

    def __init__(self, stack: Stack, kind: str, folder: Path, **settings: float | str) -> None:
        """`settings` are those of WorkerSettings that are not as in the stack."""
        self._port = free_port()
        self._kind = kind
        self._log = folder / f"{unique(kind)}.log"
        chosen = {f"GOZON_{name.upper()}": str(value) for name, value in settings.items()}
        self._env = environment(worker_env(stack, self._port) | chosen)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it and waits until it takes tasks."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and nobody else is waiting
                [*binaries.dying_with_parent("KILL"), *binaries.workers("work", self._kind)],
                env=self._env,
                stdout=log,
                stderr=log,
                # A group of its own, to be killed with all its children.
                start_new_session=True,
            )

        async def answers() -> bool:
            try:
                await self.ended()
            except httpx.TransportError:
                return False
            return True

        await eventually(answers)

    async def ended(self) -> dict[tuple[str, str], int]:
        """Returns how many tasks have ended, by name and outcome."""
        samples = await metrics(self._port, "tasks_total")
        return {(labels["task"], labels["outcome"]): int(value) for labels, value in samples}

    async def running(self) -> int:
        """Returns how many tasks it is at."""
        return int(sum(value for _, value in await metrics(self._port, "tasks_running")))

    def log(self) -> list[str]:
        """Returns what it has logged, line by line."""
        return self._log.read_text().splitlines()

    def signal_children(self, number: signal.Signals) -> None:
        """Sends a signal to the processes that run tasks."""
        assert self._process is not None
        for child in proc.children(self._process.pid):
            proc.send(child, number)

    async def stop(self) -> int:
        """Asks it to stop, waits for that, and returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        code = await asyncio.to_thread(self._process.wait, PATIENCE_SECONDS)
        self._process = None
        return code

    def kill(self) -> None:
        """Ends it and its children as a crash would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
