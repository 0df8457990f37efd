"""The rules of several purchases in one transaction, with no framework around them: each on what those before left."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from gozon.shop.v1.shop_pb2 import InventoryItem, Product, Purchase
from kit import idempotency
from kit.ids import new_id
from services.payments import shop
from services.payments.books import Books

Answer = TypeVar("Answer", Product, Purchase, InventoryItem)
Pair = tuple[str, str]
"""The user's and the product's id."""


@dataclass(frozen=True)
class Answered(Generic[Answer]):
    """How a request is answered, now or when it first came with the same idempotency key."""

    answer: Answer
    replayed: bool


@dataclass(frozen=True, slots=True)
class NewPurchase:
    """A purchase that waits for its batch."""

    product_id: str
    quantity: int
    user_id: str
    key: idempotency.Key
    traceparent: str


class Shelves:
    """What users own of products, and of how many products they own something."""

    def __init__(self, owned: Mapping[Pair, int], kinds: Mapping[str, int]) -> None:
        """`kinds` needs those who own none of a product that is about to be added."""
        self._owned = dict(owned)
        self._kinds = dict(kinds)

    def require_room(self, user_id: str, product_id: str, kind: str, quantity: int) -> None:
        """Lets pass what can be added. Errors: AlreadyOwned, InventoryLimit."""
        owned = self._owned.get((user_id, product_id), 0)
        if owned and kind == shop.PERMANENT:
            raise shop.AlreadyOwned
        # What is owned already was counted when it was bought.
        shop.require_room(owned + quantity, 0 if owned else self._kinds[user_id] + 1)

    def add(self, user_id: str, product_id: str, quantity: int) -> None:
        """Adds goods."""
        owned = self._owned.get((user_id, product_id), 0)
        if not owned:
            self._kinds[user_id] += 1
        self._owned[user_id, product_id] = owned + quantity


class Sales:
    """Decides about purchases on what was locked or read in one database transaction."""

    def __init__(
        self,
        products: Mapping[str, Product],
        answers: Mapping[idempotency.Identity, idempotency.First],
        books: Books,
        shelves: Shelves,
        now: datetime,
    ) -> None:
        self._products = products
        self._answers = dict(answers)
        self._books = books
        self._shelves = shelves
        self._now = now
        self.purchases: list[Purchase] = []
        """All that are to be recorded, in their sequence."""
        self.sold: list[tuple[NewPurchase, Purchase]] = []
        """Those that were not refused."""

    def buy(self, new: NewPurchase) -> Answered[Purchase]:
        """Takes the money for goods and gives them, once per key; what is refused is to be recorded as FAILED.

        Errors: ProductNotFound, InvalidArgument for more than one PERMANENT product, shop.REFUSALS,
        IdempotencyKeyReused.
        """
        product = self._products.get(new.product_id)
        if product is None:
            raise shop.ProductNotFound
        if (first := idempotency.answer_in(self._answers, new.key)) is not None:
            return Answered(Purchase.FromString(first), replayed=True)
        purchase = _priced(product, new, self._now)
        try:
            self._move(product, purchase)
        except shop.REFUSALS as refusal:
            # Its key stays free: the next one with it tries again.
            purchase.status, purchase.failure_reason = Purchase.FAILED, refusal.reason
            self.purchases.append(purchase)
            raise
        self._answers[new.key.identity] = idempotency.First(new.key.request_hash, purchase.SerializeToString())
        self.purchases.append(purchase)
        self.sold.append((new, purchase))
        return Answered(purchase, replayed=False)

    def added(self) -> dict[Pair, int]:
        """Returns how many of which product each user has got."""
        added: dict[Pair, int] = {}
        for _, purchase in self.sold:
            pair = purchase.user_id, purchase.product_id
            added[pair] = added.get(pair, 0) + purchase.quantity
        return added

    def _move(self, product: Product, purchase: Purchase) -> None:
        """Moves the money and the goods, or nothing. Errors: InvalidArgument, shop.REFUSALS."""
        user_id, quantity, kind = purchase.user_id, purchase.quantity, Product.Type.Name(product.type)
        shop.require_buyable(kind, product.is_active, quantity)
        self._shelves.require_room(user_id, product.id, kind, quantity)
        self._books.buy(user_id, purchase.id, purchase.total_price, purchase.currency)
        self._shelves.add(user_id, product.id, quantity)


def _priced(product: Product, new: NewPurchase, now: datetime) -> Purchase:
    purchase = Purchase(
        id=new_id(),
        user_id=new.user_id,
        product_id=product.id,
        product_name=product.name,
        quantity=new.quantity,
        price=product.price,
        total_price=product.price * new.quantity,
        currency=product.currency,
        status=Purchase.COMPLETED,
    )
    purchase.created_at.FromDatetime(now)
    return purchase
