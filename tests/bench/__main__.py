"""`python -m tests.bench`: settled orders per second, latency and CPU of a stack of its own, beside pgbench's floor.

Everything is measured in one run on one machine, and the repeats take turns, so that noise hits all alike.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console

from stack.check import check
from stack.home import DEFAULT_HOME, Stack
from tests.bench import floor, latency, settled
from tests.bench.people import make_people
from tests.bench.report import FLOOR, LABELS, PIPELINED, Report
from tests.bench.stack import address, own_stack

SUBJECTS = (FLOOR, PIPELINED, *settled.TARGETS, "latency")
PEOPLE = 64
LATENCY_ORDERS = 200
STUCK_AFTER = 10.0
console = Console(highlight=False)

FLOOR_CLIENTS = 32
"""What pgbench is fastest with on two cores: more clients wait for the same rows and cores. An answer through the
services takes longer than a transaction, so as many requests in flight would measure their latency instead."""


class Bench:
    """Measures the chosen subjects on a running stack."""

    def __init__(self, stack: Stack, given: argparse.Namespace, report: Report) -> None:
        self._stack = stack
        self._only: list[str] = given.only
        self._seconds: float = given.seconds
        self._clients: int = given.clients
        self._repeats: int = given.repeats
        self._report = report
        self._tokens = stack.home.path / "tokens"

    async def run(self) -> None:
        """Measures everything. Errors: RuntimeError when anything was refused, lost or not PAID."""
        edge = address(self._stack, "edge")
        console.print(f"Making {PEOPLE} people with money")
        people = await make_people(edge, edge, PEOPLE)
        self._tokens.touch(mode=0o600)
        self._tokens.write_text("\n".join(person.token for person in people))
        if "latency" in self._only:
            await self._latency("grpc", lambda n: latency.over_grpc(address(self._stack, "orders"), people[0], n))
            await self._latency("grpc-edge", lambda n: latency.over_grpc(edge, people[0], n))
            await self._latency("rest-edge", lambda n: latency.over_rest(edge, people[0], n))
        floors = [subject for subject in (FLOOR, PIPELINED) if subject in self._only]
        loads = [subject for subject in settled.TARGETS if subject in self._only]
        if floors:
            await floor.prepare(self._stack, FLOOR_CLIENTS)
        for repeat in range(self._repeats + 1):
            # The first round warms up: caches, plans, connections, and the tables are no longer empty.
            seconds = self._seconds if repeat else min(self._seconds, 2.0)
            console.print(f"Round {repeat} of {self._repeats}" if repeat else "Warming up")
            for subject in floors:
                await self._floor(subject, repeat, seconds)
            for subject in loads:
                await self._load(subject, repeat, seconds)

    async def _latency(self, subject: str, measure: Callable[[int], Awaitable[latency.Latency]]) -> None:
        found = await measure(LATENCY_ORDERS)
        self._report.latency[subject] = found
        console.print(f"  {LABELS[subject]}: {found.median_ms:.2f} ms unloaded, p99 {found.p99_ms:.2f} ms")

    async def _floor(self, subject: str, repeat: int, seconds: float) -> None:
        number = 2 * repeat + (subject == PIPELINED)
        run = await floor.run(
            self._stack, pipelined=subject == PIPELINED, number=number, clients=FLOOR_CLIENTS, seconds=seconds
        )
        console.print(f"  {LABELS[subject]}: {run.rate:,.0f}/s")
        if repeat:
            self._report.floors.setdefault(subject, []).append(run)

    async def _load(self, subject: str, repeat: int, seconds: float) -> None:
        run = await settled.measure(self._stack, subject, self._tokens, seconds=seconds, clients=self._clients)
        console.print(f"  {LABELS[subject]}: {run.rate:,.0f}/s, {run.accepted} orders, all PAID")
        if repeat:
            self._report.settled.setdefault(subject, []).append(run)


async def bench(given: argparse.Namespace) -> Path:
    """Measures, prints the tables, and returns the file with the figures."""
    started = time.strftime("%Y-%m-%dT%H%M%S")
    facts = {"started": started, "cores": os.cpu_count(), "machine": platform.platform(), "options": vars(given)}
    report = Report(facts)
    console.print("Starting a stack of its own")
    async with own_stack("bench") as stack:
        await Bench(stack, given, report).run()
        checked = await check(stack, STUCK_AFTER)
        if not checked.ok:
            raise RuntimeError(
                f"gozon check found what must not be: {[each for each in checked.results if each.broken]}"
            )
    report.show(console)
    folder = DEFAULT_HOME / "bench"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / f"{started}.json"
    file.write_text(json.dumps(report.to_json(), indent=2))
    return file


def main() -> None:
    """Runs the benchmark; exits 1 when an order was refused, lost or not PAID."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (default 5)")
    parser.add_argument(
        "--clients", type=int, default=64, help=f"requests in flight (default 64); pgbench has {FLOOR_CLIENTS} clients"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (default 3)")
    parser.add_argument(
        "--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="SUBJECT", help=", ".join(SUBJECTS)
    )
    try:
        file = asyncio.run(bench(parser.parse_args()))
    except RuntimeError as error:
        console.print(f"✗ {error}", style="red", markup=False)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")
    console.print(f"All figures: {file}")


if __name__ == "__main__":
    main()
