"""The RPCs of payouts."""

from typing import Literal

from google.protobuf.empty_pb2 import Empty

from gozon.payouts.v1.payouts_pb2 import (
    CreatePayoutRequest,
    DeletePayoutRequest,
    FinishPayoutRequest,
    GetPayoutRequest,
    ListPayoutsRequest,
    ListPayoutsResponse,
    Payout,
    Recipient,
    StartPayoutRequest,
    StartPayoutResponse,
    UpdatePayoutRequest,
)
from kit import access, idempotency, pages
from kit.errors import IdempotencyKeyRequired, InvalidArgument, UserNotFound
from kit.ids import canonical
from kit.rpc import Call
from services.payments import recipients
from services.payments.payouts import MAX_REASON, NO_REASON
from services.payments.payouts_repository import Filter
from services.payments.payouts_service import PayoutService, Update

RULES = {
    "CreatePayout": access.OWN,
    "ListPayouts": access.owner("user_id", UserNotFound),
    "GetPayout": access.BY_ROW,
    "UpdatePayout": access.BY_ROW,
    "DeletePayout": access.BY_ROW,
    "StartPayout": access.WORKER,
    "FinishPayout": access.WORKER,
}
DEFAULT_PAGE_SIZE = 20
Field = Literal["comment", "status", "failure_reason"]
UPDATED_FIELDS: frozenset[Field] = frozenset({"comment", "status", "failure_reason"})


class PayoutsApi:
    """gozon.payouts.v1.PayoutsService."""

    def __init__(self, service: PayoutService) -> None:
        self._service = service

    async def create_payout(self, request: CreatePayoutRequest, call: Call) -> Payout:
        if not call.idempotency_key:
            raise IdempotencyKeyRequired
        user_id = call.caller.user_id
        recipient = recipients.checked(request.recipient)
        # What is kept of the request, its hash too, must not give away who is paid: a number can be guessed.
        request.recipient.CopyFrom(recipients.masked(recipient))
        key = idempotency.key_of(user_id, "CreatePayout", call.idempotency_key, request)
        answered = await self._service.create_payout(request, recipient, user_id, key)
        call.created(f"/payouts/{answered.payout.id}")
        if answered.replayed:
            call.replayed()
        return self._payout(answered.payout, call)

    async def list_payouts(self, request: ListPayoutsRequest, call: Call) -> ListPayoutsResponse:
        limit = request.page_size or DEFAULT_PAGE_SIZE
        which = Filter(
            # Nobody named: the caller's own, and an admin's are everybody's.
            canonical(request.user_id) if request.user_id else None if call.caller.is_admin else call.caller.user_id,
            Payout.Status.Name(request.status) if request.status else "",
            Recipient.Type.Name(request.recipient_type) if request.recipient_type else "",
            request.show_deleted,
        )
        found = await self._service.list_payouts(which, pages.read_token(request.page_token), limit + 1)
        payouts, next_page_token = pages.cut(found, limit)
        return ListPayoutsResponse(payouts=payouts, next_page_token=next_page_token)

    async def get_payout(self, request: GetPayoutRequest, call: Call) -> Payout:
        return self._payout(await self._service.get_payout(canonical(request.payout_id), call.caller), call)

    async def update_payout(self, request: UpdatePayoutRequest, call: Call) -> Payout:
        update = _update(request, request.etag or call.if_match)
        return self._payout(await self._service.update_payout(canonical(request.payout_id), call.caller, update), call)

    async def delete_payout(self, request: DeletePayoutRequest, call: Call) -> Empty:
        await self._service.delete_payout(canonical(request.payout_id), call.caller, call.if_match)
        call.no_content()
        return Empty()

    async def start_payout(self, request: StartPayoutRequest, call: Call) -> StartPayoutResponse:
        return await self._service.start_payout(canonical(request.payout_id))

    async def finish_payout(self, request: FinishPayoutRequest, call: Call) -> Payout:
        return await self._service.finish_payout(
            canonical(request.payout_id),
            Payout.Status.Name(request.status),
            _reason(request.failure_reason) or NO_REASON,
            request.provider_reference,
        )

    def _payout(self, payout: Payout, call: Call) -> Payout:
        call.etag(payout.etag)
        return payout


def _update(request: UpdatePayoutRequest, etag: str) -> Update:
    """Reads what a request changes. Errors: InvalidArgument."""
    paths = set(request.update_mask.paths) or {name for name in UPDATED_FIELDS if request.HasField(name)}
    if not paths <= UPDATED_FIELDS:
        raise InvalidArgument(violations=(("update_mask", "may name comment, status and failure_reason"),))
    status = Payout.Status.Name(request.status) if "status" in paths else None
    if status is not None and not request.status:
        raise InvalidArgument(violations=(("status", "must be a status when it is to be changed"),))
    reason = _reason(request.failure_reason) if "failure_reason" in paths else ""
    if (status == "FAILED") != bool(reason):
        raise InvalidArgument(violations=(("failure_reason", "must be set with status FAILED, and only then"),))
    return Update(request.comment if "comment" in paths else None, status, reason, etag)


def _reason(text: str) -> str:
    """Returns why a payout failed, as its user may see it: the words of others may hold the recipient's number."""
    return recipients.without_numbers(text).strip()[:MAX_REASON].rstrip()
