"""What Payments does for the shop."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import structlog

from gozon.shop.v1.shop_pb2 import (
    Inventory,
    InventoryItem,
    ListPopularProductsResponse,
    PopularProduct,
    Product,
    Purchase,
)
from kit import idempotency
from kit.auth import Identity
from kit.db import Connection, Database, Transaction, atomic
from kit.errors import StaleEtag
from kit.events import Event
from kit.ids import new_id
from kit.outbox import Outbox
from kit.telemetry import traceparent
from services.payments import events, repository, shop, shop_repository
from services.payments.domain import Limits
from services.payments.goods_cache import CachedInventories, CachedPopularity
from services.payments.shop_repository import Change

POPULAR_LIMIT = 5

Answer = TypeVar("Answer", Product, Purchase, InventoryItem)
log = structlog.get_logger()


@dataclass(frozen=True)
class Answered(Generic[Answer]):
    """How a request is answered, now or when it first came with the same idempotency key."""

    answer: Answer
    replayed: bool


class ShopService:
    """Keeps products, sells them, and keeps what users own of them."""

    def __init__(
        self, database: Database, outbox: Outbox, inventories: CachedInventories, popularity: CachedPopularity
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._inventories = inventories
        self._popularity = popularity

    @atomic
    async def create_product(self, new: Product, key: idempotency.Key | None) -> Answered[Product]:
        """Adds a product, once per key. Errors: IdempotencyKeyReused."""
        async with self._database.transaction() as tx:
            if key and (first := await idempotency.claim(tx, key)) is not None:
                return Answered(Product.FromString(first), replayed=True)
            new.id = new_id()
            product = await shop_repository.insert_product(tx, new, datetime.now(UTC))
            await self._outbox.add(tx, [events.product_changed(product, traceparent.get())])
            if key:
                await idempotency.answer(tx, key, product)
        log.info("product_created", product_id=product.id)
        return Answered(product, replayed=False)

    async def list_products(self, kind: str, is_active: bool | None, before: str, limit: int) -> list[Product]:
        """Returns products with ids below `before`, newest first; of any type when `kind` is empty."""
        async with self._database.autocommit() as connection:
            return await shop_repository.products(connection, kind, is_active, before, limit)

    async def get_product(self, product_id: str) -> Product:
        """Returns a product. Errors: ProductNotFound."""
        async with self._database.autocommit() as connection:
            return await _product(connection, product_id)

    @atomic
    async def update_product(self, product_id: str, caller: Identity, change: Change, etag: str) -> Product:
        """Changes a product and returns it as it is then; what it is already changes nothing.

        Errors: ProductNotFound, StaleEtag.
        """
        async with self._database.transaction() as tx:
            product = await shop_repository.lock_product(tx, product_id)
            if product is None:
                raise shop.ProductNotFound
            if etag not in ("", product.etag):
                raise StaleEtag
            as_it_is = (product.name, product.description, product.price, product.is_active)
            wanted = (change.name, change.description, change.price, change.is_active)
            if all(new in (None, old) for new, old in zip(wanted, as_it_is, strict=True)):
                return product
            product = await shop_repository.change_product(tx, product_id, change, datetime.now(UTC))
            await self._outbox.add(tx, [events.product_changed(product, traceparent.get())])
        log.info("product_updated", product_id=product_id, actor_id=caller.user_id)
        return product

    @atomic
    async def purchase_product(
        self, product_id: str, quantity: int, user_id: str, key: idempotency.Key
    ) -> Answered[Purchase]:
        """Takes the money for goods and gives them, once per key; what is refused is recorded as FAILED.

        Errors: ProductNotFound, InvalidArgument for more than one PERMANENT product, shop.REFUSALS,
        IdempotencyKeyReused.
        """
        now = datetime.now(UTC)
        purchase = None
        try:
            async with self._database.transaction() as tx:
                # Read without a lock: those of many buyers at once would keep an admin from changing it. Who buys while
                # it changes has bought just before.
                product = await _product(tx, product_id)
                purchase = _priced(product, quantity, user_id, now)
                if (first := await idempotency.claim(tx, key, purchase)) is not None:
                    return Answered(Purchase.FromString(first), replayed=True)
                await self._buy(tx, product, purchase, now)
        except shop.REFUSALS as refusal:
            assert purchase is not None
            await self._record_refused(purchase, refusal.reason, now)
            raise
        log.debug("product_bought", product_id=product_id, purchase_id=purchase.id)
        return Answered(purchase, replayed=False)

    @atomic
    async def use_product(
        self, product_id: str, quantity: int, user_id: str, key: idempotency.Key
    ) -> Answered[InventoryItem]:
        """Uses goods up and returns what is left of them, once per key.

        Errors: ProductNotFound, PermanentProduct, NotOwned, InsufficientQuantity, IdempotencyKeyReused.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            if (first := await idempotency.claim(tx, key)) is not None:
                return Answered(InventoryItem.FromString(first), replayed=True)
            product = await _product(tx, product_id)
            shop.require_usable(Product.Type.Name(product.type))
            left = await shop_repository.use_goods(tx, user_id, product_id, quantity, now)
            if left is None:
                has_owned = await shop_repository.has_owned(tx, user_id, product_id)
                raise shop.InsufficientQuantity if has_owned else shop.NotOwned
            await shop_repository.insert_use(tx, user_id, new_id(), product_id, quantity, now)
            item = shop_repository.item(product, left)
            await self._tell(tx, user_id, item)
            await idempotency.answer(tx, key, item)
        log.debug("product_used", product_id=product_id)
        return Answered(item, replayed=False)

    async def get_inventory(self, user_id: str) -> Inventory:
        """Returns what a user owns, from the cache if it is there. It is shared: do not change it."""

        async def read() -> Inventory:
            async with self._database.autocommit() as connection:
                return Inventory(user_id=user_id, items=await shop_repository.inventory_of(connection, user_id))

        return await self._inventories.get(user_id, read)

    async def list_purchases(self, user_id: str, status: str, before: str, limit: int) -> list[Purchase]:
        """Returns purchases of a user with ids below `before`, newest first; with any status when it is empty."""
        async with self._database.autocommit() as connection:
            return await shop_repository.purchases(connection, user_id, status, before, limit)

    async def list_popular_products(self) -> list[PopularProduct]:
        """Returns the 5 products that were bought most often in the last 7 days, counted at most an hour ago."""
        counted = (await self._popularity.get(self._count_purchases)).products
        async with self._database.autocommit() as connection:
            products = await shop_repository.products_by_id(connection, [one.product.id for one in counted])
        # What was counted may be of products that a restored backup does not have.
        return [
            PopularProduct(product=products[one.product.id], purchases=one.purchases)
            for one in counted
            if one.product.id in products
        ]

    async def _count_purchases(self) -> ListPopularProductsResponse:
        """Returns how often which products were bought; of the products, which may change meanwhile, only the ids."""
        since = datetime.now(UTC) - timedelta(days=shop.POPULAR_DAYS)
        async with self._database.autocommit() as connection:
            counts = await shop_repository.popular(connection, since, POPULAR_LIMIT)
        counted = [PopularProduct(product=Product(id=product_id), purchases=number) for product_id, number in counts]
        return ListPopularProductsResponse(products=counted)

    async def _buy(self, tx: Transaction, product: Product, purchase: Purchase, now: datetime) -> None:
        """Moves the money and the goods. Errors: InvalidArgument, shop.REFUSALS."""
        user_id, quantity = purchase.user_id, purchase.quantity
        shop.require_buyable(Product.Type.Name(product.type), product.is_active, quantity)
        # The account first, then its goods: purchases of one user wait for each other here.
        books = await repository.lock_books(tx, [user_id], [], now, Limits())
        owned = await shop_repository.add_goods(tx, user_id, product, quantity, now)
        if owned is None:
            raise shop.AlreadyOwned
        # What was owned before was counted then.
        kinds = await shop_repository.kinds_of(tx, user_id) if owned.quantity == quantity else 0
        shop.require_room(owned.quantity, kinds)
        books.buy(user_id, purchase.id, purchase.total_price, purchase.currency)
        await repository.write(tx, books)
        await shop_repository.insert_purchase(tx, purchase, now)
        moved = events.balances_changed(books.moved(), traceparent.get())
        await self._tell(tx, user_id, shop_repository.item(product, owned), moved)

    async def _record_refused(self, purchase: Purchase, reason: str, now: datetime) -> None:
        """Writes down what was refused; that this can't be done is no news for who was refused."""
        purchase.status, purchase.failure_reason = Purchase.FAILED, reason
        try:
            async with self._database.transaction() as tx:
                await shop_repository.insert_purchase(tx, purchase, now)
        except Exception as error:
            log.warning("refusal_not_recorded", purchase_id=purchase.id, reason=reason, error=repr(error))

    async def _tell(self, tx: Transaction, user_id: str, item: InventoryItem, moved: Sequence[Event] = ()) -> None:
        # Before the commit, so that a crash leaves nothing stale; and as late as can be.
        await self._inventories.forget([user_id])
        await self._outbox.add(tx, [events.inventory_changed(user_id, item, traceparent.get()), *moved])


async def _product(connection: Connection, product_id: str) -> Product:
    product = await shop_repository.product_by_id(connection, product_id)
    if product is None:
        raise shop.ProductNotFound
    return product


def _priced(product: Product, quantity: int, user_id: str, now: datetime) -> Purchase:
    purchase = Purchase(
        id=new_id(),
        user_id=user_id,
        product_id=product.id,
        product_name=product.name,
        quantity=quantity,
        price=product.price,
        total_price=product.price * quantity,
        currency=product.currency,
        status=Purchase.COMPLETED,
    )
    purchase.created_at.FromDatetime(now)
    return purchase
