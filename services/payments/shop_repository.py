"""SQL of the shop."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gozon.shop.v1.shop_pb2 import InventoryItem, Product, Purchase
from kit.db import Conflict, Connection, Row, Transaction, sql
from services.payments.sales import Pair, Shelves
from services.payments.shop import MAX_KINDS


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a product. None leaves a column as it is."""

    name: str | None = None
    description: str | None = None
    price: int | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class Owned:
    """How many of a product somebody owns, and since when."""

    quantity: int
    acquired_at: datetime


async def insert_product(tx: Transaction, product: Product, now: datetime) -> Product:
    """Adds a product, and returns it as it is stored."""
    row = await tx.one_or_none(
        _INSERT_PRODUCT,
        id=product.id,
        name=product.name,
        description=product.description,
        price=product.price,
        currency=product.currency,
        type=Product.Type.Name(product.type),
        is_active=product.is_active,
        now=now,
    )
    assert row is not None
    return _product(row)


async def product_by_id(connection: Connection, product_id: str) -> Product | None:
    """Returns a product."""
    row = await connection.one_or_none(_PRODUCT_BY_ID, product_id=product_id)
    return _product(row) if row else None


async def products_by_id(connection: Connection, product_ids: Sequence[str]) -> dict[str, Product]:
    """Returns products by id, as they are now."""
    rows = await connection.execute(_PRODUCTS_BY_ID, product_ids=product_ids)
    return {str(row["id"]): _product(row) for row in rows}


async def lock_product(tx: Transaction, product_id: str) -> Product | None:
    """Returns a product that nobody else changes until `tx` ends."""
    row = await tx.one_or_none(_LOCK_PRODUCT, product_id=product_id)
    return _product(row) if row else None


async def change_product(tx: Transaction, product_id: str, how: Change, now: datetime) -> Product:
    """Changes a product that is locked, and returns it as it is then."""
    row = await tx.one_or_none(
        _CHANGE_PRODUCT,
        product_id=product_id,
        name=how.name,
        description=how.description,
        price=how.price,
        is_active=how.is_active,
        now=now,
    )
    assert row is not None
    return _product(row)


async def products(connection: Connection, kind: str, is_active: bool | None, before: str, limit: int) -> list[Product]:
    """Returns products with ids below `before`, newest first; of any type when `kind` is empty."""
    rows = await connection.execute(_PRODUCTS, type=kind, is_active=is_active, before=before, limit=limit)
    return [_product(row) for row in rows]


async def products_changed(connection: Connection, since: datetime, after: str, limit: int) -> list[Product]:
    """Returns products that changed after (`since`, `after`), a moment and a product's id, longest ago first."""
    rows = await connection.execute(_PRODUCTS_CHANGED, since=since, after=after, limit=limit)
    return [_product(row) for row in rows]


async def insert_purchases(tx: Transaction, ended: Sequence[Purchase], now: datetime) -> None:
    """Writes down how purchases ended."""
    await tx.execute(
        _INSERT_PURCHASES,
        user_ids=[one.user_id for one in ended],
        ids=[one.id for one in ended],
        product_ids=[one.product_id for one in ended],
        names=[one.product_name for one in ended],
        quantities=[one.quantity for one in ended],
        prices=[one.price for one in ended],
        total_prices=[one.total_price for one in ended],
        currencies=[one.currency for one in ended],
        statuses=[Purchase.Status.Name(one.status) for one in ended],
        reasons=[one.failure_reason for one in ended],
        now=now,
    )


async def purchases(connection: Connection, user_id: str, status: str, before: str, limit: int) -> list[Purchase]:
    """Returns purchases of a user with ids below `before`, newest first; with any status when it is empty."""
    rows = await connection.execute(_PURCHASES, user_id=user_id, status=status, before=before, limit=limit)
    return [_purchase(row) for row in rows]


async def shelves_of(tx: Transaction, pairs: Iterable[Pair]) -> Shelves:
    """Returns what users own of products. Who is locked buys nothing meanwhile, but may use something up."""
    asked = sorted(set(pairs))
    rows = await tx.execute(
        _SHELVES_OF, user_ids=[user_id for user_id, _ in asked], product_ids=[product_id for _, product_id in asked]
    )
    return Shelves(
        {(str(row["user_id"]), str(row["product_id"])): row["quantity"] for row in rows},
        {str(row["user_id"]): row["kinds"] for row in rows if row["kinds"] is not None},
    )


async def add_goods(
    tx: Transaction, added: Mapping[Pair, int], products: Mapping[str, Product], now: datetime
) -> dict[Pair, Owned]:
    """Adds to what users own, and returns what that is then.

    Errors: Conflict when something PERMANENT is owned already.
    """
    # Sorted, so that two instances wait for each other instead of deadlocking.
    pairs = sorted(added)
    rows = await tx.execute(
        _ADD_GOODS,
        user_ids=[user_id for user_id, _ in pairs],
        product_ids=[product_id for _, product_id in pairs],
        types=[Product.Type.Name(products[product_id].type) for _, product_id in pairs],
        quantities=[added[pair] for pair in pairs],
        now=now,
    )
    if len(rows) != len(pairs):
        raise Conflict("a permanent product was bought in the meantime")
    return {(str(row["user_id"]), str(row["product_id"])): _owned(row) for row in rows}


async def use_goods(tx: Transaction, user_id: str, product_id: str, quantity: int, now: datetime) -> Owned | None:
    """Takes from what a user owns, and returns what is left; None when there is less than that."""
    row = await tx.one_or_none(_USE_GOODS, user_id=user_id, product_id=product_id, quantity=quantity, now=now)
    return _owned(row) if row else None


async def insert_use(tx: Transaction, user_id: str, use_id: str, product_id: str, quantity: int, now: datetime) -> None:
    """Writes down that goods were used up."""
    await tx.execute(_INSERT_USE, user_id=user_id, id=use_id, product_id=product_id, quantity=quantity, now=now)


async def has_owned(tx: Transaction, user_id: str, product_id: str) -> bool:
    """Says whether a user owns a product, or did."""
    return await tx.one_or_none(_HAS_OWNED, user_id=user_id, product_id=product_id) is not None


async def inventory_of(connection: Connection, user_id: str) -> list[InventoryItem]:
    """Returns what a user owns, newest product first."""
    rows = await connection.execute(_INVENTORY_OF, user_id=user_id, limit=MAX_KINDS)
    return [item(Product(id=str(row["product_id"]), name=row["name"], type=row["type"]), _owned(row)) for row in rows]


async def popular(connection: Connection, since: datetime, limit: int) -> list[tuple[str, int]]:
    """Returns (product, purchases) of what was bought most often since then; of equals the one that was added first."""
    rows = await connection.execute(_POPULAR, since=since, limit=limit)
    return [(str(row["id"]), row["purchases"]) for row in rows]


def item(product: Product, owned: Owned) -> InventoryItem:
    """Tells what somebody owns of a product."""
    found = InventoryItem(product_id=product.id, name=product.name, type=product.type, quantity=owned.quantity)
    found.acquired_at.FromDatetime(owned.acquired_at)
    return found


def _owned(row: Row) -> Owned:
    return Owned(row["quantity"], row["acquired_at"])


def _product(row: Row) -> Product:
    product = Product(
        id=str(row["id"]),
        name=row["name"],
        description=row["description"],
        price=row["price"],
        currency=row["currency"],
        type=row["type"],
        is_active=row["is_active"],
        etag=str(row["version"]),
    )
    product.created_at.FromDatetime(row["created_at"])
    product.updated_at.FromDatetime(row["updated_at"])
    return product


def _purchase(row: Row) -> Purchase:
    purchase = Purchase(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        product_id=str(row["product_id"]),
        product_name=row["product_name"],
        quantity=row["quantity"],
        price=row["price"],
        total_price=row["total_price"],
        currency=row["currency"],
        status=row["status"],
        failure_reason=row["failure_reason"],
    )
    purchase.created_at.FromDatetime(row["created_at"])
    return purchase


_PRODUCT = "id, name, description, price, currency, type, is_active, version, created_at, updated_at"
_PURCHASE = """user_id, id, product_id, product_name, quantity, price, total_price, currency, status, failure_reason,
    created_at"""
_INSERT_PRODUCT = sql(f"""
    INSERT INTO products ({_PRODUCT})
    VALUES (:id::uuid, :name::text, :description::text, :price::bigint, :currency::text, :type::text,
            :is_active::boolean, 1, :now::timestamptz, :now::timestamptz)
    RETURNING {_PRODUCT}
""")
_ONE_PRODUCT = f"SELECT {_PRODUCT} FROM products WHERE id = :product_id::uuid"
_PRODUCT_BY_ID, _LOCK_PRODUCT = sql(_ONE_PRODUCT), sql(f"{_ONE_PRODUCT} FOR NO KEY UPDATE")
_PRODUCTS_BY_ID = sql(f"SELECT {_PRODUCT} FROM products WHERE id = ANY(:product_ids::uuid[])")
_CHANGE_PRODUCT = sql(f"""
    UPDATE products SET name = coalesce(:name::text, name), description = coalesce(:description::text, description),
        price = coalesce(:price::bigint, price), is_active = coalesce(:is_active::boolean, is_active),
        version = version + 1, updated_at = greatest(updated_at, :now::timestamptz)
    WHERE id = :product_id::uuid
    RETURNING {_PRODUCT}
""")
_PRODUCTS = sql(f"""
    SELECT {_PRODUCT} FROM products
    WHERE id < :before::uuid AND (:type::text = '' OR type = :type::text)
          AND (:is_active::boolean IS NULL OR is_active = :is_active::boolean)
    ORDER BY id DESC LIMIT :limit
""")
_PRODUCTS_CHANGED = sql(f"""
    SELECT {_PRODUCT} FROM products WHERE (updated_at, id) > (:since::timestamptz, :after::uuid)
    ORDER BY updated_at, id LIMIT :limit
""")
_INSERT_PURCHASES = sql(f"""
    INSERT INTO purchases ({_PURCHASE})
    SELECT *, :now::timestamptz
    FROM unnest(:user_ids::uuid[], :ids::uuid[], :product_ids::uuid[], :names::text[], :quantities::bigint[],
                :prices::bigint[], :total_prices::bigint[], :currencies::text[], :statuses::text[], :reasons::text[])
""")
_PURCHASES = sql(f"""
    SELECT {_PURCHASE} FROM purchases
    WHERE user_id = :user_id::uuid AND id < :before::uuid AND (:status::text = '' OR status = :status::text)
    ORDER BY id DESC LIMIT :limit
""")
# One statement, for it sees one moment: were the kinds counted later, a use in between would make room for one too
# many. They are counted only for those who own none of a product.
_SHELVES_OF = sql("""
    SELECT user_id, product_id, coalesce(quantity, 0) AS quantity,
           CASE WHEN coalesce(quantity, 0) = 0 THEN (
               SELECT count(*) FROM goods AS any_ WHERE any_.user_id = asked.user_id AND any_.quantity > 0
           ) END AS kinds
    FROM unnest(:user_ids::uuid[], :product_ids::uuid[]) AS asked (user_id, product_id)
    LEFT JOIN goods USING (user_id, product_id)
""")
_ADD_GOODS = sql("""
    INSERT INTO goods AS owned (user_id, product_id, type, quantity, acquired_at, updated_at)
    SELECT *, :now::timestamptz, :now::timestamptz
    FROM unnest(:user_ids::uuid[], :product_ids::uuid[], :types::text[], :quantities::bigint[])
    ON CONFLICT (user_id, product_id) DO UPDATE
        SET quantity = owned.quantity + excluded.quantity, updated_at = greatest(owned.updated_at, excluded.updated_at)
        WHERE owned.type <> 'PERMANENT'
    RETURNING user_id, product_id, quantity, acquired_at
""")
_USE_GOODS = sql("""
    UPDATE goods SET quantity = quantity - :quantity::bigint, updated_at = greatest(updated_at, :now::timestamptz)
    WHERE user_id = :user_id::uuid AND product_id = :product_id::uuid AND quantity >= :quantity::bigint
    RETURNING quantity, acquired_at
""")
_INSERT_USE = sql("""
    INSERT INTO uses (user_id, id, product_id, quantity, created_at)
    VALUES (:user_id::uuid, :id::uuid, :product_id::uuid, :quantity::bigint, :now::timestamptz)
""")
_HAS_OWNED = sql("SELECT 1 FROM goods WHERE user_id = :user_id::uuid AND product_id = :product_id::uuid")
_INVENTORY_OF = sql("""
    SELECT product_id, name, goods.type, quantity, acquired_at FROM goods JOIN products ON products.id = product_id
    WHERE user_id = :user_id::uuid AND quantity > 0
    ORDER BY product_id DESC LIMIT :limit
""")
# With ties, so that all that were bought equally often are compared by their age, and no more products are read.
_POPULAR = sql("""
    SELECT id, purchases
    FROM (
        SELECT product_id AS id, count(*) AS purchases FROM purchases
        WHERE status = 'COMPLETED' AND created_at >= :since::timestamptz
        GROUP BY product_id ORDER BY purchases DESC FETCH FIRST :limit ROWS WITH TIES
    ) AS counted JOIN products USING (id)
    ORDER BY purchases DESC, created_at, id LIMIT :limit
""")
