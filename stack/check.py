"""`gozon check`: proves on live databases what Gozon guarantees, and says which row lies.

Nothing lost: every accepted order comes to its end, nothing waits longer than it may.
Paid once: money for an order is taken at most once, orders and charges tell the same story.
Books balance: the ledger is in balance, and every account's balance is the sum of its entries.

Each database is read in one snapshot, so that what a transaction did is seen whole or not at all. The snapshot of
Orders is the older one: an order in it that says PAID must have its charge in that of Payments. What is not finished
is judged only when it is older than `stuck_after`; and what seems wrong between the two databases is looked at again.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args
from uuid import UUID

import asyncpg

from stack.home import Stack

Guarantee = Literal["nothing lost", "paid once", "books balance"]
SHOWN = 20
# What `check` raises when a database can't be reached.
DATABASE_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
BLOCK_ROWS = 5000
# Disagreements that are looked at again and shown; more of them are no news.
MAX_SUSPECTS = 10_000

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Key = tuple[UUID, UUID]


class Row(Protocol):
    """A row of a table."""

    def __getitem__(self, column: str, /) -> Any:
        """Returns the value of a column."""


@dataclass(frozen=True)
class Rule:
    """What must never be: a query that returns the rows which break the guarantee."""

    name: str
    guarantee: Guarantee
    sql: str


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
            self.rows.append(row)


@dataclass(frozen=True)
class Report:
    """The result of a check, as `gozon check --json` prints it."""

    ok: bool
    stuck_after: float
    orders: int
    charges: int
    results: list[RuleResult]


# $1: seconds that something unfinished may take.
_STUCK_OUTBOX = """
    SELECT id, subject, uuid_extract_timestamp(id) AS created_at FROM outbox
    WHERE uuid_extract_timestamp(id) < now() - make_interval(secs => $1)
"""
ORDERS_RULES = (
    Rule(
        "an order becomes PAID or CANCELED",
        "nothing lost",
        """
        SELECT user_id, id AS order_id, status, created_at FROM orders
        WHERE status = 'PENDING' AND created_at < now() - make_interval(secs => $1)
        """,
    ),
    Rule(
        "an order without an answer, and no other, will be asked for again",
        "nothing lost",
        """
        SELECT user_id, id AS order_id, status, asked_at FROM orders
        WHERE (status = 'PENDING') <> (asked_at IS NOT NULL)
        """,
    ),
    Rule("events of Orders are published", "nothing lost", _STUCK_OUTBOX),
)
PAYMENTS_RULES = (
    Rule("events of Payments are published", "nothing lost", _STUCK_OUTBOX),
    Rule(
        "a failed charge takes nothing",
        "paid once",
        """
        SELECT charges.user_id, order_id, charges.amount, entries.account, entries.amount AS entry FROM charges
        JOIN entries ON entries.user_id = charges.user_id AND entries.transaction_id = charges.order_id
        WHERE charges.status = 'FAILED'
        """,
    ),
    Rule(
        "revenue comes from a charge that succeeded",
        "paid once",
        """
        SELECT user_id, transaction_id, amount FROM entries
        WHERE account = 'revenue' AND NOT EXISTS (
            SELECT FROM charges WHERE charges.user_id = entries.user_id
            AND charges.order_id = entries.transaction_id AND charges.status = 'SUCCEEDED')
        """,
    ),
    Rule(
        "the entries of a transaction sum to zero",
        "books balance",
        """
        SELECT user_id, transaction_id, currency, sum(amount) AS sum, count(*) AS entries FROM entries
        GROUP BY user_id, transaction_id, currency HAVING sum(amount) <> 0 OR count(*) < 2
        """,
    ),
    Rule(
        "a charge that succeeded is booked from the user to revenue",
        "books balance",
        """
        SELECT charges.user_id, order_id, charges.amount, charges.currency, paid.amount AS user_entry,
               earned.amount AS revenue_entry
        FROM charges
        LEFT JOIN entries paid ON (paid.user_id, paid.transaction_id, paid.account, paid.currency)
            = (charges.user_id, order_id, 'user', charges.currency)
        LEFT JOIN entries earned ON (earned.user_id, earned.transaction_id, earned.account, earned.currency)
            = (charges.user_id, order_id, 'revenue', charges.currency)
        WHERE charges.status = 'SUCCEEDED'
            AND (paid.amount IS DISTINCT FROM -charges.amount OR earned.amount IS DISTINCT FROM charges.amount)
        """,
    ),
    Rule(
        "a balance is the sum of its entries",
        "books balance",
        """
        SELECT user_id, currency, balance, coalesce(booked.total, 0) AS entries FROM accounts
        FULL JOIN (SELECT user_id, currency, sum(amount) AS total FROM entries WHERE account = 'user' GROUP BY 1, 2)
            AS booked USING (user_id, currency)
        WHERE balance IS DISTINCT FROM coalesce(booked.total, 0)
        """,
    ),
    Rule(
        "0 <= held <= balance",
        "books balance",
        "SELECT user_id, balance, held FROM accounts WHERE NOT (0 <= held AND held <= balance)",
    ),
)

_ORDERS = "SELECT user_id, id, status, cancel_reason, total_price AS amount, currency FROM orders"
_CHARGES = """
    SELECT user_id, order_id AS id, status, reason, amount, currency,
           created_at < now() - make_interval(secs => $1) AS settled FROM charges
"""
_AMONG = " WHERE (user_id, {id}) IN (SELECT * FROM unnest(${n}::uuid[], ${m}::uuid[]))"


async def check(stack: Stack, stuck_after: float) -> Report:
    """Checks everything; `stuck_after` is in seconds. Raises DATABASE_AWAY when one can't be read."""
    async with _snapshots(stack) as (orders, payments):
        results = [await _apply(orders, rule, stuck_after) for rule in ORDERS_RULES]
        results += [await _apply(payments, rule, stuck_after) for rule in PAYMENTS_RULES]
        comparison = await _compare(orders, payments, stuck_after)
    agreement = RuleResult("an order and its charge agree", "paid once")
    if comparison.suspects:
        async with _snapshots(stack) as (orders, payments):
            for row in await _look_again(orders, payments, comparison.suspects, stuck_after):
                agreement.add(row)
    results = sorted([agreement, *results], key=lambda result: get_args(Guarantee).index(result.guarantee))
    ok = not any(result.broken for result in results)
    return Report(ok, stuck_after, comparison.orders, comparison.charges, results)


@asynccontextmanager
async def _snapshots(stack: Stack) -> AsyncIterator[tuple[Connection, Connection]]:
    """Opens a snapshot of Orders and a later one of Payments."""
    async with AsyncExitStack() as opened:
        connections = []
        for database in ("orders", "payments"):
            connection = await asyncpg.connect(stack.superuser_url(database))
            opened.push_async_callback(connection.close)
            await opened.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
            await connection.execute("SELECT 1")  # the snapshot is taken by the first statement
            connections.append(connection)
        yield connections[0], connections[1]


async def _apply(connection: Connection, rule: Rule, stuck_after: float) -> RuleResult:
    result = RuleResult(rule.name, rule.guarantee)
    arguments = (stuck_after,) if "$1" in rule.sql else ()
    async for row in connection.cursor(rule.sql, *arguments, prefetch=BLOCK_ROWS):
        result.add(dict(row))
    return result


@dataclass
class _Comparison:
    orders: int = 0
    charges: int = 0
    suspects: list[Key] = field(default_factory=list)


async def _compare(orders: Connection, payments: Connection, stuck_after: float) -> _Comparison:
    """Walks through both sides in the same order, a block of rows at a time."""
    result = _Comparison()
    left = aiter(orders.cursor(f"{_ORDERS} ORDER BY user_id, id", prefetch=BLOCK_ROWS))
    right = aiter(payments.cursor(f"{_CHARGES} ORDER BY user_id, order_id", stuck_after, prefetch=BLOCK_ROWS))
    order, charge = await anext(left, None), await anext(right, None)
    while order is not None or charge is not None:
        key = min(_key(row) for row in (order, charge) if row is not None)
        mine = order if order is not None and _key(order) == key else None
        its = charge if charge is not None and _key(charge) == key else None
        if problem(mine, its) and len(result.suspects) < MAX_SUSPECTS:
            result.suspects.append(key)
        if mine is not None:
            result.orders += 1
            order = await anext(left, None)
        if its is not None:
            result.charges += 1
            charge = await anext(right, None)
    return result


async def _look_again(
    orders: Connection, payments: Connection, suspects: list[Key], stuck_after: float
) -> list[dict[str, Any]]:
    """Returns what is still wrong about orders that seemed to disagree with their charges."""
    users, ids = [user for user, _ in suspects], [order for _, order in suspects]
    found_orders = await orders.fetch(_ORDERS + _AMONG.format(id="id", n=1, m=2), users, ids)
    found_charges = await payments.fetch(_CHARGES + _AMONG.format(id="order_id", n=2, m=3), stuck_after, users, ids)
    order_by_key = {_key(row): row for row in found_orders}
    charge_by_key = {_key(row): row for row in found_charges}
    wrong = []
    for user_id, order_id in suspects:
        order, charge = order_by_key.get((user_id, order_id)), charge_by_key.get((user_id, order_id))
        if reason := problem(order, charge):
            facts = {"order": order and dict(order), "charge": charge and dict(charge)}
            wrong.append({"user_id": user_id, "order_id": order_id, "problem": reason, **facts})
    return wrong


def problem(order: Row | None, charge: Row | None) -> str | None:  # noqa: PLR0911 - one for each thing to say
    """Says how an order and its charge contradict each other; None when they don't.

    A charge younger than `stuck_after` (not `settled`) may be ahead of its order.
    """
    if order is None or order["status"] == "PENDING":
        if charge is None or not charge["settled"]:
            return None
        return "a charge without an order" if order is None else "decided, but the order is PENDING"
    if charge is None:
        return f"{order['status']} without a charge"
    expected = "SUCCEEDED" if order["status"] == "PAID" else "FAILED"
    if charge["status"] != expected:
        return f"the order is {order['status']}, its charge {charge['status']}"
    if charge["status"] == "FAILED" and charge["reason"] != order["cancel_reason"]:
        return "canceled for another reason than the charge failed"
    if (charge["amount"], charge["currency"]) != (order["amount"], order["currency"]):
        return "the charge is of another amount or currency"
    return None


def _key(row: Row) -> Key:
    return row["user_id"], row["id"]
