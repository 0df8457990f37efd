"""What must be true of purchases and goods once everything is back."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import asyncpg
import grpc

from gozon.shop.v1.shop_pb2 import GetInventoryRequest, Purchase
from gozon.shop.v1.shop_pb2_grpc import ShopServiceStub
from kit.cache import PROBE_SECONDS, TIMEOUT_SECONDS
from services.payments import shop
from stack.home import Stack
from tests.chaos.clients import Book, Change

READS = 4
"""So often each inventory is read: the first time it may not be cached."""
REASONS = {refusal.reason for refusal in shop.REFUSALS}


def compare_purchases(book: Book, listed: Sequence[Purchase]) -> Iterable[str]:
    """Compares what somebody was told of purchases with the history of them."""
    for purchase_id, times in Counter(purchase.id for purchase in listed).items():
        if times > 1:
            yield f"the purchase {purchase_id} is in the history {times} times"
    history = {purchase.id: purchase for purchase in listed}
    for purchase_id, told in book.purchases.items():
        if history.get(purchase_id) != told:
            yield f"the accepted purchase {_line(told)} is in the history as {_line(history.get(purchase_id))}"
    for purchase in listed:
        if purchase.status == Purchase.COMPLETED and purchase.id not in book.purchases:
            yield f"the purchase {purchase.id} is one too many: each key was answered with another"
        if purchase.status != Purchase.COMPLETED and (
            purchase.status != Purchase.FAILED or purchase.failure_reason not in REASONS
        ):
            yield f"a purchase ended like this: {_line(purchase)}"


async def compare_goods(stack: Stack, books: Sequence[Book], channel: grpc.aio.Channel) -> list[str]:
    """Compares the goods that people bought and did not use with the inventories in the database and at the edge."""
    found = []
    service = ShopServiceStub(channel)
    connection = await asyncpg.connect(stack.database_url("payments"))
    for book in books:
        user_id = book.person.user_id
        wanted = Counter[str]()
        for purchase in book.purchases.values():
            wanted[purchase.product_id] += purchase.quantity
        wanted.subtract(book.uses)
        stored = [(str(row["product_id"]), row["quantity"]) for row in await connection.fetch(_GOODS, user_id)]
        # Those that are all used up have 0.
        if dict(stored) != {product_id: quantity for product_id, quantity in wanted.items() if quantity}:
            found.append(f"{user_id}: bought less used is {dict(wanted)}, but the database has {stored}")
        for _ in range(READS):
            request = GetInventoryRequest(user_id=user_id)
            inventory = await service.GetInventory(request, metadata=book.person.metadata)
            shown = [(item.product_id, item.quantity) for item in inventory.items]
            if shown != stored:
                which = sorted(set(shown) ^ set(stored))
                found.append(f"{user_id}: inventory and database differ, or in their order: {which}")
                break
    await connection.close()
    return found


def out_of_date(stack: Stack, books: Sequence[Book]) -> list[str]:
    """Tells of inventories that lacked a change told before, where 0017-shop-cache.md leaves no window for it.

    That is only when Valkey, with its memory, did not answer whoever made the change. When it is killed it comes back
    empty, so connections that it refuses or breaks are no excuse, but time-outs are: it was there, and too slow.
    """
    timeouts = [at for name in stack.config.instance_names("payments") for at in _timeouts(stack, name)]

    def is_excused(change: Change) -> bool:
        # Between two probes nobody asks.
        since = change.asked_at - PROBE_SECONDS - TIMEOUT_SECONDS
        return any(since <= at <= change.told_at for at in timeouts)

    found = []
    for book in books:
        # Each of the changes would have removed the goods from before.
        lies = [changes for changes in book.missed if not all(map(is_excused, changes))]
        if lies:
            at = datetime.fromtimestamp(lies[0][-1].told_at, UTC)
            found.append(f"{book.person.user_id}: {len(lies)} inventories lacked what was told, first at {at}")
    return found


def _timeouts(stack: Stack, name: str) -> list[float]:
    """When a process found Valkey too slow, in seconds of Unix time."""
    log = (stack.home.logs / f"{name}.log").read_text()
    return [datetime.fromisoformat(match[1]).timestamp() for match in _TIMEOUT.finditer(log)]


def _line(purchase: Purchase | None) -> str:
    return str(purchase).replace("\n", " ")


# Colours are around the time.
_TIMEOUT = re.compile(r"^\S*?(\d{4}-\d\d-\d\dT[\d:.]+Z).*cache_failed.*Timeout", re.MULTILINE)
_GOODS = """
    SELECT product_id, quantity FROM goods WHERE user_id = $1::uuid AND quantity > 0 ORDER BY product_id DESC
"""
