"""`python -m tests.bench.push`: thousands of sockets while orders settle: who hears what, how soon, at what cost.

Each user has a socket through the edge, on one of several instances of push, and orders settle at a fixed rate. Then
what each user heard is compared with what PostgreSQL has, and its order with that of the stream PUSH: a message that is
lost, doubled, somebody else's or out of order is an error. Times count from the commit as PostgreSQL notes it
(track_commit_timestamp): this machine's clock, just before the commit is written to the disk.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import quantiles

import asyncpg
import grpc
import httpx
import structlog
import uvloop
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gozon.orders.v1.orders_pb2 import CreateOrderRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from kit.ids import new_id
from services.push.hub import HELLO
from services.users.tokens import TokenIssuer
from stack.home import Stack
from tests.bench import told
from tests.bench.asked import PROTO
from tests.bench.bulk import load
from tests.bench.cpu import Meter, resident_bytes
from tests.bench.settled import wait_until_settled
from tests.bench.stack import WORKERLESS, address, own_stack, pids
from tests.bench.told import Fact, Heard, Line
from tests.chaos.killer import Killer

TOKEN_SECONDS = 3600
SILENT_SECONDS = 5.0
"""So long nothing is told, for what sockets cost by themselves."""
ANSWER_SECONDS = 20.0
OPEN_SECONDS = 120.0
HEARD_SECONDS = 30.0
"""After the last order was paid, until everybody must have heard of it."""
LINGER_SECONDS = 1.0
"""For what is told once too often."""
POLL_SECONDS = 0.1
ENVOY, CLIENTS = "envoy", "clients"
console = Console(highlight=False)


@dataclass
class Found:
    """All that was measured."""

    due: Mapping[Fact, float]
    """What users must have been told, and when it was committed (Unix seconds)."""
    script: Mapping[str, Sequence[Line]]
    heard: Mapping[str, Heard]
    seconds: float
    sockets: Mapping[str, int]
    """By process, as are the others."""
    empty_bytes: Mapping[str, int]
    open_bytes: Mapping[str, int]
    """In RAM without sockets, and with them before anything was told."""
    silent_cpu: Mapping[str, float]
    """Seconds a second while nothing is told."""
    cpu: Mapping[str, float]
    """Seconds."""
    others_cores: float
    """How many cores everybody else kept busy meanwhile, the services and servers too."""

    def problems(self) -> list[str]:
        """Returns what must not be."""
        facts_of: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.due:
            facts_of[fact.user_id].append(fact)
        counted: Counter[str] = Counter()
        for user_id, heard in self.heard.items():
            counted["that say that something may be missing"] += heard.greetings != [HELLO]
            counted += told.judge(facts_of[user_id], self.script[user_id], heard.lines)
        found = [f"{number} messages {kind}" for kind, number in counted.items() if number]
        return found + [f"{name} has no sockets" for name, number in self.sockets.items() if not number]


async def measure(sockets: int, instances: int, rate: float, seconds: float) -> Found:
    """Measures. Errors: RuntimeError when an order is not paid, or a socket is refused or closed."""
    console.print("Starting a stack of its own")
    async with own_stack("push", WORKERLESS | {"push": instances}) as stack:
        await _note_commits(stack)
        console.print(f"Making {sockets:,} users with money, and opening their sockets")
        users = [new_id() for _ in range(sockets)]
        await load(stack, dict.fromkeys(users, 1))
        issuer = TokenIssuer(stack.home.path / "keys", TOKEN_SECONDS)
        tokens = [issuer.issue(user_id, []) for user_id in users]
        watched = {name: pid for name, pid in pids(stack).items() if name == ENVOY or name.startswith("push")}
        empty_bytes = resident_bytes(watched)
        async with _clients(stack, tokens) as clients:
            open_bytes = resident_bytes(watched)
            number_of = {**await _sockets_on(stack), ENVOY: sockets, CLIENTS: sockets}
            meter = Meter(watched := watched | {CLIENTS: clients.pid})
            await asyncio.sleep(SILENT_SECONDS)
            silent, _, _ = meter.stop()
            console.print(f"{rate:g} orders a second for {seconds:g} s")
            meter, began = Meter(watched), time.time()
            orders = await _order(stack, tokens, rate, seconds)
            due = await _until_heard(stack, clients, began, sockets)
            cpu, _, others = meter.stop()
            took = time.time() - began
        if sum(fact.type == told.PAID for fact in due) != orders:
            raise RuntimeError(f"{orders} orders were accepted, and not all of them paid")
        script, heard = await told.script(stack, users), told.read(stack.home.path / "heard", users)
    silent = {name: used / SILENT_SECONDS for name, used in silent.items()}
    return Found(due, script, heard, took, number_of, empty_bytes, open_bytes, silent, cpu, others / took)


async def _note_commits(stack: Stack) -> None:
    """Has PostgreSQL note when transactions are committed, which takes a new start."""
    connection = await asyncpg.connect(stack.superuser_url())
    await connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    await connection.close()
    await asyncio.gather(*await Killer(stack, 0, lambda _: None).kill("postgres"))


@asynccontextmanager
async def _clients(stack: Stack, tokens: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs the process with the sockets, which are open; at the end it writes down what was heard."""
    files = {name: stack.home.path / name for name in ("tokens", "heard")}
    files["tokens"].touch(mode=0o600)
    files["tokens"].write_text("\n".join(tokens))
    command = ["-m", "tests.bench.sockets", stack.edge_url, *(f"--{name}={file}" for name, file in files.items())]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            if await process.stdout.readline() != b"open\n":
                raise RuntimeError("not all sockets were opened")
        yield process
        process.stdin.close()
        async with asyncio.timeout(ANSWER_SECONDS):
            if await process.wait():
                raise RuntimeError("a socket was closed")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _sockets_on(stack: Stack) -> dict[str, int]:
    """Returns how many sockets each instance has."""
    found = {}
    async with httpx.AsyncClient(trust_env=False) as client:
        for name in stack.config.instance_names("push"):
            lines = (await client.get(f"http://{address(stack, f'{name}-metrics')}/metrics")).text.splitlines()
            found[name] = next(round(float(line.split()[-1])) for line in lines if line.startswith("push_sockets "))
    return found


async def _order(stack: Stack, tokens: Sequence[str], rate: float, seconds: float) -> int:
    """Has users order in turn, directly at Orders, so that the edge has nothing but sockets; returns how many orders.

    Errors: grpc.RpcError when one is refused.
    """
    began, run = time.perf_counter(), new_id()
    async with grpc.aio.insecure_channel(address(stack, "orders")) as channel:
        stub = OrdersServiceStub(channel)

        async def one(number: int) -> None:
            await asyncio.sleep(began + number / rate - time.perf_counter())
            request = CreateOrderRequest.FromString(PROTO)
            request.description = f"{run}-{number}"
            token = tokens[number % len(tokens)]
            metadata = (("authorization", f"Bearer {token}"), ("idempotency-key", request.description))
            await stub.CreateOrder(request, metadata=metadata, timeout=ANSWER_SECONDS)

        return len(await asyncio.gather(*map(one, range(round(rate * seconds)))))


async def _until_heard(
    stack: Stack, clients: asyncio.subprocess.Process, began: float, greetings: int
) -> dict[Fact, float]:
    """Returns what users must have heard, once that much was heard, or should have been."""
    connection = await asyncpg.connect(stack.superuser_url("orders"))
    await wait_until_settled(connection)
    await connection.close()
    due = await told.due(stack, began)
    deadline = time.monotonic() + HEARD_SECONDS
    while await _heard_by(clients) < len(due) + greetings and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(POLL_SECONDS)
    await asyncio.sleep(LINGER_SECONDS)
    return due


async def _heard_by(clients: asyncio.subprocess.Process) -> int:
    assert clients.stdin is not None
    assert clients.stdout is not None
    clients.stdin.write(b"\n")
    async with asyncio.timeout(ANSWER_SECONDS):
        line = await clients.stdout.readline()
    if not line:
        raise RuntimeError("a socket was closed")
    return int(line)


def show(found: Found) -> None:
    """Prints the tables."""
    console.print(_times(found))
    console.print(_costs(found))


def _times(found: Found) -> Table:
    """How long after its commit a message was heard, and after the making of its event, which is a bit earlier."""
    table = _table("Commit to client, ms", "messages", "p50", "p99", "worst", "event p50", "event p99")
    lines = [
        (*line, *times) for heard in found.heard.values() for line, times in zip(heard.lines, heard.times, strict=True)
    ]
    for kind in (told.CREATED, told.PAID, told.BALANCE, "all"):
        chosen = [(fact, at, made) for _, fact, at, made in lines if kind in (fact.type, "all") and fact in found.due]
        if len(chosen) < 2:
            continue
        commits = [(at - found.due[fact]) * 1e3 for fact, at, _ in chosen]
        events = [(at - made) * 1e3 for _, at, made in chosen]
        ms = (*_percentiles(commits), max(commits), *_percentiles(events))
        table.add_row(kind, f"{len(chosen):,}", *(f"{one:.1f}" for one in ms))
    return table


def _costs(found: Found) -> Table:
    """What sockets cost: memory, CPU while nothing is told, and CPU of each message, pings included."""
    messages = sum(len(heard.lines) for heard in found.heard.values())
    table = _table(
        f"Cost at {messages / found.seconds:,.0f} messages a second; all others used {found.others_cores:.2f} cores",
        *("sockets", "MiB without", "MiB with", "KiB a socket", "silent, of a core", "CPU µs a message"),
    )
    for name, number in found.sockets.items():
        memory = ["", "", ""]
        if name in found.empty_bytes:
            empty, full = found.empty_bytes[name], found.open_bytes[name]
            memory = [f"{empty / 2**20:.0f}", f"{full / 2**20:.0f}", f"{(full - empty) / max(number, 1) / 1024:.1f}"]
        cpu = [f"{found.silent_cpu[name]:.1%}", f"{found.cpu[name] / max(messages, 1) * 1e6:.0f}"]
        table.add_row(name, f"{number:,}", *memory, *cpu)
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column(no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def main() -> None:
    """Measures; exits 1 when a user has not heard just what concerns him, once and in order."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.push", description=__doc__)
    parser.add_argument("--sockets", type=int, default=2_000, help="of a user each (default 2,000)")
    parser.add_argument("--instances", type=int, default=2, help="of push (default 2)")
    parser.add_argument("--rate", type=float, default=200, help="orders a second (default 200)")
    parser.add_argument("--seconds", type=float, default=15, help="how long (default 15)")
    given = parser.parse_args()
    # Reading the stream tells that it does so.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        found = uvloop.run(measure(given.sockets, given.instances, given.rate, given.seconds))
        problems = found.problems()
        show(found)
    except (RuntimeError, OSError) as error:
        problems = [repr(error)]
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")
    for problem in problems:
        console.print(f"✗ {problem}", style="red", markup=False, soft_wrap=True)
    if not problems:
        console.print("✓ every user heard just what concerns him, once and in order")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
