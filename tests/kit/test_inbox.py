"""kit.inbox on a real PostgreSQL: each message is new once."""

import asyncio
import random

import pytest

from kit import inbox
from kit.db import Database
from kit.events import Event
from kit.ids import new_id
from tests.support import count


def messages(number: int) -> list[Event]:
    return [Event(new_id(), "things.made", str(n).encode(), "") for n in range(number)]


async def new_ones(database: Database, consumer: str, offered: list[Event]) -> list[Event]:
    async with database.transaction() as tx:
        return await inbox.new_ones(tx, consumer, offered)


async def test_messages_are_new_once(payments_db: Database) -> None:
    first, later = messages(5), messages(5)
    assert await new_ones(payments_db, "maker", first) == first
    assert await new_ones(payments_db, "maker", first) == []
    assert await new_ones(payments_db, "maker", [*first, *later]) == later


async def test_order_is_kept_and_a_duplicate_in_the_batch_counts_once(payments_db: Database) -> None:
    a, b, c = messages(3)
    again = Event(b.id, b.subject, b"again", "")
    assert await new_ones(payments_db, "maker", [c, b, a, again, c]) == [c, b, a]


async def test_each_consumer_has_its_own(payments_db: Database) -> None:
    offered = messages(3)
    assert await new_ones(payments_db, "maker", offered) == offered
    assert await new_ones(payments_db, "watcher", offered) == offered


async def test_after_a_rollback_messages_are_new_again(payments_db: Database) -> None:
    offered = messages(3)
    with pytest.raises(ZeroDivisionError):
        async with payments_db.transaction() as tx:
            await inbox.new_ones(tx, "maker", offered)
            raise ZeroDivisionError
    assert await new_ones(payments_db, "maker", offered) == offered


async def test_no_messages_are_no_trouble(payments_db: Database) -> None:
    assert await new_ones(payments_db, "maker", []) == []


async def test_instances_with_overlapping_batches_share_them_without_deadlock(payments_db: Database) -> None:
    offered = messages(200)
    dice = random.Random(7)
    batches = [dice.sample(offered, 150) for _ in range(20)]
    found = await asyncio.gather(*(new_ones(payments_db, "maker", batch) for batch in batches))
    handled = [message.id for batch in found for message in batch]
    assert len(handled) == len(set(handled))
    assert set(handled) == {message.id for batch in batches for message in batch}
    assert await count(payments_db, "inbox") == len(handled)
