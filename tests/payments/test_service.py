"""services.payments.service on a real PostgreSQL: money moves once, whatever is delivered, and books stay right."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gozon.orders.v1.events_pb2 import OrderCreated
from gozon.payments.v1.events_pb2 import PaymentSucceeded
from kit.db import Database
from kit.errors import IdempotencyKeyReused
from kit.events import Event
from kit.ids import new_id
from kit.outbox import Outbox
from services.payments.domain import (
    MAX_BALANCE,
    AccountExists,
    AccountNotFound,
    BalanceLimit,
    ChargeRequest,
    CurrencyMismatch,
    Funds,
    decide,
)
from services.payments.service import PaymentService
from services.payments.tables import metadata
from tests.payments.steps import (
    account_with,
    answers,
    asked_again,
    assert_books_are_right,
    balance_of,
    deposit,
    order_created,
    order_of,
    outcomes,
)
from tests.support import count, disconnected_bus, fingerprint, outbox_of

PLUMBING = ("inbox", "outbox")


async def test_an_account_starts_empty_in_the_asked_currency(service: PaymentService) -> None:
    user_id = new_id()
    opened = await service.open_account(user_id, "EUR")
    assert (opened.user_id, opened.currency, opened.balance, opened.held, opened.available) == (user_id, "EUR", 0, 0, 0)
    assert await service.get_account(user_id) == opened
    assert (await service.open_account(new_id(), "")).currency == "RUB"


async def test_a_user_has_one_account(service: PaymentService, payments_db: Database) -> None:
    user_id = new_id()
    results = await asyncio.gather(
        *(service.open_account(user_id, currency) for currency in ("EUR", "RUB") * 10), return_exceptions=True
    )
    assert sum(isinstance(result, AccountExists) for result in results) == 19
    assert await count(payments_db, "accounts") == 1


async def test_a_deposit_adds_money_and_books_it(service: PaymentService, payments_db: Database) -> None:
    user_id = await account_with(service, 0)
    assert (await deposit(service, user_id, 700)).account.balance == 700
    assert (await deposit(service, user_id, 300)).account.available == 1000
    assert await count(payments_db, "entries") == 4
    await assert_books_are_right(payments_db)


async def test_fifty_deposits_with_one_key_are_one(service: PaymentService, payments_db: Database) -> None:
    user_id = await account_with(service, 0)
    results = await asyncio.gather(*(deposit(service, user_id, 10, key="k") for _ in range(50)))
    assert sum(not result.replayed for result in results) == 1
    assert {result.account.balance for result in results} == {10}
    assert await balance_of(service, user_id) == 10
    await assert_books_are_right(payments_db)


async def test_deposits_at_the_same_time_all_arrive(service: PaymentService, payments_db: Database) -> None:
    user_id = await account_with(service, 0)
    await asyncio.gather(*(deposit(service, user_id, amount) for amount in range(1, 51)))
    assert await balance_of(service, user_id) == sum(range(1, 51))
    await assert_books_are_right(payments_db)


async def test_a_key_that_was_used_for_another_deposit_moves_nothing(service: PaymentService) -> None:
    user_id = await account_with(service, 0)
    await deposit(service, user_id, 10, key="k")
    with pytest.raises(IdempotencyKeyReused):
        await deposit(service, user_id, 11, key="k")
    assert await balance_of(service, user_id) == 10


async def test_a_deposit_that_is_refused_leaves_nothing_and_its_key_free(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = new_id()
    with pytest.raises(AccountNotFound):
        await deposit(service, user_id, 10, key="k")
    await service.open_account(user_id, "RUB")
    with pytest.raises(CurrencyMismatch):
        await deposit(service, user_id, 10, key="k", currency="EUR")
    assert [await count(payments_db, table) for table in ("entries", "idempotency_keys")] == [0, 0]
    assert (await deposit(service, user_id, 10, key="k")).account.balance == 10


async def test_a_balance_has_a_limit(service: PaymentService, payments_db: Database) -> None:
    user_id = await account_with(service, MAX_BALANCE - 1)
    with pytest.raises(BalanceLimit):
        await deposit(service, user_id, 2)
    assert (await deposit(service, user_id, 1)).account.balance == MAX_BALANCE
    await assert_books_are_right(payments_db)


async def test_an_order_is_paid_once_and_the_answer_carries_its_trace(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    asked = order_created(user_id, 400)
    await service.charge([asked])
    assert await balance_of(service, user_id) == 600
    [told] = await outbox_of(payments_db)
    succeeded = PaymentSucceeded.FromString(told.payload)
    assert (told.subject, told.traceparent) == ("payments.succeeded", asked.traceparent)
    assert (succeeded.order_id, succeeded.user_id, succeeded.amount) == (order_of(asked), user_id, 400)
    await assert_books_are_right(payments_db)


async def test_orders_that_cannot_be_paid_take_nothing_and_say_why(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 100)
    asked = [
        order_created(user_id, 101),
        order_created(new_id(), 1),
        order_created(user_id, 1, currency="EUR"),
        order_created(user_id, 100),
    ]
    await service.charge(asked)
    reasons = ["INSUFFICIENT_FUNDS", "NO_ACCOUNT", "CURRENCY_MISMATCH", "SUCCEEDED"]
    assert await answers(payments_db) == [(order_of(m), reason) for m, reason in zip(asked, reasons, strict=True)]
    assert await balance_of(service, user_id) == 0
    await assert_books_are_right(payments_db)


async def test_orders_of_one_account_in_one_batch_are_decided_in_order(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 100)
    asked = [order_created(user_id, amount) for amount in (60, 50, 40, 1)]
    await service.charge(asked)
    assert [outcome for _, outcome in await answers(payments_db)] == [
        "SUCCEEDED",
        "INSUFFICIENT_FUNDS",
        "SUCCEEDED",
        "INSUFFICIENT_FUNDS",
    ]


async def test_an_order_that_is_asked_for_again_gets_its_answer_again(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 100)
    asked = [order_created(user_id, 80), order_created(user_id, 80)]
    await service.charge(asked)
    first = await answers(payments_db)
    await service.charge([asked_again(message) for message in asked])
    assert sorted(await answers(payments_db)) == sorted(first * 2)
    # Money that came in later does not change what was decided.
    await deposit(service, user_id, 1000)
    await service.charge([asked_again(asked[1])])
    assert (await answers(payments_db))[-1] == (order_of(asked[1]), "INSUFFICIENT_FUNDS")
    assert await balance_of(service, user_id) == 1020


async def test_a_message_that_was_handled_is_not_even_answered_again(
    service: PaymentService, payments_db: Database
) -> None:
    asked = order_created(await account_with(service, 100), 80)
    await service.charge([asked, asked])
    await service.charge([asked])
    assert await answers(payments_db) == [(order_of(asked), "SUCCEEDED")]


async def test_duplicates_reorderings_and_replays_change_nothing(
    service: PaymentService, payments_db: Database
) -> None:
    dice = random.Random(7)
    users = [await account_with(service, dice.randrange(2000)) for _ in range(10)] + [new_id()]
    asked = [
        order_created(dice.choice(users), dice.randrange(1, 300), currency=dice.choice(["RUB", "RUB", "RUB", "EUR"]))
        for _ in range(200)
    ]
    for start in range(0, len(asked), 40):
        await service.charge(asked[start : start + 40])
    before = await fingerprint(payments_db, metadata, without=PLUMBING)
    told = dict(await answers(payments_db))
    assert outcomes(list(told.items())).keys() == {"SUCCEEDED", "INSUFFICIENT_FUNDS", "NO_ACCOUNT", "CURRENCY_MISMATCH"}
    for _ in range(3):
        everything = asked + [asked_again(message) for message in asked] + dice.sample(asked, 50)
        dice.shuffle(everything)
        while everything:
            size = dice.randrange(1, 80)
            batch, everything = everything[:size], everything[size:]
            await service.charge(batch)
    assert await fingerprint(payments_db, metadata, without=PLUMBING) == before
    assert set(await answers(payments_db)) == set(told.items())
    await assert_books_are_right(payments_db)


async def test_of_200_orders_at_once_on_two_instances_an_account_pays_the_100_that_it_can(
    service: PaymentService, payments_db: Database
) -> None:
    instances = [service, PaymentService(payments_db, Outbox(payments_db, disconnected_bus()))]
    user_id = await account_with(service, 100 * 7)
    asked = [order_created(user_id, 7) for _ in range(200)]
    batches = [asked[start : start + 4] for start in range(0, 200, 4)]
    # Every batch comes to both instances, as when one was slow and JetStream gave up on it.
    await asyncio.gather(*(instance.charge(batch) for batch in batches for instance in instances))
    assert outcomes(await answers(payments_db)) == {"SUCCEEDED": 100, "INSUFFICIENT_FUNDS": 100}
    assert await balance_of(service, user_id) == 0
    await assert_books_are_right(payments_db)


async def test_asking_for_the_same_orders_in_new_messages_at_once_takes_their_money_once(
    service: PaymentService, payments_db: Database
) -> None:
    users = [await account_with(service, 1000) for _ in range(3)]
    asked = [order_created(user_id, 100) for user_id in users for _ in range(5)]
    dice = random.Random(7)
    batches = [[asked_again(message) for message in dice.sample(asked, len(asked))] for _ in range(10)]
    await asyncio.gather(*(service.charge(batch) for batch in batches))
    assert [await balance_of(service, user_id) for user_id in users] == [500, 500, 500]
    assert await count(payments_db, "charges") == 15
    await assert_books_are_right(payments_db)


async def test_crossing_batches_over_many_accounts_end_with_right_books(
    service: PaymentService, payments_db: Database
) -> None:
    dice = random.Random(7)
    users = [await account_with(service, 500) for _ in range(8)]
    batches = [[order_created(dice.choice(users), dice.randrange(1, 40)) for _ in range(20)] for _ in range(30)]
    deposits = [deposit(service, dice.choice(users), dice.randrange(1, 100)) for _ in range(30)]
    await asyncio.gather(*(service.charge(batch) for batch in batches), *deposits)
    assert len(await answers(payments_db)) == 600
    await assert_books_are_right(payments_db)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xff",
        OrderCreated(order_id=new_id(), user_id=new_id(), total_price=0).SerializeToString(),
        OrderCreated(order_id=new_id(), user_id=new_id(), total_price=-5).SerializeToString(),
        OrderCreated(user_id=new_id(), total_price=5).SerializeToString(),
        OrderCreated(order_id="nonsense", user_id=new_id(), total_price=5).SerializeToString(),
        OrderCreated(order_id=new_id(), user_id="nonsense", total_price=5).SerializeToString(),
        OrderCreated(order_id=new_id(), user_id=new_id(), total_price=2**63 - 1, currency="\0").SerializeToString(),
        b"",
    ],
    ids=["noise", "no price", "a negative price", "no order", "another order", "another user", "NUL", "nothing"],
)
async def test_a_message_that_is_no_order_fails_and_leaves_nothing(
    payload: bytes, service: PaymentService, payments_db: Database
) -> None:
    good = order_created(await account_with(service, 100), 10)
    with pytest.raises((DecodeError, ValueError, asyncpg.DataError)):
        await service.charge([good, Event(new_id(), "orders.created", payload, "")])
    assert [await count(payments_db, table) for table in ("inbox", "charges", "outbox")] == [0, 0, 0]
    await service.charge([good])
    assert await answers(payments_db) == [(order_of(good), "SUCCEEDED")]


async def test_a_message_without_a_valid_id_fails_instead_of_waiting_for_the_database(service: PaymentService) -> None:
    asked = order_created(await account_with(service, 100), 10)
    with pytest.raises(ValueError, match="UUID"):
        await service.charge([Event("nonsense", asked.subject, asked.payload, "")])


@dataclass
class Model:
    """What Payments must do, in a few lines of arithmetic."""

    balances: dict[str, int]
    decided: dict[str, str] = field(default_factory=dict)

    def charge(self, requests: Sequence[ChargeRequest]) -> None:
        fresh = {r.order_id: r for r in requests if r.order_id not in self.decided}
        funds = {user_id: Funds(balance, "RUB") for user_id, balance in self.balances.items()}
        for charge in decide(fresh.values(), funds):
            self.decided[charge.request.order_id] = charge.reason or charge.status
            if not charge.reason:
                self.balances[charge.request.user_id] -= charge.request.amount


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deposit"), st.integers(0, 2), st.integers(1, 50)),
        # Orders by number, so that they are asked for more than once, in the same batch and in later ones.
        st.tuples(st.just("charge"), st.lists(st.integers(0, 15), min_size=1, max_size=8), st.booleans()),
    ),
    max_size=12,
)


@given(steps=STEPS, amounts=st.lists(st.integers(1, 40), min_size=16, max_size=16))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_happens_the_database_agrees_with_a_simple_model(
    service: PaymentService, payments_db: Database, steps: list[tuple[str, object, int]], amounts: list[int]
) -> None:
    users = [await account_with(service, 0), await account_with(service, 0), new_id()]
    orders = [order_created(users[n % 3], amount) for n, amount in enumerate(amounts)]
    model = Model({users[0]: 0, users[1]: 0})
    for step in steps:
        match step:
            case ("deposit", int(who), amount) if who < 2:
                await deposit(service, users[who], amount)
                model.balances[users[who]] += amount
            case ("charge", list(numbers), again):
                batch = [asked_again(orders[n]) if again else orders[n] for n in numbers]
                await service.charge(batch)
                model.charge([ChargeRequest(users[n % 3], order_of(orders[n]), amounts[n], "RUB") for n in numbers])
    assert {user_id: await balance_of(service, user_id) for user_id in users[:2]} == model.balances
    mine = {order_of(order) for order in orders}
    assert {order: told for order, told in await answers(payments_db) if order in mine} == model.decided
    await assert_books_are_right(payments_db)
