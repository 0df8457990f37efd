"""`python -m tests.chaos`: kill -9 of everything in turn under load, then proof that nothing was lost or doubled.

People order, buy goods and use them, look at what they own, and are paid out. `--payouts 20`: nobody orders, 20 payouts
are made a second, and what pays them is killed, again and again.
"""

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

import asyncpg
import grpc
import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gozon.shop.v1.shop_pb2 import Product
from stack.home import ADMIN_EMAIL, DEFAULT_HOME, Stack
from stack.provider import MISBEHAVIOUR
from tests.bench.people import Person, make_people, sign_in
from tests.bench.stack import address, own_stack, processes
from tests.chaos.buyers import Buyer, GrpcBuyer, RestBuyer, add_products
from tests.chaos.cleaner import clean_up_now_and_then
from tests.chaos.clients import CHANNEL_OPTIONS, Book
from tests.chaos.killer import BACKEND, PROCESS_OF, Kill, Killer
from tests.chaos.payees import GrpcPayee, Payee, RestPayee
from tests.chaos.shoppers import GrpcShopper, RestShopper, Shopper
from tests.chaos.verify import SHOWN, provided_by, settle, violations
from tests.workers.simulator import Provider

INSTANCES = {"users": 2, "orders": 2, "payments": 2, "worker-payouts": 2}
SETTINGS = {
    "worker.process_order_seconds": 0,
    "worker.provider_seconds": 1,
    # What a dead worker had taken is given to another one while we watch.
    "worker.task_seconds": 20,
    "worker.visibility_seconds": 81,
}
PAYOUTS_PER_SECOND = 5.0
"""Beside shopping."""
PURCHASES_PER_SECOND = 10.0
SECONDS_PER_KILL = 3.0
PEOPLE = 12
RICH, POOR = 1_000_000, 500
THINK_SECONDS = 0.1
AFTERMATH_SECONDS = 5.0
"""For so long after something is back, refusals are put down to its death."""
console = Console(highlight=False)


async def chaos(seed: int, kills: int | None, seconds: float, payouts: float | None, purchases: float) -> list[str]:
    """Starts a stack, loads it, kills, waits until all is settled, and returns what is wrong."""
    async with own_stack("chaos", INSTANCES, log_level="info", settings=SETTINGS) as stack:
        books = await _people(stack)
        admin = await sign_in(address(stack, "edge"), ADMIN_EMAIL, stack.secrets.admin)
        await _misbehave(stack, seed)
        began = time.monotonic()

        def tell(line: str) -> None:
            console.print(f"  {time.monotonic() - began:5.1f} s  {line}")

        killer = Killer(stack, seed, tell)
        victims = killer.all_victims() if payouts is None else killer.background()
        async with (
            grpc.aio.insecure_channel(address(stack, "edge"), options=CHANNEL_OPTIONS) as channel,
            httpx.AsyncClient(base_url=stack.edge_url) as client,
        ):
            shoppers = _shoppers(books, admin, seed, channel, client) if payouts is None else []
            payees = _payees(books, seed, payouts or PAYOUTS_PER_SECOND, channel, client)
            products = await add_products(admin, channel)
            buyers = _buyers(books, seed, purchases, products, channel, client) if purchases > 0 else []
            stop = asyncio.Event()
            load = asyncio.gather(
                *(shopper.shop(stop) for shopper in shoppers),
                *(payee.collect(stop) for payee in payees),
                *(buyer.buy(stop) for buyer in buyers),
                clean_up_now_and_then(stack, f"{seed}-cleaner", stop),
            )
            await killer.run(victims, kills or max(len(victims), round(seconds / SECONDS_PER_KILL)), seconds)
            stop.set()
            await load
        tell("all requests are answered; waiting until all settle")
        found = [f"{kill.victim} did not come back" for kill in killer.kills if kill.back_at is None]
        settled = None
        try:
            settled = await settle(stack, tell)
            tell(f"settled after another {settled:.1f} s")
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
                "payouts": await _show_payouts(stack),
                "purchases": sum(len(book.purchases) for book in books),
                "settled_after": settled,
                "violations": found,
            },
        )
    return found


async def _misbehave(stack: Stack, seed: int) -> None:
    """Has the provider do now and then all that it can do wrong; how often, the seed decides."""
    chance = random.Random(seed)
    rates = {word: chance.uniform(0.02, 0.08) for word in MISBEHAVIOUR}
    provider = Provider(stack.provider_url, stack.secrets.provider)
    async with provider.client:
        # Held for longer than a worker waits.
        await provider.behave(rates=rates, delay_seconds=0.02, pending_seconds=1, hold_seconds=1.5)


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


def _payees(
    books: Sequence[Book], seed: int, per_second: float, channel: grpc.aio.Channel, client: httpx.AsyncClient
) -> list[Payee]:
    """Those who have enough money; every other one over REST."""
    rich = [book for book in books if book.deposited == RICH]
    each = per_second / len(rich)
    return [
        GrpcPayee(book, f"{seed}-payee-{number}", each, channel)
        if number % 2
        else RestPayee(book, f"{seed}-payee-{number}", each, client)
        for number, book in enumerate(rich)
    ]


def _buyers(
    books: Sequence[Book],
    seed: int,
    per_second: float,
    products: Sequence[Product],
    channel: grpc.aio.Channel,
    client: httpx.AsyncClient,
) -> list[Buyer]:
    """Everybody, for some have not enough money; every other one over REST."""
    each = per_second / len(books)
    return [
        GrpcBuyer(book, f"{seed}-buyer-{number}", each, products, channel)
        if number % 2
        else RestBuyer(book, f"{seed}-buyer-{number}", each, products, client)
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
    console.print(
        f"{sum(len(book.purchases) for book in books)} purchases, {sum(book.uses.total() for book in books)} goods "
        f"used, {sum(book.looks for book in books)} inventories seen, {sum(len(book.missed) for book in books)} out of "
        f"date; all were cleared {_cleared(stack)} times"
    )


def _cleared(stack: Stack) -> int:
    """How often the daily job has cleared the cached inventories."""
    logs = [stack.home.logs / f"{name}.log" for name in stack.config.instance_names("payments")]
    return sum(log.read_text().count("cache_cleared") for log in logs)


async def _show_payouts(stack: Stack) -> dict[str, int]:
    """Prints and returns how many payouts ended how, and how many the provider was asked to pay."""
    connection = await asyncpg.connect(stack.database_url("payments"))
    rows = await connection.fetch("SELECT status, count(*) AS payouts FROM payouts GROUP BY status ORDER BY status")
    await connection.close()
    counts: dict[str, int] = {row["status"]: row["payouts"] for row in rows}
    entries = (await provided_by(stack)).values()
    facts = {
        "accepted": sum(counts.values()),
        **counts,
        "in the provider's book": len(entries),
        "sent there more than once": sum(entry["requests"] > 1 for entry in entries),
    }
    console.print(f"Payouts: {', '.join(f'{count} {what}' for what, count in facts.items())}")
    return facts


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
    parser.add_argument("--kills", type=int, help="how many (default: each victim once, and one in three seconds)")
    parser.add_argument("--seconds", type=float, default=60, help="over how long they are spread (default 60)")
    parser.add_argument(
        "--payouts", type=float, metavar="PER_SECOND", help="no orders, but so many payouts; only what pays is killed"
    )
    parser.add_argument(
        "--purchases",
        type=float,
        default=PURCHASES_PER_SECOND,
        metavar="PER_SECOND",
        help=f"beside that, up to so many purchases in the shop, in bursts (default {PURCHASES_PER_SECOND:g})",
    )
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    console.print(f"Seed {seed}")
    try:
        found = asyncio.run(chaos(seed, given.kills, given.seconds, given.payouts, given.purchases))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")
    for violation in found[:SHOWN]:
        console.print(f"✗ {violation}", style="red", markup=False)
    if found:
        console.print(f"✗ {len(found)} violations; repeat with --seed {seed}", style="red")
        sys.exit(1)
    console.print(
        "✓ All that was accepted came to its end, no money and no goods are lost or doubled, nothing is stuck"
    )


if __name__ == "__main__":
    main()
