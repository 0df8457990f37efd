"""The words of Payments, with no framework around them: what may be asked, and what may become of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

DEFAULT_CURRENCY = "RUB"

FAILED = "FAILED"
AUTHORIZED = "AUTHORIZED"
CAPTURED = "CAPTURED"
RELEASED = "RELEASED"
REVERSED = "REVERSED"
SUCCEEDED = "SUCCEEDED"

INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
NO_ACCOUNT = "NO_ACCOUNT"
CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
EXPIRED = "EXPIRED"
HOLD_MISMATCH = "HOLD_MISMATCH"

ORDERS = "ORDERS"
ADMIN = "ADMIN"


class AccountNotFound(NotFound):
    """There is no such account, or it is not yours; open it with POST /accounts/{user_id}."""

    reason = "ACCOUNT_NOT_FOUND"


class AccountExists(AlreadyExists):
    """The user has an account already."""

    reason = "ACCOUNT_EXISTS"


class CurrencyMismatch(InvalidArgument):
    """The account is in another currency."""

    reason = CURRENCY_MISMATCH


class DepositLimit(FailedPrecondition):
    """This is more than one deposit may be."""

    reason = "DEPOSIT_LIMIT"


class BalanceLimit(FailedPrecondition):
    """The balance would pass the highest there may be."""

    reason = "BALANCE_LIMIT"


class InsufficientFunds(FailedPrecondition):
    """The account's available money is less than this."""

    reason = INSUFFICIENT_FUNDS


class HoldNotFound(NotFound):
    """No money was ever held for this order on this account."""

    reason = "HOLD_NOT_FOUND"


class PaymentExists(AlreadyExists):
    """The order was paid, refused or held for already, in another way; an order is paid once."""

    reason = "PAYMENT_EXISTS"


class HoldCaptured(FailedPrecondition):
    """The money was taken already; what was taken is given back with POST /orders/{order_id}:refund."""

    reason = "HOLD_CAPTURED"


class HoldReleased(FailedPrecondition):
    """The money was given back already."""

    reason = "HOLD_RELEASED"


class CaptureTooLarge(InvalidArgument):
    """This is more than is held for the order."""

    reason = "CAPTURE_TOO_LARGE"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings say; money in minor units."""

    max_deposit: int = 1_000_000_000_000
    max_balance: int = 1_000_000_000_000_000
    """Far enough below 2^63 that no sum overflows."""
    hold_lifetime: timedelta = timedelta(days=7)
    max_payout: int = 100_000_000


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """An order asks for its money: to be taken, or only to be held."""

    user_id: str
    order_id: str
    amount: int
    currency: str
    manual: bool = False


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """An admin asks for money to be held for an order; an empty currency is the account's."""

    user_id: str
    order_id: str
    amount: int
    currency: str = ""


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """An order asks for the money that is held for it; `amount` 0 means all of it."""

    user_id: str
    order_id: str
    amount: int = 0


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """What is held for an order is to be available again, for a reason: EXPIRED or RELEASED."""

    user_id: str
    order_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReversalRequest:
    """A canceled order asks for all that was held or taken for it, and that nothing ever will be."""

    user_id: str
    order_id: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A part of what was taken for an order is to be given back."""

    user_id: str
    order_id: str
    refund_id: str
    amount: int


Request = ChargeRequest | HoldRequest | CaptureRequest | ReleaseRequest | ReversalRequest | RefundRequest


# No dataclass: making a frozen one takes four times as long, and every order makes one.
class Payment(NamedTuple):
    """What was decided about an order, and what became of it. Amounts are in minor units."""

    user_id: str
    order_id: str
    status: str
    reason: str
    amount: int
    currency: str
    captured: int
    refunded: int
    requested_by: str
    expires_at: datetime | None
    """When a hold is released unless it is captured; None for what never was a hold."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """What was decided about a refund: SUCCEEDED or FAILED."""

    user_id: str
    order_id: str
    refund_id: str
    amount: int
    status: str
    refunded: int
    """By all refunds of the order together, after this one."""
    created_at: datetime
