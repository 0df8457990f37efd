"""kit.db on a real PostgreSQL: what is written, what is not, and who is told."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator

import asyncpg
import pytest

from kit.db import Conflict, Database, Transaction, atomic, sql
from kit.errors import Unavailable
from tests.support import RunningStack, count, eventually, fresh_database

ADD = sql("INSERT INTO things (id) VALUES (:id)")
LOCK = sql("UPDATE things SET times = times + 1 WHERE id = :id")
SLEEP = sql("SELECT pg_sleep(0.005)")


@pytest.fixture
async def url(stack: RunningStack) -> AsyncIterator[str]:
    """URL of a database with one table."""
    async with fresh_database(stack, "payments") as name:
        connection = await asyncpg.connect(stack.url_of("payments", name))
        await connection.execute("CREATE TABLE things (id int PRIMARY KEY, times int NOT NULL DEFAULT 0)")
        await connection.close()
        yield stack.url_of("payments", name)


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool_size=5)
    yield database
    await database.close()


async def sessions(stack: RunningStack, url: str) -> list[str]:
    """Returns the states of all sessions in the database, as PostgreSQL sees them."""
    server = await asyncpg.connect(stack.superuser_url)
    try:
        name = url.rpartition("/")[2]
        rows = await server.fetch("SELECT state FROM pg_stat_activity WHERE datname = $1", name)
        return [row["state"] for row in rows]
    finally:
        await server.close()


async def test_what_a_transaction_wrote_is_there_after_it(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(ADD, id=1)
    assert await count(database, "things") == 1


async def test_any_exception_rolls_everything_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            await tx.execute(ADD, id=1)
            raise ZeroDivisionError
    assert await count(database, "things") == 0


async def test_callbacks_run_after_the_commit_and_not_after_a_rollback(database: Database) -> None:
    called: list[str] = []
    async with database.transaction() as tx:
        await tx.execute(ADD, id=1)
        tx.after_commit(lambda: called.append("committed"))
        assert called == []
    assert called == ["committed"]
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            tx.after_commit(lambda: called.append("rolled back"))
            raise ZeroDivisionError
    assert called == ["committed"]


async def test_callbacks_do_not_run_when_the_commit_itself_fails(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(sql("CREATE TABLE parents (id int PRIMARY KEY)"))
        deferred = "int REFERENCES parents DEFERRABLE INITIALLY DEFERRED"
        await tx.execute(sql(f"CREATE TABLE children (parent {deferred})"))
    called: list[str] = []
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        async with database.transaction() as tx:
            await tx.execute(sql("INSERT INTO children VALUES (1)"))
            tx.after_commit(lambda: called.append("committed"))
    assert called == []


async def test_a_violated_constraint_is_neither_a_conflict_nor_an_absence(database: Database) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        async with database.transaction() as tx:
            await tx.execute(ADD, id=1)
            await tx.execute(ADD, id=1)


class Things:
    """A service with methods that write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.attempts = 0
        self._both_hold_one = asyncio.Barrier(2)

    @atomic
    async def lock_both(self, first: int, second: int) -> None:
        """Locks two rows; the first time, not before somebody else holds the other one."""
        self.attempts += 1
        async with self._database.transaction() as tx:
            await tx.execute(LOCK, id=first)
            if self.attempts <= 2:
                await self._both_hold_one.wait()
            await tx.execute(LOCK, id=second)

    @atomic
    async def write_slowly(self, id: int) -> None:  # noqa: A002 - the column's name
        async with self._database.transaction() as tx:
            await tx.execute(ADD, id=id)
            await tx.execute(SLEEP)

    @atomic
    async def always_in_conflict(self) -> None:
        self.attempts += 1
        async with self._database.transaction() as tx:
            await tx.execute(ADD, id=self.attempts)
            raise Conflict

    async def read_slowly(self) -> None:
        async with self._database.autocommit() as connection:
            await connection.execute(SLEEP)


async def test_a_deadlock_is_repeated_and_both_get_their_way(database: Database) -> None:
    things = Things(database)
    async with database.transaction() as tx:
        await tx.execute(ADD, id=1)
        await tx.execute(ADD, id=2)
    await asyncio.gather(things.lock_both(1, 2), things.lock_both(2, 1))
    assert things.attempts == 3
    async with database.autocommit() as connection:
        rows = await connection.execute(sql("SELECT times FROM things"))
    assert [row["times"] for row in rows] == [2, 2]


async def test_two_serializable_transactions_that_contradict_each_other_are_a_conflict(database: Database) -> None:
    serializable = sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    total = sql("INSERT INTO things SELECT count(*) + :id FROM things")

    async def write(tx: Transaction, id: int) -> None:  # noqa: A002 - the column's name
        await tx.execute(serializable)
        await tx.execute(total, id=id)

    with pytest.raises(Conflict):
        async with database.transaction() as first, database.transaction() as second:
            await write(first, 10)
            await write(second, 20)


async def test_a_conflict_that_does_not_end_is_given_up(database: Database) -> None:
    things = Things(database)
    with pytest.raises(Unavailable):
        await things.always_in_conflict()
    assert things.attempts == 5
    assert await count(database, "things") == 0


@pytest.mark.parametrize("what", ["writes", "reads"])
async def test_a_thousand_cancelled_calls_leave_no_connection_behind(
    what: str, database: Database, url: str, stack: RunningStack
) -> None:
    things = Things(database)
    dice = random.Random(7)

    async def call(id: int) -> None:  # noqa: A002 - the column's name
        await (things.write_slowly(id) if what == "writes" else things.read_slowly())

    for start in range(0, 1000, 50):
        calls = [asyncio.create_task(call(id)) for id in range(start, start + 50)]  # noqa: A001
        for _ in range(dice.randrange(20)):
            await asyncio.sleep(0)
        if dice.random() < 0.5:
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for task in calls:
            task.cancel()
        await asyncio.wait(calls)

    async def back_to_the_baseline() -> bool:
        found = await sessions(stack, url)
        return len(found) <= 5 and set(found) <= {"idle"}

    await eventually(back_to_the_baseline)
    if what == "writes":
        # A method that was begun runs to its end though nobody listens.
        async def all_written() -> bool:
            return await count(database, "things") == 1000

        await eventually(all_written)
    # All connections of the pool can be had at once, and work.
    await asyncio.gather(*(things.read_slowly() for _ in range(5)))
    await database.close()
    assert await eventually(lambda: _none_of(stack, url))


async def _none_of(stack: RunningStack, url: str) -> bool:
    return await sessions(stack, url) == []


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    database = Database("postgresql://nobody:nothing@127.0.0.1:1/nowhere")
    with pytest.raises(Unavailable):
        await database.ping()
    with pytest.raises(Unavailable):
        async with database.transaction():
            pass
    await database.close()


async def test_of_several_hosts_the_primary_is_found_though_another_one_never_answers(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.db.CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        login, _, rest = url.rpartition("@")
        hosts, _, name = rest.partition("/")
        silent = f"127.0.0.1:{frozen.getsockname()[1]}"
        database = Database(f"{login}@{silent},{hosts}/{name}?target_session_attrs=primary")
        async with database.transaction() as tx:
            await tx.execute(ADD, id=1)
        assert await count(database, "things") == 1
        await database.close()


async def test_after_the_server_ended_all_sessions_the_next_calls_find_it_again(
    database: Database, url: str, stack: RunningStack
) -> None:
    await asyncio.gather(*(Things(database).read_slowly() for _ in range(5)))
    server = await asyncpg.connect(stack.superuser_url)
    await server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", url.rpartition("/")[2]
    )
    await server.close()
    refused = 0
    for _ in range(6):
        try:
            await database.ping()
        except Unavailable:
            refused += 1
    assert refused <= 5
    await database.ping()


async def test_a_session_that_ends_in_the_middle_of_a_transaction_is_unavailable(database: Database) -> None:
    with pytest.raises(Unavailable):
        async with database.transaction() as tx:
            await tx.execute(ADD, id=1)
            await tx.execute(sql("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert await count(database, "things") == 0


async def test_when_all_connections_are_taken_a_caller_does_not_wait_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(url, pool_size=1)
    monkeypatch.setattr("kit.db.ACQUIRE_SECONDS", 0.05)
    async with database.transaction():
        with pytest.raises(Unavailable):
            await database.ping()
    await database.ping()
    await database.close()
