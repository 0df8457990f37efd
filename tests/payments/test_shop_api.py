"""services.payments.shop_*: products and lists on PostgreSQL."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from gozon.shop.v1.shop_pb2 import (
    CreateProductRequest,
    GetInventoryRequest,
    GetProductRequest,
    Inventory,
    InventoryItem,
    ListPopularProductsRequest,
    ListProductsRequest,
    ListPurchasesRequest,
    Product,
    Purchase,
    UpdateProductRequest,
)
from kit.db import Database, sql
from kit.errors import IdempotencyKeyReused, InvalidArgument, InvalidPageToken, StaleEtag
from kit.ids import new_id
from services.payments import shop
from services.payments.domain import InsufficientFunds
from services.payments.service import PaymentService
from services.payments.shop import ProductInactive, ProductNotFound
from services.payments.shop_api import ShopApi
from tests.payments.payout_steps import ADMIN_ID, by_admin, call
from tests.payments.shop_steps import buy, product, purchases, selling, shop_on, update, use
from tests.payments.steps import account_with
from tests.support import count

MONEY = 1000
BOUGHT = sql("""
    INSERT INTO purchases
    SELECT uuidv7(), uuidv7(), :product_id::uuid, 'tea', 1, 1, 1, 'RUB', :status::text,
           CASE :status::text WHEN 'FAILED' THEN 'x' ELSE '' END, :at::timestamptz
    FROM generate_series(1, :times)
""")


@pytest.fixture
async def api(payments_db: Database) -> AsyncIterator[ShopApi]:
    async with selling(payments_db) as api:
        yield api


@pytest.fixture
async def ann(service: PaymentService) -> str:
    """Somebody with money."""
    return await account_with(service, MONEY)


async def test_a_product_is_added_on_sale_and_in_rubles_unless_said_otherwise(api: ShopApi, ann: str) -> None:
    over_rest = call(ADMIN_ID, role="admin", **{"x-envoy-original-path": "/products"})
    request = CreateProductRequest(name="Tea", description="hot", price=7, type=Product.PERMANENT)
    tea = await api.create_product(request, over_rest)
    assert over_rest.response_headers == {"x-http-code": "201", "location": f"/products/{tea.id}", "etag": '"1"'}
    assert (tea.name, tea.description, tea.price, tea.type) == ("Tea", "hot", 7, Product.PERMANENT)
    assert (tea.currency, tea.is_active, tea.etag) == ("RUB", True, "1")
    other = await product(api, currency="EUR", is_active=False)
    assert (other.currency, other.is_active) == ("EUR", False)
    for found in (tea, other):
        assert await api.get_product(GetProductRequest(product_id=found.id.upper()), call(ann)) == found
    with pytest.raises(ProductNotFound):
        await api.get_product(GetProductRequest(product_id=new_id()), call(ann))


async def test_a_product_is_added_once_per_key(api: ShopApi, payments_db: Database) -> None:
    request = CreateProductRequest(name="Tea", price=7, type=Product.CONSUMABLE)
    first = await api.create_product(request, call(ADMIN_ID, "k", "admin"))
    again = call(ADMIN_ID, "k", "admin")
    assert await api.create_product(request, again) == first
    assert again.response_headers == {"idempotency-replayed": "true"}
    request.price = 8
    with pytest.raises(IdempotencyKeyReused):
        await api.create_product(request, call(ADMIN_ID, "k", "admin"))
    assert await count(payments_db, "products") == 1


async def test_a_product_changes_as_the_mask_and_the_etag_say(api: ShopApi) -> None:
    tea = await product(api, 7, name="Tea", description="hot")
    assert await update(api, tea) == await update(api, tea, name="Tea", price=7, is_active=True) == tea
    dearer = await update(api, tea, price=8, etag=tea.etag)
    assert (dearer.price, dearer.name, dearer.description, dearer.etag) == (8, "Tea", "hot", "2")
    assert dearer.updated_at.ToDatetime() > tea.updated_at.ToDatetime()
    with pytest.raises(StaleEtag):
        await update(api, tea, price=9, etag=tea.etag)
    with pytest.raises(StaleEtag):
        stale = call(ADMIN_ID, role="admin", **{"if-match": '"1"'})
        await api.update_product(UpdateProductRequest(product_id=tea.id, price=9), stale)
    masked = await update(api, tea, price=9, name="Coffee", update_mask=FieldMask(paths=["name", "description"]))
    assert (masked.price, masked.name, masked.description, masked.etag) == (8, "Coffee", "", "3")
    off_sale = await update(api, tea, is_active=False)
    assert (off_sale.is_active, off_sale.etag, off_sale.created_at) == (False, "4", tea.created_at)
    with pytest.raises(ProductNotFound):
        await update(api, Product(id=new_id()), price=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"update_mask": FieldMask(paths=["type"])},
        {"update_mask": FieldMask(paths=["name", "currency"]), "name": "x"},
        {"update_mask": FieldMask(paths=["*"])},
        {"update_mask": FieldMask(paths=["name"])},
        {"update_mask": FieldMask(paths=["price"])},
        {"update_mask": FieldMask(paths=["is_active"])},
    ],
    ids=str,
)
async def test_an_update_that_makes_no_sense_is_refused(fields: dict[str, Any], api: ShopApi) -> None:
    tea = await product(api)
    with pytest.raises(InvalidArgument):
        await update(api, tea, **fields)
    assert await api.get_product(GetProductRequest(product_id=tea.id), by_admin()) == tea


async def test_products_have_pages_and_filters(api: ShopApi, ann: str) -> None:
    made = [await product(api, kind=kind) for kind in (Product.CONSUMABLE, Product.PERMANENT) * 3]
    for one in made[:2]:
        await update(api, one, is_active=False)

    async def found(**fields: Any) -> list[int]:
        indexes, token = [], ""
        while True:
            page = await api.list_products(ListProductsRequest(page_size=2, page_token=token, **fields), call(ann))
            assert len(page.products) <= 2
            indexes += [[one.id for one in made].index(each.id) for each in page.products]
            if not (token := page.next_page_token):
                return indexes

    assert await found() == [5, 4, 3, 2, 1, 0]
    assert await found(type=Product.PERMANENT) == [5, 3, 1]
    assert await found(is_active=True) == [5, 4, 3, 2]
    assert await found(is_active=False) == [1, 0]
    assert await found(is_active=True, type=Product.CONSUMABLE) == [4, 2]
    for token in ("x", "MTIz", "é", "=" * 9):
        with pytest.raises(InvalidPageToken):
            await api.list_products(ListProductsRequest(page_token=token), call(ann))


async def test_purchases_have_pages_and_a_filter_and_are_ones_own(api: ShopApi, service: PaymentService) -> None:
    ann, bob = await account_with(service, MONEY), await account_with(service, MONEY)
    tea, gold = await product(api, 1), await product(api, MONEY + 1)
    await buy(api, bob, tea)
    for what in (tea, gold, tea, gold, tea):
        if what is tea:
            await buy(api, ann, what)
        else:
            with pytest.raises(InsufficientFunds):
                await buy(api, ann, what)
    found, token = [], ""
    while True:
        request = ListPurchasesRequest(user_id=ann, page_size=2, page_token=token)
        page = await api.list_purchases(request, call(ann))
        found += [purchase.product_id for purchase in page.purchases]
        if not (token := page.next_page_token):
            break
    assert found == [tea.id, gold.id, tea.id, gold.id, tea.id]
    assert [p.product_id for p in await purchases(api, ann, status=Purchase.FAILED)] == [gold.id, gold.id]
    assert [p.product_id for p in await purchases(api, ann, status=Purchase.COMPLETED)] == [tea.id] * 3
    assert await purchases(api, ann, status=Purchase.PENDING) == []
    assert len(await purchases(api, bob)) == 1


async def test_an_inventory_has_what_is_there_newest_product_first(api: ShopApi, ann: str) -> None:
    old, used, premium = await product(api, 1), await product(api, 1), await product(api, 1, Product.PERMANENT)
    for what, quantity in ((premium, 1), (used, 2), (old, 3), (old, 4)):
        await buy(api, ann, what, quantity)
    await use(api, ann, used, 2)
    renamed = await update(api, old, name="Older", is_active=False)
    inventory = await api.get_inventory(GetInventoryRequest(user_id=ann.upper()), call(ann))
    assert inventory.user_id == ann
    shown = [(item.product_id, item.name, item.type, item.quantity) for item in inventory.items]
    assert shown == [(premium.id, "Boost", Product.PERMANENT, 1), (old.id, renamed.name, Product.CONSUMABLE, 7)]
    first_bought = next(p for p in await purchases(api, ann) if p.quantity == 3)
    assert inventory.items[1].acquired_at == first_bought.created_at
    assert not (await api.get_inventory(GetInventoryRequest(user_id=new_id()), by_admin())).items


async def test_popular_products_are_those_bought_most_often_in_a_week(
    api: ShopApi, ann: str, payments_db: Database
) -> None:
    now = datetime.now(UTC)
    made = [await product(api, name=str(n)) for n in range(9)]
    # Seven are bought equally often, more than are shown; one more often, and one much more often, but long ago.
    times = [(made[n], "COMPLETED", 3, now - timedelta(days=6, hours=23)) for n in range(7)]
    times += [(made[7], "COMPLETED", 4, now), (made[8], "COMPLETED", 50, now - timedelta(days=7, hours=1))]
    times += [(made[8], "FAILED", 50, now), (made[8], "COMPLETED", 2, now)]
    random.shuffle(times)
    async with payments_db.autocommit() as connection:
        for what, status, often, at in times:
            await connection.execute(BOUGHT, product_id=what.id, status=status, times=often, at=at)
    off_sale = await update(api, made[7], is_active=False)
    popular = (await api.list_popular_products(ListPopularProductsRequest(), call(ann))).products
    assert [(one.product.name, one.purchases) for one in popular] == [("7", 4), ("0", 3), ("1", 3), ("2", 3), ("3", 3)]
    assert popular[0].product == off_sale
    # How many, not how often, does not count.
    await update(api, made[7], is_active=True, price=1)
    for what in (made[4], made[4], made[7]):
        await update(api, what, price=1)
        await buy(api, ann, what, 100)
    # This instance counts again in an hour.
    counts = Counter({one.product.name: one.purchases for one in await _popular(shop_on(payments_db), ann)})
    assert counts == {"4": 5, "7": 5, "0": 3, "1": 3, "2": 3}


async def test_of_products_bought_equally_often_the_older_one_is_first(api: ShopApi, ann: str) -> None:
    assert await _popular(api, ann) == []
    older, newer = await product(api, 1, name="older"), await product(api, 1, name="newer")
    for what in (newer, older, older, newer):
        await buy(api, ann, what)
    assert [one.product.name for one in await _popular(api, ann)] == ["older", "newer"]


async def test_taken_off_sale_nobody_buys_it(api: ShopApi, ann: str) -> None:
    tea = await product(api, 1)
    await update(api, tea, is_active=False)
    with pytest.raises(ProductInactive):
        await buy(api, ann, tea)
    await update(api, tea, is_active=True)
    assert (await buy(api, ann, tea)).status == Purchase.COMPLETED


async def _popular(api: ShopApi, who: str) -> list[Any]:
    return list((await api.list_popular_products(ListPopularProductsRequest(), call(who))).products)


def test_the_longest_inventory_passes_the_edge() -> None:
    """Which transcodes messages up to 1 MiB."""
    item = InventoryItem(product_id=new_id(), name="🫖" * 200, type=Product.CONSUMABLE, quantity=shop.MAX_OF_A_KIND)
    item.acquired_at.GetCurrentTime()
    assert Inventory(user_id=new_id(), items=[item] * shop.MAX_KINDS).ByteSize() < 2**20
