"""services.payments.api: who may do what to whose account."""

import pytest

from gozon.payments.v1.payments_pb2 import DepositRequest, GetAccountRequest, OpenAccountRequest
from kit.auth import Identity
from kit.errors import IdempotencyKeyRequired
from kit.ids import new_id
from kit.rpc import Call
from services.payments.api import PaymentsApi
from services.payments.domain import AccountExists
from services.payments.service import PaymentService

USER, OTHER = new_id(), new_id()


def call(user_id: str = USER, *, key: str = "", role: str = "user", rest: bool = False) -> Call:
    metadata = {"x-envoy-original-path": "/accounts"} if rest else {}
    return Call(Identity(user_id, frozenset({role}), 0), metadata, key)


@pytest.fixture
def api(service: PaymentService) -> PaymentsApi:
    return PaymentsApi(service)


async def test_opening_an_account_over_rest_is_a_creation(api: PaymentsApi) -> None:
    own = call(rest=True)
    account = await api.open_account(OpenAccountRequest(user_id=USER), own)
    assert own.response_headers == {"x-http-code": "201", "location": f"/accounts/{USER}"}
    grpc_call = call()
    with pytest.raises(AccountExists):
        await api.open_account(OpenAccountRequest(user_id=USER), grpc_call)
    assert grpc_call.response_headers == {}
    assert await api.get_account(GetAccountRequest(user_id=USER), call()) == account


async def test_an_id_means_the_same_in_whatever_case_it_is_written(api: PaymentsApi) -> None:
    await api.open_account(OpenAccountRequest(user_id=USER.upper()), call())
    assert (await api.get_account(GetAccountRequest(user_id=USER.upper()), call())).user_id == USER


async def test_an_admin_may_do_all_that(api: PaymentsApi) -> None:
    admin = call(OTHER, key="k", role="admin")
    await api.open_account(OpenAccountRequest(user_id=USER), admin)
    await api.deposit(DepositRequest(user_id=USER, amount=5), admin)
    assert (await api.get_account(GetAccountRequest(user_id=USER), admin)).balance == 5


async def test_a_deposit_needs_a_key_and_says_when_it_is_a_replay(api: PaymentsApi) -> None:
    await api.open_account(OpenAccountRequest(user_id=USER), call())
    request = DepositRequest(user_id=USER, amount=5)
    with pytest.raises(IdempotencyKeyRequired):
        await api.deposit(request, call())
    first, again = call(key="k"), call(key="k")
    assert await api.deposit(request, first) == await api.deposit(request, again)
    assert (first.response_headers, again.response_headers) == ({}, {"idempotency-replayed": "true"})
