"""Rules of Payments, with no framework around them: who can pay, and how money is booked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

MAX_BALANCE = 1_000_000_000_000_000
"""In minor units; far enough below 2^63 that no sum overflows."""
DEFAULT_CURRENCY = "RUB"

SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
NO_ACCOUNT = "NO_ACCOUNT"
CURRENCY_MISMATCH = "CURRENCY_MISMATCH"

USER = "user"
FUNDING = "funding"
REVENUE = "revenue"


class AccountNotFound(NotFound):
    """There is no such account, or it is not yours; open it with POST /accounts/{user_id}."""

    reason = "ACCOUNT_NOT_FOUND"


class AccountExists(AlreadyExists):
    """The user has an account already."""

    reason = "ACCOUNT_EXISTS"


class CurrencyMismatch(InvalidArgument):
    """The account is in another currency."""

    reason = CURRENCY_MISMATCH


class BalanceLimit(FailedPrecondition):
    """The balance would pass 1,000,000,000,000,000 minor units."""

    reason = "BALANCE_LIMIT"


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """An order that asks for its money."""

    user_id: str
    order_id: str
    amount: int
    currency: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Funds:
    """What an account can spend, in minor units."""

    available: int
    currency: str


@dataclass(frozen=True, slots=True)
class Charge:
    """What was decided about an order: SUCCEEDED, or FAILED with a reason."""

    request: ChargeRequest
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: `amount` minor units came to (or, below zero, left) an account."""

    user_id: str
    transaction_id: str
    account: str
    amount: int
    currency: str


def decide(requests: Iterable[ChargeRequest], funds: Mapping[str, Funds]) -> list[Charge]:
    """Decides about orders in their order: each is paid in full from what those before it left, or not at all.

    `funds` are the accounts by user; a user without one can't pay.
    """
    left = {user_id: account.available for user_id, account in funds.items()}
    charges = []
    for request in requests:
        account = funds.get(request.user_id)
        if account is None:
            charges.append(Charge(request, FAILED, NO_ACCOUNT))
        elif account.currency != request.currency:
            charges.append(Charge(request, FAILED, CURRENCY_MISMATCH))
        elif left[request.user_id] < request.amount:
            charges.append(Charge(request, FAILED, INSUFFICIENT_FUNDS))
        else:
            left[request.user_id] -= request.amount
            charges.append(Charge(request, SUCCEEDED))
    return charges


def charge_entries(charges: Iterable[Charge]) -> list[Entry]:
    """Books what was taken: from the user to the revenue. The transaction is named by the order."""
    return [
        entry
        for charge in charges
        if charge.status == SUCCEEDED
        for entry in _transfer(
            charge.request.user_id,
            charge.request.order_id,
            USER,
            REVENUE,
            charge.request.amount,
            charge.request.currency,
        )
    ]


def deposit_entries(user_id: str, transaction_id: str, amount: int, currency: str) -> list[Entry]:
    """Books money that came in: from the funding to the user."""
    return _transfer(user_id, transaction_id, FUNDING, USER, amount, currency)


def _transfer(
    user_id: str, transaction_id: str, source: str, destination: str, amount: int, currency: str
) -> list[Entry]:
    return [
        Entry(user_id, transaction_id, source, -amount, currency),
        Entry(user_id, transaction_id, destination, amount, currency),
    ]
