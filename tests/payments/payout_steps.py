"""What tests of payouts do and look at."""

import base64
from typing import Any

from gozon.payouts.v1.events_pb2 import PayoutChanged, PayoutRequested
from gozon.payouts.v1.payouts_pb2 import (
    Card,
    CreatePayoutRequest,
    DeletePayoutRequest,
    FinishPayoutRequest,
    GetPayoutRequest,
    Payout,
    Recipient,
    StartPayoutRequest,
    StartPayoutResponse,
    UpdatePayoutRequest,
)
from kit.auth import Identity
from kit.db import Database
from kit.ids import new_id
from kit.outbox import Outbox
from kit.rpc import Call
from kit.sealing import Sealer
from services import topology
from services.payments.domain import Limits
from services.payments.payouts_api import PayoutsApi
from services.payments.payouts_service import PayoutService
from tests.support import disconnected_bus, outbox_of

KEY, OTHER_KEY = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
CARD = "4242424242424242"
RECIPIENT = Recipient(type=Recipient.CARD, card=Card(number=CARD))
ADMIN_ID, WORKER_ID = new_id(), new_id()
EVENTS: dict[str, type[Any]] = {topology.PAYOUT_REQUESTED: PayoutRequested, topology.PAYOUT_CHANGED: PayoutChanged}


def payouts_on(database: Database, limits: Limits = Limits(), keys: str = KEY) -> PayoutService:  # noqa: B008 - frozen
    """One more instance of the service, with an outbox that keeps its messages."""
    return PayoutService(database, Outbox(database, disconnected_bus()), Sealer(keys), limits)


def api_on(database: Database, limits: Limits = Limits(), keys: str = KEY) -> PayoutsApi:  # noqa: B008 - frozen
    """The api of such an instance."""
    return PayoutsApi(payouts_on(database, limits, keys))


def call(user_id: str, key: str = "", role: str = "user", **metadata: str) -> Call:
    """A call of somebody."""
    return Call(Identity(user_id, frozenset({role}), 0), metadata, key)


def by_admin() -> Call:
    """A call of an administrator."""
    return call(ADMIN_ID, role="admin")


def by_worker() -> Call:
    """A call of a worker."""
    return call(WORKER_ID, role="worker")


async def create(api: PayoutsApi, user_id: str, amount: int = 300, *, key: str = "", **fields: Any) -> Payout:
    """Creates a payout to a card under a key, a new one if none is given."""
    request = CreatePayoutRequest(amount=amount, recipient=RECIPIENT)
    request.MergeFrom(CreatePayoutRequest(**fields))
    return await api.create_payout(request, call(user_id, key or new_id()))


async def start(api: PayoutsApi, payout: Payout) -> StartPayoutResponse:
    """A worker begins a payout."""
    return await api.start_payout(StartPayoutRequest(payout_id=payout.id), by_worker())


async def finish(api: PayoutsApi, payout: Payout, status: Payout.Status, **fields: str) -> Payout:
    """A worker ends a payout."""
    return await api.finish_payout(FinishPayoutRequest(payout_id=payout.id, status=status, **fields), by_worker())


async def update(api: PayoutsApi, payout: Payout, who: str = "", **fields: Any) -> Payout:
    """Changes a payout as a user, or as an admin."""
    request = UpdatePayoutRequest(payout_id=payout.id, **fields)
    return await api.update_payout(request, call(who) if who else by_admin())


async def delete(api: PayoutsApi, payout: Payout, who: str, **metadata: str) -> None:
    """The owner deletes a payout."""
    await api.delete_payout(DeletePayoutRequest(payout_id=payout.id), call(who, **metadata))


async def in_status(api: PayoutsApi, user_id: str, status: Payout.Status) -> Payout:
    """A payout that has come to a status on its usual way."""
    payout = await create(api, user_id)
    if status == Payout.CANCELED:
        await delete(api, payout, user_id)
    elif status != Payout.PENDING:
        await start(api, payout)
        if status != Payout.PROCESSING:
            await finish(api, payout, status)
    return await api.get_payout(GetPayoutRequest(payout_id=payout.id), call(user_id))


async def told(database: Database) -> list[tuple[str, str, str]]:
    """What waits in the outbox about payouts: subject, payout and status, oldest first."""
    found = []
    for event in await outbox_of(database):
        message = EVENTS[event.subject].FromString(event.payload)
        if isinstance(message, PayoutChanged):
            status = Payout.Status.Name(message.payout.status)
            found.append((event.subject, message.payout.id, status))
        else:
            found.append((event.subject, message.payout_id, ""))
    return found
