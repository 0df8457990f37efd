"""The RPCs of Payments."""

from gozon.payments.v1.payments_pb2 import Account, DepositRequest, GetAccountRequest, OpenAccountRequest
from kit import access, idempotency
from kit.errors import IdempotencyKeyRequired, UserNotFound
from kit.ids import canonical
from kit.rpc import Call
from services.payments.domain import AccountNotFound
from services.payments.service import PaymentService

RULES = {
    "OpenAccount": access.owner("user_id", UserNotFound),
    "GetAccount": access.owner("user_id", AccountNotFound),
    "Deposit": access.owner("user_id", AccountNotFound),
}


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
        return await self._service.get_account(canonical(request.user_id))

    async def deposit(self, request: DepositRequest, call: Call) -> Account:
        request.user_id = canonical(request.user_id)
        if not call.idempotency_key:
            raise IdempotencyKeyRequired
        key = idempotency.key_of(call.caller.user_id, "Deposit", call.idempotency_key, request)
        deposited = await self._service.deposit(request, key)
        if deposited.replayed:
            call.replayed()
        return deposited.account
