"""services.payments.shop_service: purchases that share a transaction are decided as if each had its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from gozon.payments.v1.events_pb2 import BalanceChanged
from gozon.shop.v1.shop_pb2 import Product, Purchase
from kit.db import Conflict, Database, sql
from kit.errors import Error
from kit.idempotency import Key
from kit.ids import new_id
from services import topology
from services.payments import shop, shop_repository
from services.payments.sales import Answered, NewPurchase
from services.payments.service import PaymentService
from services.payments.shop_api import ShopApi
from services.payments.shop_service import ShopService
from tests.payments.audit import assert_books_are_right
from tests.payments.shop_steps import owned, product, purchases, service_on, told
from tests.payments.steps import account_with, money_of
from tests.support import count, outbox_of

MONEY = 1000


@pytest.fixture
def sells(payments_db: Database) -> ShopService:
    return service_on(payments_db)


@pytest.fixture
def api(sells: ShopService) -> ShopApi:
    return ShopApi(sells)


@pytest.fixture
async def ann(service: PaymentService) -> str:
    """Somebody with money."""
    return await account_with(service, MONEY)


@pytest.fixture(autouse=True)
async def _books_are_right(payments_db: Database) -> AsyncIterator[None]:
    yield
    await assert_books_are_right(payments_db)


def new(user_id: str, what: Product, quantity: int = 1, *, key: str = "") -> NewPurchase:
    """A purchase that waits, under a key, a new one if none is given."""
    request = f"{what.id} {quantity}".encode()
    trace = f"trace of {quantity}"
    return NewPurchase(what.id, quantity, user_id, Key(user_id, "PurchaseProduct", key or new_id(), request), trace)


async def buy_together(service: ShopService, *batch: NewPurchase) -> list[str]:
    """How purchases in one transaction end: NEW, REPLAYED, or the reason why not."""
    return [how(result) for result in await service._purchase(batch)]


def how(result: Answered[Purchase] | Error) -> str:
    if isinstance(result, Error):
        return result.reason
    return "REPLAYED" if result.replayed else "NEW"


def recorded(found: Sequence[Purchase]) -> list[tuple[int, str]]:
    """Quantities of purchases, and why they failed, oldest first."""
    return [(one.quantity, one.failure_reason) for one in reversed(found)]


async def keys_of_purchases(database: Database) -> int:
    async with database.autocommit() as connection:
        [row] = await connection.execute(
            sql("SELECT count(*) AS keys FROM idempotency_keys WHERE method = 'PurchaseProduct'")
        )
    keys: int = row["keys"]
    return keys


async def test_each_of_one_user_finds_the_money_that_those_before_it_left(
    sells: ShopService, api: ShopApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    tea, bob = await product(api, 100), await account_with(service, 200)
    batch = [new(ann, tea, 6), new(bob, tea, 2), new(ann, tea, 5), new(ann, tea, 3), new(bob, tea), new(ann, tea)]
    ended = ["NEW", "NEW", "INSUFFICIENT_FUNDS", "NEW", "INSUFFICIENT_FUNDS", "NEW"]
    assert await buy_together(sells, *batch) == ended
    assert await money_of(service, ann) == await money_of(service, bob) == (0, 0)
    refused = "INSUFFICIENT_FUNDS"
    assert recorded(await purchases(api, ann)) == [(6, ""), (5, refused), (3, ""), (1, "")]
    assert recorded(await purchases(api, bob)) == [(2, ""), (1, refused)]
    numbers = [entry.number for entry in await service.list_entries(ann, 2**63 - 1, 5)]
    assert numbers == [4, 3, 2, 1]
    async with payments_db.autocommit() as connection:
        writers = await connection.execute(sql("SELECT DISTINCT xmin::text FROM purchases"))
    assert len(writers) == 1


async def test_goods_are_told_once_with_what_is_there_after_all_and_so_is_the_money(
    sells: ShopService, api: ShopApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    tea, cup, bob = await product(api, 1), await product(api, 2), await account_with(service, 10)
    await buy_together(sells, new(ann, tea, 7))
    before = len(await outbox_of(payments_db, balances=True))
    await buy_together(sells, new(ann, tea, 3), new(ann, cup), new(ann, tea, 5), new(bob, tea, 4), new(ann, cup, 2000))
    assert await owned(api, ann) == {tea.id: 15, cup.id: 1}
    assert sorted((await told(payments_db))[1:]) == sorted([(ann, tea.id, 15), (ann, cup.id, 1), (bob, tea.id, 4)])
    balances, traces = {}, {}
    events = (await outbox_of(payments_db, balances=True))[before:]
    for event in events:
        if event.subject == topology.BALANCE_CHANGED:
            account = BalanceChanged.FromString(event.payload).account
            balances[account.user_id], traces[account.user_id] = account.balance, event.traceparent
    assert balances == {ann: MONEY - 7 - 10, bob: 6}
    assert len(events) == 3 + 2
    # Of the last that was not refused.
    assert traces == {ann: "trace of 5", bob: "trace of 4"}


async def test_one_key_twice_is_one_purchase_and_a_refusal_does_not_use_it_up(
    sells: ShopService, api: ShopApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    tea, dear = await product(api, 10), await product(api, MONEY + 1)
    first, again, other = new(ann, tea, 2, key="k"), new(ann, tea, 2, key="k"), new(ann, tea, 3, key="k")
    assert await buy_together(sells, first, again, other) == ["NEW", "REPLAYED", "IDEMPOTENCY_KEY_REUSED"]
    assert await buy_together(sells, new(ann, tea), other, again) == ["NEW", "IDEMPOTENCY_KEY_REUSED", "REPLAYED"]
    [answer] = await sells._purchase([again])
    assert isinstance(answer, Answered)
    assert answer.answer == (await purchases(api, ann))[1]
    refused = [new(ann, dear, key="l"), new(ann, dear, key="l"), new(ann, tea, key="l")]
    assert await buy_together(sells, *refused) == ["INSUFFICIENT_FUNDS", "INSUFFICIENT_FUNDS", "NEW"]
    assert await money_of(service, ann) == (MONEY - 40, 0)
    assert await keys_of_purchases(payments_db) == 3


async def test_what_is_refused_harms_nobody_and_alone_leaves_its_record_only(
    sells: ShopService, api: ShopApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    tea, premium = await product(api, 1), await product(api, 1, Product.PERMANENT)
    off_sale, nobody = await product(api, 1, is_active=False), new_id()
    refused = [new(nobody, tea), new(ann, off_sale), new(ann, Product(id=new_id())), new(ann, premium, 2)]
    reasons = ["ACCOUNT_NOT_FOUND", "PRODUCT_INACTIVE", "PRODUCT_NOT_FOUND", "INVALID_REQUEST"]
    assert await buy_together(sells, *refused) == reasons
    assert [await count(payments_db, table) for table in ("goods", "purchases")] == [0, 2]
    assert await keys_of_purchases(payments_db) == 0
    assert await told(payments_db) == []
    mixed = [new(ann, tea), *refused, new(ann, tea, 2)]
    assert await buy_together(sells, *mixed) == ["NEW", *reasons, "NEW"]
    assert await owned(api, ann) == {tea.id: 3}
    assert recorded(await purchases(api, nobody)) == [(1, "ACCOUNT_NOT_FOUND")] * 2
    assert await money_of(service, ann) == (MONEY - 3, 0)


async def test_a_permanent_product_twice_is_sold_once(
    sells: ShopService, api: ShopApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    premium, bob = await product(api, 100, Product.PERMANENT), await account_with(service, 100)
    batch = [new(ann, premium), new(ann, premium), new(bob, premium)]
    assert await buy_together(sells, *batch) == ["NEW", "ALREADY_OWNED", "NEW"]
    assert await buy_together(sells, new(ann, premium)) == ["ALREADY_OWNED"]
    with pytest.raises(Conflict):
        async with payments_db.transaction() as tx:
            await shop_repository.add_goods(tx, {(ann, premium.id): 1}, {premium.id: premium}, datetime.now(UTC))
    assert await owned(api, ann) == await owned(api, bob) == {premium.id: 1}
    assert await money_of(service, ann) == (MONEY - 100, 0)


async def test_together_they_do_not_pass_what_one_may_own(
    sells: ShopService, api: ShopApi, service: PaymentService, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop, "MAX_OF_A_KIND", 5)
    monkeypatch.setattr(shop, "MAX_KINDS", 2)
    tea, cup, pot = [await product(api, 1) for _ in range(3)]
    bob = await account_with(service, 10)
    batch = [new(ann, tea, 3), new(ann, tea, 3), new(ann, cup), new(bob, pot), new(ann, pot), new(ann, tea, 2)]
    ended = ["NEW", "INVENTORY_LIMIT", "NEW", "NEW", "INVENTORY_LIMIT", "NEW"]
    assert await buy_together(sells, *batch) == ended
    assert await owned(api, ann) == {tea.id: 5, cup.id: 1}
    assert await owned(api, bob) == {pot.id: 1}
    # Of what is owned one may buy more however many kinds there are.
    assert await buy_together(sells, new(ann, tea), new(ann, cup), new(ann, pot)) == [
        "INVENTORY_LIMIT",
        "NEW",
        "INVENTORY_LIMIT",
    ]


async def test_two_instances_with_the_same_users_and_keys_wait_for_each_other(
    sells: ShopService, api: ShopApi, service: PaymentService, payments_db: Database
) -> None:
    products = [await product(api, 1) for _ in range(3)]
    people = [await account_with(service, MONEY) for _ in range(20)]
    batches = []
    for n in range(8):
        batch = [new(user, what, key=f"{n // 2} {what.id}") for user in people for what in products]
        # Every second batch repeats the one before, the other way round.
        batches.append(batch if n % 2 else batch[::-1])
    instances = [sells, service_on(payments_db)]
    with capture_logs() as logs:
        ended = await asyncio.gather(*(buy_together(instances[n % 2], *batch) for n, batch in enumerate(batches)))
    # A deadlock would be repeated, and be no worse than slow.
    assert not [line for line in logs if line["event"] == "transaction_conflict"]
    found = [one for batch in ended for one in batch]
    assert (found.count("NEW"), found.count("REPLAYED")) == (240, 240)
    for user in people:
        assert await owned(api, user) == {what.id: 4 for what in products}
        assert await money_of(service, user) == (MONEY - 12, 0)
