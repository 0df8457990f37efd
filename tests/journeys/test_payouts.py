"""Payouts on the whole system: what is refused, by everybody it passes; tests/edge/test_payouts.py has the rest."""

import grpc
import pytest

from gozon.payouts.v1.payouts_pb2 import (
    Card,
    CreatePayoutRequest,
    FinishPayoutRequest,
    Payout,
    Recipient,
    StartPayoutRequest,
)
from kit.ids import new_id
from tests.conftest import NewUser
from tests.edge.expect import assert_error
from tests.support import Edge, User, refused

MONEY = 1000


@pytest.fixture
async def pat(edge: Edge, new_user: NewUser) -> User:
    """A user with money."""
    user = await new_user()
    await edge.deposit(user, MONEY)
    return user


@pytest.mark.parametrize("root", ["/payouts", "/api/payouts"])
async def test_what_is_refused_holds_nothing(root: str, edge: Edge, pat: User, alice: User) -> None:
    asked = {"recipient": {"type": "CARD", "card": {"number": "4242 4242 4242 4242"}}}
    for more, status, code, reason in (
        ({"amount": MONEY + 1}, 400, 9, "INSUFFICIENT_FUNDS"),
        ({"amount": 100_000_001}, 400, 9, "PAYOUT_LIMIT"),
        ({"amount": 1, "currency": "EUR"}, 400, 3, "CURRENCY_MISMATCH"),
        (
            {"amount": 1, "recipient": {"type": "CARD", "card": {"number": "4242 4242 4242 4241"}}},
            400,
            3,
            "INVALID_CARD",
        ),
    ):
        headers = {**pat.headers, "idempotency-key": new_id()}
        assert_error(await edge.rest.post(root, json={**asked, **more}, headers=headers), status, code, reason)
    account = (await edge.rest.get(f"/accounts/{pat.id}", headers=pat.headers)).json()
    assert (account["held"], account["available"]) == ("0", str(MONEY))
    assert (await edge.rest.get(root, headers=pat.headers)).json() == {"payouts": [], "next_page_token": ""}
    assert_error(await edge.rest.get(f"{root}?user_id={pat.id}", headers=alice.headers), 404, 5, "USER_NOT_FOUND")
    for method in ("GET", "PATCH", "DELETE"):
        body = {"comment": "x"} if method == "PATCH" else None
        answer = await edge.rest.request(method, f"{root}/{new_id()}", headers=pat.headers, json=body)
        assert_error(answer, 404, 5, "PAYOUT_NOT_FOUND")


async def test_over_grpc_workers_alone_begin_and_end_a_payout(edge: Edge, pat: User, admin: User) -> None:
    for user in (pat, admin):
        with refused(grpc.StatusCode.PERMISSION_DENIED, "WORKER_ONLY"):
            await edge.payouts.StartPayout(StartPayoutRequest(payout_id=new_id()), metadata=user.metadata())
        with refused(grpc.StatusCode.PERMISSION_DENIED, "WORKER_ONLY"):
            finish = FinishPayoutRequest(payout_id=new_id(), status=Payout.COMPLETED)
            await edge.payouts.FinishPayout(finish, metadata=user.metadata())
    recipient = Recipient(type=Recipient.CARD, card=Card(number="4242424242424242"))
    request = CreatePayoutRequest(amount=MONEY + 1, recipient=recipient)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS"):
        await edge.payouts.CreatePayout(request, metadata=pat.metadata(new_id()))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REQUIRED"):
        await edge.payouts.CreatePayout(request, metadata=pat.metadata())
