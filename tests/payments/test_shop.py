"""services.payments.shop_*: buying and using on PostgreSQL; money and goods move together or not at all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from gozon.shop.v1.shop_pb2 import Product, Purchase, PurchaseProductRequest, UseProductRequest
from kit.db import Database, sql
from kit.errors import Error, IdempotencyKeyRequired, IdempotencyKeyReused, InvalidArgument
from kit.ids import new_id
from services.payments import shop
from services.payments.domain import AccountNotFound, CurrencyMismatch, InsufficientFunds
from services.payments.service import PaymentService
from services.payments.shop_api import ShopApi
from tests.payments.audit import assert_books_are_right
from tests.payments.payout_steps import call
from tests.payments.shop_steps import buy, owned, product, purchases, selling, told, update, use
from tests.payments.steps import account_with, deposit, money_of
from tests.support import count

MONEY = 1000


@pytest.fixture
async def api(payments_db: Database) -> AsyncIterator[ShopApi]:
    async with selling(payments_db) as api:
        yield api


@pytest.fixture
async def apis(payments_db: Database) -> AsyncIterator[list[ShopApi]]:
    """Two instances."""
    async with selling(payments_db) as one, selling(payments_db) as other:
        yield [one, other]


@pytest.fixture
async def ann(service: PaymentService) -> str:
    """Somebody with money."""
    return await account_with(service, MONEY)


async def test_buying_takes_the_money_gives_the_goods_and_tells(
    api: ShopApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    boost = await product(api, 100)
    own = call(ann, "k", **{"x-envoy-original-path": "/products"})
    bought = await api.purchase_product(PurchaseProductRequest(product_id=boost.id.upper(), quantity=3), own)
    assert own.response_headers == {"x-http-code": "201", "location": f"/users/{ann}/purchases"}
    assert (bought.user_id, bought.product_id, bought.product_name) == (ann, boost.id, "Boost")
    assert (bought.quantity, bought.price, bought.total_price, bought.currency) == (3, 100, 300, "RUB")
    assert (bought.status, bought.failure_reason) == (Purchase.COMPLETED, "")
    assert await money_of(service, ann) == (MONEY - 300, 0)
    assert await purchases(api, ann) == [bought]
    assert (await buy(api, ann, boost)).quantity == 1
    assert await owned(api, ann) == {boost.id: 4}
    assert await told(payments_db) == [(ann, boost.id, 3), (ann, boost.id, 4)]
    [_, entry, _] = await service.list_entries(ann, 2**63 - 1, 5)
    assert (entry.purchase_id, entry.order_id, entry.payout_id, entry.amount) == (bought.id, "", "", -300)
    await assert_books_are_right(payments_db)


async def test_a_purchase_keeps_the_price_and_the_name_of_its_moment(
    api: ShopApi, ann: str, payments_db: Database
) -> None:
    boost = await product(api, 100)
    before = await buy(api, ann, boost, 2)
    await update(api, boost, price=150, name="Big boost")
    after = await buy(api, ann, boost, 2)
    assert [(p.product_name, p.price, p.total_price) for p in (before, after)] == [
        ("Boost", 100, 200),
        ("Big boost", 150, 300),
    ]
    assert await purchases(api, ann) == [after, before]
    await assert_books_are_right(payments_db)


async def test_what_is_refused_moves_nothing_and_is_recorded_with_its_reason(
    api: ShopApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    boost, premium = await product(api, 100), await product(api, 500, Product.PERMANENT)
    off_sale, in_euros = await product(api, 1, is_active=False), await product(api, 1, currency="EUR")
    await buy(api, ann, premium)
    refused: list[tuple[Product, int, type[Error]]] = [
        (boost, 6, InsufficientFunds),
        # Even though the money would not suffice either: what is owned is what somebody wants to know.
        (premium, 1, shop.AlreadyOwned),
        (off_sale, 1, shop.ProductInactive),
        (in_euros, 1, CurrencyMismatch),
    ]
    for what, quantity, error in refused:
        before, keys = len(await purchases(api, ann)), await count(payments_db, "idempotency_keys")
        with pytest.raises(error):
            await buy(api, ann, what, quantity)
        [failed, *others] = await purchases(api, ann)
        assert len(others) == before
        assert (failed.status, failed.failure_reason) == (Purchase.FAILED, error.reason)
        assert (failed.product_id, failed.quantity, failed.total_price) == (what.id, quantity, what.price * quantity)
        assert await count(payments_db, "idempotency_keys") == keys
    assert await money_of(service, ann) == (MONEY - 500, 0)
    assert await owned(api, ann) == {premium.id: 1}
    assert len(await told(payments_db)) == 1
    nobody = new_id()
    with pytest.raises(AccountNotFound):
        await buy(api, nobody, boost)
    assert [p.failure_reason for p in await purchases(api, nobody)] == ["ACCOUNT_NOT_FOUND"]
    await assert_books_are_right(payments_db)


async def test_what_makes_no_sense_leaves_no_record(api: ShopApi, ann: str, payments_db: Database) -> None:
    premium, off_sale = (
        await product(api, 1, Product.PERMANENT),
        await product(api, 1, Product.PERMANENT, is_active=False),
    )
    for what in (premium, off_sale):
        with pytest.raises(InvalidArgument):
            await buy(api, ann, what, 2)
    with pytest.raises(shop.ProductNotFound):
        await buy(api, ann, Product(id=new_id()))
    with pytest.raises(IdempotencyKeyRequired):
        await api.purchase_product(PurchaseProductRequest(product_id=premium.id), call(ann))
    with pytest.raises(IdempotencyKeyRequired):
        await api.use_product(UseProductRequest(product_id=premium.id), call(ann))
    assert [await count(payments_db, table) for table in ("purchases", "goods", "uses")] == [0] * 3
    assert await told(payments_db) == []


async def test_after_a_refusal_the_same_key_tries_again(api: ShopApi, service: PaymentService, ann: str) -> None:
    boost = await product(api, MONEY + 1)
    with pytest.raises(InsufficientFunds):
        await buy(api, ann, boost, key="k")
    await deposit(service, ann, 1)
    bought = await buy(api, ann, boost, key="k")
    assert [p.status for p in await purchases(api, ann)] == [Purchase.COMPLETED, Purchase.FAILED]
    assert await buy(api, ann, boost, key="k") == bought


async def test_nobody_owns_more_than_one_may(
    api: ShopApi, service: PaymentService, ann: str, payments_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop, "MAX_OF_A_KIND", 5)
    monkeypatch.setattr(shop, "MAX_KINDS", 2)
    first, second, third = [await product(api, 1) for _ in range(3)]
    await buy(api, ann, first, 5)
    await buy(api, ann, second, 4)
    for what, quantity in ((first, 1), (second, 2), (third, 1)):
        with pytest.raises(shop.InventoryLimit):
            await buy(api, ann, what, quantity)
        assert (await purchases(api, ann))[0].failure_reason == "INVENTORY_LIMIT"
    await buy(api, ann, second)
    # What is used up takes no room; bought again it does.
    await use(api, ann, first, 5)
    await buy(api, ann, third)
    with pytest.raises(shop.InventoryLimit):
        await buy(api, ann, first)
    assert await owned(api, ann) == {second.id: 5, third.id: 1}
    assert await money_of(service, ann) == (MONEY - 11, 0)
    await assert_books_are_right(payments_db)


async def test_goods_are_used_up_to_the_last_one(api: ShopApi, ann: str, payments_db: Database) -> None:
    boost = await product(api, 10)
    await buy(api, ann, boost, 3)
    left = await use(api, ann, boost, 2)
    assert (left.product_id, left.name, left.type, left.quantity) == (boost.id, "Boost", Product.CONSUMABLE, 1)
    with pytest.raises(shop.InsufficientQuantity):
        await use(api, ann, boost, 2)
    # Nobody needs it on sale to use it.
    await update(api, boost, is_active=False)
    assert (await use(api, ann, boost)).quantity == 0
    with pytest.raises(shop.InsufficientQuantity):
        await use(api, ann, boost)
    assert await owned(api, ann) == {}
    assert [quantity for _, _, quantity in await told(payments_db)] == [3, 1, 0]
    assert await count(payments_db, "uses") == 2
    await assert_books_are_right(payments_db)


async def test_what_can_not_be_used_says_why(api: ShopApi, ann: str, payments_db: Database) -> None:
    boost, premium = await product(api, 10), await product(api, 10, Product.PERMANENT)
    await buy(api, ann, premium)
    for what, error in ((boost, shop.NotOwned), (premium, shop.PermanentProduct)):
        with pytest.raises(error):
            await use(api, ann, what)
    with pytest.raises(shop.ProductNotFound):
        await use(api, ann, Product(id=new_id()))
    assert await owned(api, ann) == {premium.id: 1}
    assert await count(payments_db, "uses") == 0


async def test_a_replay_is_the_first_answer_and_changes_nothing(
    api: ShopApi, service: PaymentService, ann: str, payments_db: Database
) -> None:
    boost = await product(api, 100)
    bought = await buy(api, ann, boost, key="k")
    left = await use(api, ann, boost, key="k")
    await update(api, boost, price=1, is_active=False)
    again = call(ann, "k")
    spelled_out = PurchaseProductRequest(product_id=boost.id.upper(), quantity=1)
    assert await api.purchase_product(spelled_out, again) == bought
    assert again.response_headers["idempotency-replayed"] == "true"
    again = call(ann, "k")
    assert await api.use_product(UseProductRequest(product_id=boost.id), again) == left
    assert again.response_headers["idempotency-replayed"] == "true"
    for asked in (buy(api, ann, boost, 2, key="k"), use(api, ann, boost, 2, key="k")):
        with pytest.raises(IdempotencyKeyReused):
            await asked
    assert await money_of(service, ann) == (MONEY - 100, 0)
    assert [await count(payments_db, table) for table in ("purchases", "uses")] == [1, 1]
    assert len(await told(payments_db)) == 2


async def test_fifty_at_once_with_one_key_are_one(
    apis: list[ShopApi], service: PaymentService, ann: str, payments_db: Database
) -> None:
    boost = await product(apis[0], 10)
    bought = await asyncio.gather(*(buy(apis[n % 2], ann, boost, 2, key="k") for n in range(50)))
    assert len({one.id for one in bought}) == 1
    left = await asyncio.gather(*(use(apis[n % 2], ann, boost, key="k") for n in range(50)))
    assert [one.quantity for one in left] == [1] * 50
    assert await money_of(service, ann) == (MONEY - 20, 0)
    assert [await count(payments_db, table) for table in ("purchases", "uses")] == [1, 1]
    assert len(await told(payments_db)) == 2
    await assert_books_are_right(payments_db)


async def test_many_at_once_never_spend_more_than_there_is(
    apis: list[ShopApi], service: PaymentService, ann: str, payments_db: Database
) -> None:
    products = [await product(apis[0], price) for price in (70, 110, 130)]
    asked = [buy(apis[n % 2], ann, products[n % 3], 1 + n % 2) for n in range(40)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    bought = [result for result in results if isinstance(result, Purchase)]
    assert sum(isinstance(result, InsufficientFunds) for result in results) == 40 - len(bought)
    available, _ = await money_of(service, ann)
    assert available == MONEY - sum(purchase.total_price for purchase in bought)
    # Whatever the order, what is left buys nothing more of the dearest that was refused.
    assert available < 260
    recorded = Counter(purchase.status for purchase in await purchases(apis[0], ann))
    assert recorded == {Purchase.COMPLETED: len(bought), Purchase.FAILED: 40 - len(bought)}
    await assert_books_are_right(payments_db)


async def test_a_permanent_product_is_owned_once_however_many_buy_it_at_once(
    apis: list[ShopApi], service: PaymentService, ann: str, payments_db: Database
) -> None:
    premium = await product(apis[0], 100, Product.PERMANENT)
    results = await asyncio.gather(*(buy(api, ann, premium) for api in apis * 4), return_exceptions=True)
    assert sum(isinstance(result, Purchase) for result in results) == 1
    assert sum(isinstance(result, shop.AlreadyOwned) for result in results) == 7
    assert await money_of(service, ann) == (MONEY - 100, 0)
    assert await owned(apis[0], ann) == {premium.id: 1}
    await assert_books_are_right(payments_db)


async def test_uses_at_once_never_go_below_zero_while_more_is_bought(
    apis: list[ShopApi], ann: str, payments_db: Database
) -> None:
    boost = await product(apis[0], 10)
    await buy(apis[0], ann, boost, 20)
    uses = [use(apis[n % 2], ann, boost, 3) for n in range(20)]
    buys = [buy(apis[n % 2], ann, boost) for n in range(10)]
    results = await asyncio.gather(*uses, *buys, return_exceptions=True)
    refused = sum(isinstance(result, shop.InsufficientQuantity) for result in results)
    assert sum(isinstance(result, Exception) for result in results) == refused
    assert (await owned(apis[0], ann)).get(boost.id, 0) == 30 - 3 * (20 - refused)
    assert 10 <= refused <= 14
    await assert_books_are_right(payments_db)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("products", "price = 0"),
        ("products", "type = 'RENTED'"),
        ("purchases", "status = 'PENDING'"),
        ("purchases", "status = 'FAILED'"),
        ("purchases", "failure_reason = 'why'"),
        ("purchases", "total_price = total_price + 1"),
        ("purchases", "quantity = 0, total_price = 0"),
        ("goods", "quantity = -1"),
        ("goods", "type = 'PERMANENT', quantity = 2"),
        ("goods", "type = 'RENTED'"),
        ("uses", "quantity = 0"),
    ],
)
async def test_the_database_refuses_what_can_not_be(
    table: str, change: str, api: ShopApi, ann: str, payments_db: Database
) -> None:
    boost = await product(api, 10)
    await buy(api, ann, boost, 2)
    await use(api, ann, boost)
    with pytest.raises(asyncpg.CheckViolationError):
        async with payments_db.transaction() as tx:
            await tx.execute(sql(f"UPDATE {table} SET {change}"))
