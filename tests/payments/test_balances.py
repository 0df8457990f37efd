"""What Payments tells of balances: whatever moves money says once what is on the account then."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from gozon.payments.v1.events_pb2 import BalanceChanged, PaymentSucceeded
from gozon.payments.v1.payments_pb2 import Account
from gozon.payouts.v1.payouts_pb2 import Payout
from kit.db import Database
from kit.idempotency import Key
from kit.ids import new_id
from services.payments.domain import AccountExists, HoldRequest, Limits, ReleaseRequest
from services.payments.service import PaymentService
from tests.payments.payout_steps import api_on, create, finish, start
from tests.payments.shop_steps import buy, product, selling
from tests.payments.steps import account_with, order_created, refund_of, reversal_of, service_on
from tests.support import outbox_of

Do = Callable[[PaymentService, Database, str], Awaitable[object]]


async def told(database: Database) -> list[Account]:
    """Returns the accounts in all events there are, oldest first."""
    events = [event for event in await outbox_of(database, balances=True) if event.subject.startswith("payments.")]
    return [balance.account for e in events if (balance := BalanceChanged.FromString(e.payload)).HasField("account")]


async def test_a_new_account_is_told_once(service: PaymentService, payments_db: Database) -> None:
    opened = await service.open_account(new_id(), "EUR")
    with pytest.raises(AccountExists):
        await service.open_account(opened.user_id, "EUR")
    assert await told(payments_db) == [opened]


async def test_a_batch_tells_each_account_once_as_it_is_after_it(
    service: PaymentService, payments_db: Database
) -> None:
    ann, bob = await account_with(service, 100), await account_with(service, 100)
    before = await told(payments_db)
    await service.answer_orders([order_created(ann, 10), order_created(bob, 1), order_created(ann, 20)])
    new = (await told(payments_db))[len(before) :]
    assert {(one.user_id, one.balance) for one in new} == {(ann, 70), (bob, 99)}
    assert len(new) == 2
    for one in new:
        assert one == await service.get_account(one.user_id)


async def test_an_answer_with_a_balance_still_is_the_answer(service: PaymentService, payments_db: Database) -> None:
    ann = await account_with(service, 100)
    order = order_created(ann, 10)
    await service.answer_orders([order])
    [event] = await outbox_of(payments_db)
    answer = PaymentSucceeded.FromString(event.payload)
    assert (answer.user_id, answer.amount, answer.account.balance) == (ann, 10, 90)


async def test_what_moves_no_money_tells_no_balance(service: PaymentService, payments_db: Database) -> None:
    ann = await account_with(service, 100)
    order, dear = order_created(ann, 10), order_created(ann, 10_000)
    await service.answer_orders([order])
    before = await told(payments_db)
    await service.answer_orders([dear, reversal_of(dear), refund_of(order, 1_000)])
    assert await told(payments_db) == before


async def _deposit(service: PaymentService, _: Database, ann: str) -> None:
    await service.deposit(ann, 5, "", Key(ann, "Deposit", new_id(), b"x"))


async def _hold(service: PaymentService, _: Database, ann: str) -> None:
    await service.create_hold(HoldRequest(ann, new_id(), 5, ""), Key(ann, "CreateHold", new_id(), b"x"))


async def _hold_and_release(service: PaymentService, _: Database, ann: str) -> None:
    order_id = new_id()
    await service.create_hold(HoldRequest(ann, order_id, 5, ""), Key(ann, "CreateHold", new_id(), b"x"))
    await service.release_hold(ReleaseRequest(ann, order_id, "RELEASED"))


async def _purchase(_: PaymentService, database: Database, ann: str) -> None:
    async with selling(database) as api:
        await buy(api, ann, await product(api, 5))


async def _payout(_: PaymentService, database: Database, ann: str) -> None:
    api = api_on(database)
    payout = await create(api, ann, 5)
    await start(api, payout)
    await finish(api, payout, Payout.COMPLETED)


MOVES: dict[str, tuple[Do, int]] = {
    "a deposit": (_deposit, 1),
    "a hold": (_hold, 1),
    "a hold that is released": (_hold_and_release, 2),
    "a purchase": (_purchase, 1),
    "a payout, which holds and then takes": (_payout, 2),
}


@pytest.mark.parametrize(("do", "times"), MOVES.values(), ids=MOVES.keys())
async def test_whatever_moves_money_tells_the_balance(
    service: PaymentService, payments_db: Database, do: Do, times: int
) -> None:
    ann = await account_with(service, 100)
    before = await told(payments_db)
    await do(service, payments_db, ann)
    new = (await told(payments_db))[len(before) :]
    assert len(new) == times
    assert new[-1] == await service.get_account(ann)


async def test_what_is_released_together_tells_the_balance_once(payments_db: Database) -> None:
    service = service_on(payments_db, Limits(hold_lifetime=timedelta(0)))
    ann = await account_with(service, 100)
    await service.answer_orders([order_created(ann, 10, manual=True), order_created(ann, 20, manual=True)])
    before = await told(payments_db)
    assert await service._release_expired() == 2
    assert (await told(payments_db))[len(before) :] == [await service.get_account(ann)]
