"""What the audit demands of the shop, in the database of Payments: of purchases, their money and their goods."""

from services.system.audit.scan import Rule, Scan, none

_PURCHASES = Scan(
    """
    SELECT user_id, id AS purchase_id, product_id, status, quantity, price, total_price, currency, failure_reason,
           product_type, account_currency, coalesce(payments, 0) AS payments, coalesce(paid, 0) AS paid
    FROM purchases
    LEFT JOIN (
        SELECT user_id, purchase_id AS id, count(*) AS payments, sum(to_revenue) AS paid FROM transactions
        WHERE purchase_id IS NOT NULL GROUP BY user_id, purchase_id
    ) AS booked USING (user_id, id)
    LEFT JOIN (SELECT id AS product_id, type AS product_type FROM products) AS sold USING (product_id)
    LEFT JOIN (SELECT user_id, currency AS account_currency FROM accounts) AS buyers USING (user_id)
    """,
    (
        Rule(
            "a purchase that COMPLETED was paid once, and one that FAILED never",
            "paid once",
            """payments = CASE status WHEN 'COMPLETED' THEN 1 ELSE 0 END
               AND paid = CASE status WHEN 'COMPLETED' THEN total_price ELSE 0 END""",
        ),
        Rule(
            "a purchase cost its price times its quantity, in the currency of the account",
            "books balance",
            """quantity > 0 AND price > 0 AND total_price = price * quantity
               AND (status <> 'COMPLETED' OR currency = account_currency)""",
        ),
        Rule(
            "a purchase ended, and says why if it FAILED",
            "nothing lost",
            "status IN ('COMPLETED', 'FAILED') AND (status = 'FAILED') = (failure_reason <> '')",
        ),
        Rule("a purchase is of a product that is there", "nothing lost", "product_type IS NOT NULL"),
    ),
)
_BOUGHT_FOR_NOTHING = none(
    """
    SELECT user_id, number, kind, purchase_id FROM transactions
    WHERE purchase_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM purchases WHERE purchases.user_id = transactions.user_id AND purchases.id = purchase_id)
    """,
    "money that moved for a purchase moved for one that is there",
    "paid once",
)
_GOODS = Scan(
    # Whoever bought or used something must own it, with quantity 0 if nothing is left: all three may lack a row.
    """
    SELECT user_id, product_id, goods.type, goods.quantity, product_type, coalesce(purchases, 0) AS purchases,
           coalesce(bought, 0) AS bought, coalesce(used, 0) AS used
    FROM goods
    FULL JOIN (
        SELECT user_id, product_id, count(*) AS purchases, sum(quantity) AS bought FROM purchases
        WHERE status = 'COMPLETED' GROUP BY user_id, product_id
    ) AS sold USING (user_id, product_id)
    FULL JOIN (
        SELECT user_id, product_id, sum(quantity) AS used FROM uses GROUP BY user_id, product_id
    ) AS used USING (user_id, product_id)
    LEFT JOIN (SELECT id AS product_id, type AS product_type FROM products) AS products USING (product_id)
    """,
    (
        Rule(
            "goods are what was bought less what was used, and never below zero",
            "nothing lost",
            "quantity = bought - used AND quantity >= 0",
        ),
        Rule(
            "a PERMANENT product is bought and owned once, and not used up",
            "paid once",
            "type <> 'PERMANENT' OR purchases = 1 AND quantity = 1 AND used = 0",
        ),
        Rule("goods are of the type of their product", "nothing lost", "type = product_type"),
    ),
)

SHOP = (_PURCHASES, _BOUGHT_FOR_NOTHING, _GOODS)
