"""What Payments does."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from gozon.payments.v1.payments_pb2 import Account, DepositRequest
from kit import idempotency, inbox
from kit.db import Database, Transaction, atomic
from kit.events import Event
from kit.ids import new_id
from kit.outbox import Outbox
from kit.telemetry import trace_id
from services.payments import domain, events, repository
from services.payments.domain import (
    DEFAULT_CURRENCY,
    SUCCEEDED,
    AccountExists,
    AccountNotFound,
    BalanceLimit,
    Charge,
    CurrencyMismatch,
)
from services.topology import PAYMENTS_CHARGE

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Deposited:
    """The account after a deposit, made now or by an earlier request with the same idempotency key."""

    account: Account
    replayed: bool


class PaymentService:
    """Keeps accounts, takes the money for orders."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    @atomic
    async def open_account(self, user_id: str, currency: str) -> Account:
        """Opens the account of a user. Errors: AccountExists."""
        async with self._database.transaction() as tx:
            account = await repository.insert_account(tx, user_id, currency or DEFAULT_CURRENCY, datetime.now(UTC))
        if account is None:
            raise AccountExists
        return account

    async def get_account(self, user_id: str) -> Account:
        """Returns the account of a user. Errors: AccountNotFound."""
        async with self._database.autocommit() as connection:
            account = await repository.account_of(connection, user_id)
        if account is None:
            raise AccountNotFound
        return account

    @atomic
    async def deposit(self, request: DepositRequest, key: idempotency.Key) -> Deposited:
        """Adds money, once per key. Errors: AccountNotFound, CurrencyMismatch, BalanceLimit, IdempotencyKeyReused."""
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            first = await idempotency.claim(tx, key)
            if first is not None:
                return Deposited(Account.FromString(first), replayed=True)
            account = await repository.add_money(tx, request.user_id, request.amount, request.currency, now)
            if account is None:
                raise await self._why_not(tx, request.user_id, request.currency)
            entries = domain.deposit_entries(request.user_id, new_id(), request.amount, account.currency)
            await repository.insert_entries(tx, entries, now)
            await idempotency.answer(tx, key, account)
        return Deposited(account, replayed=False)

    @atomic
    async def charge(self, messages: Sequence[Event]) -> None:
        """Takes the money for the orders that the events `orders.created` are about, or decides that it can't be taken.

        An order is decided about once. When it is asked for again, in a new message, the answer is told again.
        """
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            new_ones = await inbox.new_ones(tx, PAYMENTS_CHARGE.name, messages)
            requests = list({r.order_id: r for r in map(events.charge_request, new_ones)}.values())
            if not requests:
                return
            # First the locks, then the look at what was decided: whoever held them has committed by then.
            funds = await repository.lock_funds(tx, (request.user_id for request in requests))
            decided = await repository.charges_of(tx, requests)
            charges = domain.decide((r for r in requests if r.order_id not in decided), funds)
            await self._book(tx, charges, now)
            answers = [events.charge_decided(charge, now) for charge in (*charges, *decided.values())]
            await self._outbox.add(tx, answers)
        for charge in charges:
            request = charge.request
            log.debug(
                "charged" if charge.status == SUCCEEDED else "charge_refused",
                order_id=request.order_id,
                reason=charge.reason,
                trace_id=trace_id(request.traceparent),
            )

    async def _book(self, tx: Transaction, charges: Sequence[Charge], now: datetime) -> None:
        if not charges:
            return
        await repository.take_money(tx, charges, now)
        await repository.insert_charges(tx, charges, now)
        if entries := domain.charge_entries(charges):
            await repository.insert_entries(tx, entries, now)

    async def _why_not(
        self, tx: Transaction, user_id: str, currency: str
    ) -> AccountNotFound | CurrencyMismatch | BalanceLimit:
        account = await repository.account_of(tx, user_id)
        if account is None:
            return AccountNotFound()
        if currency and account.currency != currency:
            return CurrencyMismatch(f"The account is in {account.currency}.")
        return BalanceLimit()
