"""`python -m tests.bench`: orders, purchases and inventories per second, latency and CPU of a stack of its own.

Beside them stands pgbench's floor, which executes the same SQL. Inventories come from the cache, and where it says so
(misses) from the database.
Everything is measured in one run on one machine, and the repeats take turns, so that noise hits all alike.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console

from stack import seed
from stack.check import check
from stack.home import ADMIN_EMAIL, DEFAULT_HOME, Stack
from tests.bench import floor, latency, settled, shop_floor, shopping
from tests.bench.answered import TARGETS, Answered, Load
from tests.bench.people import make_people, sign_in
from tests.bench.report import FLOOR, LABELS, MISSES, PIPELINED, TITLES, Report
from tests.bench.stack import address, own_stack

SUBJECTS = (FLOOR, PIPELINED, *TARGETS, "latency")
PEOPLE = 64
LATENCY_ORDERS = 200
READS_A_SECOND = 5_000
"""More than can be had: so many users are there for each second, so that none is asked for twice in a run of misses."""
STUCK_AFTER = 10.0
TOKEN_SECONDS = 12 * 3600
console = Console(highlight=False)

FLOOR_CLIENTS = 32
"""What pgbench is fastest with on two cores: more clients wait for the same rows and cores. An answer through the
services takes longer than a transaction, so as many requests in flight would measure their latency instead."""


class Bench:
    """Measures the chosen subjects on a running stack."""

    def __init__(self, stack: Stack, given: argparse.Namespace, report: Report) -> None:
        self._stack = stack
        self._of: list[str] = given.of
        self._only: list[str] = given.only
        self._seconds: float = given.seconds
        self._clients: int = given.clients
        self._repeats: int = given.repeats
        self._report = report
        self._floor_runs = 0
        self._tokens, self._admin, self._ids = (stack.home.path / name for name in ("tokens", "admin", "ids"))
        for file in (self._tokens, self._admin):
            file.touch(mode=0o600)

    async def run(self) -> None:
        """Measures everything. Errors: RuntimeError when anything was refused or lost, or an order not PAID."""
        edge = address(self._stack, "edge")
        console.print(f"Making {PEOPLE} people with money")
        people = await make_people(edge, edge, PEOPLE)
        self._tokens.write_text("\n".join(person.token for person in people))
        if "latency" in self._only and "orders" in self._of:
            await self._latency("grpc", lambda n: latency.over_grpc(address(self._stack, "orders"), people[0], n))
            await self._latency("grpc-edge", lambda n: latency.over_grpc(edge, people[0], n))
            await self._latency("rest-edge", lambda n: latency.over_rest(edge, people[0], n))
        if FLOOR in self._only or PIPELINED in self._only:
            await floor.prepare(self._stack, FLOOR_CLIENTS)
        if "orders" in self._of:
            await self._orders()
        if "purchases" in self._of or "inventory" in self._of:
            await self._shop()

    async def _orders(self) -> None:
        async def one(subject: str, seconds: float) -> Answered:
            return await settled.measure(self._stack, subject, self._load("orders", seconds))

        await self._rounds("orders", TARGETS, one, {FLOOR: floor.order(False), PIPELINED: floor.order(True)})

    async def _shop(self) -> None:
        if FLOOR in self._only or PIPELINED in self._only:
            await shop_floor.prepare(self._stack)
        admin = await sign_in(address(self._stack, "edge"), ADMIN_EMAIL, self._stack.secrets.admin)
        self._admin.write_text(admin.token)
        goods = await asyncio.to_thread(seed.run, self._stack.edge_url, self._stack.secrets.admin)
        products = [product.id for product in goods if product.type == "CONSUMABLE"]
        if "purchases" in self._of:
            self._ids.write_text("\n".join(products))

            async def buy(subject: str, seconds: float) -> Answered:
                return await shopping.purchases(self._stack, subject, self._load("purchases", seconds))

            scripts = {FLOOR: shop_floor.purchase(False), PIPELINED: shop_floor.purchase(True)}
            await self._rounds("purchases", TARGETS, buy, scripts)
        if "inventory" in self._of:
            async with shopping.goods_of(self._stack, int(READS_A_SECOND * self._seconds), products) as owners:

                async def read(subject: str, seconds: float) -> Answered:
                    load = self._load("inventory", seconds)
                    target, cached = subject.removeprefix(MISSES), not subject.startswith(MISSES)
                    return await shopping.inventories(self._stack, target, load, owners, cached=cached)

                subjects = [*TARGETS, f"{MISSES}grpc-edge", f"{MISSES}rest-edge"]
                # One statement has nothing to be pipelined with.
                await self._rounds("inventory", subjects, read, {FLOOR: shop_floor.inventory()})

    def _load(self, work: str, seconds: float) -> Load:
        # An administrator may read everybody's inventory.
        tokens = self._admin if work == "inventory" else self._tokens
        return Load(work, tokens, seconds, self._clients, None if work == "orders" else self._ids)

    async def _rounds(
        self,
        part: str,
        subjects: Iterable[str],
        measure: Callable[[str, float], Awaitable[Answered]],
        scripts: Mapping[str, str],
    ) -> None:
        console.print(TITLES[part])
        found = self._report.parts[part]
        for repeat in range(self._repeats + 1):
            # The first round warms up: caches, plans, connections, and the tables are no longer empty.
            seconds = self._seconds if repeat else min(self._seconds, 2.0)
            console.print(f"Round {repeat} of {self._repeats}" if repeat else "Warming up")
            for subject, script in scripts.items():
                if subject in self._only:
                    pgbench = await self._floor(subject, script, seconds)
                    if repeat:
                        found.floors.setdefault(subject, []).append(pgbench)
            for subject in subjects:
                if subject.removeprefix(MISSES) in self._only:
                    run = await measure(subject, seconds)
                    console.print(f"  {LABELS[subject]}: {run.rate:,.0f}/s, {run.accepted} {part}")
                    if repeat:
                        found.loads.setdefault(subject, []).append(run)

    async def _latency(self, subject: str, measure: Callable[[int], Awaitable[latency.Latency]]) -> None:
        found = await measure(LATENCY_ORDERS)
        self._report.latency[subject] = found
        console.print(f"  {LABELS[subject]}: {found.median_ms:.2f} ms unloaded, p99 {found.p99_ms:.2f} ms")

    async def _floor(self, subject: str, script: str, seconds: float) -> floor.Floor:
        self._floor_runs += 1
        run = await floor.run(self._stack, script, number=self._floor_runs, clients=FLOOR_CLIENTS, seconds=seconds)
        console.print(f"  {LABELS[subject]}: {run.rate:,.0f}/s")
        return run


async def bench(given: argparse.Namespace) -> Path:
    """Measures, prints the tables, and returns the file with the figures."""
    started = time.strftime("%Y-%m-%dT%H%M%S")
    facts = {"started": started, "cores": os.cpu_count(), "machine": platform.platform(), "options": vars(given)}
    report = Report(facts)
    console.print("Starting a stack of its own")
    async with own_stack("bench", settings={"users.access_token_seconds": TOKEN_SECONDS}) as stack:
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
    """Runs the benchmark; exits 1 when anything was refused or lost, or an order not PAID."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (default 5)")
    parser.add_argument(
        "--clients", type=int, default=64, help=f"requests in flight (default 64); pgbench has {FLOOR_CLIENTS} clients"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (default 3)")
    parser.add_argument("--of", nargs="+", choices=TITLES, default=list(TITLES), metavar="PART", help=", ".join(TITLES))
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
