"""services.payments.service: what was held or taken for an order comes back once, and nothing is taken after that."""

import asyncio
import random

import pytest

from gozon.payments.v1.events_pb2 import PaymentRefunded, PaymentReversed, RefundFailed
from gozon.payments.v1.payments_pb2 import Hold
from kit.db import Database
from kit.events import Event
from kit.ids import new_id
from services.payments.domain import CaptureRequest, HoldReleased, PaymentExists
from services.payments.service import PaymentService
from tests.payments.audit import assert_books_are_right, everything_in
from tests.payments.steps import (
    account_with,
    answers,
    asked_again,
    capture_of,
    hold,
    money_of,
    order_created,
    order_of,
    outcomes,
    refund_of,
    reversal_of,
    service_on,
    told,
)


async def words(database: Database) -> list[str]:
    """What was told, without the orders."""
    return [outcome for _, outcome in await answers(database)]


async def test_a_paid_order_that_is_canceled_gets_all_its_money_back_once(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    order = order_created(user_id, 400)
    reversal = reversal_of(order)
    await service.answer_orders([order])
    await service.answer_orders([reversal])
    await service.answer_orders([reversal, asked_again(reversal), asked_again(order)])
    assert await money_of(service, user_id) == (1000, 0)
    assert await words(payments_db) == ["SUCCEEDED", "REVERSED", "REVERSED", "REVERSED"]
    for reversed_ in (await told(payments_db))[1:]:
        assert isinstance(reversed_, PaymentReversed)
        assert (reversed_.order_id, reversed_.user_id) == (order_of(order), user_id)
        assert (reversed_.paid, reversed_.refunded) == (400, 400)
    await assert_books_are_right(payments_db)


async def test_an_order_that_was_canceled_before_it_asked_for_money_never_gets_any(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    for manual in (False, True):
        order = order_created(user_id, 400, manual=manual)
        await service.answer_orders([reversal_of(order)])
        await service.answer_orders([order])
        with pytest.raises(PaymentExists):
            await hold(service, user_id, 400, order_id=order_of(order))
    assert await money_of(service, user_id) == (1000, 0)
    assert await words(payments_db) == ["REVERSED"] * 4
    assert {(message.paid, message.refunded) for message in await told(payments_db)} == {(0, 0)}
    await assert_books_are_right(payments_db)


async def test_the_same_in_one_batch(service: PaymentService, payments_db: Database) -> None:
    user_id = await account_with(service, 1000)
    first, second, held = (
        order_created(user_id, 400),
        order_created(user_id, 400),
        order_created(user_id, 5, manual=True),
    )
    await service.answer_orders(
        [first, reversal_of(first), reversal_of(second), second, held, capture_of(held), refund_of(held, 2)]
    )
    assert await answers(payments_db) == [
        (order_of(first), "SUCCEEDED"),
        (order_of(first), "REVERSED"),
        (order_of(second), "REVERSED"),
        (order_of(second), "REVERSED"),
        (order_of(held), "AUTHORIZED"),
        (order_of(held), "SUCCEEDED"),
        (order_of(held), "REFUNDED"),
    ]
    assert await money_of(service, user_id) == (997, 0)
    await assert_books_are_right(payments_db)


async def test_an_order_that_is_canceled_while_its_money_is_held_releases_it(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    order = order_created(user_id, 400, manual=True)
    await service.answer_orders([order])
    await service.answer_orders([reversal_of(order)])
    await service.answer_orders([capture_of(order)])
    with pytest.raises(HoldReleased):
        await service.capture_hold(CaptureRequest(user_id, order_of(order)))
    assert await money_of(service, user_id) == (1000, 0)
    assert await words(payments_db) == ["AUTHORIZED", "REVERSED", "REVERSED"]
    await assert_books_are_right(payments_db)


async def test_what_was_refused_or_released_stays_so_when_the_order_is_canceled(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 100)
    refused, nobodys = order_created(user_id, 101), order_created(new_id(), 1)
    await service.answer_orders([refused, nobodys])
    await service.answer_orders([reversal_of(refused), reversal_of(nobodys)])
    await service.answer_orders([asked_again(refused), asked_again(nobodys)])
    reasons = ["INSUFFICIENT_FUNDS", "NO_ACCOUNT"]
    assert await words(payments_db) == [*reasons, "REVERSED", "REVERSED", *reasons]
    await assert_books_are_right(payments_db)


async def test_parts_of_what_was_taken_come_back_until_nothing_is_left(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    order = order_created(user_id, 400)
    first, too_much, rest, none_left = (refund_of(order, amount) for amount in (150, 251, 250, 1))
    await service.answer_orders([order, first])
    await service.answer_orders([too_much, rest, none_left])
    assert await money_of(service, user_id) == (1000, 0)
    # Each is answered again as it was the first time, in whatever sequence.
    await service.answer_orders([asked_again(message) for message in (none_left, rest, too_much, first)])
    refunds = (await told(payments_db))[1:]
    totals = [m.refunded if isinstance(m, PaymentRefunded) else None for m in refunds]
    assert totals == [150, None, 400, None, None, 400, None, 150]
    assert [m.amount for m in refunds if isinstance(m, PaymentRefunded)] == [150, 250, 250, 150]
    assert all(isinstance(m, PaymentRefunded | RefundFailed) and m.order_id == order_of(order) for m in refunds)
    assert await money_of(service, user_id) == (1000, 0)
    await assert_books_are_right(payments_db)


async def test_of_a_part_that_was_captured_no_more_than_that_comes_back(
    service: PaymentService, payments_db: Database
) -> None:
    user_id = await account_with(service, 1000)
    held = (await hold(service, user_id, 400)).hold
    captured = await service.capture_hold(CaptureRequest(user_id, held.order_id, 100))
    assert captured.status == Hold.CAPTURED
    order = order_created(user_id, 400, order_id=held.order_id, manual=True)
    back = [refund_of(order, 101), refund_of(order, 30), reversal_of(order), refund_of(order, 1)]
    await service.answer_orders([order, *back])
    assert await words(payments_db) == ["SUCCEEDED", "REFUND_FAILED", "REFUNDED", "REVERSED", "REFUND_FAILED"]
    assert [(m.paid, m.refunded) for m in await told(payments_db) if isinstance(m, PaymentReversed)] == [(100, 100)]
    assert await money_of(service, user_id) == (1000, 0)
    await assert_books_are_right(payments_db)


@pytest.mark.parametrize("question", [refund_of, reversal_of])
async def test_nothing_comes_back_for_an_order_that_was_refused(
    question: object, service: PaymentService, payments_db: Database
) -> None:
    order = order_created(await account_with(service, 100), 101)
    asked = refund_of(order, 5) if question is refund_of else reversal_of(order)
    await service.answer_orders([order, asked])
    assert (await words(payments_db))[1:] == ["REFUND_FAILED" if question is refund_of else "REVERSED"]
    await assert_books_are_right(payments_db)


async def test_refunds_and_reversals_at_once_on_two_instances_give_back_what_was_taken(
    service: PaymentService, payments_db: Database
) -> None:
    dice = random.Random(7)
    instances = [service, service_on(payments_db)]
    # Enough for all orders, or it would depend on the refunds before them whether they can be paid.
    users = [await account_with(service, 3000) for _ in range(4)]
    orders = [order_created(dice.choice(users), 100, manual=n % 2 == 1) for n in range(30)]
    # Nobody's, so that no account is there to be locked.
    orders += [order_created(new_id(), 100) for _ in range(5)]
    await service.answer_orders(orders[:20] + orders[30:])
    asked: list[Event] = [refund_of(order, 30) for order in orders[:20] + orders[30:] for _ in range(4)]
    asked += [reversal_of(order) for order in orders[:20:2]]
    asked += [message for order in orders[20:30] for message in (order, reversal_of(order))]
    # Each comes to both instances, in batches of different sequences.
    rounds = [[asked_again(message) for message in dice.sample(asked, len(asked))] for _ in instances]
    batches = [
        instance.answer_orders(round_[start : start + 10])
        for instance, round_ in zip(instances, rounds, strict=True)
        for start in range(0, len(round_), 10)
    ]
    await asyncio.gather(*batches)
    books = await everything_in(payments_db)
    books.assert_right()
    assert len(books.refunds) == 25 * 4
    assert {p.status for p in books.payments if p.order_id in map(order_of, orders[20:30])} == {"REVERSED"}
    said = outcomes(await answers(payments_db))
    assert said["REFUNDED"] == 2 * sum(refund.status == "SUCCEEDED" for refund in books.refunds)
    assert said["REFUNDED"] + said["REFUND_FAILED"] == 2 * len(books.refunds)
