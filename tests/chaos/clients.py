"""Careful clients of the edge, whatever dies, and what they were told.

A request gets an idempotency key, and is sent again with the same key until it is answered. So in the end every request
was accepted or refused exactly once, and the books can be compared to the last kopek.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import httpx

from gozon.orders.v1.orders_pb2 import Order
from gozon.shop.v1.shop_pb2 import Purchase
from tests.bench.people import Person
from tests.support import reason_of

T = TypeVar("T")

ATTEMPT_SECONDS = 5.0
PATIENCE_SECONDS = 90.0
"""One request is sent again for at most this long."""
NOT_ALLOWED = frozenset(("TRANSITION_NOT_ALLOWED", "REFUND_TOO_LARGE"))
"""Why what became of an order or a payout meanwhile forbids a change."""
CLEAN_CODES = frozenset(
    (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
)
CLEAN_STATUSES = frozenset((429, 503, 504))
REPLAYED = "idempotency-replayed"
CHANNEL_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


class Refused(Exception):
    """A request was not accepted; `clean` says whether a client may expect that while something is down."""

    def __init__(self, kind: str, reason: str = "", *, clean: bool) -> None:
        """`reason` is that of the ErrorInfo, if there is one."""
        super().__init__(kind)
        self.kind = kind
        self.reason = reason
        self.clean = clean


class NotAllowed(Exception):
    """The answer is no, and will stay no."""


@dataclass(slots=True)
class Bought:
    """An accepted order, and which changes of it were accepted."""

    price: int
    manual: bool = False
    shipped: bool = False
    canceled: bool = False
    refunded: int = 0

    @property
    def ends(self) -> frozenset[Order.Status]:
        """What it may be when everything is settled."""
        if self.canceled:
            return frozenset((Order.CANCELED,))
        if self.shipped:
            return frozenset((Order.SHIPPED,))
        return frozenset((Order.AUTHORIZED if self.manual else Order.PAID, Order.CANCELED))


@dataclass(slots=True)
class PaidOut:
    """An accepted payout, and whether it was deleted before anybody began it."""

    amount: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A purchase or use that was accepted: when it was asked for and when that was told, in seconds of Unix time."""

    asked_at: float
    told_at: float


@dataclass(slots=True)
class Book:
    """What one person was told."""

    person: Person
    deposited: int
    orders: dict[str, Bought] = field(default_factory=dict)
    """Every accepted order by id."""
    payouts: dict[str, PaidOut] = field(default_factory=dict)
    """Every accepted payout by id."""
    purchases: dict[str, Purchase] = field(default_factory=dict)
    """Every accepted purchase by id."""
    uses: Counter[str] = field(default_factory=Counter)
    """How many goods were used, by product."""
    looks: int = 0
    """How many inventories were seen."""
    missed: list[Sequence[Change]] = field(default_factory=list)
    """For every inventory that was out of date: the changes that it lacked, told before it was asked for."""
    replays: int = 0
    problems: list[str] = field(default_factory=list)
    """Answers that no outage excuses."""
    refused: list[tuple[float, str]] = field(default_factory=list)
    """When (time.monotonic) and how a request was refused cleanly."""
    answers: int = 0
    slowest: float = 0
    """How long the slowest answer took, its refusals before it included, in seconds."""


class Client:
    """Somebody who sends requests and does not give up."""

    def __init__(self, book: Book, seed: str) -> None:
        self.book = book
        self._random = random.Random(seed)

    async def created(self, send: Callable[[], Awaitable[tuple[str, bool]]], known: Container[str]) -> str | None:
        """Returns the id of what was created, which is not `known`; None when that was not allowed.

        Now and then it is sent again, as by a client that missed the answer, which must be noticed.
        """
        answer = await self.until_answered(send)
        if answer is None:
            return None
        new_id, _ = answer
        if new_id in known:
            self.book.problems.append(f"two requests got {new_id}")
        if self._random.random() < 0.1:
            again = await self.until_answered(send)
            if again is not None and again != (new_id, True):
                self.book.problems.append(f"the key of {new_id} sent again gave {again[0]}, replayed {again[1]}")
            self.book.replays += 1
        return new_id

    async def once_and_again(self, send: Callable[[], Awaitable[bool]], what: str) -> bool:
        """Says whether it was accepted. Now and then it is sent again, which must be noticed."""
        if await self.until_answered(send) is None:
            return False
        if self._random.random() < 0.1:
            if await self.until_answered(send) is False:
                self.book.problems.append(f"{what} with the same key was taken for a new one")
            self.book.replays += 1
        return True

    async def until_answered(self, send: Callable[[], Awaitable[T]]) -> T | None:
        """Sends until it is accepted; None when it is not allowed, took too long or is nothing to send again."""
        began = time.monotonic()
        deadline = began + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = await send()
                self.book.answers += 1
                self.book.slowest = max(self.book.slowest, time.monotonic() - began)
                return answer
            except NotAllowed:
                return None
            except Refused as refused:
                if not refused.clean:
                    self.book.problems.append(refused.kind)
                    return None
                self.book.refused.append((time.monotonic(), refused.kind))
            await asyncio.sleep(self._random.uniform(0.05, 0.2))
        self.book.problems.append(f"no answer within {PATIENCE_SECONDS:.0f} s")
        return None


async def call(method: Any, request: Any, person: Person, key: str = "") -> tuple[Any, bool]:
    """Calls over gRPC, and returns the answer and whether it is a repeated one. Errors: Refused, NotAllowed."""
    metadata = (*person.metadata, *((("idempotency-key", key),) if key else ()))
    called = method(request, metadata=metadata, timeout=ATTEMPT_SECONDS)
    try:
        response = await called
        headers = dict(await called.initial_metadata())
    except grpc.aio.AioRpcError as error:
        if (reason := reason_of(error)) in NOT_ALLOWED:
            raise NotAllowed from None
        kind = f"gRPC {error.code().name}: {error.details()}"
        raise Refused(kind, reason, clean=error.code() in CLEAN_CODES or _is_cut(error)) from None
    return response, headers.get(REPLAYED) == "true"


async def send(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    person: Person,
    key: str = "",
    *,
    expected: int = 200,
) -> tuple[dict[str, Any], bool]:
    """Does so over REST; the answer is empty where 204 is `expected`. Errors: Refused, NotAllowed."""
    headers = dict(person.metadata) | ({"idempotency-key": key} if key else {})
    try:
        answer = await client.request(method, path, json=body, headers=headers, timeout=ATTEMPT_SECONDS)
    except httpx.TransportError as error:
        raise Refused(f"REST {type(error).__name__}: {error}", clean=True) from None
    if answer.status_code != expected:
        message, reason = _error(answer)
        if reason in NOT_ALLOWED:
            raise NotAllowed
        kind = f"REST {answer.status_code}: {message}"
        raise Refused(kind, reason, clean=answer.status_code in CLEAN_STATUSES)
    return answer.json() if answer.content else {}, answer.headers.get(REPLAYED) == "true"


def _is_cut(error: grpc.aio.AioRpcError) -> bool:
    """Says whether the answer broke off: whoever sent it died after its headers, when no other can be sent instead."""
    return error.code() == grpc.StatusCode.INTERNAL and "RST_STREAM" in (error.details() or "")


def _error(answer: httpx.Response) -> tuple[str, str]:
    """Returns the message and the reason of an error."""
    try:
        body = answer.json()
        return str(body["message"]), str(body["details"][0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError):
        # Every error has the same JSON shape, whoever made it; show what has not.
        return answer.text[:200], ""
