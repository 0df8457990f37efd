"""What tests of the shop do and look at."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gozon.shop.v1.events_pb2 import InventoryChanged, ProductChanged
from gozon.shop.v1.shop_pb2 import (
    CreateProductRequest,
    GetInventoryRequest,
    InventoryItem,
    ListPurchasesRequest,
    Product,
    Purchase,
    PurchaseProductRequest,
    UpdateProductRequest,
    UseProductRequest,
)
from kit.cache import Cache
from kit.db import Database
from kit.ids import new_id
from kit.outbox import Outbox
from services import topology
from services.payments.goods_cache import CachedInventories, CachedPopularity
from services.payments.shop_api import ShopApi
from services.payments.shop_service import ShopService
from tests.payments.payout_steps import by_admin, call
from tests.support import disconnected_bus, outbox_of


@asynccontextmanager
async def selling(database: Database, cache: Cache | None = None) -> AsyncIterator[ShopApi]:
    """The api of one more instance of the service, with an outbox that keeps its messages; if no cache, a dead one."""
    service = service_on(database, cache)
    batches = asyncio.create_task(service.batcher.run())
    yield ShopApi(service)
    await service.batcher.drain()
    await batches


def shop_on(database: Database) -> ShopApi:
    """The api of one more instance that sells nothing: nobody runs its batches."""
    return ShopApi(service_on(database))


def service_on(database: Database, cache: Cache | None = None) -> ShopService:
    """One more instance of the service."""
    cache = cache or Cache("redis://127.0.0.1:1/0", 1)
    outbox = Outbox(database, disconnected_bus())
    return ShopService(database, outbox, CachedInventories(cache), CachedPopularity(cache))


async def product(api: ShopApi, price: int = 100, kind: Product.Type = Product.CONSUMABLE, **fields: Any) -> Product:
    """An admin adds a product."""
    request = CreateProductRequest(**{"name": "Boost", "price": price, "type": kind, **fields})
    return await api.create_product(request, by_admin())


async def update(api: ShopApi, what: Product, **fields: Any) -> Product:
    """An admin changes a product."""
    return await api.update_product(UpdateProductRequest(product_id=what.id, **fields), by_admin())


async def buy(api: ShopApi, user_id: str, what: Product, quantity: int | None = None, *, key: str = "") -> Purchase:
    """Buys under a key, a new one if none is given."""
    request = PurchaseProductRequest(product_id=what.id, quantity=quantity)
    return await api.purchase_product(request, call(user_id, key or new_id()))


async def use(
    api: ShopApi, user_id: str, what: Product, quantity: int | None = None, *, key: str = ""
) -> InventoryItem:
    """Uses goods up under a key, a new one if none is given."""
    request = UseProductRequest(product_id=what.id, quantity=quantity)
    return await api.use_product(request, call(user_id, key or new_id()))


async def owned(api: ShopApi, user_id: str) -> dict[str, int]:
    """How many of which products somebody owns."""
    inventory = await api.get_inventory(GetInventoryRequest(user_id=user_id), call(user_id))
    assert inventory.user_id == user_id
    return {item.product_id: item.quantity for item in inventory.items}


async def purchases(api: ShopApi, user_id: str, **fields: Any) -> list[Purchase]:
    """The last purchases of somebody, newest first."""
    request = ListPurchasesRequest(user_id=user_id, page_size=100, **fields)
    return list((await api.list_purchases(request, call(user_id))).purchases)


async def told(database: Database) -> list[tuple[str, str, int]]:
    """What waits in the outbox about goods: user, product and how many there are, oldest first."""
    found = []
    for event in await outbox_of(database):
        if event.subject != topology.PRODUCT_CHANGED:
            assert event.subject == topology.INVENTORY_CHANGED
            message = InventoryChanged.FromString(event.payload)
            found.append((message.user_id, message.item.product_id, message.item.quantity))
    return found


async def told_of_products(database: Database) -> list[Product]:
    """The products that wait in the outbox, oldest news first."""
    waiting = [event for event in await outbox_of(database) if event.subject == topology.PRODUCT_CHANGED]
    return [ProductChanged.FromString(event.payload).product for event in waiting]
