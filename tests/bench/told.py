"""What users were told on their sockets, held against what PostgreSQL has and against the stream PUSH."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import asyncpg

from kit.bus import Bus
from kit.events import Event
from services.push.domain import Position, message_id
from services.push.hub import HELLO, MEMORY_SECONDS, RESYNC
from services.push.messages import KINDS
from services.topology import PUSH, STREAMS
from stack.home import Stack

CREATED, PAID, BALANCE = "order.created", "order.paid", "balance.changed"
"""The types of messages that an order with enough money on the account causes."""


class Fact(NamedTuple):
    """What a message tells whom: of an order its id, of an account its balance, which each order makes another."""

    type: str
    user_id: str
    what: str


Line = tuple[str, Fact]
"""The id of a message, and what it tells."""


@dataclass
class Heard:
    """What one user heard."""

    greetings: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)
    """Of each line: when it was heard, and when its event was made; Unix seconds."""


def read(file: Path, users: Sequence[str]) -> dict[str, Heard]:
    """Reads what tests.bench.sockets wrote, whose tokens were those of the users in this order."""
    heard = {user_id: Heard() for user_id in users}
    with file.open() as lines:
        for number, at, text in map(json.loads, lines):
            one, message = heard[users[number]], json.loads(text)
            if (kind := message["type"]) in (HELLO, RESYNC):
                one.greetings.append(kind)
                continue
            data = message["data"]
            fact = Fact(kind, data["user_id"], data["balance" if kind == BALANCE else "id"])
            one.lines.append((message["id"], fact))
            one.times.append((at, datetime.fromisoformat(message["at"]).timestamp()))
    return heard


async def due(stack: Stack, began: float) -> dict[Fact, float]:
    """Returns what users must have been told of orders since then, and when each was committed (Unix seconds).

    Orders must have been created with an idempotency key that is their description too.
    """
    facts: dict[Fact, float] = {}
    for database, statements in _DUE.items():
        connection = await asyncpg.connect(stack.superuser_url(database))
        for statement in statements:
            for row in await connection.fetch(statement, began):
                facts[Fact(row["type"], str(row["user_id"]), str(row["what"]))] = row["at"].timestamp()
        await connection.close()
    return facts


async def script(stack: Stack, users: Iterable[str]) -> dict[str, list[Line]]:
    """Returns what each user must have heard, in order, according to the stream."""
    reader = _Reader(users)
    bus = Bus(stack.nats_url, (*STREAMS, PUSH), ())
    await bus.connect()
    following = asyncio.create_task(bus.follow(PUSH, MEMORY_SECONDS, reader))
    await reader.is_through.wait()
    await bus.stop_consuming()
    await bus.close()
    await following
    return reader.lines


def judge(due: Iterable[Fact], script: Sequence[Line], heard: Sequence[Line]) -> Counter[str]:
    """Counts what is wrong with what a user heard, by kind; empty when it is just what is due, as in the script."""
    wanted, times = frozenset(due), Counter(fact for _, fact in heard)
    found = Counter(
        {
            "lost": sum(fact not in times for fact in wanted),
            "doubled": sum(number - 1 for number in times.values()),
            "foreign": sum(fact not in wanted for fact in times),
        }
    )
    if not found.total():
        found["out of order"] = sum(ours != theirs for ours, theirs in zip_longest(heard, script))
    return +found


class _Reader:
    """Follows the stream from its beginning to its end; what comes again is left out."""

    def __init__(self, users: Iterable[str]) -> None:
        self.lines: dict[str, list[Line]] = {user_id: [] for user_id in users}
        self.is_through = asyncio.Event()
        self._life = ""
        self._seen: set[str] = set()

    def begin(self, life: str, sequence: int) -> None:
        self._life = life

    def receive(self, sequence: int, at: datetime, events: Sequence[Event]) -> None:
        for number, event in enumerate(events, start=1):
            if event.subject not in KINDS or event.id in self._seen:
                continue
            self._seen.add(event.id)
            kind = KINDS[event.subject]
            user_id, data = kind.read(event)
            if user_id in self.lines:
                what = getattr(data, "balance" if kind.type == BALANCE else "id")
                line = message_id(user_id, self._life, Position(sequence, number)), Fact(kind.type, user_id, str(what))
                self.lines[user_id].append(line)

    def caught_up(self) -> None:
        self.is_through.set()


# xmin is the transaction that wrote a row: that of a key is the one that created the order.
_DUE = {
    "orders": (
        f"""
        SELECT '{CREATED}' AS type, orders.user_id, id AS what, pg_xact_commit_timestamp(keys.xmin) AS at
        FROM orders JOIN idempotency_keys AS keys
             ON keys.user_id = orders.user_id AND method = 'CreateOrder' AND key = description
        WHERE orders.created_at >= to_timestamp($1)
        """,
        f"""
        SELECT '{PAID}' AS type, user_id, order_id AS what, pg_xact_commit_timestamp(xmin) AS at FROM order_changes
        WHERE changed_at >= to_timestamp($1) AND status = 'PAID'
        """,
    ),
    # Changes at the same moment are told as one.
    "payments": (
        f"""
        SELECT DISTINCT ON (user_id, created_at) '{BALANCE}' AS type, user_id, balance AS what,
               pg_xact_commit_timestamp(xmin) AS at
        FROM transactions WHERE created_at >= to_timestamp($1) ORDER BY user_id, created_at, number DESC
        """,
    ),
}
