"""The rules of the shop, with no framework around them: what can be bought, owned and used up."""

from kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.payments.domain import AccountNotFound, CurrencyMismatch, InsufficientFunds

PERMANENT = "PERMANENT"

MAX_KINDS = 500
"""Products of which one user may own something at a time: an inventory is one answer, with names of 200 characters."""
MAX_OF_A_KIND = 1_000_000_000
POPULAR_DAYS = 7


class ProductNotFound(NotFound):
    """There is no such product."""

    reason = "PRODUCT_NOT_FOUND"


class NotOwned(NotFound):
    """You have never had any of this product."""

    reason = "NOT_OWNED"


class ProductInactive(FailedPrecondition):
    """The product is not on sale."""

    reason = "PRODUCT_INACTIVE"


class AlreadyOwned(AlreadyExists):
    """You own this product already, and it is owned once."""

    reason = "ALREADY_OWNED"


class InventoryLimit(FailedPrecondition):
    """This is more than one may own."""

    reason = "INVENTORY_LIMIT"


class InsufficientQuantity(FailedPrecondition):
    """You own less of the product than this."""

    reason = "INSUFFICIENT_QUANTITY"


class PermanentProduct(FailedPrecondition):
    """The product is owned for good; it is not used up."""

    reason = "PERMANENT_PRODUCT"


REFUSALS = (ProductInactive, AccountNotFound, CurrencyMismatch, InsufficientFunds, AlreadyOwned, InventoryLimit)
"""Why a purchase of a product that is there is recorded as FAILED."""


def require_buyable(kind: str, is_active: bool, quantity: int) -> None:
    """Lets pass what can be bought of a product. Errors: InvalidArgument, ProductInactive."""
    if kind == PERMANENT and quantity > 1:
        raise InvalidArgument(violations=(("quantity", "must be 1 for a PERMANENT product"),))
    if not is_active:
        raise ProductInactive


def require_room(owned: int, kinds: int) -> None:
    """Lets pass what may be owned: so many of a kind, and so many kinds. Errors: InventoryLimit."""
    if owned > MAX_OF_A_KIND:
        raise InventoryLimit(f"One may own {MAX_OF_A_KIND:,} of a product at most.")
    if kinds > MAX_KINDS:
        raise InventoryLimit(f"One may own {MAX_KINDS:,} products at most.")


def require_usable(kind: str) -> None:
    """Lets pass what can be used up. Errors: PermanentProduct."""
    if kind == PERMANENT:
        raise PermanentProduct
