"""`python -m tests.bench.outage`: reads of inventories through the edge while Valkey answers, is dead, and is frozen.

Requests come at a fixed rate, whether or not those before are answered, and each one's time counts from when it was
due. A read that is not answered with 200, one in a hundred that takes 100 ms longer than with the cache, or a cache
that nobody asks after it has come back, is an error.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles

import uvloop
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stack import seed
from stack.home import ADMIN_EMAIL, Stack
from tests.bench import asked
from tests.bench.asked import rest_requests
from tests.bench.people import sign_in
from tests.bench.rest_load import is_whole
from tests.bench.shopping import cache_reads, goods_of
from tests.bench.stack import WORKERLESS, address, own_stack, processes

USERS = 64
ALLOWED_MS = 100.0
"""What the 99th percentile may be more without the cache."""
ANSWER_SECONDS = 20.0
WARM_SECONDS = 2.0
CONNECTIONS = 64
ANSWER_BYTES = 65_536
"""Of an answer at a time."""
OK = b"HTTP/1.1 200 "
OUTCOMES = ("hit", "miss", "skipped", "failed")
console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Phase:
    """What was seen while Valkey was in one state."""

    name: str
    took_ms: Sequence[float]
    refused: Mapping[str, int]
    """Answers other than 200, and connections that broke, by kind."""
    reads: Mapping[str, int]
    """How reads of the cache ended."""

    def percentile(self, number: int) -> float:
        """The time that so many of a hundred requests did not take longer than, in milliseconds."""
        return quantiles(self.took_ms, n=100, method="inclusive")[number - 1]


@contextmanager
def dead(stack: Stack) -> Iterator[None]:
    """Ends Valkey, and lets nobody start it until the end."""
    supervisor = stack.home.state()["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(processes(stack)["valkey"]["pid"], signal.SIGKILL)
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


@contextmanager
def frozen(stack: Stack) -> Iterator[None]:
    """Has Valkey take connections and commands, and answer none, until the end."""
    valkey = processes(stack)["valkey"]["pid"]
    os.kill(valkey, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey, signal.SIGCONT)


async def read(target: str, requests: Iterator[bytes], rate: float, seconds: float) -> list[tuple[float, str]]:
    """Sends `rate` requests a second: what each took in milliseconds, and what went wrong, if anything.

    There are connections for many at once; who finds none waits, and that counts.
    """
    host, _, port = target.rpartition(":")
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS)]
    # The last one that was given back comes first, so that as few as possible are in use.
    idle: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
    for connection in connections:
        idle.put_nowait(connection)
    began = time.perf_counter()

    async def one(number: int, request: bytes) -> tuple[float, str]:
        due = began + number / rate
        await asyncio.sleep(due - time.perf_counter())
        connection = await idle.get()
        try:
            answer = await _answer(*connection, request)
            problem = "" if answer.startswith(OK) else answer[:300].decode()
        except OSError as error:
            problem = repr(error)
            connections.append(connection := await asyncio.open_connection(host, int(port)))
        idle.put_nowait(connection)
        return (time.perf_counter() - due) * 1e3, problem

    try:
        async with asyncio.timeout(seconds + ANSWER_SECONDS):
            return await asyncio.gather(*(one(n, next(requests)) for n in range(round(rate * seconds))))
    finally:
        for _, writer in connections:
            writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    answer = b""
    while not is_whole(answer):
        if not (data := await reader.read(ANSWER_BYTES)):
            raise ConnectionError("closed")
        answer += data
    return answer


async def outage(rate: float, seconds: float) -> list[str]:
    """Measures, prints what it finds, and returns what must not be."""
    console.print("Starting a stack of its own")
    async with own_stack("outage", WORKERLESS) as stack:
        edge = address(stack, "edge")
        admin = await sign_in(edge, ADMIN_EMAIL, stack.secrets.admin)
        products = [product.id for product in await asyncio.to_thread(seed.run, stack.edge_url, stack.secrets.admin)]
        async with goods_of(stack, USERS, products) as users:
            requests = rest_requests(asked.requests("inventory", [admin.token], users), edge)

            async def phase(name: str) -> Phase:
                console.print(f"  {name}")
                before = await cache_reads(stack)
                answers = await read(edge, requests, rate, seconds)
                reads = await cache_reads(stack) - before
                refused = Counter(problem for _, problem in answers if problem)
                return Phase(name, [took for took, _ in answers], refused, reads)

            await read(edge, requests, rate, WARM_SECONDS)
            phases = [await phase("answers")]
            with dead(stack):
                phases.append(await phase("is dead"))
            phases.append(await phase("is back"))
            with frozen(stack):
                phases.append(await phase("is frozen"))
            phases.append(await phase("is back"))
    show(phases)
    return [problem for each in phases for problem in judge(each, phases[0])]


def judge(phase: Phase, usual: Phase) -> list[str]:
    """Returns what must not be in a phase, compared with the one in which the cache answers."""
    problems = [f"Valkey {phase.name}: {number} times {kind}" for kind, number in phase.refused.items()]
    if (more := phase.percentile(99) - usual.percentile(99)) > ALLOWED_MS:
        problems.append(f"Valkey {phase.name}: p99 is {more:.0f} ms more")
    hits = phase.reads.get("hit", 0)
    if phase.name.endswith(("answers", "back")) and hits < len(phase.took_ms) / 2:
        problems.append(f"Valkey {phase.name}: only {hits} of {len(phase.took_ms)} inventories came from it")
    return problems


def show(phases: Sequence[Phase]) -> None:
    """Prints the table."""
    table = Table(
        title="Inventories through the edge, ms, and how the cache was read",
        title_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
    )
    table.add_column("Valkey", no_wrap=True)
    for heading in ("reads", "not 200", "p50", "p99", "worst", *OUTCOMES):
        table.add_column(heading, justify="right")
    for phase in phases:
        times = (phase.percentile(50), phase.percentile(99), max(phase.took_ms))
        numbers = (len(phase.took_ms), sum(phase.refused.values()))
        table.add_row(
            phase.name,
            *map(str, numbers),
            *(f"{ms:.1f}" for ms in times),
            *(str(phase.reads.get(outcome, 0)) for outcome in OUTCOMES),
        )
    console.print(table)


def main() -> None:
    """Measures; exits 1 when the cache's absence is an error to anybody, or lasts."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.outage", description=__doc__)
    parser.add_argument("--rate", type=float, default=100, help="reads a second (default 100)")
    parser.add_argument("--seconds", type=float, default=20, help="of each state of Valkey (default 20)")
    given = parser.parse_args()
    try:
        problems = uvloop.run(outage(given.rate, given.seconds))
    except (RuntimeError, OSError) as error:
        problems = [repr(error)]
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")
    for problem in problems:
        console.print(f"✗ {problem}", style="red", markup=False, soft_wrap=True)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
