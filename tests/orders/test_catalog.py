"""services.orders.catalog: orders that name products of the shop cost what those cost then, and keep it."""

import asyncio
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order, OrderItem
from gozon.shop.v1.events_pb2 import ProductChanged
from kit.db import Database, sql
from kit.errors import Error, IdempotencyKeyReused
from kit.events import Event
from kit.ids import new_id
from services.orders.api import OrdersApi
from services.orders.catalog import Catalog
from services.orders.domain import (
    CurrencyMismatch,
    ProductInactive,
    ProductNotFound,
    TotalMismatch,
    TotalTooLarge,
)
from services.orders.service import OrderService
from tests.orders.steps import asked, priced, product_told, somebody
from tests.orders.test_api import call
from tests.support import count

USER = new_id()


@pytest.fixture
def api(service: OrderService) -> OrdersApi:
    return OrdersApi(service)


@pytest.fixture
async def tea(catalog: Catalog) -> str:
    """A product that costs 150 rubles."""
    product_id = new_id()
    await catalog.learn([product_told(product_id)])
    return product_id


async def order(api: OrdersApi, *items: OrderItem | str, key: str = "", **fields: Any) -> Order:
    """Orders these, of a product two."""
    lines = [OrderItem(product_id=item, quantity=2) if isinstance(item, str) else item for item in items]
    return await api.create_order(CreateOrderRequest(items=lines, **fields), call(USER, key=key))


async def test_of_news_in_any_sequence_and_number_the_newest_stays(catalog: Catalog, orders_db: Database) -> None:
    tea, cup = new_id(), new_id()
    first, second, third = (product_told(tea, version, price=version) for version in (1, 2, 10))
    await catalog.learn([second, product_told(cup, name="cup"), third, first])
    assert await priced(catalog, tea) == ("tea", 10)
    assert await priced(catalog, cup) == ("cup", 150)
    await catalog.learn([second, first])
    assert await priced(catalog, tea) == ("tea", 10)
    await catalog.learn([product_told(tea, 11, name="Чай", price=11, currency="USD", is_active=False)])
    async with orders_db.autocommit() as connection:
        [row] = await connection.execute(sql("SELECT * FROM products WHERE id = :id::uuid"), id=tea)
    assert tuple(row)[1:] == ("Чай", 11, "USD", False, 11)


async def test_instances_that_learn_the_same_at_once_do_not_deadlock(orders_db: Database) -> None:
    ids = [new_id() for _ in range(50)]
    news = [[product_told(product_id, version) for product_id in ids] for version in range(1, 21)]
    for version in news[::2]:
        version.reverse()
    await asyncio.gather(*(Catalog(orders_db).learn(version) for version in news))
    async with orders_db.autocommit() as connection:
        rows = await connection.execute(sql("SELECT DISTINCT version FROM products"))
    assert [row["version"] for row in rows] == [20]


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"",
        ProductChanged(product={"id": "no id", "etag": "1", "price": 1}).SerializeToString(),
        ProductChanged(product={"id": new_id(), "etag": "", "price": 1}).SerializeToString(),
        ProductChanged(product={"id": new_id(), "etag": "1", "price": 0}).SerializeToString(),
    ],
    ids=["garbage", "nothing", "no id", "no version", "no price"],
)
async def test_what_tells_of_no_product_is_refused(catalog: Catalog, orders_db: Database, payload: bytes) -> None:
    with pytest.raises((DecodeError, ValueError)):
        await catalog.learn([Event(new_id(), "shop.product_changed", payload, "")])
    assert await count(orders_db, "products") == 0


async def test_a_line_with_a_product_gets_its_name_and_price_and_keeps_them(
    api: OrdersApi, service: OrderService, catalog: Catalog, tea: str, orders_db: Database
) -> None:
    cup = OrderItem(name="cup", quantity=1, price=700)
    created = await order(api, tea.upper(), cup, total_price=1000)
    lines = [OrderItem(product_id=tea, name="tea", quantity=2, price=150), cup]
    assert (list(created.items), created.total_price, created.currency) == (lines, 1000, "RUB")
    [question] = await asked(orders_db, "orders.created")
    assert (question.total_price, question.currency) == (1000, "RUB")
    await catalog.learn([product_told(tea, 2, name="Tea", price=200)])
    assert [item.price for item in (await order(api, tea)).items] == [200]
    assert list((await service.get_order(created.id, somebody(USER))).items) == lines
    async with orders_db.autocommit() as connection:
        [row] = await connection.execute(sql("SELECT items FROM orders WHERE id = :id::uuid"), id=created.id)
    # Nothing is kept for a line without a product.
    assert row["items"].count("product_id") == 1


async def test_an_order_is_in_the_currency_of_its_products(api: OrdersApi, catalog: Catalog, tea: str) -> None:
    coffee = new_id()
    await catalog.learn([product_told(coffee, currency="USD")])
    assert (await order(api, coffee, OrderItem(name="cup", quantity=1, price=1))).currency == "USD"
    assert (await order(api, coffee, currency="USD")).currency == "USD"
    for items, currency in (((coffee, tea), ""), ((coffee, tea), "USD"), ((tea,), "USD"), ((coffee,), "RUB")):
        with pytest.raises(CurrencyMismatch):
            await order(api, *items, currency=currency)


async def test_what_can_not_be_ordered_says_why_and_leaves_nothing(
    api: OrdersApi, catalog: Catalog, tea: str, orders_db: Database
) -> None:
    off_sale, dear = new_id(), new_id()
    await catalog.learn([product_told(off_sale, is_active=False), product_told(dear, price=10**12)])
    one = OrderItem(name="cup", quantity=1, price=1)
    refusals: list[tuple[list[OrderItem | str], dict[str, Any], type[Error], str]] = [
        ([one, new_id()], {}, ProductNotFound, "items[1].product_id"),
        ([tea, off_sale], {}, ProductInactive, "items[1].product_id"),
        ([tea], {"total_price": 299}, TotalMismatch, ""),
        ([dear], {}, TotalTooLarge, ""),
    ]
    for items, fields, error, field in refusals:
        with pytest.raises(error) as caught:
            await order(api, *items, key="k", **fields)
        assert [path for path, _ in caught.value.violations] == [field][: bool(field)]
    assert [await count(orders_db, table) for table in ("orders", "outbox", "idempotency_keys")] == [0, 0, 0]
    whole = await order(api, OrderItem(product_id=dear, quantity=1), key="k")
    assert whole.total_price == 10**12


@pytest.mark.parametrize("fields", [{"price": 200}, {"is_active": False}, {"currency": "USD"}], ids=str)
async def test_a_repeated_request_gets_the_first_answer_whatever_became_of_the_product(
    api: OrdersApi, catalog: Catalog, tea: str, orders_db: Database, fields: dict[str, Any]
) -> None:
    first = await order(api, tea, key="k", total_price=300, currency="RUB")
    await catalog.learn([product_told(tea, 2, **fields)])
    again = call(USER, key="k")
    items = [OrderItem(product_id=tea.upper(), quantity=2)]
    repeated = CreateOrderRequest(items=items, total_price=300, currency="RUB")
    assert await api.create_order(repeated, again) == first
    assert again.response_headers["idempotency-replayed"] == "true"
    with pytest.raises(IdempotencyKeyReused):
        await order(api, tea, key="k", total_price=301, currency="RUB")
    # Nobody else's key, and no key at all, has that answer.
    for key in ("other", ""):
        with pytest.raises((TotalMismatch, ProductInactive, CurrencyMismatch)):
            await order(api, tea, key=key, total_price=300, currency="RUB")
    assert await count(orders_db, "orders") == 1


async def test_a_repeated_request_gets_the_first_answer_though_it_would_be_an_order_today(
    api: OrdersApi, catalog: Catalog, tea: str
) -> None:
    first = await order(api, tea, key="k")
    await catalog.learn([product_told(tea, 2, price=200)])
    assert await order(api, tea, key="k") == first


async def test_an_order_without_products_asks_nobody_for_them(api: OrdersApi, orders_db: Database) -> None:
    async with orders_db.transaction() as tx:
        await tx.execute(sql("DROP TABLE products"))
    assert (await order(api, OrderItem(name="cup", quantity=1, price=1), key="k")).total_price == 1
    # Not for its key either.
    with pytest.raises(TotalMismatch):
        await order(api, OrderItem(name="cup", quantity=1, price=1), total_price=2, key="k")
