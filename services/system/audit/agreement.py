"""What Orders and Payments must agree about: what both know of an order, of a refund, and of a product.

What Payments decided less than `stuck_after` ago (it is not `settled`) Orders need not have heard of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Row(Protocol):
    """A row of a table."""

    def __getitem__(self, column: str, /) -> Any:
        """Returns the value of a column."""


@dataclass(frozen=True)
class Agreement:
    """What both sides tell about the same thing: a query a side, and what is wrong about a pair of their rows."""

    name: str
    key: tuple[str, ...]
    """The columns that name the thing, all of them uuids, and on both sides the primary key."""
    orders: str
    payments: str
    """$1: the seconds after which it is settled."""
    problem: Callable[[Row | None, Row | None], str | None]


_STANDS: Mapping[str, frozenset[str]] = {
    "PENDING": frozenset(),
    "AUTHORIZED": frozenset({"AUTHORIZED"}),
    "PAID": frozenset({"CAPTURED"}),
    "SHIPPED": frozenset({"CAPTURED"}),
    "INSUFFICIENT_FUNDS": frozenset({"FAILED"}),
    "NO_ACCOUNT": frozenset({"FAILED"}),
    "CURRENCY_MISMATCH": frozenset({"FAILED"}),
    "RELEASED": frozenset({"RELEASED"}),
    "HOLD_MISMATCH": frozenset({"RELEASED"}),
    # Given up by Orders: what Payments had ended before that has nothing to reverse.
    "REQUESTED": frozenset({"REVERSED", "RELEASED", "FAILED"}),
    "EXPIRED": frozenset({"REVERSED", "RELEASED", "FAILED"}),
}
"""Where the payment of an order stands, by the order's status, or the reason why it was canceled."""
_MAY_COME: Mapping[str, frozenset[str]] = {
    "PENDING": frozenset({"AUTHORIZED", "CAPTURED", "RELEASED", "REVERSED", "FAILED"}),
    "AUTHORIZED": frozenset({"CAPTURED", "RELEASED", "REVERSED"}),
    "PAID": frozenset({"REVERSED"}),
}
"""Where it may be already when Orders has yet to hear of that."""


def order_problem(order: Row | None, payment: Row | None) -> str | None:
    """Says what is wrong about an order and its payment; None when they agree."""
    if order is None:
        # An admin may hold money for orders of another system.
        ours = payment is not None and payment["requested_by"] == "ORDERS" and payment["settled"]
        return "a payment without an order" if ours else None
    given_up = order["status"] == "CANCELED" and order["asked_at"] is not None
    if payment is None:
        open_still = given_up or order["status"] == "PENDING"
        return None if open_still else f"the order is {order['status']} without a payment"
    if payment["requested_by"] == "ORDERS" and (problem := _another_payment(order, payment)):
        return problem
    # As long as Payments has not answered the cancellation it may be anywhere.
    return None if given_up else _status_problem(order, payment) or _money_problem(order, payment)


def _another_payment(order: Row, payment: Row) -> str | None:
    if (payment["amount"], payment["currency"]) != (order["total_price"], order["currency"]):
        return "the payment is of another amount or currency"
    # With capture AUTOMATIC it may have been held by an admin, until the order asked for it.
    if payment["status"] == "AUTHORIZED" and order["capture"] != "MANUAL":
        return "the money is only held, but capture is AUTOMATIC"
    if payment["captured"] and payment["expires_at"] is None and order["capture"] == "MANUAL":
        return "the money was taken at once, but capture is MANUAL"
    return None


def _status_problem(order: Row, payment: Row) -> str | None:
    state = order["cancel_reason"] or order["status"]
    if payment["status"] in _STANDS.get(state, ()):
        told = payment["status"] in ("FAILED", "RELEASED") and state not in ("REQUESTED", "EXPIRED")
        if told and payment["reason"] != state:
            return f"canceled for {state}, but the payment ended for {payment['reason']}"
        return None
    if payment["status"] in _MAY_COME.get(state, ()) and not payment["settled"]:
        return None
    return f"the order is {order['status']} {order['cancel_reason']}".rstrip() + f", its payment {payment['status']}"


def _money_problem(order: Row, payment: Row) -> str | None:
    if order["status"] in ("PENDING", "AUTHORIZED"):
        return None
    # What an admin took before the order asked for it was never paid for it.
    ours = payment["requested_by"] == "ORDERS"
    captured, refunded = (payment["captured"], payment["refunded"]) if ours else (0, 0)
    if order["paid_price"] != captured:
        return "another amount was captured than the order says was paid"
    on_its_way = refunded > order["refunded_price"] and not payment["settled"]
    if order["refunded_price"] != refunded and not on_its_way:
        return "another amount was given back than the order says"
    return None


def refund_problem(asked: Row | None, decided: Row | None) -> str | None:
    """Says what is wrong about a refund that Orders asked for and what Payments decided; None when they agree."""
    if decided is None:
        pending = asked is None or asked["status"] == "PENDING"
        return None if pending else "Payments knows nothing of it"
    if asked is None:
        return "Orders never asked for it" if decided["settled"] else None
    if asked["amount"] != decided["amount"]:
        return "another amount was asked for"
    if asked["status"] == "PENDING":
        return "decided, but PENDING in Orders" if decided["settled"] else None
    return None if asked["status"] == decided["status"] else "decided in another way than Orders says"


def product_problem(known: Row | None, product: Row | None) -> str | None:
    """Says what is wrong about a product of the shop and what Orders knows of it; None when they agree."""
    if product is None:
        return "the shop has no such product"
    if known is None:
        return "Orders does not know it" if product["settled"] else None
    if known["version"] < product["version"]:
        return "Orders knows an older version of it" if product["settled"] else None
    alike = all(known[column] == product[column] for column in ("name", "price", "currency", "is_active", "version"))
    return None if alike else "Orders knows something else of it"


AGREEMENTS = (
    Agreement(
        "an order and its payment agree",
        ("user_id", "order_id"),
        """
        SELECT user_id, id AS order_id, status, cancel_reason, capture, total_price, currency, paid_price,
               refunded_price, asked_at FROM orders
        """,
        """
        SELECT user_id, order_id, status, reason, amount, currency, captured, refunded, requested_by, expires_at,
               updated_at < now() - make_interval(secs => $1) AS settled FROM payments
        """,
        order_problem,
    ),
    Agreement(
        "Orders and Payments agree about a refund",
        ("user_id", "order_id", "refund_id"),
        "SELECT user_id, order_id, id AS refund_id, status, amount FROM refunds",
        """
        SELECT user_id, order_id, refund_id, status, amount,
               created_at < now() - make_interval(secs => $1) AS settled FROM refunds
        """,
        refund_problem,
    ),
    Agreement(
        "Orders prices by what the shop has",
        ("product_id",),
        "SELECT id AS product_id, name, price, currency, is_active, version FROM products",
        # Twice as long: when the news of it is lost, it is told again within a minute.
        """
        SELECT id AS product_id, name, price, currency, is_active, version,
               updated_at < now() - make_interval(secs => 2 * $1) AS settled FROM products
        """,
        product_problem,
    ),
)
