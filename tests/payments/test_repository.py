"""services.payments.repository with many rows loaded: what is on the order path uses indexes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from kit import idempotency, inbox, outbox
from kit.db import Conflict, Database, sql
from kit.ids import new_id
from services.payments import repository
from services.payments.domain import SUCCEEDED, Charge, ChargeRequest
from tests.support import RunningStack, fresh_database, scanned_whole

ROWS = 20_000
LOAD = (
    """INSERT INTO accounts SELECT uuidv7(), 'RUB', 1000000, 0, now(), now() FROM generate_series(1, :rows)""",
    """INSERT INTO charges SELECT user_id, uuidv7(), 'SUCCEEDED', '', 10, 'RUB', now() FROM accounts""",
    """INSERT INTO entries
       SELECT user_id, order_id, account, CASE account WHEN 'user' THEN -10 ELSE 10 END, 'RUB', now()
       FROM charges, unnest(ARRAY['user', 'revenue']) AS account""",
    """INSERT INTO inbox SELECT 'payments-charge', uuidv7() FROM generate_series(1, :rows)""",
    """INSERT INTO outbox SELECT uuidv7(), 's', '', '', now() - interval '1 minute' FROM generate_series(1, :rows)""",
    """INSERT INTO idempotency_keys SELECT user_id, 'Deposit', 'k', '', '' FROM accounts""",
    """ANALYZE""",
)
ONE, BATCH = 1, 500


@pytest.fixture(scope="module")
async def loaded(stack: RunningStack, templates: dict[str, str]) -> AsyncIterator[Database]:
    """A database of Payments with 20,000 rows in each table."""
    async with fresh_database(stack, "payments", templates["payments"]) as name:
        database = Database(stack.url_of("payments", name))
        async with database.transaction() as tx:
            for statement in LOAD:
                await tx.execute(sql(statement), **({"rows": ROWS} if ":rows" in statement else {}))
        yield database
        await database.close()


async def some(database: Database, column: str, table: str, number: int) -> list[str]:
    async with database.autocommit() as connection:
        rows = await connection.execute(
            sql(f"SELECT {column} FROM {table} ORDER BY {column} LIMIT {number} OFFSET 500")
        )
        return [str(row[0]) for row in rows]


@pytest.mark.parametrize("size", [ONE, BATCH])
async def test_the_statements_of_a_charge_walk_through_no_table(size: int, loaded: Database) -> None:
    users = await some(loaded, "user_id", "accounts", size)
    orders = await some(loaded, "order_id", "charges", size)
    now = datetime.now(UTC)
    statements: dict[Any, dict[str, Any]] = {
        inbox._MARK: {"consumer": "payments-charge", "ids": orders},
        repository._LOCK_FUNDS: {"user_ids": users},
        repository._CHARGES_OF: {"user_ids": users, "order_ids": orders},
        repository._TAKE_MONEY: {"user_ids": users, "totals": [10] * size, "now": now},
        outbox._DELETE: {"ids": await some(loaded, "id", "outbox", size)},
    }
    for statement, parameters in statements.items():
        assert await scanned_whole(loaded, statement, **parameters) == set(), statement.text


async def test_the_statements_of_single_calls_walk_through_no_table(loaded: Database) -> None:
    [user_id] = await some(loaded, "user_id", "accounts", 1)
    key = {"user_id": user_id, "method": "Deposit", "key": "k"}
    now = datetime.now(UTC)
    statements: dict[Any, dict[str, Any]] = {
        repository._ACCOUNT_OF: {"user_id": user_id},
        repository._ADD_MONEY: {"user_id": user_id, "amount": 1, "currency": "", "limit": 10**15, "now": now},
        idempotency._CLAIM: {**key, "request_hash": b""},
        idempotency._FIRST: key,
        idempotency._ANSWER: {**key, "response": b""},
        outbox._LEFT_BEHIND: {"age": 5.0, "limit": 500},
    }
    for statement, parameters in statements.items():
        assert await scanned_whole(loaded, statement, **parameters) == set(), statement.text


async def test_this_test_would_see_a_walk_through_a_table(loaded: Database) -> None:
    assert await scanned_whole(loaded, sql("SELECT * FROM accounts WHERE balance = :balance"), balance=1) == {
        "accounts"
    }


async def test_money_that_is_not_there_any_more_is_a_conflict_and_nothing_is_taken(payments_db: Database) -> None:
    rich, poor, now = new_id(), new_id(), datetime.now(UTC)
    async with payments_db.transaction() as tx:
        for user_id, amount in ((rich, 100), (poor, 9)):
            await repository.insert_account(tx, user_id, "RUB", now)
            await repository.add_money(tx, user_id, amount, "", now)
    charges = [Charge(ChargeRequest(user_id, new_id(), 10, "RUB"), SUCCEEDED) for user_id in (rich, poor)]
    with pytest.raises(Conflict):
        async with payments_db.transaction() as tx:
            await repository.take_money(tx, charges, now)
    async with payments_db.autocommit() as connection:
        account = await repository.account_of(connection, rich)
    assert account is not None
    assert account.balance == 100


async def test_an_order_that_was_decided_about_in_the_meantime_is_a_conflict(payments_db: Database) -> None:
    charge = Charge(ChargeRequest(new_id(), new_id(), 10, "RUB"), SUCCEEDED)
    now = datetime.now(UTC)
    async with payments_db.transaction() as tx:
        await repository.insert_charges(tx, [charge], now)
    with pytest.raises(Conflict):
        async with payments_db.transaction() as tx:
            await repository.insert_charges(tx, [charge], now)
