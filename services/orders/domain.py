"""Rules of Orders, with no framework around them."""

from collections.abc import Collection, Iterable, Mapping

from kit.errors import FailedPrecondition, InvalidArgument, NotFound, TransitionNotAllowed

MAX_TOTAL_PRICE = 1_000_000_000_000
"""In minor units."""
MAX_CHANGES = 300
"""So that the whole history of an order fits into one answer, texts of 500 characters included."""
DEFAULT_CURRENCY = "RUB"

PENDING = "PENDING"
AUTHORIZED = "AUTHORIZED"
PAID = "PAID"
SHIPPED = "SHIPPED"
CANCELED = "CANCELED"

AUTOMATIC = "AUTOMATIC"
MANUAL = "MANUAL"

# Steps that Payments takes by its answers.
AUTHORIZE = "AUTHORIZE"
PAY = "PAY"
DECLINE = "DECLINE"
RELEASE = "RELEASE"
# Steps that people and clocks take.
CANCEL = "CANCEL"
EXPIRE = "EXPIRE"
SHIP = "SHIP"
DESCRIBE = "DESCRIBE"
REFUND = "REFUND"

TRANSITIONS: Mapping[str, Mapping[str, str]] = {
    AUTHORIZE: {PENDING: AUTHORIZED},
    PAY: {PENDING: PAID, AUTHORIZED: PAID},
    DECLINE: {PENDING: CANCELED},
    RELEASE: {PENDING: CANCELED, AUTHORIZED: CANCELED},
    CANCEL: {PENDING: CANCELED, AUTHORIZED: CANCELED, PAID: CANCELED},
    EXPIRE: {PENDING: CANCELED},
    # What is only held is captured first: an order that is PAID then, and was to be shipped, is SHIPPED.
    SHIP: {AUTHORIZED: AUTHORIZED, PAID: SHIPPED},
    DESCRIBE: {PENDING: PENDING, AUTHORIZED: AUTHORIZED, PAID: PAID},
    REFUND: {PAID: PAID, SHIPPED: SHIPPED},
}
"""The state machine: for each step the statuses that allow it and what they become. SQL gets it from here."""

TO_SHIP = frozenset(TRANSITIONS[SHIP])
"""Statuses of what can be shipped. Orders of all users can be listed by these alone: there is an index of them."""

WAITING = frozenset({PENDING, AUTHORIZED, CANCELED})
"""Statuses in which Payments may owe an answer: to the money, the capture of what it holds, the reversal of all."""

STEP_TO: Mapping[str, str] = {CANCELED: CANCEL, SHIPPED: SHIP}
"""The step by which somebody who asks for a status gets there."""

REQUESTED = "REQUESTED"
EXPIRED = "EXPIRED"
"""Reasons of a cancellation that Orders itself gives; the others are those of Payments."""

PAYMENT = "PAYMENT"
OWNER = "OWNER"
ADMIN = "ADMIN"
EXPIRY = "EXPIRY"
"""Causes of a change."""


class OrderNotFound(NotFound):
    """There is no such order, or it is not yours."""

    reason = "ORDER_NOT_FOUND"


class TotalMismatch(InvalidArgument):
    """The total_price is not the sum of the items."""

    reason = "TOTAL_MISMATCH"


class TotalTooLarge(InvalidArgument):
    """The total price of an order is at most 1,000,000,000,000 minor units."""

    reason = "TOTAL_TOO_LARGE"


class ProductNotFound(NotFound):
    """There is no such product."""

    reason = "PRODUCT_NOT_FOUND"


class ProductInactive(FailedPrecondition):
    """The product is not on sale."""

    reason = "PRODUCT_INACTIVE"


class CurrencyMismatch(InvalidArgument):
    """The products of an order have prices in one currency, and it is that of the order."""

    reason = "CURRENCY_MISMATCH"


REFUSALS = (TotalMismatch, TotalTooLarge, ProductNotFound, ProductInactive, CurrencyMismatch)
"""Why what was an order once may be none today: products change."""


class RefundTooLarge(FailedPrecondition):
    """This is more than what is left of what was paid for the order."""

    reason = "REFUND_TOO_LARGE"


class TooManyChanges(FailedPrecondition):
    """An order is described and refunded 300 times at most; it can still be shipped and canceled."""

    reason = "TOO_MANY_CHANGES"


def require_room(version: int) -> None:
    """Refuses another change of a kind that may be repeated for ever. Errors: TooManyChanges."""
    if version >= MAX_CHANGES:
        raise TooManyChanges


def require(step: str, status: str) -> str:
    """Returns what a status becomes by a step. Errors: TransitionNotAllowed."""
    after = TRANSITIONS[step].get(status)
    if after is None:
        raise TransitionNotAllowed(f"An order that is {status} does not allow this.")
    return after


def require_refundable(amount: int, paid_price: int, refunded_price: int, under_way: int) -> None:
    """Refuses to give back more than is left; all in minor units. Errors: RefundTooLarge.

    `under_way` is the sum of the refunds that Payments has not answered yet.
    """
    left = paid_price - refunded_price - under_way
    if amount > left:
        raise RefundTooLarge(f"Of what was paid {left} minor units are left.")


def currency_of(products: Collection[str], requested: str) -> str:
    """Returns the currency of an order, given those of its products, at least one; `requested` is empty for any.

    Errors: CurrencyMismatch.
    """
    found = {*products, requested} - {""}
    if len(found) > 1:
        raise CurrencyMismatch(f"The order is in several currencies at once: {', '.join(sorted(found))}.")
    return found.pop()


def total_price(lines: Iterable[tuple[int, int]], amount: int, expected: int | None) -> int:
    """Returns what an order costs, in minor units: the sum of its lines (quantity, price), or amount without lines.

    `expected` is what the client computed, if it did. Errors: TotalMismatch, TotalTooLarge.
    """
    total = sum(quantity * price for quantity, price in lines) or amount
    if expected is not None and expected != total:
        raise TotalMismatch(f"The total_price is {expected}, but the items cost {total}.")
    if total > MAX_TOTAL_PRICE:
        raise TotalTooLarge
    return total
