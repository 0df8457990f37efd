"""services.payments.service on a real PostgreSQL: money moves once, whatever is delivered, and books stay right."""

import asyncio
import random

import asyncpg
import pytest
from google.protobuf.message import DecodeError, Message

from gozon.orders.v1.events_pb2 import CaptureRequested, OrderCreated, RefundRequested, ReversalRequested
from gozon.payments.v1.events_pb2 import PaymentSucceeded
from kit.db import Database
from kit.errors import IdempotencyKeyReused
from kit.events import Event
from kit.ids import new_id
from services import topology
from services.payments.domain import (
    AccountExists,
    AccountNotFound,
    BalanceLimit,
    CurrencyMismatch,
    DepositLimit,
    HoldNotFound,
    Limits,
)
from services.payments.service import PaymentService
from services.payments.tables import metadata
from tests.payments.audit import assert_books_are_right
from tests.payments.steps import (
    account_with,
    answers,
    asked_again,
    balance_of,
    capture_of,
    deposit,
    order_created,
    order_of,
    outcomes,
    refund_of,
    reversal_of,
    service_on,
)
from tests.support import count, fingerprint, outbox_of

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


async def test_deposits_and_balances_have_the_limits_of_the_settings(payments_db: Database) -> None:
    service = service_on(payments_db, Limits(max_deposit=700, max_balance=1000))
    user_id = await account_with(service, 700)
    for amount, refusal in ((701, DepositLimit), (301, BalanceLimit)):
        with pytest.raises(refusal):
            await deposit(service, user_id, amount, key="k")
    assert (await deposit(service, user_id, 300, key="k")).account.balance == 1000
    # What was answered before the limits is answered again.
    assert (await deposit(service, user_id, 300, key="k")).replayed
    await assert_books_are_right(payments_db)


async def test_an_order_is_paid_once_and_the_answer_carries_its_trace(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    asked = order_created(user_id, 400)
    await service.answer_orders([asked])
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
    await service.answer_orders(asked)
    reasons = ["INSUFFICIENT_FUNDS", "NO_ACCOUNT", "CURRENCY_MISMATCH", "SUCCEEDED"]
    assert await answers(payments_db) == [(order_of(m), reason) for m, reason in zip(asked, reasons, strict=True)]
    assert await balance_of(service, user_id) == 0
    await assert_books_are_right(payments_db)


async def test_orders_of_one_account_in_one_batch_are_decided_in_order(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 100)
    asked = [order_created(user_id, amount) for amount in (60, 50, 40, 1)]
    await service.answer_orders(asked)
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
    await service.answer_orders(asked)
    first = await answers(payments_db)
    await service.answer_orders([asked_again(message) for message in asked])
    assert sorted(await answers(payments_db)) == sorted(first * 2)
    # Money that came in later does not change what was decided.
    await deposit(service, user_id, 1000)
    await service.answer_orders([asked_again(asked[1])])
    assert (await answers(payments_db))[-1] == (order_of(asked[1]), "INSUFFICIENT_FUNDS")
    assert await balance_of(service, user_id) == 1020


async def test_a_message_that_was_handled_is_not_even_answered_again(
    service: PaymentService, payments_db: Database
) -> None:
    asked = order_created(await account_with(service, 100), 80)
    await service.answer_orders([asked, asked])
    await service.answer_orders([asked])
    assert await answers(payments_db) == [(order_of(asked), "SUCCEEDED")]


async def test_duplicates_reorderings_and_replays_change_nothing(
    service: PaymentService, payments_db: Database
) -> None:
    dice = random.Random(7)
    users = [await account_with(service, dice.randrange(2000)) for _ in range(10)] + [new_id()]
    orders = [
        order_created(
            dice.choice(users),
            dice.randrange(1, 300),
            currency=dice.choice(["RUB", "RUB", "RUB", "EUR"]),
            manual=dice.random() < 0.5,
        )
        for _ in range(200)
    ]
    for start in range(0, len(orders), 40):
        await service.answer_orders(orders[start : start + 40])
    decided = dict(await answers(payments_db))
    held = [order for order in orders if decided[order_of(order)] == "AUTHORIZED"]
    paid = [order for order in orders if decided[order_of(order)] == "SUCCEEDED"]
    captured, canceled = held[::3], dice.sample(orders, 60)
    later = [
        *(capture_of(order) for order in captured),
        *(refund_of(order, dice.randrange(1, 200)) for order in dice.choices(captured + paid, k=30)),
        *(reversal_of(order) for order in canceled),
    ]
    await service.answer_orders(later)
    before = await fingerprint(payments_db, metadata, without=PLUMBING)
    told = await answers(payments_db)
    assert outcomes(told).keys() == {
        *("SUCCEEDED", "AUTHORIZED", "INSUFFICIENT_FUNDS", "NO_ACCOUNT", "CURRENCY_MISMATCH"),
        *("REVERSED", "REFUNDED", "REFUND_FAILED"),
    }
    asked = orders + later
    for _ in range(3):
        everything = asked + [asked_again(message) for message in asked] + dice.sample(asked, 50)
        dice.shuffle(everything)
        while everything:
            size = dice.randrange(1, 80)
            batch, everything = everything[:size], everything[size:]
            await service.answer_orders(batch)
    assert await fingerprint(payments_db, metadata, without=PLUMBING) == before
    assert set(await answers(payments_db)) <= set(told)
    await assert_books_are_right(payments_db)


async def test_of_200_orders_at_once_on_two_instances_an_account_pays_the_100_that_it_can(
    service: PaymentService, payments_db: Database
) -> None:
    instances = [service, service_on(payments_db)]
    user_id = await account_with(service, 100 * 7)
    asked = [order_created(user_id, 7) for _ in range(200)]
    batches = [asked[start : start + 4] for start in range(0, 200, 4)]
    # Every batch comes to both instances, as when one was slow and JetStream gave up on it.
    await asyncio.gather(*(instance.answer_orders(batch) for batch in batches for instance in instances))
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
    await asyncio.gather(*(service.answer_orders(batch) for batch in batches))
    assert [await balance_of(service, user_id) for user_id in users] == [500, 500, 500]
    assert await count(payments_db, "payments") == 15
    await assert_books_are_right(payments_db)


async def test_crossing_batches_over_many_accounts_end_with_right_books(
    service: PaymentService, payments_db: Database
) -> None:
    dice = random.Random(7)
    users = [await account_with(service, 500) for _ in range(8)]
    batches = [[order_created(dice.choice(users), dice.randrange(1, 40)) for _ in range(20)] for _ in range(30)]
    deposits = [deposit(service, dice.choice(users), dice.randrange(1, 100)) for _ in range(30)]
    await asyncio.gather(*(service.answer_orders(batch) for batch in batches), *deposits)
    assert len(await answers(payments_db)) == 600
    await assert_books_are_right(payments_db)


def order(**wrong: object) -> OrderCreated:
    right: dict[str, object] = {"order_id": new_id(), "user_id": new_id(), "total_price": 5, "currency": "RUB"}
    return OrderCreated(**(right | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (topology.ORDER_CREATED, b"\xff\xff"),
        (topology.ORDER_CREATED, b""),
        (topology.ORDER_CREATED, order(total_price=0)),
        (topology.ORDER_CREATED, order(total_price=-5)),
        (topology.ORDER_CREATED, order(order_id="")),
        (topology.ORDER_CREATED, order(order_id="nonsense")),
        (topology.ORDER_CREATED, order(user_id="nonsense")),
        (topology.ORDER_CREATED, order(total_price=2**63 - 1, currency="\0")),
        (topology.CAPTURE_REQUESTED, CaptureRequested(order_id=new_id())),
        (topology.CAPTURE_REQUESTED, CaptureRequested(order_id=new_id(), user_id=new_id())),
        (topology.REVERSAL_REQUESTED, ReversalRequested(order_id=new_id(), user_id=new_id(), currency="RUB")),
        (topology.REFUND_REQUESTED, RefundRequested(refund_id=new_id(), order_id=new_id(), user_id=new_id(), amount=5)),
        (topology.ORDER_PAID, order()),
    ],
    ids=[
        *("noise", "nothing", "no price", "a negative price", "no order", "no order's id", "no user's id", "NUL"),
        *("a capture for nobody", "a capture of nothing", "a reversal without price", "a refund of nothing", "a fact"),
    ],
)
async def test_a_message_that_asks_for_nothing_fails_and_leaves_nothing(
    subject: str, message: bytes | Message, service: PaymentService, payments_db: Database
) -> None:
    good = order_created(await account_with(service, 100), 10)
    payload = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises((DecodeError, ValueError, asyncpg.DataError, HoldNotFound)):
        await service.answer_orders([good, Event(new_id(), subject, payload, "")])
    # What is left tells of the new account and of the deposit.
    assert [await count(payments_db, table) for table in ("inbox", "payments", "outbox")] == [0, 0, 2]
    await service.answer_orders([good])
    assert await answers(payments_db) == [(order_of(good), "SUCCEEDED")]


async def test_a_message_without_a_valid_id_fails_instead_of_waiting_for_the_database(service: PaymentService) -> None:
    asked = order_created(await account_with(service, 100), 10)
    with pytest.raises(ValueError, match="UUID"):
        await service.answer_orders([Event("nonsense", asked.subject, asked.payload, "")])
