"""kit.housekeeping on a real PostgreSQL and NATS: what is old goes, what is young stays, nobody is kept waiting."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY

from kit import housekeeping, idempotency, inbox, outbox
from kit.bus import Bus, Stream
from kit.consumption import Consumer
from kit.db import Conflict, Database, sql
from kit.dead_letters import DeadLetter, bury
from kit.events import Event
from kit.housekeeping import Housekeeping
from kit.idempotency import Key
from kit.ids import first_id_at, new_id
from tests.conftest import NewDatabase
from tests.statements import WAITING
from tests.support import NatsServer, count, disconnected_bus, eventually, scanned_whole

DAY = 24 * 3600
CONSUMER = Consumer("maker", "S", ("S.made",))
NOBODY = "00000000-0000-7000-8000-000000000000"


async def run(database: Database, statement: str, **parameters: Any) -> None:
    async with database.autocommit() as connection:
        await connection.execute(sql(statement), **parameters)


async def handled(database: Database, number: int, *, made: float, handled: float, consumer: str = "maker") -> None:
    """Puts events into the inbox that were made and handled so many days ago."""
    start = time.time() - made * DAY
    await run(
        database,
        """INSERT INTO inbox SELECT :consumer::text, id, now() - make_interval(secs => :ago)
           FROM unnest(:ids::uuid[]) AS id""",
        consumer=consumer,
        ids=[first_id_at(start + n / 1000) for n in range(number)],
        ago=handled * DAY,
    )


async def keys(database: Database, number: int, *, hours: float) -> None:
    """Puts idempotency keys into the table as if so many hours ago."""
    await run(
        database,
        """INSERT INTO idempotency_keys SELECT :user_id::uuid, :method::text, n::text, '', '',
           now() - make_interval(secs => :ago) FROM generate_series(1, :number) AS n""",
        user_id=NOBODY,
        method=f"{hours} hours ago",
        number=number,
        ago=hours * 3600,
    )


async def dead(database: Database, number: int, *, days: float) -> None:
    """Buries events as if so many days ago."""
    await run(
        database,
        """INSERT INTO dead_letters SELECT 'maker', :prefix::text || n, 's', '', '', '', 7, 7, died, died
           FROM generate_series(1, :number) AS n, LATERAL (SELECT now() - make_interval(secs => :ago) AS died)""",
        prefix=f"{days}-",
        number=number,
        ago=days * DAY,
    )


def housekeeping_of(database: Database) -> Housekeeping:
    return Housekeeping(database, disconnected_bus(), [CONSUMER], has_inbox=True)


@asynccontextmanager
async def kept(database: Database, bus: Bus | None = None, *, has_inbox: bool = True) -> AsyncIterator[None]:
    """Keeps house meanwhile."""
    consumers = [CONSUMER] if has_inbox else []
    task = asyncio.create_task(Housekeeping(database, bus or disconnected_bus(), consumers, has_inbox=has_inbox).run())
    try:
        yield
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses."""
    for pause in ("housekeeping.CLEAN_SECONDS", "cleaning.BATCH_PAUSE_SECONDS", "housekeeping.MEASURE_SECONDS"):
        monkeypatch.setattr(f"kit.{pause}", 0.01)


async def becomes(database: Database, **rows: int) -> None:
    async def is_so() -> bool:
        return [await count(database, table) for table in rows] == list(rows.values())

    await eventually(is_so)


@pytest.mark.usefixtures("quick")
async def test_what_is_old_is_deleted_and_what_is_young_is_kept(payments_db: Database) -> None:
    await handled(payments_db, 2500, made=8.1, handled=8.1)
    await handled(payments_db, 3, made=7.9, handled=7.9)
    # Such as a dead letter that was replayed, or what was published late: it may come again for a week.
    await handled(payments_db, 5, made=30, handled=7.9)
    await handled(payments_db, 7, made=30, handled=30, consumer="of another service")
    await keys(payments_db, 2500, hours=25.1)
    await keys(payments_db, 11, hours=24.1)
    # Twice at once, as two instances do.
    async with kept(payments_db), kept(payments_db):
        await becomes(payments_db, inbox=15, idempotency_keys=11)
        # What is young now is still there when cleaning has come round once more.
        await keys(payments_db, 1, hours=26)
        await handled(payments_db, 1, made=9, handled=9)
        await becomes(payments_db, inbox=15, idempotency_keys=11)


@pytest.mark.usefixtures("quick")
async def test_a_service_without_an_inbox_cleans_its_keys(orders_db: Database) -> None:
    await keys(orders_db, 2, hours=26)
    async with kept(orders_db, has_inbox=False):
        await becomes(orders_db, idempotency_keys=0)


@pytest.mark.usefixtures("quick")
async def test_who_asks_for_it_has_old_dead_letters_deleted_too_and_is_told_how_much_it_was(
    payments_db: Database,
) -> None:
    await handled(payments_db, 3, made=9, handled=9)
    await handled(payments_db, 1, made=1, handled=1)
    await keys(payments_db, 4, hours=26)
    await dead(payments_db, 2500, days=30.1)
    await dead(payments_db, 2, days=29.9)
    # By two at once, as two schedulers ask: each row is counted once.
    both = await asyncio.gather(*(housekeeping_of(payments_db).clean_up(30) for _ in range(2)))
    assert {table: sum(of[table] for of in both) for table in both[0]} == {
        "inbox": 3,
        "idempotency_keys": 4,
        "dead_letters": 2500,
    }
    assert [await count(payments_db, table) for table in ("inbox", "idempotency_keys", "dead_letters")] == [1, 0, 2]
    assert set((await housekeeping_of(payments_db).clean_up(30)).values()) == {0}


@pytest.mark.usefixtures("quick")
async def test_who_asks_and_leaves_stops_it_between_two_batches(
    payments_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the time of a call is over: what was deleted is, and no connection is left in the middle of anything."""
    monkeypatch.setattr("kit.cleaning.BATCH", 1)
    await dead(payments_db, 500, days=31)
    asking = asyncio.create_task(housekeeping_of(payments_db).clean_up(30))

    async def has_begun() -> bool:
        return await count(payments_db, "dead_letters") < 500

    await eventually(has_begun)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    left = await count(payments_db, "dead_letters")
    assert 0 < left < 500
    # The batch that was under way has ended too.
    monkeypatch.setattr("kit.cleaning.BATCH", 1000)
    assert (await housekeeping_of(payments_db).clean_up(30))["dead_letters"] in (left, left - 1)


@pytest.mark.usefixtures("quick")
async def test_cleaning_does_not_wait_for_rows_that_somebody_holds(payments_db: Database) -> None:
    await keys(payments_db, 1500, hours=26)
    await handled(payments_db, 1500, made=9, handled=9)
    async with payments_db.transaction() as tx:
        await tx.execute(sql("SELECT 1 FROM idempotency_keys WHERE key = '1' FOR UPDATE"))
        await tx.execute(sql("SELECT 1 FROM inbox ORDER BY event_id LIMIT 1 FOR UPDATE"))
        async with kept(payments_db):
            await becomes(payments_db, inbox=1, idempotency_keys=1)
    async with kept(payments_db):
        await becomes(payments_db, inbox=0, idempotency_keys=0)


async def test_nobody_waits_for_cleaning(payments_db: Database) -> None:
    """Whoever waited here would wait for the end of the test's own transaction, in vain."""
    await keys(payments_db, 100, hours=26)
    await handled(payments_db, 100, made=9, handled=9)
    async with payments_db.transaction() as cleaning:
        before = first_id_at(time.time() - housekeeping.INBOX_SECONDS)
        parameters = {"consumer": "maker", "before": before, "age": housekeeping.INBOX_SECONDS, "limit": 1000}
        assert len(await cleaning.execute(housekeeping._CLEAN_INBOX, **parameters)) == 100
        parameters = {"age": housekeeping.KEY_SECONDS, "limit": 1000}
        assert len(await cleaning.execute(housekeeping._CLEAN_KEYS, **parameters)) == 100
        async with payments_db.transaction() as tx:
            event = Event(new_id(), "S.made", b"", "")
            assert await inbox.new_ones(tx, "maker", [event]) == [event]
            assert await idempotency.claim(tx, Key(NOBODY, "Deposit", "new", b"")) is None


async def test_a_key_that_is_deleted_while_it_is_used_again_is_new(payments_db: Database) -> None:
    await keys(payments_db, 1, hours=26)
    key = Key(NOBODY, "26 hours ago", "1", b"another request")

    async def claim() -> bytes | None:
        async with payments_db.transaction() as tx:
            return await idempotency.claim(tx, key)

    async with payments_db.transaction() as cleaning:
        await cleaning.execute(housekeeping._CLEAN_KEYS, age=housekeeping.KEY_SECONDS, limit=1000)
        claiming = asyncio.create_task(claim())
        await asyncio.wait([claiming], timeout=0.2)
    try:
        first = await claiming
    except Conflict:
        # What @atomic does.
        first = await claim()
    assert first is None


@pytest.mark.usefixtures("quick")
async def test_while_the_table_can_not_be_read_housekeeping_lives_on(payments_db: Database) -> None:
    await keys(payments_db, 1, hours=26)
    async with kept(payments_db):
        await run(payments_db, "ALTER TABLE inbox RENAME TO elsewhere")
        await eventually(lambda: shows(inbox_rows=math.nan))
        await run(payments_db, "ALTER TABLE elsewhere RENAME TO inbox")
        await handled(payments_db, 1, made=9, handled=9)
        await becomes(payments_db, inbox=0, idempotency_keys=0)


async def test_no_statement_walks_through_a_table(payments_db: Database) -> None:
    await handled(payments_db, 20_000, made=7, handled=7)
    await keys(payments_db, 20_000, hours=2)
    for insert in WAITING:
        await run(payments_db, insert)
    # As autovacuum does. Dead letters are counted in their index.
    for table in ("inbox", "idempotency_keys", "outbox", "dead_letters"):
        await run(payments_db, f"VACUUM ANALYZE {table}")
    before = first_id_at(time.time() - housekeeping.INBOX_SECONDS)
    statements: dict[Any, dict[str, Any]] = {
        housekeeping._CLEAN_INBOX: {"consumer": "maker", "before": before, "age": 8.0 * DAY, "limit": 1000},
        housekeeping._CLEAN_KEYS: {"age": housekeeping.KEY_SECONDS, "limit": 1000},
        housekeeping._CLEAN_DEAD_LETTERS: {"age": 90.0 * DAY, "limit": 1000},
        housekeeping._OUTBOX_AGE: {},
        housekeeping._DEAD_LETTERS: {"limit": housekeeping.COUNTED},
        outbox._LEFT_BEHIND: {"age": 5.0, "limit": 500},
    }
    async with payments_db.autocommit() as connection:
        for statement, parameters in statements.items():
            assert await scanned_whole(connection, statement, **parameters) == set(), statement.text
    # The same when all of it is old.
    await run(payments_db, "UPDATE idempotency_keys SET created_at = now() - interval '2 days'")
    await run(payments_db, "UPDATE inbox SET handled_at = now() - interval '20 days'")
    await run(payments_db, "UPDATE dead_letters SET died_at = now() - interval '100 days'")
    for table in ("inbox", "idempotency_keys", "dead_letters"):
        await run(payments_db, f"VACUUM ANALYZE {table}")
    async with payments_db.autocommit() as connection:
        for statement in (housekeeping._CLEAN_INBOX, housekeeping._CLEAN_KEYS, housekeeping._CLEAN_DEAD_LETTERS):
            parameters = statements[statement] | ({"before": new_id()} if "before" in statements[statement] else {})
            assert await scanned_whole(connection, statement, **parameters) == set(), statement.text


# --- Metrics


async def shows(**expected: float) -> bool:
    """Says whether the metrics of this process, by name, have these values; nan is equal to nan here."""
    for name, value in expected.items():
        labels = {"consumer": CONSUMER.name} if name == "bus_consumer_lag" else {}
        found = REGISTRY.get_sample_value(name, labels)
        if found != value and not (found is not None and math.isnan(found) and math.isnan(value)):
            return False
    return True


@pytest.mark.usefixtures("quick")
async def test_metrics_tell_what_waits(payments_db: Database, nats_server: NatsServer) -> None:
    bus = Bus(nats_server.url, [Stream("S", ("S.>",), max_age=600)], [CONSUMER])
    await bus.connect()
    event = Event(new_id(), "S.made", b"", "")
    await handled(payments_db, 1234, made=1, handled=1)
    await run(payments_db, "ANALYZE inbox")
    async with kept(payments_db, bus):
        await eventually(lambda: shows(outbox_age_seconds=0, inbox_rows=1234, dead_letters=0, bus_consumer_lag=0))
        await bus.publish([event])
        await bury(payments_db, DeadLetter("maker", event, ValueError(), 7, 108.0, 7))
        await run(
            payments_db,
            "INSERT INTO outbox SELECT id, 's', '', '', now() - interval '1 hour' FROM unnest(:ids::uuid[]) AS id",
            ids=[new_id()],
        )
        await eventually(lambda: shows(dead_letters=1, bus_consumer_lag=1))
        await eventually(an_hour)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def handle(_: object) -> None:
            begun.set()
            await go_on.wait()

        consuming = asyncio.create_task(bus.consume(CONSUMER, handle, payments_db))
        await begun.wait()
        # Delivered and not acknowledged: it is still to be done.
        assert await bus.lag(CONSUMER) == 1
        assert not await bus.is_idle(CONSUMER)
        go_on.set()
        await eventually(lambda: shows(bus_consumer_lag=0))
        assert await bus.is_idle(CONSUMER)
        assert not await bus.is_idle(Consumer("nobody", "S", ("S.>",)))
        nats_server.kill()
        await eventually(lambda: shows(bus_consumer_lag=math.nan, dead_letters=1))
        await nats_server.start()
        await eventually(lambda: shows(bus_consumer_lag=0))
    await bus.stop_consuming()
    await consuming
    await bus.close()


async def an_hour() -> bool:
    age = REGISTRY.get_sample_value("outbox_age_seconds")
    return age is not None and 3600 <= age < 7200


@pytest.mark.usefixtures("quick")
async def test_what_can_not_be_measured_is_not_a_number(new_database: NewDatabase) -> None:
    async with kept(await new_database("payments")):
        await eventually(lambda: shows(outbox_age_seconds=0, dead_letters=0))
    async with kept(Database("postgresql://nobody:nothing@127.0.0.1:1/nowhere")):
        await eventually(lambda: shows(outbox_age_seconds=math.nan, dead_letters=math.nan, inbox_rows=math.nan))
