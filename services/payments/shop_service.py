"""What Payments does for the shop."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

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
from kit.batch import Batcher
from kit.db import Conflict, Connection, Database, Transaction, atomic
from kit.errors import Error, StaleEtag
from kit.ids import new_id
from kit.outbox import Outbox
from kit.telemetry import trace_id, traceparent
from services.payments import events, repository, shop, shop_repository
from services.payments.books import Books
from services.payments.domain import Limits
from services.payments.goods_cache import CachedInventories, CachedPopularity
from services.payments.sales import Answered, NewPurchase, Sales
from services.payments.shop_repository import Change

POPULAR_LIMIT = 5

log = structlog.get_logger()


class ShopService:
    """Keeps products, sells them, and keeps what users own of them."""

    def __init__(
        self, database: Database, outbox: Outbox, inventories: CachedInventories, popularity: CachedPopularity
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._inventories = inventories
        self._popularity = popularity
        self.batcher: Batcher[NewPurchase, Answered[Purchase]] = Batcher(self._purchase, name="purchase-product")

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

    async def purchase_product(
        self, product_id: str, quantity: int, user_id: str, key: idempotency.Key
    ) -> Answered[Purchase]:
        """Takes the money for goods and gives them, once per key; what is refused is recorded as FAILED.

        Errors: those of Sales.buy.
        """
        return await self.batcher.submit(NewPurchase(product_id, quantity, user_id, key, traceparent.get()))

    @atomic
    async def _purchase(self, batch: Sequence[NewPurchase]) -> list[Answered[Purchase] | Error]:
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            # Read without a lock: those of many buyers at once would keep an admin from changing it. Who buys while
            # it changes has bought just before.
            products = await shop_repository.products_by_id(tx, list({new.product_id for new in batch}))
            asked = [new for new in batch if new.product_id in products]
            # Accounts, then goods, then keys, each of them sorted. No use of goods closes a circle: it has its key,
            # which no purchase has, and then waits for one row of goods and nothing else.
            books = await repository.lock_books(tx, [new.user_id for new in asked], [], now, Limits())
            # Only now: what others sold these users is committed, and nobody else sells them anything.
            answers = await idempotency.first_answers(tx, [new.key for new in asked])
            shelves = await shop_repository.shelves_of(tx, [(new.user_id, new.product_id) for new in asked])
            sales = Sales(products, answers, books, shelves, now)
            results = [_outcome(sales, new) for new in batch]
            if sales.sold:
                await self._write(tx, sales, books, products, now)
            if sales.purchases:
                await shop_repository.insert_purchases(tx, sales.purchases, now)
            if sales.sold:
                # Before the commit, so that a crash leaves nothing stale; and as late as can be.
                await self._inventories.forget({purchase.user_id for _, purchase in sales.sold})
        for new, purchase in sales.sold:
            log.debug("product_bought", purchase_id=purchase.id, trace_id=trace_id(new.traceparent))
        return results

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
            await self._outbox.add(tx, [events.inventory_changed(user_id, item, traceparent.get())])
            await idempotency.answer(tx, key, item)
            # Before the commit, so that a crash leaves nothing stale; and as late as can be.
            await self._inventories.forget([user_id])
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

    async def _write(
        self, tx: Transaction, sales: Sales, books: Books, products: Mapping[str, Product], now: datetime
    ) -> None:
        """Writes what was sold: money, goods, keys, and what is told of them."""
        await repository.write(tx, books)
        goods = await shop_repository.add_goods(tx, sales.added(), products, now)
        claims = [(new.key, purchase.SerializeToString()) for new, purchase in sales.sold]
        if any(outcome is not None for outcome in await idempotency.claim_all(tx, claims)):
            raise Conflict("a key was claimed in the meantime")
        # The last purchase of somebody is why it is what it is.
        traces = {(new.user_id, new.product_id): new.traceparent for new, _ in sales.sold}
        of_users = {new.user_id: new.traceparent for new, _ in sales.sold}
        told = [
            events.inventory_changed(
                user_id, shop_repository.item(products[product_id], owned), traces[user_id, product_id]
            )
            for (user_id, product_id), owned in goods.items()
        ]
        for account in books.moved():
            told += events.balances_changed([account], of_users[account.user_id])
        await self._outbox.add(tx, told)


async def _product(connection: Connection, product_id: str) -> Product:
    product = await shop_repository.product_by_id(connection, product_id)
    if product is None:
        raise shop.ProductNotFound
    return product


def _outcome(sales: Sales, new: NewPurchase) -> Answered[Purchase] | Error:
    try:
        return sales.buy(new)
    except Error as error:
        return error
