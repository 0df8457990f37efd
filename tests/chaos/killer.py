"""Kills everything in turn, in an order and at moments that a seed decides."""

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg

from stack.home import Stack
from tests.bench.stack import processes

BACKEND = "postgres backend"
"""A session of a service: PostgreSQL then ends all sessions and recovers, its first process survives."""
STORAGE = "nats and its storage"
"""All streams, consumers and messages are gone; the services declare the former anew and ask again for the latter."""
TASKS = "broker and its storage"
"""All tasks are gone; Orders and Payments ask again for what was not done."""
PROCESS_OF = {STORAGE: "nats", TASKS: "broker"}
"""Whose process is killed, where the victim is named otherwise."""
STORED_IN = {STORAGE: "nats/jetstream", TASKS: "broker/appendonlydir"}
"""Folders in the stack's home, for the victims that lose theirs."""
TAKERS = {STORAGE: "payments", TASKS: "worker"}
"""What the processes are called that take what is in there."""
UNTAKEN_SECONDS = 0.4
"""Less than these take to come back."""
BACKGROUND = ("beat", "broker", "dispatcher", "provider", "worker")
"""What the processes are called that pay out and process."""
BACK_SECONDS = 60.0
POLL_SECONDS = 0.02

Tell = Callable[[str], None]


@dataclass(slots=True)
class Kill:
    """One SIGKILL; times are of time.monotonic."""

    victim: str
    pid: int
    at: float
    back_at: float | None = None
    """When it was ready again; None when it did not come back."""


class Killer:
    """Kills processes of a stack, a session of PostgreSQL, and NATS and the broker together with their storage."""

    def __init__(self, stack: Stack, seed: int, tell: Tell) -> None:
        self.kills: list[Kill] = []
        self._stack = stack
        self._random = random.Random(seed)
        self._tell = tell

    def all_victims(self) -> list[str]:
        """Everything that can be killed."""
        return [*processes(self._stack), BACKEND, STORAGE, TASKS]

    def background(self) -> list[str]:
        """What of that pays out and processes; everything else can do without."""
        return [victim for victim in self.all_victims() if victim.startswith(BACKGROUND)]

    async def run(self, victims: Sequence[str], count: int, seconds: float) -> None:
        """Kills so many `victims` in about `seconds`, and returns when all that was killed is back, or given up.

        It does not wait for one to be back before it kills another, so outages overlap now and then.
        """
        watches: list[asyncio.Task[None]] = []
        for victim in self._sequence(victims, count):
            await asyncio.sleep(self._random.uniform(0.3, 1.7) * seconds / count)
            watches += await self.kill(victim)
        await asyncio.gather(*watches)

    async def kill(self, victim: str) -> list[asyncio.Task[None]]:
        """Kills once, and returns what waits until all that was killed is back."""
        watches = []
        if victim in TAKERS:
            # While nobody takes it, what is to be lost is in the storage.
            await self._until_ready(PROCESS_OF[victim], other_than=0)
            watches += [await self._kill(name) for name in processes(self._stack) if name.startswith(TAKERS[victim])]
            await asyncio.sleep(UNTAKEN_SECONDS)
        return [*watches, await self._kill(victim)]

    async def _kill(self, victim: str) -> asyncio.Task[None]:
        """Kills, and returns what waits until it is back."""
        kill, back = await (self._kill_backend() if victim == BACKEND else self._kill_process(victim))
        self.kills.append(kill)
        self._tell(f"SIGKILL to {victim}, pid {kill.pid}")
        return asyncio.create_task(self._watch(kill, back))

    def _sequence(self, victims: Sequence[str], count: int) -> Sequence[str]:
        """Each once in random order, then each once more, …"""
        chosen: list[str] = []
        while len(chosen) < count:
            chosen += self._random.sample(sorted(victims), len(victims))
        return chosen[:count]

    async def _kill_process(self, victim: str) -> tuple[Kill, Awaitable[None]]:
        name = PROCESS_OF.get(victim, victim)
        await self._until_ready(name, other_than=0)
        pid = processes(self._stack)[name]["pid"]
        os.kill(pid, signal.SIGKILL)
        if victim in STORED_IN:
            self._wipe(STORED_IN[victim])
        return Kill(victim, pid, time.monotonic()), self._until_ready(name, other_than=pid)

    def _wipe(self, folder: str) -> None:
        # Out of the way in one step, because the next process starts in a tenth of a second.
        wiped = self._stack.home.path / "wiped"
        (self._stack.home.path / folder).replace(wiped)
        shutil.rmtree(wiped)

    async def _kill_backend(self) -> tuple[Kill, Awaitable[None]]:
        await self._until_ready("postgres", other_than=0)
        connection = await asyncpg.connect(self._stack.superuser_url())
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        sessions = [row["pid"] for row in await connection.fetch(_SESSIONS)]
        pid = self._random.choice(sessions)
        os.kill(pid, signal.SIGKILL)

        async def back() -> None:
            # Our own session ends with all others; then new ones must be possible again.
            await ended.wait()
            while not await self._accepts_sessions():  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(POLL_SECONDS)

        return Kill(BACKEND, pid, time.monotonic()), back()

    async def _until_ready(self, name: str, *, other_than: int) -> None:
        """Waits until a process is ready, as another one than that with this pid."""
        while True:
            facts = processes(self._stack)[name]
            if facts["state"] == "ready" and facts["pid"] != other_than:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _accepts_sessions(self) -> bool:
        try:
            connection = await asyncpg.connect(self._stack.superuser_url())
            await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    async def _watch(self, kill: Kill, back: Awaitable[None]) -> None:
        try:
            await asyncio.wait_for(back, BACK_SECONDS)
        except TimeoutError:
            self._tell(f"{kill.victim} is not back after {BACK_SECONDS:.0f} s")
            return
        kill.back_at = time.monotonic()
        self._tell(f"{kill.victim} is back after {kill.back_at - kill.at:.2f} s")


_SESSIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname IN ('users', 'orders', 'payments') AND backend_type = 'client backend'
    ORDER BY backend_start
"""
