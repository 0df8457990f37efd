"""What the audit demands of each database; see scan.py."""

from collections.abc import Mapping

from services.system.audit.scan import Rule, Scan, none, outbox
from services.system.audit.shop import SHOP

_ORDERS = Scan(
    """
    SELECT user_id, orders.id AS order_id, orders.status, orders.cancel_reason, total_price, paid_price, refunded_price,
           orders.currency, created_at, updated_at, asked_at, shipped_by, orders.version,
           coalesce(changes, 0) AS changes, coalesce(gave_back, 0) AS gave_back,
           last.status AS last_status, last.cancel_reason AS last_cancel_reason, coalesce(refunds, 0) AS refunds
    FROM orders
    LEFT JOIN (
        SELECT user_id, order_id AS id, count(*) AS changes, sum(refunded) AS gave_back FROM order_changes GROUP BY 1, 2
    ) AS history USING (user_id, id)
    LEFT JOIN (SELECT user_id, order_id AS id, version, status, cancel_reason FROM order_changes) AS last
        USING (user_id, id, version)
    LEFT JOIN (
        SELECT user_id, order_id AS id, sum(amount) AS refunds FROM refunds WHERE status = 'SUCCEEDED' GROUP BY 1, 2
    ) AS refunds USING (user_id, id)
    """,
    (
        Rule(
            "an order does not stay PENDING",
            "nothing lost",
            "status <> 'PENDING' OR created_at >= stuck_before",
        ),
        Rule(
            "an order that asks for its capture or its reversal gets an answer",
            "nothing lost",
            "status = 'PENDING' OR asked_at IS NULL OR updated_at >= stuck_before",
        ),
        Rule(
            "an order that waits for an answer, and no other, will ask again",
            "nothing lost",
            """CASE status
                   WHEN 'PENDING' THEN asked_at IS NOT NULL
                   WHEN 'AUTHORIZED' THEN (asked_at IS NOT NULL) = (shipped_by IS NOT NULL)
                   WHEN 'CANCELED' THEN asked_at IS NULL OR cancel_reason IN ('REQUESTED', 'EXPIRED')
                   ELSE asked_at IS NULL
               END""",
        ),
        Rule(
            "what was paid and given back fits the order's status",
            "paid once",
            """0 <= refunded_price AND refunded_price <= paid_price AND CASE status
                   WHEN 'PENDING' THEN paid_price = 0
                   WHEN 'AUTHORIZED' THEN paid_price = 0
                   WHEN 'CANCELED' THEN asked_at IS NOT NULL OR refunded_price = paid_price
                   ELSE paid_price > 0
               END""",
        ),
        Rule(
            "what an order got back is the sum of its refunds",
            "paid once",
            # Its cancellation gives back the rest.
            "CASE status WHEN 'CANCELED' THEN refunds <= refunded_price ELSE refunds = refunded_price END",
        ),
        Rule(
            "an order is what its history led to",
            "nothing lost",
            """version = 1 + changes AND gave_back = refunded_price
               AND CASE version
                   WHEN 1 THEN status = 'PENDING'
                   ELSE last_status = status AND last_cancel_reason = cancel_reason
               END""",
        ),
    ),
)
_REFUNDS_OF_ORDERS = Scan(
    """
    SELECT user_id, refunds.order_id, refunds.id AS refund_id, refunds.status, amount, refunds.created_at,
           refunds.asked_at, orders.status AS order_status
    FROM refunds LEFT JOIN (SELECT user_id, id AS order_id, status FROM orders) AS orders USING (user_id, order_id)
    """,
    (
        Rule("a refund does not stay PENDING", "nothing lost", "status <> 'PENDING' OR created_at >= stuck_before"),
        Rule(
            "a refund that waits for an answer, and no other, will be asked for again",
            "nothing lost",
            "(status = 'PENDING') = (asked_at IS NOT NULL)",
        ),
        Rule("a refund belongs to an order", "paid once", "order_status IS NOT NULL"),
    ),
)
_CHANGES_OF_NOTHING = none(
    """
    SELECT user_id, order_id, version, status FROM order_changes
    WHERE NOT EXISTS (SELECT FROM orders WHERE orders.user_id = order_changes.user_id AND id = order_id)
    """,
    "what happened, happened to an order",
    "nothing lost",
)

_TRANSACTIONS = Scan(
    # What each hash is over is in services/payments/ledger.py.
    """
    SELECT user_id, number, kind, order_id, payout_id, purchase_id, currency, account_currency, balance, held,
           created_at, moved, total, directions, lag(number, 1, 0::bigint) OVER chain AS number_before,
           lag(created_at) OVER chain AS created_before, sum(own) OVER chain AS booked_balance,
           sum(reserved) OVER chain AS booked_held,
           hash, sha256(lag(hash, 1, '') OVER chain || convert_to(concat_ws('|', user_id, number, kind,
               coalesce(order_id::text, payout_id::text, purchase_id::text, ''), currency, moved, balance, held,
               (extract(epoch FROM created_at) * 1000000)::bigint), 'UTF8')) AS computed_hash
    FROM (
        SELECT *, to_available + to_held AS own, to_held AS reserved,
               to_available + to_held + to_funding + to_revenue + to_payouts AS total,
               concat_ws(',',
                   'available:' || nullif(to_available, 0),
                   'funding:' || nullif(to_funding, 0),
                   'held:' || nullif(to_held, 0),
                   'payouts:' || nullif(to_payouts, 0),
                   'revenue:' || nullif(to_revenue, 0)) AS moved,
               concat_ws(' ',
                   CASE sign(to_available) WHEN 1 THEN 'available+' WHEN -1 THEN 'available-' END,
                   CASE sign(to_funding) WHEN 1 THEN 'funding+' WHEN -1 THEN 'funding-' END,
                   CASE sign(to_held) WHEN 1 THEN 'held+' WHEN -1 THEN 'held-' END,
                   CASE sign(to_payouts) WHEN 1 THEN 'payouts+' WHEN -1 THEN 'payouts-' END,
                   CASE sign(to_revenue) WHEN 1 THEN 'revenue+' WHEN -1 THEN 'revenue-' END) AS directions
        FROM transactions
    ) AS booked
    LEFT JOIN (SELECT user_id, currency AS account_currency FROM accounts) AS owners USING (user_id)
    WINDOW chain AS (PARTITION BY user_id ORDER BY number ROWS UNBOUNDED PRECEDING)
    """,
    (
        Rule(
            "a transaction has two entries or more, and they sum to zero", "books balance", "moved <> '' AND total = 0"
        ),
        Rule(
            "each kind of transaction moves money its own way",
            "books balance",
            """(kind, directions) IN (
                   ('DEPOSIT', 'available+ funding-'), ('CHARGE', 'available- revenue+'), ('HOLD', 'available- held+'),
                   ('CAPTURE', 'held- revenue+'), ('CAPTURE', 'available+ held- revenue+'),
                   ('RELEASE', 'available+ held-'), ('REFUND', 'available+ revenue-'),
                   ('PAYOUT_HOLD', 'available- held+'), ('PAYOUT', 'held- payouts+'),
                   ('PAYOUT_RELEASE', 'available+ held-'), ('PURCHASE', 'available- revenue+')
               ) AND (order_id IS NOT NULL) = (kind IN ('CHARGE', 'HOLD', 'CAPTURE', 'RELEASE', 'REFUND'))
               AND (payout_id IS NOT NULL) = (kind IN ('PAYOUT_HOLD', 'PAYOUT', 'PAYOUT_RELEASE'))
               AND (purchase_id IS NOT NULL) = (kind = 'PURCHASE')""",
        ),
        Rule("transactions are numbered without a gap", "books balance", "number = number_before + 1"),
        Rule(
            "transactions are in the sequence of their time",
            "books balance",
            "created_before IS NULL OR created_at >= created_before",
        ),
        Rule("the hash of a transaction is over it and the hash before", "books balance", "hash = computed_hash"),
        Rule(
            "the balance after a transaction is the sum of the entries so far",
            "books balance",
            "balance = booked_balance AND held = booked_held",
        ),
        Rule("0 <= held <= balance after each transaction", "books balance", "0 <= held AND held <= balance"),
        Rule("a transaction is in the currency of its account", "books balance", "currency = account_currency"),
    ),
)
_ACCOUNTS = Scan(
    """
    SELECT user_id, accounts.currency, accounts.balance, accounts.held, accounts.number, accounts.hash,
           coalesce(last_number, 0) AS last_number, coalesce(last_hash, '') AS last_hash,
           coalesce(booked, 0) AS booked, coalesce(booked_held, 0) AS booked_held,
           coalesce(on_hold, 0) AS on_hold, coalesce(to_pay_out, 0) AS to_pay_out
    FROM accounts
    LEFT JOIN (
        SELECT DISTINCT ON (user_id) user_id, number AS last_number, hash AS last_hash FROM transactions
        ORDER BY user_id DESC, number DESC
    ) AS chains USING (user_id)
    LEFT JOIN (
        SELECT user_id, sum(to_available + to_held) AS booked, sum(to_held) AS booked_held FROM transactions
        GROUP BY user_id
    ) AS booked USING (user_id)
    LEFT JOIN (
        SELECT user_id, sum(amount) AS on_hold FROM payments WHERE status = 'AUTHORIZED' GROUP BY user_id
    ) AS holds USING (user_id)
    LEFT JOIN (
        SELECT user_id, sum(amount) AS to_pay_out FROM payouts WHERE status IN ('PENDING', 'PROCESSING')
        GROUP BY user_id
    ) AS open_payouts USING (user_id)
    """,
    (
        Rule(
            "an account ends where its chain of transactions ends",
            "books balance",
            "number = last_number AND hash = last_hash",
        ),
        Rule(
            "a balance is the sum of its entries",
            "books balance",
            "balance = booked AND held = booked_held",
        ),
        Rule("what an account holds is held for payments and payouts", "books balance", "held = on_hold + to_pay_out"),
        Rule("0 <= held <= balance", "books balance", "0 <= held AND held <= balance"),
    ),
)
_PAYMENTS = Scan(
    """
    SELECT user_id, order_id, status, reason, amount, currency, captured, refunded, expires_at,
           coalesce(moved, 0) AS moved, account_currency, coalesce(holds, 0) AS holds, coalesce(charges, 0) AS charges,
           coalesce(captures, 0) AS captures, coalesce(releases, 0) AS releases, coalesce(taken, 0) AS taken,
           coalesce(given_back, 0) AS given_back, coalesce(still_held, 0) AS still_held, coalesce(refunds, 0) AS refunds
    FROM payments
    LEFT JOIN (
        SELECT user_id, order_id, count(*) AS moved,
               count(*) FILTER (WHERE kind = 'HOLD') AS holds, count(*) FILTER (WHERE kind = 'CHARGE') AS charges,
               count(*) FILTER (WHERE kind = 'CAPTURE') AS captures,
               count(*) FILTER (WHERE kind = 'RELEASE') AS releases,
               sum(to_revenue) FILTER (WHERE kind IN ('CHARGE', 'CAPTURE')) AS taken,
               -sum(to_revenue) FILTER (WHERE kind = 'REFUND') AS given_back, sum(to_held) AS still_held
        FROM transactions
        WHERE order_id IS NOT NULL GROUP BY user_id, order_id
    ) AS booked USING (user_id, order_id)
    LEFT JOIN (
        SELECT user_id, order_id, sum(amount) AS refunds FROM refunds WHERE status = 'SUCCEEDED' GROUP BY 1, 2
    ) AS refunds USING (user_id, order_id)
    LEFT JOIN (SELECT user_id, currency AS account_currency FROM accounts) AS payers USING (user_id)
    """,
    (
        Rule("a payment that failed moved nothing", "paid once", "status <> 'FAILED' OR moved = 0"),
        Rule(
            "a payment was taken by one CHARGE or CAPTURE, or not at all",
            "paid once",
            """taken = captured AND charges + captures = CASE
                   WHEN status = 'CAPTURED' OR status IN ('RELEASED', 'REVERSED') AND captured > 0 THEN 1 ELSE 0
               END""",
        ),
        Rule(
            "a hold is held once, and captured or released once",
            "paid once",
            """holds = CASE WHEN expires_at IS NULL THEN 0 ELSE 1 END
               AND holds = captures + releases + CASE status WHEN 'AUTHORIZED' THEN 1 ELSE 0 END
               AND still_held = CASE status WHEN 'AUTHORIZED' THEN amount ELSE 0 END""",
        ),
        Rule(
            "a payment that was released or reversed gave everything back",
            "paid once",
            "status NOT IN ('RELEASED', 'REVERSED') OR given_back = taken AND refunded = captured AND still_held = 0",
        ),
        Rule("what a payment gave back are its REFUND transactions", "paid once", "refunded = given_back"),
        Rule(
            "what a payment gave back is the sum of its refunds",
            "paid once",
            # Both of these give back the rest.
            "CASE WHEN status IN ('RELEASED', 'REVERSED') THEN refunds <= refunded ELSE refunds = refunded END",
        ),
        Rule(
            "a payment that moved money is in the account's currency",
            "paid once",
            "moved = 0 OR currency = account_currency",
        ),
        Rule(
            "a hold is released when its time is over",
            "nothing lost",
            "status <> 'AUTHORIZED' OR expires_at >= stuck_before",
        ),
    ),
)
_MOVED_FOR_NOTHING = none(
    """
    SELECT user_id, number, kind, order_id FROM transactions
    WHERE order_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM payments
        WHERE payments.user_id = transactions.user_id AND payments.order_id = transactions.order_id)
    """,
    "money that moved for an order moved for its payment",
    "paid once",
)
_REFUNDS_OF_NOTHING = none(
    """
    SELECT user_id, order_id, refund_id, status, amount FROM refunds
    WHERE NOT EXISTS (
        SELECT FROM payments WHERE payments.user_id = refunds.user_id AND payments.order_id = refunds.order_id)
    """,
    "a refund belongs to a payment",
    "paid once",
)
_PAYOUTS = Scan(
    """
    SELECT user_id, id AS payout_id, status, amount, currency, failure_reason, asked_at, deleted_at, created_at,
           updated_at, account_currency, coalesce(holds, 0) AS holds, coalesce(payments, 0) AS payments,
           coalesce(releases, 0) AS releases, coalesce(held, 0) AS held, coalesce(still_held, 0) AS still_held,
           coalesce(paid_out, 0) AS paid_out
    FROM payouts
    LEFT JOIN (
        SELECT user_id, payout_id AS id, count(*) FILTER (WHERE kind = 'PAYOUT_HOLD') AS holds,
               count(*) FILTER (WHERE kind = 'PAYOUT') AS payments,
               count(*) FILTER (WHERE kind = 'PAYOUT_RELEASE') AS releases,
               sum(to_held) FILTER (WHERE kind = 'PAYOUT_HOLD') AS held, sum(to_held) AS still_held,
               sum(to_payouts) AS paid_out
        FROM transactions WHERE payout_id IS NOT NULL GROUP BY user_id, payout_id
    ) AS booked USING (user_id, id)
    LEFT JOIN (SELECT user_id, currency AS account_currency FROM accounts) AS owners USING (user_id)
    """,
    (
        Rule(
            "a payout is held for once, and then paid once or released once, as its status says",
            "paid once",
            """holds = 1 AND held = amount AND payments = CASE status WHEN 'COMPLETED' THEN 1 ELSE 0 END
               AND releases = CASE WHEN status IN ('FAILED', 'CANCELED') THEN 1 ELSE 0 END
               AND still_held = CASE WHEN status IN ('PENDING', 'PROCESSING') THEN amount ELSE 0 END""",
        ),
        Rule(
            "what was paid out are the COMPLETED payouts",
            "paid once",
            "paid_out = CASE status WHEN 'COMPLETED' THEN amount ELSE 0 END",
        ),
        Rule("a payout is in the currency of its account", "paid once", "currency = account_currency"),
        Rule(
            "a payout that FAILED says why, and only what was CANCELED is deleted",
            "nothing lost",
            "(status = 'FAILED') = (failure_reason <> '') AND (deleted_at IS NULL OR status = 'CANCELED')",
        ),
        Rule(
            "a payout comes to its end",
            "nothing lost",
            """CASE status
                   WHEN 'PENDING' THEN created_at >= stuck_before
                   WHEN 'PROCESSING' THEN updated_at >= stuck_before
                   ELSE true
               END""",
        ),
        Rule(
            "a payout that has not ended, and no other, will be asked for again",
            "nothing lost",
            "(status IN ('PENDING', 'PROCESSING')) = (asked_at IS NOT NULL)",
        ),
    ),
)
_PAID_OUT_FOR_NOTHING = none(
    """
    SELECT user_id, number, kind, payout_id FROM transactions
    WHERE payout_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM payouts WHERE payouts.user_id = transactions.user_id AND payouts.id = transactions.payout_id)
    """,
    "money that moved for a payout moved for one that is there",
    "paid once",
)

SCANS: Mapping[str, tuple[Scan, ...]] = {
    "orders": (_ORDERS, _REFUNDS_OF_ORDERS, _CHANGES_OF_NOTHING, outbox("Orders")),
    "payments": (
        _TRANSACTIONS,
        _ACCOUNTS,
        _PAYMENTS,
        _MOVED_FOR_NOTHING,
        _REFUNDS_OF_NOTHING,
        _PAYOUTS,
        _PAID_OUT_FOR_NOTHING,
        *SHOP,
        outbox("Payments"),
    ),
}
"""By database."""
