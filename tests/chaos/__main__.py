"""`python -m tests.chaos`: kill -9 of everything in turn under load, then proof that no money was lost or doubled."""

import argparse
import asyncio
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stack.home import ADMIN_EMAIL, DEFAULT_HOME, Stack
from tests.bench.people import Person, make_people, sign_in
from tests.bench.stack import address, own_stack, processes
from tests.chaos.killer import BACKEND, PROCESS_OF, Kill, Killer
from tests.chaos.shoppers import CHANNEL_OPTIONS, Book, GrpcShopper, RestShopper, Shopper
from tests.chaos.verify import SHOWN, settle, violations

INSTANCES = {"users": 2, "orders": 2, "payments": 2}
PEOPLE = 12
RICH, POOR = 1_000_000, 500
THINK_SECONDS = 0.1
AFTERMATH_SECONDS = 5.0
"""For so long after something is back, refusals are put down to its death."""
console = Console(highlight=False)


async def chaos(seed: int, kills: int | None, seconds: float) -> list[str]:
    """Starts a stack, loads it, kills, waits until all is settled, and returns what is wrong."""
    async with own_stack("chaos", INSTANCES, log_level="info") as stack:
        books = await _people(stack)
        admin = await sign_in(address(stack, "edge"), ADMIN_EMAIL, stack.secrets.admin)
        began = time.monotonic()
        killer = Killer(stack, seed, lambda line: console.print(f"  {time.monotonic() - began:5.1f} s  {line}"))
        async with (
            grpc.aio.insecure_channel(address(stack, "edge"), options=CHANNEL_OPTIONS) as channel,
            httpx.AsyncClient(base_url=stack.edge_url) as client,
        ):
            shoppers = _shoppers(books, admin, seed, channel, client)
            stop = asyncio.Event()
            shopping = asyncio.gather(*(shopper.shop(stop) for shopper in shoppers))
            await killer.run(kills or len(killer.all_victims()), seconds)
            stop.set()
            await shopping
        console.print(f"All requests are answered after {time.monotonic() - began:.0f} s; waiting until all settle")
        found = [f"{kill.victim} did not come back" for kill in killer.kills if kill.back_at is None]
        settled = None
        try:
            settled = await settle(stack)
            console.print(f"Settled after another {settled:.1f} s")
            found += await violations(stack, books)
        except TimeoutError:
            found.append("not settled in time: something is stuck")
        _show(stack, books, killer.kills)
        _keep(
            stack,
            {
                "seed": seed,
                "seconds": seconds,
                "kills": [
                    {
                        "victim": kill.victim,
                        "at": kill.at - began,
                        "back_after": kill.back_at and kill.back_at - kill.at,
                    }
                    for kill in killer.kills
                ],
                "orders": sum(len(book.orders) for book in books),
                "settled_after": settled,
                "violations": found,
            },
        )
    return found


async def _people(stack: Stack) -> list[Book]:
    edge = address(stack, "edge")
    books = []
    for funds in (RICH, POOR):
        people = await make_people(edge, edge, PEOPLE // 2, funds)
        books += [Book(person, funds) for person in people]
    return books


def _shoppers(
    books: Sequence[Book], admin: Person, seed: int, channel: grpc.aio.Channel, client: httpx.AsyncClient
) -> list[Shopper]:
    """Every other one shops over REST."""
    return [
        GrpcShopper(book, admin, f"{seed}-{number}", THINK_SECONDS, channel)
        if number % 2
        else RestShopper(book, admin, f"{seed}-{number}", THINK_SECONDS, client)
        for number, book in enumerate(books)
    ]


def _show(stack: Stack, books: Sequence[Book], kills: Sequence[Kill]) -> None:
    outages = [(kill.at, (kill.back_at or float("inf")) + AFTERMATH_SECONDS) for kill in kills]
    refusals = Counter(
        (kind, any(begin <= at <= end for begin, end in outages)) for book in books for at, kind in book.refused
    )
    table = Table(title="How requests were refused", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("times", justify="right")
    table.add_column("while something was dead")
    table.add_column("kind")
    for (kind, excused), count in refusals.most_common():
        table.add_row(str(count), "yes" if excused else "no", kind)
    console.print(table)
    killed = Counter(PROCESS_OF.get(kill.victim, kill.victim) for kill in kills if kill.victim != BACKEND)
    for name, facts in processes(stack).items():
        if facts["restarts"] != killed[name]:
            console.print(f"{name} was killed {killed[name]} times but started again {facts['restarts']} times")
    orders = [order for book in books for order in book.orders.values()]
    console.print(
        f"{len(kills)} kills, {len(orders)} orders accepted, {sum(order.canceled for order in orders)} canceled, "
        f"{sum(order.shipped for order in orders)} shipped, {sum(order.refunded > 0 for order in orders)} refunded in "
        f"part, {sum(book.deposited for book in books)} deposited, "
        f"{sum(book.replays for book in books)} answered requests repeated"
    )


def _keep(stack: Stack, facts: dict[str, Any]) -> None:
    """Writes down what was done, in seconds since the beginning, and keeps the logs if something is wrong."""
    folder: Path = DEFAULT_HOME / "chaos" / f"{time.strftime('%Y-%m-%dT%H%M%S')}-{facts['seed']}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    file = folder.with_suffix(".json")
    file.write_text(json.dumps(facts, indent=2))
    console.print(f"What was killed when: {file}")
    if facts["violations"]:
        shutil.copytree(stack.home.logs, folder)
        console.print(f"The logs are in {folder}")


def main() -> None:
    """Runs chaos once; exits 1 and says what is wrong when anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats the order and the gaps of an earlier run's kills")
    parser.add_argument(
        "--kills", type=int, help="how many (default: each process, a PostgreSQL backend, and NATS with its storage)"
    )
    parser.add_argument("--seconds", type=float, default=50, help="over how long they are spread (default 50)")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    console.print(f"Seed {seed}")
    try:
        found = asyncio.run(chaos(seed, given.kills, given.seconds))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")
    for violation in found[:SHOWN]:
        console.print(f"✗ {violation}", style="red", markup=False)
    if found:
        console.print(f"✗ {len(found)} violations; repeat with --seed {seed}", style="red")
        sys.exit(1)
    console.print("✓ Every accepted order came to its end, no money is lost or doubled, nothing is stuck")


if __name__ == "__main__":
    main()
