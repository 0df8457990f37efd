"""What Payments does."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from gozon.payments.v1 import payments_pb2
from gozon.payments.v1.payments_pb2 import Account, Entry
from kit import idempotency, inbox
from kit.db import Database, Transaction, atomic
from kit.events import Event
from kit.outbox import Outbox
from kit.telemetry import trace_id, traceparent
from services.payments import events, repository
from services.payments.books import Books
from services.payments.domain import (
    AUTHORIZED,
    DEFAULT_CURRENCY,
    ORDERS,
    AccountExists,
    AccountNotFound,
    CaptureRequest,
    HoldCaptured,
    HoldReleased,
    HoldRequest,
    Limits,
    Payment,
    ReleaseRequest,
    Request,
)
from services.topology import PAYMENTS_CHARGE

RELEASE_SECONDS = 5.0
RELEASE_LIMIT = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Deposited:
    """The account after a deposit, made now or by an earlier request with the same idempotency key."""

    account: Account
    replayed: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What was held for an order, now or by an earlier request with the same idempotency key."""

    hold: payments_pb2.Hold
    replayed: bool


class PaymentService:
    """Keeps accounts and their ledger; takes, holds and gives back the money for orders."""

    def __init__(self, database: Database, outbox: Outbox, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._database = database
        self._outbox = outbox
        self._limits = limits

    @atomic
    async def open_account(self, user_id: str, currency: str) -> Account:
        """Opens the account of a user. Errors: AccountExists."""
        async with self._database.transaction() as tx:
            account = await repository.insert_account(tx, user_id, currency or DEFAULT_CURRENCY, datetime.now(UTC))
            if account is None:
                raise AccountExists
            await self._outbox.add(tx, [events.account_opened(account, traceparent.get())])
        return account

    async def get_account(self, user_id: str, at: datetime | None = None) -> Account:
        """Returns the account of a user, as it is or as it was at a moment. Errors: AccountNotFound."""
        async with self._database.autocommit() as connection:
            if at is None:
                account = await repository.account_of(connection, user_id)
            else:
                account = await repository.account_at(connection, user_id, at)
        if account is None:
            raise AccountNotFound
        return account

    async def list_entries(self, user_id: str, before: int, limit: int) -> list[Entry]:
        """Returns the lines of a statement with numbers below `before`, newest first. Errors: AccountNotFound."""
        async with self._database.autocommit() as connection:
            entries = await repository.entries_of(connection, user_id, before, limit)
        if not entries:
            await self.get_account(user_id)
        return entries

    @atomic
    async def deposit(self, user_id: str, amount: int, currency: str, key: idempotency.Key) -> Deposited:
        """Adds money, once per key.

        Errors: AccountNotFound, CurrencyMismatch, DepositLimit, BalanceLimit, IdempotencyKeyReused.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            if (first := await idempotency.claim(tx, key)) is not None:
                return Deposited(Account.FromString(first), replayed=True)
            books = await repository.lock_books(tx, [user_id], [], now, self._limits)
            after = books.deposit(user_id, amount, currency)
            await repository.write(tx, books)
            account = events.shown(after)
            await self._outbox.add(tx, events.balances_changed(books.moved(), traceparent.get()))
            await idempotency.answer(tx, key, account)
        return Deposited(account, replayed=False)

    @atomic
    async def create_hold(self, request: HoldRequest, key: idempotency.Key) -> Held:
        """Holds money for an order, once per order.

        Errors: AccountNotFound, CurrencyMismatch, InsufficientFunds, PaymentExists, IdempotencyKeyReused.
        """
        async with self._database.transaction() as tx:
            if (first := await idempotency.claim(tx, key)) is not None:
                return Held(payments_pb2.Hold.FromString(first), replayed=True)
            hold = _hold(await self._do(tx, request))
            await idempotency.answer(tx, key, hold)
        return Held(hold, replayed=False)

    @atomic
    async def capture_hold(self, request: CaptureRequest) -> payments_pb2.Hold:
        """Takes what is held for an order. Errors: HoldNotFound, CaptureTooLarge, HoldCaptured, HoldReleased."""
        async with self._database.transaction() as tx:
            payment = await self._do(tx, request)
            if not payment.captured:
                raise HoldReleased
            if payment.captured != (request.amount or payment.amount):
                raise HoldCaptured(f"{payment.captured} minor units were taken already.")
        return _hold(payment)

    @atomic
    async def release_hold(self, request: ReleaseRequest) -> payments_pb2.Hold:
        """Gives back what is held for an order. Errors: HoldNotFound, HoldCaptured."""
        async with self._database.transaction() as tx:
            payment = await self._do(tx, request)
            if payment.captured:
                raise HoldCaptured
        return _hold(payment)

    @atomic
    async def answer_orders(self, messages: Sequence[Event]) -> None:
        """Does what events of Orders ask for: takes money, holds it, gives it back, or decides that it can't be.

        An order is decided about once. When it is asked for again, in a new message, the answer is told again.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            new_ones = await inbox.new_ones(tx, PAYMENTS_CHARGE.name, messages)
            if not new_ones:
                return
            asked = [(events.request_of(message), message.traceparent) for message in new_ones]
            requests = [request for request, _ in asked]
            books = await self._lock(tx, requests, now)
            outcomes = [books.apply(request) for request in requests]
            await repository.write(tx, books)
            at = _timestamp(now)
            answers = [
                (request.user_id, events.answer(request, outcome, at, trace))
                for (request, trace), outcome in zip(asked, outcomes, strict=True)
            ]
            await self._outbox.add(tx, events.with_balances(answers, books.moved()))
        for (request, trace), outcome in zip(asked, outcomes, strict=True):
            log.debug("order_answered", order_id=request.order_id, status=outcome.status, trace_id=trace_id(trace))

    async def release_expired_now_and_then(self) -> None:
        """Releases what is held for too long, for ever."""
        while True:
            try:
                while released := await self._release_expired():
                    log.info("holds_expired", holds=released)
            except Exception as error:
                log.warning("release_failed", error=repr(error))
            await asyncio.sleep(RELEASE_SECONDS)

    @atomic
    async def _release_expired(self) -> int:
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            # Read without locks: whoever captures or releases in the meantime is seen once the accounts are locked.
            requests = await repository.expired_holds(tx, now, RELEASE_LIMIT)
            if requests:
                books = await self._lock(tx, requests, now)
                for request in requests:
                    books.apply(request)
                await self._write_and_tell(tx, books, now)
        return len(requests)

    async def _do(self, tx: Transaction, request: Request) -> Payment:
        """Does what an admin asks for, and tells Orders if that changed a payment of its own."""
        now = datetime.now(UTC)
        books = await self._lock(tx, [request], now)
        payment = books.apply(request)
        assert isinstance(payment, Payment)
        await self._write_and_tell(tx, books, now)
        return payment

    async def _lock(self, tx: Transaction, requests: Sequence[Request], now: datetime) -> Books:
        return await repository.lock_books(tx, (r.user_id for r in requests), requests, now, self._limits)

    async def _write_and_tell(self, tx: Transaction, books: Books, now: datetime) -> None:
        await repository.write(tx, books)
        # Orders hears of what an admin held when it asks for the order's money.
        changed = [p for p in books.payments.values() if books.changed(p) and p.requested_by == ORDERS]
        at, trace = _timestamp(now), traceparent.get()
        told = [events.payment_is(payment, at, trace) for payment in changed]
        await self._outbox.add(tx, [*told, *events.balances_changed(books.moved(), trace)])


def _timestamp(moment: datetime) -> Timestamp:
    # Once for a batch: it costs more than the rest of an answer.
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _hold(payment: Payment) -> payments_pb2.Hold:
    if payment.captured:
        status = payments_pb2.Hold.CAPTURED
    else:
        status = payments_pb2.Hold.HELD if payment.status == AUTHORIZED else payments_pb2.Hold.RELEASED
    return payments_pb2.Hold(
        order_id=payment.order_id,
        user_id=payment.user_id,
        status=status,
        amount=payment.amount,
        captured_amount=payment.captured,
        currency=payment.currency,
        expires_at=payment.expires_at,
        created_at=payment.created_at,
        updated_at=payment.updated_at,
    )
