"""What is true of the books of Payments, always: checked in memory, and on everything that a database holds."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kit.db import Database, Row, sql
from services.payments import ledger
from services.payments.domain import AUTHORIZED, CAPTURED, SUCCEEDED, Payment, Refund
from services.payments.ledger import AVAILABLE, HELD, PAYOUTS, REVENUE, Account, Transaction


@dataclass(frozen=True)
class Payout:
    """What the books know of a payout."""

    user_id: str
    id: str
    status: str
    amount: int


@dataclass(frozen=True)
class Purchase:
    """What the books know of a purchase."""

    user_id: str
    id: str
    product_id: str
    quantity: int
    total_price: int
    status: str


@dataclass(frozen=True)
class Goods:
    """What somebody owns of a product, and how much of it was used up."""

    user_id: str
    product_id: str
    type: str
    quantity: int
    used: int


@dataclass(frozen=True)
class Everything:
    """All that Payments has written down; transactions in the order of their accounts and numbers."""

    accounts: Sequence[Account]
    payments: Sequence[Payment]
    refunds: Sequence[Refund]
    transactions: Sequence[Transaction]
    payouts: Sequence[Payout] = ()
    purchases: Sequence[Purchase] = ()
    goods: Sequence[Goods] = ()

    def assert_right(self) -> None:
        """Fails unless every transaction, account, payment, refund, payout and purchase agrees with all the others."""
        chains = {user_id: list(chain) for user_id, chain in groupby(self.transactions, lambda t: t.user_id)}
        assert chains.keys() <= {account.user_id for account in self.accounts}
        held = Counter[str]()
        for payment in self.payments:
            held[payment.user_id] += payment.amount if payment.status == AUTHORIZED else 0
        for payout in self.payouts:
            held[payout.user_id] += payout.amount if payout.status in ("PENDING", "PROCESSING") else 0
        for account in self.accounts:
            chain = chains.get(account.user_id, [])
            _assert_account(account, chain)
            assert account.held == held[account.user_id], account
        self._assert_payments()
        self._assert_payouts()
        self._assert_purchases()

    def _assert_payments(self) -> None:
        booked = defaultdict(list)
        for transaction in self.transactions:
            about = tuple(
                one is not None for one in (transaction.order_id, transaction.payout_id, transaction.purchase_id)
            )
            assert about == (
                transaction.kind in (ledger.CHARGE, ledger.HOLD, ledger.CAPTURE, ledger.RELEASE, ledger.REFUND),
                transaction.kind in (ledger.PAYOUT_HOLD, ledger.PAYOUT, ledger.PAYOUT_RELEASE),
                transaction.kind == ledger.PURCHASE,
            ), transaction
            if transaction.order_id is not None:
                booked[transaction.user_id, transaction.order_id].append(transaction)
        asked_back = defaultdict(list)
        for refund in self.refunds:
            asked_back[refund.user_id, refund.order_id].append(refund)
        payments = {(payment.user_id, payment.order_id): payment for payment in self.payments}
        assert booked.keys() | asked_back.keys() <= payments.keys()
        for key, payment in payments.items():
            _assert_payment(payment, booked[key], asked_back[key])

    def _assert_payouts(self) -> None:
        booked = defaultdict(list)
        for transaction in self.transactions:
            if transaction.payout_id is not None:
                booked[transaction.user_id, transaction.payout_id].append((transaction.kind, transaction.entries))
        payouts = {(payout.user_id, payout.id): payout for payout in self.payouts}
        assert booked.keys() == payouts.keys()
        for key, payout in payouts.items():
            held = (ledger.PAYOUT_HOLD, ((AVAILABLE, -payout.amount), (HELD, payout.amount)))
            paid = (ledger.PAYOUT, ((HELD, -payout.amount), (PAYOUTS, payout.amount)))
            released = (ledger.PAYOUT_RELEASE, ((AVAILABLE, payout.amount), (HELD, -payout.amount)))
            end = {"COMPLETED": [paid], "FAILED": [released], "CANCELED": [released]}.get(payout.status, [])
            assert booked[key] == [held, *end], payout

    def _assert_purchases(self) -> None:
        booked = [(t.user_id, t.purchase_id, t.entries) for t in self.transactions if t.purchase_id is not None]
        completed = [purchase for purchase in self.purchases if purchase.status == "COMPLETED"]
        assert sorted(booked) == sorted(
            (p.user_id, p.id, ((AVAILABLE, -p.total_price), (REVENUE, p.total_price))) for p in completed
        )
        bought = Counter[tuple[str, str]]()
        for purchase in completed:
            bought[purchase.user_id, purchase.product_id] += purchase.quantity
        owned = {(goods.user_id, goods.product_id): goods for goods in self.goods}
        assert owned.keys() == bought.keys()
        for key, goods in owned.items():
            assert goods.quantity == bought[key] - goods.used >= 0, goods
            assert goods.type == "CONSUMABLE" or bought[key] == 1, goods


def is_chain(transactions: Sequence[Transaction], account: Account) -> bool:
    """Books the same again, on an account that is new, and says whether that comes to the same."""
    try:
        again = [
            ledger.book(account, t.kind, t.order_id, dict(t.entries), t.created_at, t.payout_id, t.purchase_id)
            for t in transactions
        ]
    except ValueError:
        return False
    return again == list(transactions)


async def everything_in(database: Database) -> Everything:
    """Reads all that a database of Payments holds, in other words than the service's own."""
    columns = "user_id::text, order_id::text"
    async with database.transaction() as tx:
        await tx.execute(sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        accounts = await tx.execute(
            sql("SELECT user_id::text, currency, balance, held, number, hash, created_at, updated_at FROM accounts")
        )
        payments = await tx.execute(
            sql(f"""SELECT {columns}, status, reason, amount, currency, captured, refunded, requested_by, expires_at,
                           created_at, updated_at FROM payments""")
        )
        refunds = await tx.execute(
            sql(f"SELECT {columns}, refund_id::text, amount, status, refunded, created_at FROM refunds")
        )
        payouts = await tx.execute(sql("SELECT user_id::text, id::text, status, amount FROM payouts"))
        purchases = await tx.execute(
            sql("SELECT user_id::text, id::text, product_id::text, quantity, total_price, status FROM purchases")
        )
        goods = await tx.execute(
            sql("""SELECT user_id::text, product_id::text, type, goods.quantity, coalesce(used, 0)::bigint AS used
                   FROM goods FULL JOIN (
                       SELECT user_id, product_id, sum(quantity) AS used FROM uses GROUP BY 1, 2
                   ) AS uses USING (user_id, product_id)""")
        )
        # Full: a transaction without entries is found too, and entries without a transaction.
        transactions = await tx.execute(
            sql("""SELECT user_id::text, number, kind, order_id::text, payout_id::text, purchase_id::text, currency,
                          balance, held, created_at, hash, array_agg(account ORDER BY account) AS accounts,
                          array_agg(amount ORDER BY account) AS amounts
                   FROM transactions FULL JOIN entries USING (user_id, number)
                   GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 ORDER BY user_id, number""")
        )
    return Everything(
        [Account(*row) for row in accounts],
        [Payment(*row) for row in payments],
        [Refund(*row) for row in refunds],
        [_transaction(row) for row in transactions],
        [Payout(*row) for row in payouts],
        [Purchase(*row) for row in purchases],
        [Goods(*row) for row in goods],
    )


async def assert_books_are_right(database: Database) -> None:
    """Fails unless all that a database of Payments holds agrees."""
    (await everything_in(database)).assert_right()


def _transaction(row: Row) -> Transaction:
    columns: dict[str, Any] = dict(row)
    entries = tuple(zip(columns.pop("accounts"), columns.pop("amounts"), strict=True))
    return Transaction(**columns, entries=entries)


def _assert_account(account: Account, chain: Sequence[Transaction]) -> None:
    sums = Counter[str]()
    for transaction in chain:
        assert len(transaction.entries) >= 2, transaction
        assert sum(amount for _, amount in transaction.entries) == 0, transaction
        sums.update(dict(transaction.entries))
        assert sums[AVAILABLE] >= 0, transaction
        assert sums[HELD] >= 0, transaction
    assert (account.available, account.held) == (sums[AVAILABLE], sums[HELD]), account
    new = Account(account.user_id, account.currency, 0, 0, 0, b"", account.created_at, account.created_at)
    assert is_chain(chain, new), account
    assert (new.number, new.hash) == (account.number, account.hash), account
    assert new.updated_at <= account.updated_at, account


def _assert_payment(payment: Payment, booked: Sequence[Transaction], refunds: Sequence[Refund]) -> None:
    taken = [dict(t.entries)[REVENUE] for t in booked if t.kind in (ledger.CHARGE, ledger.CAPTURE)]
    given = [-dict(t.entries)[REVENUE] for t in booked if t.kind == ledger.REFUND]
    kinds = [t.kind for t in booked if t.kind != ledger.REFUND]
    assert kinds in (
        ([], [ledger.CHARGE])
        if payment.expires_at is None
        else ([ledger.HOLD], [ledger.HOLD, ledger.CAPTURE], [ledger.HOLD, ledger.RELEASE])
    ), payment
    assert (kinds[-1:] == [ledger.HOLD]) == (payment.status == AUTHORIZED), payment
    assert (payment.captured, payment.refunded) == (sum(taken), sum(given)), payment
    succeeded = [refund.amount for refund in refunds if refund.status == SUCCEEDED]
    # A reversal gives back what refunds have left.
    assert sum(succeeded) == payment.refunded or payment.status != CAPTURED, payment
    assert sum(succeeded) <= payment.refunded <= payment.captured <= payment.amount, payment
