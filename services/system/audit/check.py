"""Proves on live databases what Gozon guarantees, and says which row lies: `gozon check`, and the audit of System.

Nothing lost: every accepted order, hold and refund comes to its end, nothing waits longer than it may.
Paid once: money for an order is taken once and given back once; Orders and Payments tell the same story.
Books balance: the ledger is in balance and was not tampered with, every balance is the sum of its entries.

Each database is read in one snapshot, so that what a transaction did is seen whole or not at all. The snapshot of
Orders is the older one: an order in it that says PAID must have its payment in that of Payments. What seems wrong
between the two databases is looked at again. rules.py, shop.py and agreement.py have the rules.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, get_args
from uuid import UUID

from kit.snapshot import Snapshot, snapshot
from services.system.audit.agreement import AGREEMENTS, Agreement, Row
from services.system.audit.rules import SCANS
from services.system.audit.scan import Guarantee, Scan

SHOWN = 20
BLOCK_ROWS = 5000
# Disagreements that are looked at again and shown; more of them are no news.
MAX_SUSPECTS = 10_000

Key = tuple[UUID, ...]


@dataclass
class RuleResult:
    """How a rule fared: how many rows break it, and the first of them."""

    rule: str
    guarantee: Guarantee
    broken: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Counts a row, and keeps it if it is one of the first."""
        self.broken += 1
        if len(self.rows) < SHOWN:
            self.rows.append({column: _plain(value) for column, value in row.items()})


@dataclass(frozen=True)
class Report:
    """The result of a check, as `gozon check --json` prints it."""

    ok: bool
    stuck_after: float
    orders: int
    payments: int
    transactions: int
    # Events that nobody has dealt with yet. They break no rule by themselves: what they keep waiting does.
    dead_letters: int
    results: list[RuleResult]

    def broken(self) -> list[RuleResult]:
        """Returns the rules that do not hold."""
        return [result for result in self.results if result.broken]


async def check_databases(urls: Mapping[str, str], stuck_after: float) -> Report:
    """Checks a pair of databases, `orders` and `payments`; `stuck_after` is in seconds. Errors: kit.snapshot.AWAY."""
    async with _snapshots(urls) as (orders, payments):
        of_each = await asyncio.gather(
            *(_apply(connection, SCANS[name], stuck_after) for connection, name in _named(orders, payments))
        )
        found = [await _compare(agreement, orders, payments, stuck_after) for agreement in AGREEMENTS]
        transactions = await payments.fetchval("SELECT count(*) FROM transactions")
        dead = [await each.fetchval("SELECT count(*) FROM dead_letters") for each in (orders, payments)]
    agreements = [RuleResult(agreement.name, "paid once") for agreement in AGREEMENTS]
    if any(comparison.suspects for comparison in found):
        async with _snapshots(urls) as (orders, payments):
            for agreement, comparison, result in zip(AGREEMENTS, found, agreements, strict=True):
                for row in await _look_again(agreement, orders, payments, comparison.suspects, stuck_after):
                    result.add(row)
    results = [result for results in of_each for result in results] + agreements
    results.sort(key=lambda result: get_args(Guarantee).index(result.guarantee))
    ok = not any(result.broken for result in results)
    return Report(ok, stuck_after, found[0].left, found[0].right, transactions, sum(dead), results)


def _named(orders: Snapshot, payments: Snapshot) -> tuple[tuple[Snapshot, str], ...]:
    return (orders, "orders"), (payments, "payments")


@asynccontextmanager
async def _snapshots(urls: Mapping[str, str]) -> AsyncIterator[tuple[Snapshot, Snapshot]]:
    """Opens a snapshot of Orders and a later one of Payments."""
    async with snapshot(urls["orders"]) as orders, snapshot(urls["payments"]) as payments:
        yield orders, payments


async def _apply(connection: Snapshot, scans: tuple[Scan, ...], stuck_after: float) -> list[RuleResult]:
    results = []
    for scan in scans:
        of_scan = [RuleResult(rule.name, rule.guarantee) for rule in scan.rules]
        async for record in connection.cursor(scan.sql, stuck_after, prefetch=BLOCK_ROWS):
            row = dict(record)
            for result, lies in zip(of_scan, row.pop("lies"), strict=True):
                if lies:
                    result.add(row)
        results += of_scan
    return results


@dataclass
class _Comparison:
    left: int = 0
    right: int = 0
    suspects: list[Key] = field(default_factory=list)


async def _compare(agreement: Agreement, orders: Snapshot, payments: Snapshot, stuck_after: float) -> _Comparison:
    """Walks through both sides in the same order, a block of rows at a time."""
    result = _Comparison()
    sequence = f"ORDER BY {', '.join(agreement.key)}"
    left = aiter(orders.cursor(f"{agreement.orders} {sequence}", prefetch=BLOCK_ROWS))
    right = aiter(payments.cursor(f"{agreement.payments} {sequence}", stuck_after, prefetch=BLOCK_ROWS))
    mine, its = await anext(left, None), await anext(right, None)
    while mine is not None or its is not None:
        my_key, its_key = (_key(agreement, row) for row in (mine, its))
        key = min(key for key in (my_key, its_key) if key)
        pair = (mine if my_key == key else None, its if its_key == key else None)
        if agreement.problem(*pair) and len(result.suspects) < MAX_SUSPECTS:
            result.suspects.append(key)
        if my_key == key:
            result.left += 1
            mine = await anext(left, None)
        if its_key == key:
            result.right += 1
            its = await anext(right, None)
    return result


async def _look_again(
    agreement: Agreement, orders: Snapshot, payments: Snapshot, suspects: list[Key], stuck_after: float
) -> list[dict[str, Any]]:
    """Returns what is still wrong about things that the two sides seemed to disagree about."""
    columns = [[key[number] for key in suspects] for number in range(len(agreement.key))]
    mine = await orders.fetch(_among(agreement, agreement.orders, 1), *columns)
    its = await payments.fetch(_among(agreement, agreement.payments, 2), stuck_after, *columns)
    mine_by_key = {_key(agreement, row): row for row in mine}
    its_by_key = {_key(agreement, row): row for row in its}
    wrong = []
    for key in suspects:
        pair = mine_by_key.get(key), its_by_key.get(key)
        if problem := agreement.problem(*pair):
            told = {name: dict(row) if row else None for name, row in zip(SCANS, pair, strict=True)}
            wrong.append({**dict(zip(agreement.key, key, strict=True)), "problem": problem, **told})
    return wrong


def _among(agreement: Agreement, side: str, first: int) -> str:
    keys = ", ".join(agreement.key)
    arrays = ", ".join(f"${first + number}::uuid[]" for number in range(len(agreement.key)))
    return f"SELECT * FROM ({side}) AS side WHERE ({keys}) IN (SELECT * FROM unnest({arrays}))"


def _key(agreement: Agreement, row: Row | None) -> Key:
    return tuple(row[column] for column in agreement.key) if row is not None else ()


def _plain(value: Any) -> Any:
    """Returns what JSON can say; the rest is left to str."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value
