"""SQL of Payments. What is on the order path takes many rows at once."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from gozon.payments.v1.payments_pb2 import Account, Entry
from kit.db import Conflict, Connection, Row, Transaction, sql
from services.payments import domain, ledger
from services.payments.books import Books
from services.payments.domain import Limits, Payment, Refund, RefundRequest, ReleaseRequest, Request


async def insert_account(tx: Transaction, user_id: str, currency: str, now: datetime) -> Account | None:
    """Opens an account; returns None when the user has one."""
    row = await tx.one_or_none(_INSERT_ACCOUNT, user_id=user_id, currency=currency, now=now)
    return _account(row) if row else None


async def account_of(connection: Connection, user_id: str) -> Account | None:
    """Returns the account of a user."""
    row = await connection.one_or_none(_ACCOUNT_OF, user_id=user_id)
    return _account(row) if row else None


async def account_at(connection: Connection, user_id: str, at: datetime) -> Account | None:
    """Returns the account of a user as it was at a moment; None before it was opened."""
    row = await connection.one_or_none(_ACCOUNT_AT, user_id=user_id, at=at)
    return _account(row) if row else None


async def entries_of(connection: Connection, user_id: str, before: int, limit: int) -> list[Entry]:
    """Returns the lines of a statement with numbers below `before`, newest first."""
    rows = await connection.execute(_ENTRIES_OF, user_id=user_id, before=before, limit=limit)
    return [_entry(row) for row in rows]


async def expired_holds(connection: Connection, now: datetime, limit: int) -> list[ReleaseRequest]:
    """Asks for the release of what is held for too long, longest first."""
    rows = await connection.execute(_EXPIRED_HOLDS, now=now, limit=limit)
    return [ReleaseRequest(str(row["user_id"]), str(row["order_id"]), domain.EXPIRED) for row in rows]


async def lock_books(
    tx: Transaction, user_ids: Iterable[str], requests: Sequence[Request], now: datetime, limits: Limits
) -> Books:
    """Locks the accounts of users until `tx` ends; reads the payments and refunds that requests are about."""
    # Sorted, so that two instances with overlapping batches wait for each other instead of deadlocking.
    accounts = await tx.execute(_LOCK_ACCOUNTS, user_ids=sorted(set(user_ids)))
    # First the locks, then the look at what was decided: whoever held them has committed by then.
    payments: list[Row] = []
    if keys := {(r.user_id, r.order_id) for r in requests}:
        payments = await tx.execute(
            _PAYMENTS_OF, user_ids=[user_id for user_id, _ in keys], order_ids=[order_id for _, order_id in keys]
        )
    refunds: list[Row] = []
    if asked := {(r.user_id, r.order_id, r.refund_id) for r in requests if isinstance(r, RefundRequest)}:
        refunds = await tx.execute(
            _REFUNDS,
            user_ids=[user_id for user_id, _, _ in asked],
            order_ids=[order_id for _, order_id, _ in asked],
            refund_ids=[refund_id for _, _, refund_id in asked],
        )
    return Books(
        [
            ledger.Account(
                str(row["user_id"]),
                row["currency"],
                row["balance"],
                row["held"],
                row["number"],
                row["hash"],
                row["created_at"],
                row["updated_at"],
            )
            for row in accounts
        ],
        [_payment(row) for row in payments],
        [
            Refund(
                str(row["user_id"]),
                str(row["order_id"]),
                str(row["refund_id"]),
                row["amount"],
                row["status"],
                row["refunded"],
                row["created_at"],
            )
            for row in refunds
        ],
        now,
        limits,
    )


async def write(tx: Transaction, books: Books) -> None:
    """Writes what was decided and booked. Errors: Conflict when a row is not what it was when it was locked."""
    new = [payment for key, payment in books.payments.items() if key not in books.before]
    changed = [(books.before[key], p) for key, p in books.payments.items() if key in books.before and books.changed(p)]
    if new:
        await _insert_payments(tx, new)
    if changed:
        await _update_payments(tx, changed)
    if books.new_refunds:
        await _insert_refunds(tx, books.new_refunds)
    if books.transactions:
        await _insert_transactions(tx, books.transactions)


async def _insert_payments(tx: Transaction, payments: Sequence[Payment]) -> None:
    inserted = await tx.execute(
        _INSERT_PAYMENTS,
        user_ids=[p.user_id for p in payments],
        order_ids=[p.order_id for p in payments],
        statuses=[p.status for p in payments],
        reasons=[p.reason for p in payments],
        amounts=[p.amount for p in payments],
        currencies=[p.currency for p in payments],
        captured=[p.captured for p in payments],
        refunded=[p.refunded for p in payments],
        requested_by=[p.requested_by for p in payments],
        expire_at=[p.expires_at for p in payments],
        now=payments[0].created_at,
    )
    if len(inserted) != len(payments):
        raise Conflict("an order was decided about in the meantime")


async def _update_payments(tx: Transaction, changes: Sequence[tuple[Payment, Payment]]) -> None:
    updated = await tx.execute(
        _UPDATE_PAYMENTS,
        user_ids=[after.user_id for _, after in changes],
        order_ids=[after.order_id for _, after in changes],
        statuses_before=[before.status for before, _ in changes],
        refunded_before=[before.refunded for before, _ in changes],
        statuses=[after.status for _, after in changes],
        reasons=[after.reason for _, after in changes],
        captured=[after.captured for _, after in changes],
        refunded=[after.refunded for _, after in changes],
        requested_by=[after.requested_by for _, after in changes],
        now=changes[0][1].updated_at,
    )
    if len(updated) != len(changes):
        raise Conflict("a payment changed in the meantime")


async def _insert_refunds(tx: Transaction, refunds: Sequence[Refund]) -> None:
    inserted = await tx.execute(
        _INSERT_REFUNDS,
        user_ids=[r.user_id for r in refunds],
        order_ids=[r.order_id for r in refunds],
        refund_ids=[r.refund_id for r in refunds],
        amounts=[r.amount for r in refunds],
        statuses=[r.status for r in refunds],
        refunded=[r.refunded for r in refunds],
        now=refunds[0].created_at,
    )
    if len(inserted) != len(refunds):
        raise Conflict("a refund was decided about in the meantime")


async def _insert_transactions(tx: Transaction, transactions: Sequence[ledger.Transaction]) -> None:
    """Adds to the ledger, and moves each account from before its first transaction to after its last one."""
    firsts = {t.user_id: t for t in reversed(transactions)}
    lasts = {t.user_id: t for t in transactions}
    moved = await tx.execute(
        _MOVE_ACCOUNTS,
        user_ids=list(lasts),
        numbers_before=[firsts[user_id].number - 1 for user_id in lasts],
        numbers=[t.number for t in lasts.values()],
        balances=[t.balance for t in lasts.values()],
        held=[t.held for t in lasts.values()],
        hashes=[t.hash for t in lasts.values()],
        moments=[t.created_at for t in lasts.values()],
    )
    if len(moved) != len(lasts):
        raise Conflict("an account changed in the meantime")
    moves = [dict(t.entries) for t in transactions]
    await tx.execute(
        _INSERT_TRANSACTIONS,
        user_ids=[t.user_id for t in transactions],
        numbers=[t.number for t in transactions],
        kinds=[t.kind for t in transactions],
        order_ids=[t.order_id for t in transactions],
        payout_ids=[t.payout_id for t in transactions],
        purchase_ids=[t.purchase_id for t in transactions],
        currencies=[t.currency for t in transactions],
        balances=[t.balance for t in transactions],
        held=[t.held for t in transactions],
        moments=[t.created_at for t in transactions],
        hashes=[t.hash for t in transactions],
        **{f"to_{account}": [move.get(account, 0) for move in moves] for account in ledger.ACCOUNTS},
    )


def _account(row: Row) -> Account:
    account = Account(
        user_id=str(row["user_id"]),
        currency=row["currency"],
        balance=row["balance"],
        held=row["held"],
        available=row["balance"] - row["held"],
    )
    account.created_at.FromDatetime(row["created_at"])
    account.updated_at.FromDatetime(row["updated_at"])
    return account


def _payment(row: Row) -> Payment:
    return Payment(
        str(row["user_id"]),
        str(row["order_id"]),
        row["status"],
        row["reason"],
        row["amount"],
        row["currency"],
        row["captured"],
        row["refunded"],
        row["requested_by"],
        row["expires_at"],
        row["created_at"],
        row["updated_at"],
    )


def _entry(row: Row) -> Entry:
    entry = Entry(
        number=row["number"],
        kind=row["kind"],
        order_id=str(row["order_id"] or ""),
        payout_id=str(row["payout_id"] or ""),
        purchase_id=str(row["purchase_id"] or ""),
        amount=row["amount"],
        held_amount=row["held_amount"],
        balance=row["balance"],
        held=row["held"],
        hash=row["hash"].hex(),
    )
    entry.created_at.FromDatetime(row["created_at"])
    return entry


_ACCOUNT = "user_id, currency, balance, held, created_at, updated_at"
_PAYMENT = """user_id, order_id, status, reason, amount, currency, captured, refunded, requested_by, expires_at,
    created_at, updated_at"""
_INSERT_ACCOUNT = sql(f"""
    INSERT INTO accounts (user_id, currency, balance, held, number, hash, created_at, updated_at)
    VALUES (:user_id::uuid, :currency::text, 0, 0, 0, '', :now::timestamptz, :now::timestamptz)
    ON CONFLICT DO NOTHING RETURNING {_ACCOUNT}
""")
_ACCOUNT_OF = sql(f"SELECT {_ACCOUNT} FROM accounts WHERE user_id = :user_id::uuid")
# A binary search for the last transaction before a moment: numbers and times grow together, so no index on the time has
# to be kept up to date by every order.
_ACCOUNT_AT = sql("""
    WITH RECURSIVE search (low, high) AS (
        SELECT 0::bigint, number FROM accounts WHERE user_id = :user_id::uuid AND created_at <= :at::timestamptz
        UNION ALL
        SELECT CASE WHEN created_at <= :at::timestamptz THEN number ELSE low END,
               CASE WHEN created_at <= :at::timestamptz THEN high ELSE number - 1 END
        FROM search JOIN transactions ON user_id = :user_id::uuid AND number = (low + high + 1) / 2
        WHERE low < high
    )
    SELECT accounts.user_id, accounts.currency, coalesce(last.balance, 0) AS balance, coalesce(last.held, 0) AS held,
           accounts.created_at, coalesce(last.created_at, accounts.created_at) AS updated_at
    FROM search JOIN accounts ON accounts.user_id = :user_id::uuid
    LEFT JOIN transactions AS last ON last.user_id = accounts.user_id AND last.number = search.low
    WHERE search.low = search.high
""")
_ENTRIES_OF = sql("""
    SELECT number, kind, order_id, payout_id, purchase_id, to_available AS amount, to_held AS held_amount, balance,
           held, created_at, hash
    FROM transactions WHERE user_id = :user_id::uuid AND number < :before::bigint
    ORDER BY number DESC LIMIT :limit
""")
_EXPIRED_HOLDS = sql("""
    SELECT user_id, order_id FROM payments WHERE status = 'AUTHORIZED' AND expires_at < :now::timestamptz
    ORDER BY expires_at LIMIT :limit
""")
_LOCK_ACCOUNTS = sql("""
    SELECT user_id, currency, balance, held, number, hash, created_at, updated_at FROM accounts
    WHERE user_id = ANY(:user_ids::uuid[]) ORDER BY user_id FOR NO KEY UPDATE
""")
_PAYMENTS_OF = sql(f"""
    SELECT {_PAYMENT} FROM payments
    JOIN unnest(:user_ids::uuid[], :order_ids::uuid[]) AS asked (user_id, order_id) USING (user_id, order_id)
""")
_REFUNDS = sql("""
    SELECT user_id, order_id, refund_id, amount, status, refunded, created_at FROM refunds
    JOIN unnest(:user_ids::uuid[], :order_ids::uuid[], :refund_ids::uuid[]) AS asked (user_id, order_id, refund_id)
    USING (user_id, order_id, refund_id)
""")
_INSERT_PAYMENTS = sql(f"""
    INSERT INTO payments ({_PAYMENT})
    SELECT *, :now::timestamptz, :now::timestamptz
    FROM unnest(:user_ids::uuid[], :order_ids::uuid[], :statuses::text[], :reasons::text[], :amounts::bigint[],
                :currencies::text[], :captured::bigint[], :refunded::bigint[], :requested_by::text[],
                :expire_at::timestamptz[])
    ON CONFLICT DO NOTHING RETURNING 1
""")
_UPDATE_PAYMENTS = sql("""
    UPDATE payments SET status = new.status, reason = new.reason, captured = new.captured, refunded = new.refunded,
        requested_by = new.requested_by, updated_at = :now::timestamptz
    FROM unnest(:user_ids::uuid[], :order_ids::uuid[], :statuses_before::text[], :refunded_before::bigint[],
                :statuses::text[], :reasons::text[], :captured::bigint[], :refunded::bigint[], :requested_by::text[])
         AS new (user_id, order_id, status_before, refunded_before, status, reason, captured, refunded, requested_by)
    WHERE payments.user_id = new.user_id AND payments.order_id = new.order_id
          AND payments.status = new.status_before AND payments.refunded = new.refunded_before
    RETURNING 1
""")
_INSERT_REFUNDS = sql("""
    INSERT INTO refunds (user_id, order_id, refund_id, amount, status, refunded, created_at)
    SELECT *, :now::timestamptz
    FROM unnest(:user_ids::uuid[], :order_ids::uuid[], :refund_ids::uuid[], :amounts::bigint[], :statuses::text[],
                :refunded::bigint[])
    ON CONFLICT DO NOTHING RETURNING 1
""")
_MOVE_ACCOUNTS = sql("""
    UPDATE accounts SET number = new.number, balance = new.balance, held = new.held, hash = new.hash,
        updated_at = new.moment
    FROM unnest(:user_ids::uuid[], :numbers_before::bigint[], :numbers::bigint[], :balances::bigint[], :held::bigint[],
                :hashes::bytea[], :moments::timestamptz[])
         AS new (user_id, number_before, number, balance, held, hash, moment)
    WHERE accounts.user_id = new.user_id AND accounts.number = new.number_before
    RETURNING 1
""")
_INSERT_TRANSACTIONS = sql("""
    INSERT INTO transactions (user_id, number, kind, order_id, payout_id, purchase_id, currency, to_available, to_held,
                              to_funding, to_revenue, to_payouts, balance, held, created_at, hash)
    SELECT * FROM unnest(:user_ids::uuid[], :numbers::bigint[], :kinds::text[], :order_ids::uuid[],
                         :payout_ids::uuid[], :purchase_ids::uuid[], :currencies::text[], :to_available::bigint[],
                         :to_held::bigint[], :to_funding::bigint[], :to_revenue::bigint[], :to_payouts::bigint[],
                         :balances::bigint[], :held::bigint[], :moments::timestamptz[], :hashes::bytea[])
""")
