"""SQL of what Orders knows of products."""

from collections.abc import Mapping, Sequence

from kit.db import Connection, Row, Transaction, sql
from services.orders.events import Product


async def learn(tx: Transaction, products: Mapping[str, Product]) -> None:
    """Keeps products, by id, where they are newer than what is known."""
    # Sorted, so that two instances with overlapping batches wait for each other instead of deadlocking.
    rows = [products[product_id] for product_id in sorted(products)]
    await tx.execute(
        _LEARN,
        ids=[p.id for p in rows],
        names=[p.name for p in rows],
        prices=[p.price for p in rows],
        currencies=[p.currency for p in rows],
        on_sale=[p.is_active for p in rows],
        versions=[p.version for p in rows],
    )


async def products_by_id(connection: Connection, product_ids: Sequence[str]) -> dict[str, Product]:
    """Returns products by id."""
    rows = await connection.execute(_BY_ID, ids=product_ids)
    return {product.id: product for product in map(_product, rows)}


def _product(row: Row) -> Product:
    return Product(str(row["id"]), row["name"], row["price"], row["currency"], row["is_active"], row["version"])


_LEARN = sql("""
    INSERT INTO products AS known (id, name, price, currency, is_active, version)
    SELECT * FROM unnest(:ids::uuid[], :names::text[], :prices::bigint[], :currencies::text[], :on_sale::boolean[],
                         :versions::int[])
    ON CONFLICT (id) DO UPDATE
        SET name = excluded.name, price = excluded.price, currency = excluded.currency, is_active = excluded.is_active,
            version = excluded.version
        WHERE known.version < excluded.version
""")
_BY_ID = sql("SELECT id, name, price, currency, is_active, version FROM products WHERE id = ANY(:ids::uuid[])")
