"""The RPCs of Payments."""

from datetime import UTC, datetime

from gozon.payments.v1.payments_pb2 import (
    Account,
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    GetAccountRequest,
    Hold,
    ListEntriesRequest,
    ListEntriesResponse,
    OpenAccountRequest,
    ReleaseHoldRequest,
)
from kit import access, idempotency
from kit.errors import IdempotencyKeyRequired, InvalidArgument, InvalidPageToken, UserNotFound
from kit.ids import canonical
from kit.rpc import Call
from services.payments.domain import RELEASED, AccountNotFound, CaptureRequest, HoldRequest, ReleaseRequest
from services.payments.service import PaymentService

RULES = {
    "OpenAccount": access.owner("user_id", UserNotFound),
    "GetAccount": access.owner("user_id", AccountNotFound),
    "Deposit": access.owner("user_id", AccountNotFound),
    "CreateHold": access.ADMIN,
    "CaptureHold": access.ADMIN,
    "ReleaseHold": access.ADMIN,
    "ListEntries": access.owner("user_id", AccountNotFound),
}
DEFAULT_PAGE_SIZE = 20
NEWEST = 2**63 - 1


class PaymentsApi:
    """gozon.payments.v1.PaymentsService."""

    def __init__(self, service: PaymentService) -> None:
        self._service = service

    async def open_account(self, request: OpenAccountRequest, call: Call) -> Account:
        user_id = canonical(request.user_id)
        account = await self._service.open_account(user_id, request.currency)
        call.created(f"/accounts/{user_id}")
        return account

    async def get_account(self, request: GetAccountRequest, call: Call) -> Account:
        return await self._service.get_account(canonical(request.user_id), _moment(request))

    async def deposit(self, request: DepositRequest, call: Call) -> Account:
        user_id = request.user_id = canonical(request.user_id)
        key = _key("Deposit", request, call)
        deposited = await self._service.deposit(user_id, request.amount, request.currency, key)
        if deposited.replayed:
            call.replayed()
        return deposited.account

    async def create_hold(self, request: CreateHoldRequest, call: Call) -> Hold:
        user_id = request.user_id = canonical(request.user_id)
        order_id = request.order_id = canonical(request.order_id)
        key = _key("CreateHold", request, call)
        held = await self._service.create_hold(HoldRequest(user_id, order_id, request.amount, request.currency), key)
        if held.replayed:
            call.replayed()
        return held.hold

    async def capture_hold(self, request: CaptureHoldRequest, call: Call) -> Hold:
        user_id, order_id = canonical(request.user_id), canonical(request.order_id)
        return await self._service.capture_hold(CaptureRequest(user_id, order_id, request.amount))

    async def release_hold(self, request: ReleaseHoldRequest, call: Call) -> Hold:
        user_id, order_id = canonical(request.user_id), canonical(request.order_id)
        return await self._service.release_hold(ReleaseRequest(user_id, order_id, RELEASED))

    async def list_entries(self, request: ListEntriesRequest, call: Call) -> ListEntriesResponse:
        limit = request.page_size or DEFAULT_PAGE_SIZE
        before = _read_page_token(request.page_token)
        # One more than asked for tells whether there is a next page.
        entries = await self._service.list_entries(canonical(request.user_id), before, limit + 1)
        next_page_token = str(entries[limit - 1].number) if len(entries) > limit else ""
        return ListEntriesResponse(entries=entries[:limit], next_page_token=next_page_token)


def _moment(request: GetAccountRequest) -> datetime | None:
    if not request.HasField("at"):
        return None
    try:
        return request.at.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(violations=(("at", "must be a moment in the years 1 to 9999"),)) from None


def _key(method: str, request: DepositRequest | CreateHoldRequest, call: Call) -> idempotency.Key:
    if not call.idempotency_key:
        raise IdempotencyKeyRequired
    return idempotency.key_of(call.caller.user_id, method, call.idempotency_key, request)


def _read_page_token(page_token: str) -> int:
    """The number of the last entry of the page before."""
    if not page_token:
        return NEWEST
    if not (page_token.isascii() and page_token.isdigit() and int(page_token) <= NEWEST):
        raise InvalidPageToken
    return int(page_token)
