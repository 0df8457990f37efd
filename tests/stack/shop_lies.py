"""The lies about the shop; see tests/stack/lies.py."""

from tests.stack.lies import CHARGE, OF_TRANSACTION, one

BOUGHT = one("purchases", "user_id, id", "status = 'COMPLETED' AND quantity = 3")
REFUSED = one("purchases", "user_id, id", "status = 'FAILED'")
OWNED = one("goods", "user_id, product_id", "type = 'CONSUMABLE'")
PREMIUM = one("goods", "user_id, product_id", "type = 'PERMANENT'")
OF_PURCHASE = "RETURNING user_id, id AS purchase_id"
OF_GOODS = "RETURNING user_id, product_id"
PAID_ONCE = "a purchase that COMPLETED was paid once, and one that FAILED never"
COST = "a purchase cost its price times its quantity, in the currency of the account"
AGREES = "goods are what was bought less what was used, and never below zero"
OWNED_ONCE = "a PERMANENT product is bought and owned once, and not used up"
PRICES = "Orders prices by what the shop has"
A_PRODUCT = one("products", "id", "version = 1")
OF_PRODUCT = "RETURNING id AS product_id"
# Rule, database, and the lie, which returns what names the row that lies.
SHOP_LIES = [
    (
        "each kind of transaction moves money its own way",
        "payments",
        f"UPDATE transactions SET purchase_id = gen_random_uuid() WHERE {CHARGE} {OF_TRANSACTION}",
    ),
    (
        "the hash of a transaction is over it and the hash before",
        "payments",
        f"UPDATE transactions SET purchase_id = gen_random_uuid() WHERE kind = 'PURCHASE' {OF_TRANSACTION}",
    ),
    (
        PAID_ONCE,
        "payments",
        f"UPDATE purchases SET status = 'FAILED', failure_reason = 'x' WHERE {BOUGHT} {OF_PURCHASE}",
    ),
    (
        PAID_ONCE,
        "payments",
        f"UPDATE purchases SET status = 'COMPLETED', failure_reason = '' WHERE {REFUSED} {OF_PURCHASE}",
    ),
    (
        PAID_ONCE,
        "payments",
        f"UPDATE purchases SET total_price = total_price + price WHERE {BOUGHT} {OF_PURCHASE}",
    ),
    (
        # All for one purchase, none for the others.
        PAID_ONCE,
        "payments",
        f"""UPDATE transactions SET purchase_id = (SELECT id FROM purchases WHERE {BOUGHT})
            WHERE purchase_id IS NOT NULL RETURNING user_id, purchase_id""",
    ),
    (COST, "payments", f"UPDATE purchases SET quantity = quantity + 1 WHERE {BOUGHT} {OF_PURCHASE}"),
    (COST, "payments", f"UPDATE purchases SET currency = 'USD' WHERE {BOUGHT} {OF_PURCHASE}"),
    (
        "a purchase ended, and says why if it FAILED",
        "payments",
        f"UPDATE purchases SET failure_reason = '' WHERE {REFUSED} {OF_PURCHASE}",
    ),
    (
        "a purchase ended, and says why if it FAILED",
        "payments",
        f"UPDATE purchases SET status = 'PENDING' WHERE {BOUGHT} {OF_PURCHASE}",
    ),
    (
        "a purchase is of a product that is there",
        "payments",
        f"UPDATE purchases SET product_id = gen_random_uuid() WHERE {BOUGHT} {OF_PURCHASE}",
    ),
    (
        "money that moved for a purchase moved for one that is there",
        "payments",
        f"DELETE FROM purchases WHERE {BOUGHT} {OF_PURCHASE}",
    ),
    (AGREES, "payments", f"UPDATE goods SET quantity = quantity + 1 WHERE {OWNED} {OF_GOODS}"),
    (AGREES, "payments", f"DELETE FROM goods WHERE {OWNED} {OF_GOODS}"),
    (AGREES, "payments", f"DELETE FROM purchases WHERE {BOUGHT} {OF_GOODS}"),
    (AGREES, "payments", f"UPDATE uses SET product_id = gen_random_uuid() {OF_GOODS}"),
    (
        AGREES,
        "payments",
        f"""WITH used AS (UPDATE uses SET quantity = 4)
            UPDATE goods SET quantity = -1 WHERE {OWNED} {OF_GOODS}""",
    ),
    (
        OWNED_ONCE,
        "payments",
        f"""WITH more AS (UPDATE purchases SET quantity = 2 WHERE product_id = (
                SELECT product_id FROM goods WHERE {PREMIUM}))
            UPDATE goods SET quantity = 2 WHERE {PREMIUM} {OF_GOODS}""",
    ),
    (
        OWNED_ONCE,
        "payments",
        f"""UPDATE uses SET product_id = (SELECT product_id FROM goods WHERE {PREMIUM})
            RETURNING user_id, product_id""",
    ),
    (
        "goods are of the type of their product",
        "payments",
        f"UPDATE goods SET type = 'PERMANENT' WHERE {OWNED} {OF_GOODS}",
    ),
    (
        "goods are of the type of their product",
        "payments",
        f"DELETE FROM products WHERE id = (SELECT product_id FROM goods WHERE {OWNED}) RETURNING id AS product_id",
    ),
    (PRICES, "orders", f"UPDATE products SET price = price + 1 WHERE {A_PRODUCT} {OF_PRODUCT}"),
    (PRICES, "orders", f"DELETE FROM products WHERE {A_PRODUCT} {OF_PRODUCT}"),
    (PRICES, "payments", f"UPDATE products SET price = 7, version = version + 1 WHERE {A_PRODUCT} {OF_PRODUCT}"),
    (PRICES, "payments", f"DELETE FROM products WHERE {A_PRODUCT} {OF_PRODUCT}"),
]
