"""What Orders knows of products, and what an order that names some of them costs."""

from collections.abc import Sequence

from gozon.orders.v1.orders_pb2 import OrderItem
from kit.db import Database, atomic
from kit.events import Event
from services.orders import catalog_repository, domain, events
from services.orders.domain import DEFAULT_CURRENCY, ProductInactive, ProductNotFound


class Catalog:
    """The products of the shop, as Payments has told them. See docs/decisions/0018-products-in-orders.md."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @atomic
    async def learn(self, news: Sequence[Event]) -> None:
        """Takes over what products are now, whatever the sequence of the news and however often they come.

        Errors: DecodeError or ValueError for an event that tells of no product.
        """
        products = events.products(news)
        async with self._database.transaction() as tx:
            await catalog_repository.learn(tx, products)

    async def priced(self, items: Sequence[OrderItem], currency: str) -> tuple[Sequence[OrderItem], str]:
        """Returns items with the names and prices of the products they name, and the currency of them all.

        `currency` is what was asked for; empty for that of the products. Without products it asks nobody.
        Errors: ProductNotFound, ProductInactive, CurrencyMismatch.
        """
        named = sorted({item.product_id for item in items if item.product_id})
        if not named:
            return items, currency or DEFAULT_CURRENCY
        async with self._database.autocommit() as connection:
            products = await catalog_repository.products_by_id(connection, named)
        priced = []
        for number, item in enumerate(items):
            if not item.product_id:
                priced.append(item)
                continue
            field = f"items[{number}].product_id"
            product = products.get(item.product_id)
            if product is None:
                raise ProductNotFound(violations=((field, "is of no product"),))
            if not product.is_active:
                raise ProductInactive(violations=((field, "is of a product that is not on sale"),))
            priced.append(
                OrderItem(name=product.name, quantity=item.quantity, price=product.price, product_id=product.id)
            )
        return priced, domain.currency_of([product.currency for product in products.values()], currency)
