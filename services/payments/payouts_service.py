"""What Payments does for payouts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from gozon.payouts.v1.payouts_pb2 import CreatePayoutRequest, Payout, Recipient, StartPayoutResponse
from kit import idempotency
from kit.auth import Identity
from kit.db import Database, Transaction, atomic
from kit.errors import IdempotencyKeyReused, PermissionDenied, StaleEtag, TransitionNotAllowed
from kit.events import Event
from kit.ids import new_id
from kit.outbox import Outbox
from kit.sealing import Sealer
from kit.telemetry import traceparent
from services.payments import events, payouts, payouts_repository, repository
from services.payments.domain import Limits
from services.payments.payouts import (
    CANCEL,
    CANCELED,
    COMPLETED,
    FAILED,
    MOVES,
    PENDING,
    PROCESSING,
    START,
    PayoutNotFound,
)
from services.payments.payouts_repository import Change, Filter, Stored

SWEEP_SECONDS = 5.0
SWEEP_LIMIT = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answered:
    """The payout as a request is answered, now or when it first came with the same idempotency key."""

    payout: Payout
    replayed: bool


@dataclass(frozen=True, slots=True)
class Update:
    """What somebody wants a payout to be; None leaves it as it is."""

    comment: str | None = None
    status: str | None = None
    failure_reason: str = ""
    """With status FAILED, and only then."""
    etag: str = ""
    """Of the state that is to be changed; empty for any."""


class PayoutService:
    """Accepts payouts, lets workers pay them, and keeps their money right meanwhile."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        sealer: Sealer,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._sealer = sealer
        self._limits = limits

    @atomic
    async def create_payout(
        self, request: CreatePayoutRequest, recipient: Recipient, user_id: str, key: idempotency.Key
    ) -> Answered:
        """Accepts a payout and holds its money, once per key. `request` has a masked recipient, `recipient` is it.

        Errors: AccountNotFound, CurrencyMismatch, PayoutLimit, InsufficientFunds, IdempotencyKeyReused.
        """
        now, trace = datetime.now(UTC), traceparent.get()
        async with self._database.transaction() as tx:
            if (first := await idempotency.claim(tx, key)) is not None:
                payout = Payout.FromString(first)
                # The key knows what is masked: who was to be paid the first time is known here alone.
                if self._open(await self._lock(tx, payout.id, user_id)) != recipient:
                    raise IdempotencyKeyReused
                return Answered(payout, replayed=True)
            payout_id = new_id()
            books = await repository.lock_books(tx, [user_id], [], now, self._limits)
            account = books.hold_payout(user_id, payout_id, request.amount, request.currency)
            await repository.write(tx, books)
            new = Payout(
                id=payout_id,
                user_id=user_id,
                amount=request.amount,
                currency=account.currency,
                recipient=request.recipient,
                comment=request.comment,
            )
            sealed = self._sealer.seal(recipient.SerializeToString(), payout_id)
            payout = await payouts_repository.insert(tx, new, sealed, now)
            asked = events.payout_requested(payout_id, user_id, trace)
            told = [events.payout_changed(payout, trace), *events.balances_changed(books.moved(), trace)]
            await self._outbox.add(tx, [asked, *told])
            await idempotency.answer(tx, key, payout)
        log.info("payout_created", payout_id=payout_id)
        return Answered(payout, replayed=False)

    async def list_payouts(self, which: Filter, before: str, limit: int) -> list[Payout]:
        """Returns payouts with ids below `before`, newest first."""
        async with self._database.autocommit() as connection:
            return await payouts_repository.page(connection, which, before, limit)

    async def get_payout(self, payout_id: str, caller: Identity) -> Payout:
        """Returns a payout of the caller, or any payout to an admin. Errors: PayoutNotFound."""
        async with self._database.autocommit() as connection:
            stored = await payouts_repository.by_id(connection, _owner(caller), payout_id)
        if stored is None:
            raise PayoutNotFound
        return stored.payout

    @atomic
    async def update_payout(self, payout_id: str, caller: Identity, update: Update) -> Payout:
        """Changes a payout and returns it as it is then; what it is already changes nothing.

        Errors: PermissionDenied for a status without being an admin; PayoutNotFound; StaleEtag; TransitionNotAllowed.
        """
        if update.status is not None and not caller.is_admin:
            raise PermissionDenied
        async with self._database.transaction() as tx:
            payout = (await self._lock(tx, payout_id, _owner(caller))).payout
            status = _require_etag(payout, update.etag)
            comment = update.comment if update.comment != payout.comment else None
            step = payouts.step_to(update.status, status) if update.status is not None else None
            if comment is not None and status != PENDING:
                raise TransitionNotAllowed(f"The comment of a payout that is {status} does not change any more.")
            if step is None and comment is None:
                return payout
            after = payouts.require(step, status) if step else status
            change = Change(after, datetime.now(UTC), comment, failure_reason=update.failure_reason if step else "")
            payout = await self._change(tx, payout, step, change)
        log.info("payout_updated", payout_id=payout_id, step=step, actor_id=caller.user_id)
        return payout

    @atomic
    async def delete_payout(self, payout_id: str, caller: Identity, etag: str) -> None:
        """Cancels a payout that nobody has begun, and takes it out of lists; again that changes nothing.

        Errors: PayoutNotFound, StaleEtag, TransitionNotAllowed.
        """
        async with self._database.transaction() as tx:
            payout = (await self._lock(tx, payout_id, _owner(caller))).payout
            if payout.HasField("deleted_at"):
                return
            status = _require_etag(payout, etag)
            step = CANCEL if status != CANCELED else None
            if step:
                payouts.require(step, status)
            await self._change(tx, payout, step, Change(CANCELED, datetime.now(UTC), deleted=True))
        log.info("payout_deleted", payout_id=payout_id, actor_id=caller.user_id)

    @atomic
    async def start_payout(self, payout_id: str) -> StartPayoutResponse:
        """Begins a payout, unless somebody did, and returns it with its recipient. Errors: PayoutNotFound."""
        async with self._database.transaction() as tx:
            stored = await self._lock(tx, payout_id, None)
            payout = stored.payout
            status = _status(payout)
            if status == PENDING:
                payout = await self._change(tx, payout, START, Change(PROCESSING, datetime.now(UTC)))
            response = StartPayoutResponse(payout=payout, begun_before=status not in (PENDING, CANCELED))
            if payout.status == Payout.PROCESSING:
                # Before the commit: what can't be opened can't be paid, and stays PENDING.
                response.recipient.CopyFrom(self._open(stored))
        return response

    @atomic
    async def finish_payout(self, payout_id: str, outcome: str, failure_reason: str, provider_reference: str) -> Payout:
        """Ends a payout as its provider says, COMPLETED or FAILED; one that has ended so is returned as it is.

        Errors: PayoutNotFound, TransitionNotAllowed.
        """
        async with self._database.transaction() as tx:
            payout = (await self._lock(tx, payout_id, None)).payout
            status = _status(payout)
            try:
                step = payouts.step_to(outcome, status)
            except TransitionNotAllowed:
                # The provider's books and ours differ: somebody has to look.
                log.error("payout_outcome_contradicts", payout_id=payout_id, status=status, outcome=outcome)
                raise
            if step is None:
                return payout
            change = Change(
                outcome,
                datetime.now(UTC),
                failure_reason=failure_reason if outcome == FAILED else "",
                provider_reference=provider_reference if outcome == COMPLETED else "",
            )
            payout = await self._change(tx, payout, step, change)
        log.info("payout_finished", payout_id=payout_id, status=outcome)
        return payout

    async def ask_again_now_and_then(self, workers_are_idle: Callable[[], Awaitable[bool]]) -> None:
        """Asks workers again for what they have not ended, for ever, whenever nothing new waits for them.

        This is what makes the loss of a queue harmless: the question was in there. As long as questions wait, that of a
        payout may be one of them; and what a provider takes days for must not come before what is new.
        """
        while True:
            try:
                if await workers_are_idle() and (found := await self.ask_again()):
                    log.warning("asked_again", payouts=found)
            except Exception as error:
                log.warning("sweep_failed", error=repr(error))
            await asyncio.sleep(SWEEP_SECONDS)

    @atomic
    async def ask_again(self) -> int:
        """Asks workers again for at most 200 payouts, and returns for how many it did."""
        async with self._database.transaction() as tx:
            found = await payouts_repository.unended(tx, datetime.now(UTC), SWEEP_LIMIT)
            await self._outbox.add(tx, [events.payout_requested(payout_id, user, "") for payout_id, user in found])
        return len(found)

    async def _change(self, tx: Transaction, payout: Payout, step: str | None, change: Change) -> Payout:
        """Changes a locked payout, moves its money if it ends by this step, and tells."""
        trace = traceparent.get()
        moved: list[Event] = []
        if step is not None and step in MOVES:
            # The payout first, then its account, everywhere: nobody waits for a payout while holding an account.
            books = await repository.lock_books(tx, [payout.user_id], [], change.at, self._limits)
            books.end_payout(payout.user_id, payout.id, payout.amount, step)
            await repository.write(tx, books)
            moved = events.balances_changed(books.moved(), trace)
        changed = await payouts_repository.change(tx, payout, change)
        await self._outbox.add(tx, [events.payout_changed(changed, trace), *moved])
        return changed

    async def _lock(self, tx: Transaction, payout_id: str, user_id: str | None) -> Stored:
        stored = await payouts_repository.lock(tx, user_id, payout_id)
        if stored is None:
            raise PayoutNotFound
        return stored

    def _open(self, stored: Stored) -> Recipient:
        return Recipient.FromString(self._sealer.open(stored.sealed, stored.payout.id))


def _status(payout: Payout) -> str:
    return Payout.Status.Name(payout.status)


def _require_etag(payout: Payout, etag: str) -> str:
    """Returns the status of a payout that is what an etag stands for, if one is given. Errors: StaleEtag."""
    if etag not in ("", payout.etag):
        raise StaleEtag
    return _status(payout)


def _owner(caller: Identity) -> str | None:
    """Returns whose payouts a caller may see; None for anybody's."""
    return None if caller.is_admin else caller.user_id
