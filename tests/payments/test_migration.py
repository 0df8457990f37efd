"""Migration 0003: what was booked before it becomes the ledger, in chains that go on."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from alembic import command

from kit import migrations
from kit.db import Database
from kit.ids import new_id
from tests.payments.audit import everything_in
from tests.payments.steps import (
    answers,
    asked_again,
    balance_of,
    deposit,
    order_created,
    order_of,
    refund_of,
    reversal_of,
    service_on,
)
from tests.support import SERVICES_FOLDER, RunningStack, fresh_database, in_thread, migrate

START = datetime(2026, 8, 1, 12, tzinfo=UTC)
ANN, BEN, CAT, DAN = (new_id() for _ in range(4))
"""With much behind her; in euros; with an account and nothing in it; without an account."""
ORDERS = PAID, PAID_TOO, REFUSED, BENS, DANS = [order_created(user, 70) for user in (ANN, ANN, ANN, BEN, DAN)]


def after(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds, microseconds=seconds)


ACCOUNTS = [
    (ANN, "RUB", 35, 0, START, after(1)),
    (BEN, "EUR", 10**15 - 70, 0, START, after(5)),
    (CAT, "RUB", 0, 0, START, START),
]
CHARGES = [
    (ANN, order_of(PAID), "SUCCEEDED", "", 70, "RUB", after(2)),
    # Two in one batch, and so at the same time.
    (ANN, order_of(PAID_TOO), "SUCCEEDED", "", 70, "RUB", after(3)),
    (ANN, new_id(), "SUCCEEDED", "", 30, "RUB", after(3)),
    (ANN, order_of(REFUSED), "FAILED", "INSUFFICIENT_FUNDS", 70, "RUB", after(4)),
    (BEN, order_of(BENS), "SUCCEEDED", "", 70, "EUR", after(5)),
    (DAN, order_of(DANS), "FAILED", "NO_ACCOUNT", 70, "RUB", after(4)),
]
# The last one waited for the lock on the account, and had looked at the clock before the charges did.
DEPOSITS = [(ANN, 200, "RUB", after(1)), (BEN, 10**15, "EUR", after(4)), (ANN, 5, "RUB", after(1))]


@pytest.fixture(params=["0001", "0002"])
async def old(request: pytest.FixtureRequest, stack: RunningStack) -> AsyncIterator[tuple[Database, str]]:
    """A database as an earlier release left it, with accounts, deposits and charges; and its URL."""
    booked = [(user, new_id(), "funding", amount, currency, at) for user, amount, currency, at in DEPOSITS]
    booked += [
        (user, order, "revenue", -amount, cur, at)
        for user, order, end, _, amount, cur, at in CHARGES
        if end == "SUCCEEDED"
    ]
    entries = [
        (user, transaction, *half, currency, at)
        for user, transaction, other, amount, currency, at in booked
        for half in (("user", amount), (other, -amount))
    ]
    async with fresh_database(stack, "payments") as name:
        url = stack.url_of("payments", name)
        config = migrations.config(url, SERVICES_FOLDER / "payments")
        in_thread(lambda: command.upgrade(config, request.param))
        connection = await asyncpg.connect(url)
        for table, rows in (("accounts", ACCOUNTS), ("charges", CHARGES), ("entries", entries)):
            await connection.copy_records_to_table(table, records=rows)
        await connection.close()
        database = Database(url)
        yield database, url
        await database.close()


async def test_what_was_booked_becomes_the_ledger_that_python_would_have_written(old: tuple[Database, str]) -> None:
    database, url = old
    migrate(url, "payments")
    books = await everything_in(database)
    books.assert_right()
    kinds = {user: [t.kind for t in books.transactions if t.user_id == user] for user in (ANN, BEN, CAT, DAN)}
    assert kinds == {
        ANN: ["DEPOSIT", "DEPOSIT", "CHARGE", "CHARGE", "CHARGE"],
        BEN: ["DEPOSIT", "CHARGE"],
        CAT: [],
        DAN: [],
    }
    assert [t.balance for t in books.transactions if t.user_id == ANN] == [200, 205, 135, 65, 35]
    decided = {p.order_id: (p.status, p.reason, p.amount, p.captured, p.refunded) for p in books.payments}
    assert len(decided) == 6
    assert [decided[order_of(order)] for order in ORDERS] == [
        ("CAPTURED", "", 70, 70, 0),
        ("CAPTURED", "", 70, 70, 0),
        ("FAILED", "INSUFFICIENT_FUNDS", 70, 0, 0),
        ("CAPTURED", "", 70, 70, 0),
        ("FAILED", "NO_ACCOUNT", 70, 0, 0),
    ]


async def test_the_chains_go_on_and_what_was_decided_stays_so(old: tuple[Database, str]) -> None:
    database, url = old
    migrate(url, "payments")
    service = service_on(database)
    before = await everything_in(database)
    await service.answer_orders([asked_again(order) for order in ORDERS])
    assert await everything_in(database) == before
    assert [outcome for _, outcome in await answers(database)] == [
        *("SUCCEEDED", "SUCCEEDED", "INSUFFICIENT_FUNDS", "SUCCEEDED", "NO_ACCOUNT")
    ]
    await deposit(service, CAT, 100)
    await service.answer_orders([order_created(ANN, 35), order_created(CAT, 60, manual=True)])
    await service.answer_orders([reversal_of(PAID), refund_of(PAID_TOO, 20), reversal_of(DANS)])
    assert [await balance_of(service, user) for user in (ANN, BEN, CAT)] == [90, 10**15 - 70, 100]
    after = await everything_in(database)
    after.assert_right()
    assert len(after.transactions) == len(before.transactions) + 5
    account = await service.get_account(ANN, START + timedelta(seconds=2, milliseconds=1))
    assert account.balance == 135
