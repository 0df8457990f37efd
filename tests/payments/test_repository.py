"""services.payments.repository: indexes with many rows, a ledger that never changes, the account at any moment."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from kit.db import Conflict, Database, sql
from kit.ids import new_id
from services.payments import repository
from services.payments.domain import CaptureRequest, ChargeRequest, Limits, RefundRequest, Request, ReversalRequest
from tests import statements
from tests.payments.audit import everything_in
from tests.support import RunningStack, fresh_database, scanned_whole

ROWS = 20_000
LOAD = (
    """INSERT INTO accounts (user_id, currency, balance, held, number, hash, created_at, updated_at)
       SELECT uuidv7(), 'RUB', 10, 0, 3, '', now(), now() FROM generate_series(1, :rows)""",
    """INSERT INTO payments SELECT user_id, uuidv7(), 'CAPTURED', '', 10, 'RUB', 10, 0, 'ORDERS', NULL, now(), now()
       FROM accounts""",
    """INSERT INTO payments SELECT user_id, uuidv7(), 'AUTHORIZED', '', 10, 'RUB', 0, 0, 'ORDERS',
              now() + make_interval(secs => row_number() OVER ()), now(), now() FROM accounts""",
    "INSERT INTO refunds SELECT user_id, order_id, uuidv7(), 1, 'FAILED', 0, now() FROM payments",
    """INSERT INTO transactions (user_id, number, kind, order_id, currency, to_available, to_held, to_funding,
                                to_revenue, to_payouts, balance, held, created_at, hash)
       SELECT user_id, n, 'CHARGE', uuidv7(), 'RUB', -10, 0, 0, 10, 0, 10, 0, now(), ''
       FROM accounts, generate_series(1, 3) AS n""",
    """INSERT INTO payouts SELECT user_id, uuidv7(), 'COMPLETED', 10, 'RUB', 'CARD', '', '', '', '', '', 3, NULL, NULL,
              now(), now() FROM accounts""",
    """INSERT INTO payouts SELECT user_id, uuidv7(), 'PENDING', 10, 'RUB', 'CARD', '', '', '', '', '', 1,
              now() - make_interval(secs => row_number() OVER ()), NULL, now(), now() FROM accounts""",
    """INSERT INTO products SELECT uuidv7(), 'tea', '', 10, 'RUB', 'CONSUMABLE', n % 2 = 0, 1, now(), now()
       FROM generate_series(1, :rows) AS n""",
    """INSERT INTO goods SELECT user_id, id, type, 1, now(), now()
       FROM (SELECT user_id, row_number() OVER () AS n FROM accounts)
       JOIN (SELECT id, type, row_number() OVER () AS n FROM products) USING (n)""",
    """INSERT INTO purchases SELECT user_id, uuidv7(), product_id, 'tea', 1, 10, 10, 'RUB', 'COMPLETED', '',
              now() - make_interval(secs => row_number() OVER ()) FROM goods""",
    """INSERT INTO purchases SELECT user_id, uuidv7(), product_id, 'tea', 1, 10, 10, 'RUB', 'FAILED', 'x', now()
       FROM goods""",
    "INSERT INTO uses SELECT user_id, uuidv7(), product_id, 1, now() FROM goods",
    "INSERT INTO inbox SELECT 'payments-charge', uuidv7() FROM generate_series(1, :rows)",
    "INSERT INTO idempotency_keys SELECT user_id, 'Deposit', 'k', '', '' FROM accounts",
    *statements.WAITING,
    "ANALYZE",
)
NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
async def loaded(stack: RunningStack, templates: dict[str, str]) -> AsyncIterator[Database]:
    """A database of Payments with 20,000 rows in each table, or more."""
    async with fresh_database(stack, "payments", templates["payments"]) as name:
        database = Database(stack.url_of("payments", name))
        async with database.transaction() as tx:
            for statement in LOAD:
                await tx.execute(sql(statement), **({"rows": ROWS} if ":rows" in statement else {}))
        yield database
        await database.close()


@pytest.mark.parametrize("size", statements.SIZES)
async def test_no_statement_walks_through_a_table(size: int, loaded: Database) -> None:
    async with loaded.autocommit() as connection:
        assert await statements.walks_of_payments(connection, size) == []


async def test_this_test_would_see_a_walk_through_a_table(loaded: Database) -> None:
    statement = sql("SELECT * FROM accounts WHERE balance = :balance")
    async with loaded.autocommit() as connection:
        assert await scanned_whole(connection, statement, balance=1) == {"accounts"}


@pytest.mark.parametrize("table", ["transactions", "entries"])
@pytest.mark.parametrize(
    "change",
    ["UPDATE {} SET number = number", "UPDATE {} SET number = 2 WHERE false", "DELETE FROM {}", "TRUNCATE {}"],
)
async def test_the_database_refuses_to_change_the_ledger(change: str, table: str, payments_db: Database) -> None:
    user_id = await opened(payments_db, 100)
    before = (await everything_in(payments_db)).transactions
    with pytest.raises(asyncpg.PostgresError, match=r"the ledger never changes|view|not a table"):
        async with payments_db.transaction() as tx:
            await tx.execute(sql(change.format(table)))
    assert (await everything_in(payments_db)).transactions == before
    assert [t.user_id for t in before] == [user_id]


@pytest.mark.parametrize(
    ("amounts", "constraint"),
    [
        ({"to_available": 5}, "transactions_balance"),
        ({"to_available": 5, "to_funding": -4}, "transactions_balance"),
        ({"to_available": 5, "to_held": 5, "to_funding": -9}, "transactions_balance"),
        ({}, "transactions_move_something"),
    ],
)
async def test_the_database_refuses_what_does_not_balance_or_moves_nothing(
    amounts: dict[str, int], constraint: str, payments_db: Database
) -> None:
    user_id = await opened(payments_db, 100)
    moves = ("to_available", "to_held", "to_funding", "to_revenue", "to_payouts")
    values = ", ".join(str(amounts.get(move, 0)) for move in moves)
    insert = sql(f"""INSERT INTO transactions (user_id, number, kind, currency, {", ".join(moves)}, balance, held,
                                               created_at, hash)
                     VALUES (:user_id::uuid, 2, 'DEPOSIT', 'RUB', {values}, 0, 0, now(), '')""")
    with pytest.raises(asyncpg.CheckViolationError, match=constraint):
        async with payments_db.transaction() as tx:
            await tx.execute(insert, user_id=user_id)
    (await everything_in(payments_db)).assert_right()


async def opened(database: Database, deposit: int) -> str:
    """An account with one deposit."""
    user_id = new_id()
    async with database.transaction() as tx:
        await repository.insert_account(tx, user_id, "RUB", NOW)
        books = await repository.lock_books(tx, [user_id], [], NOW, Limits())
        books.deposit(user_id, deposit, "")
        await repository.write(tx, books)
    return user_id


async def test_the_account_at_a_moment_is_what_the_transactions_until_then_made_of_it(payments_db: Database) -> None:
    dice = random.Random(7)
    user_id, other = await opened(payments_db, 1), await opened(payments_db, 7)
    second = timedelta(seconds=1)
    # Many at the same moment, a clock that went back, and some that a microsecond parts.
    steps = [dice.choice([0 * second, second, -second, timedelta(microseconds=1)]) for _ in range(40)]
    now = NOW
    async with payments_db.transaction() as tx:
        for step in steps:
            now += step
            books = await repository.lock_books(tx, [user_id], [], now, Limits())
            books.deposit(user_id, dice.randrange(1, 100), "")
            if dice.random() < 0.5:
                books.apply(ChargeRequest(user_id, new_id(), 1, "RUB", manual=dice.random() < 0.5))
            await repository.write(tx, books)
    chain = [t for t in (await everything_in(payments_db)).transactions if t.user_id == user_id]
    assert len({t.created_at for t in chain}) < len(chain)
    moments = {t.created_at + near for t in chain for near in (-second, timedelta(), timedelta(microseconds=1))}
    moments |= {NOW + timedelta(seconds=dice.uniform(-2, 30)) for _ in range(50)} | {NOW + timedelta(days=9999)}
    moments |= {datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)}
    async with payments_db.autocommit() as connection:
        for at in moments:
            account = await repository.account_at(connection, user_id, at)
            past = [t for t in chain if t.created_at <= at]
            if at < NOW:
                assert account is None
            else:
                assert account is not None
                assert (account.user_id, account.balance, account.held) == (user_id, past[-1].balance, past[-1].held)
                assert account.updated_at.ToDatetime(UTC) == past[-1].created_at
        account = await repository.account_at(connection, other, NOW)
        assert account is not None
        assert account.balance == 7
        assert await repository.account_at(connection, new_id(), NOW) is None


async def test_an_account_is_empty_from_its_opening_to_its_first_transaction(payments_db: Database) -> None:
    user_id, day = new_id(), timedelta(days=1)
    async with payments_db.transaction() as tx:
        await repository.insert_account(tx, user_id, "RUB", NOW)
        opened = await repository.account_at(tx, user_id, NOW)
        books = await repository.lock_books(tx, [user_id], [], NOW + day, Limits())
        books.deposit(user_id, 5, "")
        await repository.write(tx, books)
        empty = await repository.account_at(tx, user_id, NOW + day - timedelta(microseconds=1))
        full = await repository.account_at(tx, user_id, NOW + day)
    assert opened is not None
    assert empty == opened
    assert full is not None
    assert (opened.balance, full.balance) == (0, 5)
    assert opened.updated_at.ToDatetime(UTC) == NOW


@pytest.mark.parametrize("asked", ["deposit", "charge", "refused", "capture", "tombstone", "refund"])
async def test_what_was_decided_in_the_meantime_is_a_conflict_and_nothing_is_written(
    asked: str, payments_db: Database
) -> None:
    user_id, nobody, [held, refused, new, refund] = (
        await opened(payments_db, 100),
        new_id(),
        [new_id() for _ in range(4)],
    )
    requests: dict[str, Request] = {
        "charge": ChargeRequest(user_id, new, 10, "RUB"),
        "refused": ChargeRequest(nobody, new, 10, "RUB"),
        "capture": CaptureRequest(user_id, held),
        "tombstone": ReversalRequest(nobody, new, 10, "RUB"),
        # Without an account there is nothing to be locked.
        "refund": RefundRequest(nobody, refused, refund, 1),
    }
    async with payments_db.transaction() as tx:
        books = await repository.lock_books(tx, [user_id], [], NOW, Limits())
        books.apply(ChargeRequest(user_id, held, 10, "RUB", manual=True))
        books.apply(ChargeRequest(nobody, refused, 10, "RUB"))
        await repository.write(tx, books)
        about = [requests[asked]] if asked in requests else []
        both = [await repository.lock_books(tx, [user_id], about, NOW, Limits()) for _ in range(2)]
    for books in both:
        if about:
            books.apply(*about)
        else:
            books.deposit(user_id, 1, "")
    async with payments_db.transaction() as tx:
        await repository.write(tx, both[0])
    before = await everything_in(payments_db)
    with pytest.raises(Conflict):
        async with payments_db.transaction() as tx:
            await repository.write(tx, both[1])
    assert await everything_in(payments_db) == before
    before.assert_right()
