"""services.payments.service beside the same books in memory: whatever comes, both say and hold the same."""

from copy import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.db import Database
from kit.errors import Error
from kit.events import Event
from kit.ids import new_id
from services.payments import events
from services.payments.books import Books
from services.payments.domain import Limits
from services.payments.ledger import Account
from services.payments.service import PaymentService
from tests.payments.audit import everything_in
from tests.payments.steps import (
    account_with,
    answer,
    answers,
    asked_again,
    capture_of,
    deposit,
    order_created,
    order_of,
    refund_of,
    reversal_of,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Model:
    """The same books in memory, which test_books.py has tested."""

    def __init__(self, accounts: list[Account]) -> None:
        self._books = Books(accounts, [], [], NOW, Limits())
        self._seen: set[str] = set()

    def deposit(self, user_id: str, amount: int) -> None:
        self._books.deposit(user_id, amount, "")

    def ask(self, messages: list[Event]) -> list[tuple[str, str]] | Error:
        """Answers what is new, all of it or nothing."""
        now = self._books
        accounts = [copy(account) for account in now.accounts.values()]
        books = Books(accounts, now.payments.values(), now.refunds.values(), NOW, Limits())
        new = {message.id: message for message in messages if message.id not in self._seen}
        told = []
        for message in new.values():
            request = events.request_of(message)
            try:
                told.append(answer(events.answer(request, books.apply(request), Timestamp(), "")))
            except Error as error:
                return error
        self._books = books
        self._seen |= new.keys()
        return told

    @property
    def money(self) -> dict[str, tuple[int, int]]:
        return {user_id: (account.balance, account.held) for user_id, account in self._books.accounts.items()}

    @property
    def payments(self) -> dict[str, tuple[str, str, int, int]]:
        return {p.order_id: (p.status, p.reason, p.captured, p.refunded) for p in self._books.payments.values()}


ORDERS = 8
ASKED = st.tuples(
    st.integers(0, ORDERS - 1), st.sampled_from(["created", "capture", "reversal", "refund"]), st.booleans()
)
STEPS = st.lists(
    st.tuples(st.just("deposit"), st.integers(0, 1), st.integers(1, 50))
    # The same orders more than once, in one batch and in later ones, in the same messages and in new ones.
    | st.tuples(st.just("ask"), st.lists(ASKED, min_size=1, max_size=6)),
    max_size=12,
)


@given(steps=STEPS, amounts=st.lists(st.integers(1, 40), min_size=ORDERS, max_size=ORDERS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_happens_the_database_agrees_with_the_books_in_memory(
    service: PaymentService, payments_db: Database, steps: list[tuple[Any, ...]], amounts: list[int]
) -> None:
    users = [await account_with(service, 0), await account_with(service, 0), new_id()]
    found = {account.user_id: account for account in (await everything_in(payments_db)).accounts}
    model = Model([copy(found[user_id]) for user_id in users[:2]])
    orders = [order_created(users[n % 3], amount, manual=n % 2 == 1) for n, amount in enumerate(amounts)]
    questions = {
        "created": orders,
        "capture": [capture_of(order) for order in orders],
        "reversal": [reversal_of(order) for order in orders],
        "refund": [refund_of(order, amount // 2 + 1) for order, amount in zip(orders, amounts, strict=True)],
    }
    expected: list[tuple[str, str]] = []
    for step in steps:
        match step:
            case ("deposit", int(who), amount):
                await deposit(service, users[who], amount)
                model.deposit(users[who], amount)
            case ("ask", list(asked)):
                batch = [asked_again(questions[what][n]) if new else questions[what][n] for n, what, new in asked]
                answered = model.ask(batch)
                if isinstance(answered, Error):
                    with pytest.raises(type(answered)):
                        await service.answer_orders(batch)
                else:
                    await service.answer_orders(batch)
                    expected += answered
    written = await everything_in(payments_db)
    written.assert_right()
    assert {a.user_id: (a.balance, a.held) for a in written.accounts if a.user_id in users} == model.money
    assert {
        p.order_id: (p.status, p.reason, p.captured, p.refunded) for p in written.payments if p.user_id in users
    } == model.payments
    mine = {order_of(order) for order in orders}
    assert [pair for pair in await answers(payments_db) if pair[0] in mine] == expected
