"""SQL of Payments. What is on the order path takes many rows at once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from gozon.payments.v1.payments_pb2 import Account
from kit.db import Conflict, Connection, Row, Transaction, sql
from services.payments.domain import MAX_BALANCE, SUCCEEDED, Charge, ChargeRequest, Entry, Funds


async def insert_account(tx: Transaction, user_id: str, currency: str, now: datetime) -> Account | None:
    """Opens an account; returns None when the user has one."""
    row = await tx.one_or_none(_INSERT_ACCOUNT, user_id=user_id, currency=currency, now=now)
    return _account(row) if row else None


async def account_of(connection: Connection, user_id: str) -> Account | None:
    """Returns the account of a user."""
    row = await connection.one_or_none(_ACCOUNT_OF, user_id=user_id)
    return _account(row) if row else None


async def add_money(tx: Transaction, user_id: str, amount: int, currency: str, now: datetime) -> Account | None:
    """Adds `amount` unless the currency, if one is given, is another, or the balance would pass the limit."""
    row = await tx.one_or_none(
        _ADD_MONEY, user_id=user_id, amount=amount, currency=currency, limit=MAX_BALANCE, now=now
    )
    return _account(row) if row else None


async def lock_funds(tx: Transaction, user_ids: Iterable[str]) -> dict[str, Funds]:
    """Locks accounts until `tx` ends and returns what they can spend, by user; in sorted order, against deadlocks."""
    rows = await tx.execute(_LOCK_FUNDS, user_ids=sorted(set(user_ids)))
    return {str(row["user_id"]): Funds(row["available"], row["currency"]) for row in rows}


async def take_money(tx: Transaction, charges: Sequence[Charge], now: datetime) -> None:
    """Takes what succeeded from locked accounts: compare-and-set on each account's total. Errors: Conflict."""
    totals: Counter[str] = Counter()
    for charge in charges:
        if charge.status == SUCCEEDED:
            totals[charge.request.user_id] += charge.request.amount
    if totals:
        taken = await tx.execute(_TAKE_MONEY, user_ids=list(totals), totals=list(totals.values()), now=now)
        if len(taken) != len(totals):
            raise Conflict("an account can't pay what was decided on")


async def charges_of(tx: Transaction, requests: Sequence[ChargeRequest]) -> dict[str, Charge]:
    """Returns what was decided already, by order."""
    by_order = {request.order_id: request for request in requests}
    rows = await tx.execute(_CHARGES_OF, user_ids=[r.user_id for r in by_order.values()], order_ids=list(by_order))
    return {str(row["order_id"]): Charge(by_order[str(row["order_id"])], row["status"], row["reason"]) for row in rows}


async def insert_charges(tx: Transaction, charges: Sequence[Charge], now: datetime) -> None:
    """Adds decisions. Errors: Conflict when one of the orders has been decided in the meantime."""
    inserted = await tx.execute(
        _INSERT_CHARGES,
        user_ids=[c.request.user_id for c in charges],
        order_ids=[c.request.order_id for c in charges],
        statuses=[c.status for c in charges],
        reasons=[c.reason for c in charges],
        amounts=[c.request.amount for c in charges],
        currencies=[c.request.currency for c in charges],
        now=now,
    )
    if len(inserted) != len(charges):
        raise Conflict("an order was decided about in the meantime")


async def insert_entries(tx: Transaction, entries: Sequence[Entry], now: datetime) -> None:
    """Adds lines to the ledger."""
    await tx.execute(
        _INSERT_ENTRIES,
        user_ids=[e.user_id for e in entries],
        transaction_ids=[e.transaction_id for e in entries],
        accounts=[e.account for e in entries],
        amounts=[e.amount for e in entries],
        currencies=[e.currency for e in entries],
        now=now,
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


_COLUMNS = "user_id, currency, balance, held, created_at, updated_at"
_INSERT_ACCOUNT = sql(f"""
    INSERT INTO accounts ({_COLUMNS})
    VALUES (:user_id::uuid, :currency::text, 0, 0, :now::timestamptz, :now::timestamptz)
    ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
""")
_ACCOUNT_OF = sql(f"SELECT {_COLUMNS} FROM accounts WHERE user_id = :user_id::uuid")
_ADD_MONEY = sql(f"""
    UPDATE accounts SET balance = balance + :amount::bigint, updated_at = :now::timestamptz
    WHERE user_id = :user_id::uuid AND (:currency::text = '' OR currency = :currency::text)
          AND balance + :amount::bigint <= :limit::bigint
    RETURNING {_COLUMNS}
""")
_LOCK_FUNDS = sql("""
    SELECT user_id, currency, balance - held AS available FROM accounts
    WHERE user_id = ANY(:user_ids::uuid[]) ORDER BY user_id FOR NO KEY UPDATE
""")
_TAKE_MONEY = sql("""
    UPDATE accounts SET balance = balance - taken.total, updated_at = :now::timestamptz
    FROM unnest(:user_ids::uuid[], :totals::bigint[]) AS taken (user_id, total)
    WHERE accounts.user_id = taken.user_id AND balance - held >= taken.total
    RETURNING accounts.user_id
""")
_CHARGES_OF = sql("""
    SELECT order_id, status, reason FROM charges
    JOIN unnest(:user_ids::uuid[], :order_ids::uuid[]) AS asked (user_id, order_id) USING (user_id, order_id)
""")
_INSERT_CHARGES = sql("""
    INSERT INTO charges (user_id, order_id, status, reason, amount, currency, created_at)
    SELECT *, :now::timestamptz
    FROM unnest(:user_ids::uuid[], :order_ids::uuid[], :statuses::text[], :reasons::text[], :amounts::bigint[],
                :currencies::text[])
    ON CONFLICT DO NOTHING RETURNING order_id
""")
_INSERT_ENTRIES = sql("""
    INSERT INTO entries (user_id, transaction_id, account, amount, currency, created_at)
    SELECT *, :now::timestamptz
    FROM unnest(:user_ids::uuid[], :transaction_ids::uuid[], :accounts::text[], :amounts::bigint[],
                :currencies::text[])
""")
