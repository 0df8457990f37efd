"""services.payments.product_news: who keeps a copy of products learns each change, whatever is lost."""

import asyncio
from datetime import UTC, datetime

import pytest

from gozon.shop.v1.shop_pb2 import CreateProductRequest, Product
from kit.bus import Bus
from kit.db import Database, sql
from kit.errors import Unavailable
from kit.outbox import Outbox
from services.orders.catalog import Catalog
from services.orders.domain import ProductNotFound
from services.payments import product_news
from services.payments.product_news import EVER, LATELY, ProductNews
from services.topology import CONSUMERS, ORDERS_CATALOG, STREAMS
from tests.orders.steps import priced
from tests.payments.payout_steps import call
from tests.payments.shop_steps import product, shop_on, told_of_products, update
from tests.support import NatsServer, disconnected_bus, eventually, outbox_of


async def yes() -> bool:
    return True


def news_of(database: Database) -> ProductNews:
    return ProductNews(database, Outbox(database, disconnected_bus()), yes)


async def execute(database: Database, statement: str, **parameters: str) -> None:
    async with database.autocommit() as connection:
        await connection.execute(sql(statement), **parameters)


async def test_each_change_is_told_in_its_transaction_and_only_changes_are(payments_db: Database) -> None:
    api = shop_on(payments_db)
    boost = await product(api, 100)
    dearer = await update(api, boost, price=150)
    assert (dearer.price, dearer.etag) == (150, "2")
    # This changes nothing.
    await update(api, dearer, price=150)
    assert await told_of_products(payments_db) == [boost, dearer]
    assert await update(api, dearer, is_active=False) == (await told_of_products(payments_db))[-1]
    writers = "SELECT xmin::text FROM products UNION ALL (SELECT xmin::text FROM outbox ORDER BY id DESC LIMIT 1)"
    async with payments_db.autocommit() as connection:
        assert len({row["xmin"] for row in await connection.execute(sql(writers))}) == 1


async def test_a_repeated_request_for_a_product_tells_nothing_new(payments_db: Database) -> None:
    api, own = shop_on(payments_db), call("0" * 32, "k", role="admin")
    request = CreateProductRequest(name="Boost", price=1, type=Product.CONSUMABLE)
    first = await api.create_product(request, own)
    assert await api.create_product(request, own) == first
    assert await told_of_products(payments_db) == [first]


async def test_all_products_are_told_again_page_by_page_or_those_that_changed_lately(
    payments_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product_news, "TELL_LIMIT", 2)
    api, news = shop_on(payments_db), news_of(payments_db)
    products = [await product(api, price) for price in range(1, 6)]
    # All at one moment, as in an import.
    await execute(payments_db, "UPDATE products SET updated_at = now()")
    await execute(payments_db, "DELETE FROM outbox")
    assert await news.tell(EVER) == 5
    assert [p.price for p in await told_of_products(payments_db)] == [p.price for p in products]
    await execute(payments_db, "DELETE FROM outbox")
    await execute(
        payments_db,
        "UPDATE products SET updated_at = now() - interval '2 days' WHERE id <> :id::uuid",
        id=products[2].id,
    )
    assert await news.tell(datetime.now(UTC) - LATELY) == 1
    assert [p.id for p in await told_of_products(payments_db)] == [products[2].id]


async def test_they_are_told_only_while_nothing_waits_and_whatever_fails(
    payments_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product_news, "TELL_SECONDS", 0.001)
    boost = await product(shop_on(payments_db), 1)
    await execute(payments_db, "UPDATE products SET updated_at = now() - interval '2 days'")
    await execute(payments_db, "DELETE FROM outbox")
    asked = 0
    told_before: list[int] = []

    async def nothing_waits() -> bool:
        nonlocal asked
        asked += 1
        told_before.append(len(await told_of_products(payments_db)))
        if asked == 1:
            raise Unavailable
        return asked > 2

    async def told() -> list[Product]:
        return await told_of_products(payments_db)

    news = ProductNews(payments_db, Outbox(payments_db, disconnected_bus()), nothing_waits)
    running = asyncio.create_task(news.run())
    [again] = await eventually(told)
    assert again.id == boost.id
    assert told_before[:3] == [0, 0, 0]
    # Then only what has changed lately.
    once = asked

    async def asked_more() -> bool:
        return asked > once + 5

    await eventually(asked_more)
    assert len(await told()) == 1
    running.cancel()


async def test_a_change_that_nats_has_lost_is_told_again_and_orders_know_it(
    payments_db: Database, orders_db: Database, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product_news, "TELL_SECONDS", 0.05)
    bus = Bus(nats_server.url, STREAMS, CONSUMERS)
    await bus.connect()
    boost = await product(shop_on(payments_db), 100)
    assert len(await bus.publish(await outbox_of(payments_db))) == 1
    await execute(payments_db, "DELETE FROM outbox")
    assert await bus.lag(ORDERS_CATALOG) == 1
    nats_server.kill()
    nats_server.wipe()
    await nats_server.start()
    # Nobody had listened, and now nobody has it.
    outbox, catalog = Outbox(payments_db, bus), Catalog(orders_db)
    relay = asyncio.create_task(outbox.run())
    consuming = asyncio.create_task(bus.consume(ORDERS_CATALOG, catalog.learn, orders_db))
    telling = asyncio.create_task(ProductNews(payments_db, outbox, lambda: bus.is_idle(ORDERS_CATALOG)).run())

    async def is_known() -> bool:
        try:
            return await priced(catalog, boost.id) == ("Boost", 100)
        except ProductNotFound:
            return False

    await eventually(is_known)
    telling.cancel()
    await bus.stop_consuming()
    await consuming
    await outbox.drain()
    await relay
    await bus.close()
