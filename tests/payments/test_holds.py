"""services.payments.service: what is held is captured or released, once, whoever asks at the same time."""

import asyncio
import random
from datetime import timedelta

import pytest

from gozon.payments.v1.events_pb2 import PaymentAuthorized, PaymentSucceeded
from gozon.payments.v1.payments_pb2 import Hold
from kit.db import Database
from kit.errors import IdempotencyKeyReused
from kit.ids import new_id
from services.payments import service as service_module
from services.payments.domain import (
    RELEASED,
    CaptureRequest,
    CaptureTooLarge,
    HoldCaptured,
    HoldNotFound,
    HoldReleased,
    InsufficientFunds,
    Limits,
    PaymentExists,
    ReleaseRequest,
)
from services.payments.service import PaymentService
from tests.payments.audit import assert_books_are_right, everything_in
from tests.payments.steps import (
    account_with,
    answers,
    asked_again,
    capture_of,
    deposit,
    hold,
    money_of,
    order_created,
    order_of,
    outcomes,
    owner_of,
    service_on,
    told,
)
from tests.support import count, eventually

AT_ONCE = Limits(hold_lifetime=timedelta(0))
"""What is held is held for too long already."""


async def capture(service: PaymentService, user_id: str, order_id: str, amount: int = 0) -> Hold:
    return await service.capture_hold(CaptureRequest(user_id, order_id, amount))


async def release(service: PaymentService, user_id: str, order_id: str) -> Hold:
    return await service.release_hold(ReleaseRequest(user_id, order_id, RELEASED))


async def test_an_order_with_manual_capture_is_held_and_then_taken(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    order = order_created(user_id, 400, manual=True)
    await service.answer_orders([order])
    assert await money_of(service, user_id) == (600, 400)
    asked = capture_of(order)
    await service.answer_orders([asked])
    assert await money_of(service, user_id) == (600, 0)
    authorized, succeeded = await told(payments_db)
    assert isinstance(authorized, PaymentAuthorized)
    assert isinstance(succeeded, PaymentSucceeded)
    assert (authorized.order_id, authorized.amount, authorized.currency) == (order_of(order), 400, "RUB")
    assert (succeeded.order_id, succeeded.amount, succeeded.currency) == (order_of(order), 400, "RUB")
    # Both are asked again: they are answered with what is.
    await service.answer_orders([asked_again(asked), asked_again(order), asked])
    assert [outcome for _, outcome in await answers(payments_db)][2:] == ["SUCCEEDED", "SUCCEEDED"]
    assert await money_of(service, user_id) == (600, 0)
    await assert_books_are_right(payments_db)


async def test_an_admin_holds_captures_a_part_and_the_rest_is_available(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    held = (await hold(service, user_id, 400)).hold
    assert (held.status, held.amount, held.captured_amount, held.currency) == (Hold.HELD, 400, 0, "RUB")
    assert held.expires_at.ToSeconds() - held.created_at.ToSeconds() == 7 * 24 * 3600
    assert await money_of(service, user_id) == (600, 400)
    captured = await capture(service, user_id, held.order_id, 150)
    assert (captured.status, captured.captured_amount) == (Hold.CAPTURED, 150)
    assert await money_of(service, user_id) == (850, 0)
    # Again: the same is answered with what it became, and anything else is refused.
    assert await capture(service, user_id, held.order_id, 150) == captured
    for amount in (0, 151, 400):
        with pytest.raises(HoldCaptured, match="150"):
            await capture(service, user_id, held.order_id, amount)
    with pytest.raises(HoldCaptured):
        await release(service, user_id, held.order_id)
    # Orders is told when it asks.
    assert await answers(payments_db) == []
    await service.answer_orders([order_created(user_id, 400, order_id=held.order_id)])
    assert await answers(payments_db) == [(held.order_id, "SUCCEEDED")]
    assert (await told(payments_db))[-1].amount == 150
    await assert_books_are_right(payments_db)


async def test_an_admin_releases_and_the_money_is_available(service: PaymentService, payments_db: Database) -> None:
    user_id = await account_with(service, 1000)
    held = (await hold(service, user_id, 400)).hold
    released = await release(service, user_id, held.order_id)
    assert (released.status, released.captured_amount) == (Hold.RELEASED, 0)
    assert await release(service, user_id, held.order_id) == released
    with pytest.raises(HoldReleased):
        await capture(service, user_id, held.order_id)
    assert await money_of(service, user_id) == (1000, 0)
    # The order asks now, and is told that it can't have it.
    await service.answer_orders([order_created(user_id, 400, order_id=held.order_id, manual=True)])
    assert [outcome for _, outcome in await answers(payments_db)] == ["RELEASED"]
    await assert_books_are_right(payments_db)


async def test_what_cannot_be_done_to_a_hold_changes_nothing(service: PaymentService, payments_db: Database) -> None:
    user_id, other = await account_with(service, 1000), await account_with(service, 1000)
    held = (await hold(service, user_id, 400)).hold
    with pytest.raises(CaptureTooLarge):
        await capture(service, user_id, held.order_id, 401)
    for owner, order_id in ((user_id, new_id()), (other, held.order_id), (new_id(), held.order_id)):
        with pytest.raises(HoldNotFound):
            await capture(service, owner, order_id)
        with pytest.raises(HoldNotFound):
            await release(service, owner, order_id)
    with pytest.raises(InsufficientFunds):
        await hold(service, user_id, 601)
    assert await money_of(service, user_id) == (600, 400)
    # The events tell of balances: of two accounts when they were opened, after two deposits and one hold.
    assert [await count(payments_db, table) for table in ("payments", "outbox", "idempotency_keys")] == [1, 5, 3]
    await assert_books_are_right(payments_db)


async def test_an_order_has_one_hold_however_many_ask_at_once(service: PaymentService, payments_db: Database) -> None:
    user_id, order_id = await account_with(service, 1000), new_id()
    instances = [service, service_on(payments_db)]
    asked = [hold(instance, user_id, 30, order_id=order_id, key=key) for instance in instances for key in "abab"]
    order_asks = service.answer_orders([order_created(user_id, 30, order_id=order_id, manual=True)])
    results = await asyncio.gather(*asked, order_asks)
    assert {held.hold.order_id for held in results if held is not None} == {order_id}
    assert sum(not held.replayed for held in results if held is not None) == 2
    assert await count(payments_db, "payments") == 1
    await assert_books_are_right(payments_db)


async def test_a_hold_is_replayed_by_its_key_and_refused_in_another_way(service: PaymentService) -> None:
    user_id, order_id = await account_with(service, 1000), new_id()
    first = await hold(service, user_id, 30, order_id=order_id, key="k")
    await capture(service, user_id, order_id)
    again = await hold(service, user_id, 30, order_id=order_id, key="k")
    assert (first.replayed, again.replayed, again.hold) == (False, True, first.hold)
    # With another key it is answered with what the hold has become.
    assert (await hold(service, user_id, 30, order_id=order_id, key="l")).hold.status == Hold.CAPTURED
    with pytest.raises(IdempotencyKeyReused):
        await hold(service, user_id, 31, order_id=order_id, key="k")
    with pytest.raises(PaymentExists):
        await hold(service, user_id, 31, order_id=order_id, key="m")
    assert await money_of(service, user_id) == (970, 0)


async def test_holds_charges_and_deposits_at_once_never_spend_more_than_there_is(
    service: PaymentService, payments_db: Database
) -> None:
    dice = random.Random(7)
    user_id = await account_with(service, 500)
    instances = [service, service_on(payments_db), service_on(payments_db)]
    holds = [hold(dice.choice(instances), user_id, 10) for _ in range(60)]
    orders = [order_created(user_id, 10, manual=n % 2 == 1) for n in range(60)]
    charges = [dice.choice(instances).answer_orders(orders[start : start + 6]) for start in range(0, 60, 6)]
    deposits = [deposit(dice.choice(instances), user_id, 10) for _ in range(10)]
    asked = [*holds, *charges, *deposits]
    dice.shuffle(asked)
    results = await asyncio.gather(*asked, return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert {type(error) for error in refused} <= {InsufficientFunds}
    declined = outcomes(await answers(payments_db))["INSUFFICIENT_FUNDS"]
    # 60 times 10 there were, 120 times 10 were asked for. Who asked before the last deposit may have been refused.
    available, _ = await money_of(service, user_id)
    assert len(refused) + declined == 120 - 60 + available // 10
    await assert_books_are_right(payments_db)


async def test_a_hold_is_released_when_its_time_is_over_and_the_order_is_told(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    lasting = order_created(user_id, 100, manual=True)
    await service.answer_orders([lasting])
    over = [order_created(user_id, 100, manual=True) for _ in range(3)]
    impatient = service_on(payments_db, AT_ONCE)
    await impatient.answer_orders(over)
    by_admin = (await hold(impatient, user_id, 100)).hold
    # Until the sweeper comes it is held, and can be captured.
    assert (await capture(service, user_id, order_of(over[0]))).status == Hold.CAPTURED
    sweepers = [asyncio.create_task(one.release_expired_now_and_then()) for one in (service, impatient)]

    async def expired() -> bool:
        return await money_of(service, user_id) == (800, 100)

    await eventually(expired)
    for sweeper in sweepers:
        sweeper.cancel()
    # No order has asked for what the admin held: nobody is told.
    told_of = {order for order, outcome in await answers(payments_db) if outcome == "EXPIRED"}
    assert told_of == set(map(order_of, over[1:]))
    with pytest.raises(HoldReleased):
        await capture(service, user_id, by_admin.order_id)
    await service.answer_orders([capture_of(over[1])])
    assert (await answers(payments_db))[-1] == (order_of(over[1]), "EXPIRED")
    await assert_books_are_right(payments_db)


async def test_of_capture_release_and_expiry_at_once_just_one_wins_a_thousand_times(
    payments_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that a sweep does not win all at once.
    monkeypatch.setattr(service_module, "RELEASE_LIMIT", 5)
    dice = random.Random(7)
    instances = [service_on(payments_db, AT_ONCE) for _ in range(3)]
    users = [await account_with(instances[0], 10_000) for _ in range(20)]
    for _ in range(10):
        orders = [order_created(dice.choice(users), 100, manual=True) for _ in range(100)]
        await instances[0].answer_orders(orders)
        captures = [capture_of(order) for order in orders]
        dice.shuffle(captures)
        races = [
            *(dice.choice(instances).answer_orders(captures[start : start + 5]) for start in range(0, 100, 5)),
            *(release(dice.choice(instances), owner_of(order), order_of(order)) for order in orders),
            *(dice.choice(instances)._release_expired() for _ in range(20)),
        ]
        dice.shuffle(races)
        for outcome in await asyncio.gather(*races, return_exceptions=True):
            assert not isinstance(outcome, BaseException) or isinstance(outcome, HoldCaptured), outcome
    books = await everything_in(payments_db)
    books.assert_right()
    won = outcomes([(p.order_id, p.reason or p.status) for p in books.payments])
    assert won.keys() == {"CAPTURED", "RELEASED", "EXPIRED"}
    assert won.total() == 1000
    # Each was told; and who lost was told who had won.
    last_told = dict(await answers(payments_db))
    spoken = {"CAPTURED": "SUCCEEDED"}
    assert last_told == {p.order_id: spoken.get(p.status, p.reason) for p in books.payments}
