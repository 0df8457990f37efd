"""The ledger: double entry, with no framework around it. Each user's account has one chain of transactions.

A transaction moves money between the parts of one user's account, AVAILABLE and HELD, and the system's accounts. Those
have no row with a balance that everybody would fight over: their balance is the sum of their entries.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

AVAILABLE = "available"
HELD = "held"
FUNDING = "funding"
REVENUE = "revenue"
PAYOUTS = "payouts"
ACCOUNTS = (AVAILABLE, HELD, FUNDING, REVENUE, PAYOUTS)

DEPOSIT = "DEPOSIT"
CHARGE = "CHARGE"
HOLD = "HOLD"
CAPTURE = "CAPTURE"
RELEASE = "RELEASE"
REFUND = "REFUND"
PAYOUT_HOLD = "PAYOUT_HOLD"
PAYOUT = "PAYOUT"
PAYOUT_RELEASE = "PAYOUT_RELEASE"
PURCHASE = "PURCHASE"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Account:
    """The money of a user, in minor units, and the end of its chain of transactions."""

    user_id: str
    currency: str
    balance: int
    held: int
    number: int
    """The last transaction's; 0 before the first."""
    hash: bytes
    """The last transaction's; empty before the first."""
    created_at: datetime
    updated_at: datetime

    @property
    def available(self) -> int:
        """What can be spent."""
        return self.balance - self.held


# No dataclass: making a frozen one takes four times as long, and every order makes one.
class Transaction(NamedTuple):
    """What moved money, once and for all: how much came to each account of the ledger, or, below zero, left it."""

    user_id: str
    number: int
    kind: str
    order_id: str | None
    payout_id: str | None
    purchase_id: str | None
    currency: str
    entries: tuple[tuple[str, int], ...]
    """Pairs of account and amount, sorted; the amounts sum to zero."""
    balance: int
    """The user's, after it."""
    held: int
    created_at: datetime
    hash: bytes


def book(
    account: Account,
    kind: str,
    order_id: str | None,
    entries: Mapping[str, int],
    at: datetime,
    payout_id: str | None = None,
    purchase_id: str | None = None,
) -> Transaction:
    """Books a transaction at the end of an account's chain, and moves its money.

    It is for an order, a payout or a purchase, or for none of them.

    Errors: ValueError when the entries are not in balance, or the account would hold or lack more than it has.
    """
    moved = tuple(sorted((name, amount) for name, amount in entries.items() if amount))
    available, held = entries.get(AVAILABLE, 0), entries.get(HELD, 0)
    if not moved or sum(amount for _, amount in moved) != 0:
        raise ValueError(f"entries out of balance: {moved}")
    if account.available + available < 0 or account.held + held < 0:
        raise ValueError(f"the account has not got this: {moved}")
    account.balance += available + held
    account.held += held
    account.number += 1
    # Another machine's clock may be ahead of ours; the balance at a past moment wants them in sequence.
    account.updated_at = max(at, account.updated_at)
    # An id alone would not tell what it is of; the kind does.
    account.hash = _hash(account, kind, order_id or payout_id or purchase_id or "", moved)
    return Transaction(
        account.user_id,
        account.number,
        kind,
        order_id,
        payout_id,
        purchase_id,
        account.currency,
        moved,
        account.balance,
        account.held,
        account.updated_at,
        account.hash,
    )


def _hash(account: Account, kind: str, about: str, entries: tuple[tuple[str, int], ...]) -> bytes:
    # `gozon check` and the migration that began the chains compute the same in SQL.
    moved = ",".join(f"{name}:{amount}" for name, amount in entries)
    microseconds = (account.updated_at - _EPOCH) // _MICROSECOND
    text = (
        f"{account.user_id}|{account.number}|{kind}|{about}|{account.currency}|{moved}"
        f"|{account.balance}|{account.held}|{microseconds}"
    )
    return hashlib.sha256(account.hash + text.encode()).digest()
