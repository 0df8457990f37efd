"""Rules of Orders, with no framework around them."""

from collections.abc import Iterable

from kit.errors import InvalidArgument, NotFound

MAX_TOTAL_PRICE = 1_000_000_000_000
"""In minor units."""
DEFAULT_CURRENCY = "RUB"

PAID = "PAID"
CANCELED = "CANCELED"


class OrderNotFound(NotFound):
    """There is no such order, or it is not yours."""

    reason = "ORDER_NOT_FOUND"


class TotalMismatch(InvalidArgument):
    """The total_price is not the sum of the items."""

    reason = "TOTAL_MISMATCH"


class TotalTooLarge(InvalidArgument):
    """The total price of an order is at most 1,000,000,000,000 minor units."""

    reason = "TOTAL_TOO_LARGE"


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
