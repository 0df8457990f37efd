"""Payouts through the edge, over REST and gRPC, with no worker to begin them: the methods of Payments on a database."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from gozon.payouts.v1 import payouts_pb2
from gozon.payouts.v1.payouts_pb2 import (
    CreatePayoutRequest,
    FinishPayoutRequest,
    GetPayoutRequest,
    Payout,
    StartPayoutRequest,
)
from gozon.payouts.v1.payouts_pb2_grpc import PayoutsServiceStub
from kit import rpc
from kit.auth import TokenVerifier
from kit.db import Database
from kit.ids import new_id
from services.payments.domain import Limits
from services.payments.payouts_api import RULES
from services.payments.service import PaymentService
from tests.edge.conftest import Issuer, LoneEdge
from tests.edge.expect import assert_error
from tests.edge.standin import StandIn
from tests.payments.payout_steps import CARD, RECIPIENT, api_on
from tests.payments.steps import account_with, money_of, service_on
from tests.support import count, eventually, refused

Json = dict[str, Any]
if TYPE_CHECKING:
    from gozon.payouts.v1.payouts_pb2_grpc import PayoutsServiceAsyncStub  # there is no such class at run time

MONEY = 1000
TO_CARD: Json = {"type": "CARD", "card": {"number": "4242 4242 4242 4242"}}
IBAN = "GB82WEST12345698765432"


@dataclass(frozen=True)
class People:
    """Who asks, and what for; `ann` has money."""

    issuer: Issuer
    ann: str
    rest: httpx.AsyncClient
    service: PaymentService
    database: Database

    def headers(self, role: str = "user", key: str = "", user_id: str = "", **more: str) -> dict[str, str]:
        """Headers of Ann, or of somebody else, with a role."""
        token = self.issuer.issue(user_id or self.ann, roles=[role])
        keyed = {"idempotency-key": key} if key else {}
        return {"authorization": f"Bearer {token}", **keyed, **{n.replace("_", "-"): v for n, v in more.items()}}

    async def create(self, path: str = "/payouts", **body: Any) -> httpx.Response:
        """Asks for a payout under a new key."""
        asked = {"amount": 300, "recipient": TO_CARD, **body}
        return await self.rest.post(path, json=asked, headers=self.headers(key=new_id()))

    async def held(self) -> int:
        """What of Ann's money is held."""
        return (await money_of(self.service, self.ann))[1]


@pytest.fixture
async def people(
    issuer: Issuer, standin: StandIn, before_standin: LoneEdge, payments_db: Database
) -> AsyncIterator[People]:
    async def keys() -> list[dict[str, str]]:
        return [issuer.jwk]

    api, verifier = api_on(payments_db, Limits(max_payout=5000)), TokenVerifier(keys)
    for method in payouts_pb2.DESCRIPTOR.services_by_name["PayoutsService"].methods:
        implementation = getattr(api, re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower())
        standin.answers[method.name] = rpc._Endpoint(method, implementation, RULES[method.name], verifier).unary
    payments = service_on(payments_db)
    ann = await account_with(payments, MONEY)
    async with httpx.AsyncClient(base_url=before_standin.url) as rest:
        yield People(issuer, ann, rest, payments, payments_db)


@pytest.fixture
async def stub(before_standin: LoneEdge) -> AsyncIterator["PayoutsServiceAsyncStub"]:
    async with grpc.aio.insecure_channel(before_standin.target) as channel:
        yield PayoutsServiceStub(channel)


@pytest.mark.parametrize("root", ["/payouts", "/api/payouts"])
async def test_over_rest_a_payout_is_made_read_changed_and_deleted(root: str, people: People) -> None:
    key = new_id()
    body = {"amount": 300, "recipient": TO_CARD, "comment": "rent"}
    made = await people.rest.post(root, json=body, headers=people.headers(key=key))
    assert (made.status_code, made.headers["etag"]) == (201, '"1"'), made.text
    payout = made.json()
    assert made.headers["location"] == f"/payouts/{payout['id']}"
    assert (payout["status"], payout["amount"], payout["currency"]) == ("PENDING", "300", "RUB")
    assert payout["recipient"]["card"] == {"number": "************4242"}
    again = await people.rest.post(root, json=body, headers=people.headers(key=key))
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, payout, "true")
    other = await people.rest.post(root, json={**body, "amount": 301}, headers=people.headers(key=key))
    assert_error(other, 409, 6, "IDEMPOTENCY_KEY_REUSED")

    path = f"{root}/{payout['id']}"
    read = await people.rest.get(path, headers=people.headers())
    assert (read.json(), read.headers["etag"]) == (payout, '"1"')
    patched = await people.rest.patch(path, json={"comment": "tea"}, headers=people.headers(if_match='"1"'))
    assert (patched.json()["comment"], patched.headers["etag"]) == ("tea", '"2"'), patched.text
    stale = await people.rest.patch(path, json={"comment": "milk"}, headers=people.headers(if_match='"1"'))
    assert_error(stale, 409, 10, "STALE_ETAG")
    masked = {"comment": "milk", "update_mask": "comment,amount"}
    assert_error(await people.rest.patch(path, json=masked, headers=people.headers()), 400, 3, "INVALID_REQUEST")
    page = await people.rest.get(f"{root}?status=PENDING&recipient_type=CARD&page_size=1", headers=people.headers())
    assert page.json() == {"payouts": [patched.json()], "next_page_token": ""}

    assert await people.held() == 300
    assert_error(await people.rest.delete(path, headers=people.headers(if_match='"1"')), 409, 10, "STALE_ETAG")
    for _ in range(2):
        deleted = await people.rest.delete(path, headers=people.headers())
        assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await people.rest.get(path, headers=people.headers())).json()["status"] == "CANCELED"
    assert (await people.rest.get(root, headers=people.headers())).json()["payouts"] == []
    shown = await people.rest.get(f"{root}?show_deleted=true", headers=people.headers())
    assert [one["id"] for one in shown.json()["payouts"]] == [payout["id"]]
    assert await people.held() == 0


BAD: dict[str, tuple[Json, str]] = {
    "amount 0": ({"amount": 0}, "INVALID_REQUEST"),
    "a negative amount": ({"amount": -1}, "INVALID_REQUEST"),
    "an amount above the contract's": ({"amount": 10**12 + 1}, "INVALID_REQUEST"),
    "an amount above int64": ({"amount": 2**63}, "INVALID_REQUEST"),
    "a fraction": ({"amount": 1.5}, "INVALID_REQUEST"),
    "over balance": ({"amount": MONEY + 1}, "INSUFFICIENT_FUNDS"),
    "over the limit": ({"amount": 5001}, "PAYOUT_LIMIT"),
    "another currency": ({"currency": "EUR"}, "CURRENCY_MISMATCH"),
    "no currency at all": ({"currency": "rubles"}, "INVALID_REQUEST"),
    "a comment of 10 kB": ({"comment": "x" * 10_000}, "INVALID_REQUEST"),
    "NUL in the comment": ({"comment": "x\0"}, "INVALID_REQUEST"),
    "no recipient": ({"recipient": None}, "INVALID_REQUEST"),
    "a recipient of no type": ({"recipient": {"card": {"number": CARD}}}, "INVALID_REQUEST"),
    "a recipient of an unknown type": ({"recipient": {"type": "PIGEON", "card": {"number": CARD}}}, "INVALID_REQUEST"),
    "a recipient of an unknown number": ({"recipient": {"type": 9, "card": {"number": CARD}}}, "INVALID_REQUEST"),
    "a card with a wrong digit": (
        {"recipient": {"type": "CARD", "card": {"number": "4242424242424241"}}},
        "INVALID_CARD",
    ),
    "a short card": ({"recipient": {"type": "CARD", "card": {"number": "4242"}}}, "INVALID_REQUEST"),
    "a card as a number": ({"recipient": {"type": "CARD", "card": {"number": int(CARD)}}}, "INVALID_REQUEST"),
    "an IBAN with a wrong digit": (
        {"recipient": {"type": "BANK_ACCOUNT", "bank_account": {"iban": IBAN[:-1] + "3", "holder_name": "A"}}},
        "INVALID_IBAN",
    ),
    "a bank account of nobody": (
        {"recipient": {"type": "BANK_ACCOUNT", "bank_account": {"iban": IBAN, "holder_name": ""}}},
        "INVALID_REQUEST",
    ),
    "a phone without a plus": ({"recipient": {"type": "PHONE", "phone": {"number": "79161234567"}}}, "INVALID_PHONE"),
    "a phone for a card": ({"recipient": {"type": "CARD", "phone": {"number": "+79161234567"}}}, "RECIPIENT_MISMATCH"),
    "two at once": ({"recipient": {**TO_CARD, "phone": {"number": "+79161234567"}}}, "RECIPIENT_MISMATCH"),
    "a type without details": ({"recipient": {"type": "CARD"}}, "RECIPIENT_MISMATCH"),
}


async def test_what_can_not_be_is_a_clear_error_that_repeats_no_number_and_holds_nothing(
    people: People, tmp_path: Path
) -> None:
    for name, (body, reason) in BAD.items():
        answer = await people.create(**body)
        code = 9 if reason in ("INSUFFICIENT_FUNDS", "PAYOUT_LIMIT") else 3
        assert_error(answer, 400, code, reason)
        for secret in (CARD, CARD[:-1], IBAN[:-1], "9161234567"):
            assert secret not in answer.text, name
    for broken in (f'{{"recipient": {{"card": {{"number": {CARD}x', f'{{"recipient": {{"card": "{CARD}"}}}}', CARD):
        unread = await people.rest.post("/api/payouts", content=broken, headers=people.headers(key="k"))
        assert_error(unread, 400, 3, "INVALID_REQUEST")
        assert CARD not in unread.text
    keyless = await people.rest.post("/payouts", json={"amount": 1, "recipient": TO_CARD}, headers=people.headers())
    assert_error(keyless, 400, 3, "IDEMPOTENCY_KEY_REQUIRED")
    nobody = people.headers(key="k", user_id=new_id())
    unopened = await people.rest.post("/payouts", json={"amount": 1, "recipient": TO_CARD}, headers=nobody)
    assert_error(unopened, 404, 5, "ACCOUNT_NOT_FOUND")
    assert await people.held() == 0
    assert await count(people.database, "payouts") == 0

    log = tmp_path / "access.log"

    async def logged() -> str:
        text = log.read_text()
        return text if text.count('"method":"POST"') >= len(BAD) else ""

    text = await eventually(logged)
    for secret in (CARD, CARD[:-1], IBAN[:-1], "9161234567"):
        assert secret not in text


async def test_an_admin_takes_it_along_the_state_machine_and_jumps_are_refused(people: People) -> None:
    path = f"/payouts/{(await people.create()).json()['id']}"
    admin = people.headers("admin", user_id=new_id())

    async def patch(**body: Any) -> httpx.Response:
        return await people.rest.patch(path, json=body, headers=admin)

    jump = await patch(status="COMPLETED")
    assert_error(jump, 400, 9, "TRANSITION_NOT_ALLOWED")
    own = await people.rest.patch(path, json={"status": "PROCESSING"}, headers=people.headers())
    assert_error(own, 403, 7, "ADMIN_ONLY")
    assert_error(await patch(status="STATUS_UNSPECIFIED"), 400, 3, "INVALID_REQUEST")
    assert_error(await patch(status="LOST"), 400, 3, "INVALID_REQUEST")
    assert (await patch(status="PROCESSING")).json()["status"] == "PROCESSING"
    assert_error(await people.rest.delete(path, headers=people.headers()), 400, 9, "TRANSITION_NOT_ALLOWED")
    assert_error(await patch(status="CANCELED"), 400, 9, "TRANSITION_NOT_ALLOWED")
    assert_error(await patch(status="FAILED"), 400, 3, "INVALID_REQUEST")
    assert await people.held() == 300
    completed = await patch(status="COMPLETED")
    assert completed.json()["status"] == "COMPLETED"
    assert (await patch(status="COMPLETED")).json() == completed.json()
    late = await people.rest.patch(path, json={"comment": "x"}, headers=people.headers())
    assert_error(late, 400, 9, "TRANSITION_NOT_ALLOWED")
    assert_error(await patch(status="FAILED", failure_reason="no"), 400, 9, "TRANSITION_NOT_ALLOWED")
    assert await money_of(people.service, people.ann) == (MONEY - 300, 0)


async def test_nobody_else_sees_it_and_workers_alone_begin_it(people: People, stub: "PayoutsServiceAsyncStub") -> None:
    created = await people.create()
    payout_id = created.json()["id"]
    bob, path = people.headers(user_id=new_id()), f"/payouts/{payout_id}"
    for asked in (
        people.rest.get(path, headers=bob),
        people.rest.patch(path, json={"comment": "mine"}, headers=bob),
        people.rest.delete(path, headers=bob),
        people.rest.get(f"/payouts/{new_id()}", headers=people.headers("admin")),
    ):
        assert_error(await asked, 404, 5, "PAYOUT_NOT_FOUND")
    assert_error(await people.rest.get(f"/payouts?user_id={people.ann}", headers=bob), 404, 5, "USER_NOT_FOUND")
    assert (await people.rest.get("/payouts", headers=bob)).json()["payouts"] == []
    everybodys = await people.rest.get("/payouts", headers=people.headers("admin", user_id=new_id()))
    assert [one["id"] for one in everybodys.json()["payouts"]] == [payout_id]
    assert_error(await people.rest.get("/payouts/x", headers=people.headers()), 400, 3, "INVALID_REQUEST")
    assert (await people.rest.get(path)).status_code == 401

    start, finish = (
        StartPayoutRequest(payout_id=payout_id),
        FinishPayoutRequest(payout_id=payout_id, status=Payout.FAILED),
    )
    for role in ("user", "admin"):
        metadata = tuple(people.headers(role).items())
        with refused(grpc.StatusCode.PERMISSION_DENIED, "WORKER_ONLY"):
            await stub.StartPayout(start, metadata=metadata)
        with refused(grpc.StatusCode.PERMISSION_DENIED, "WORKER_ONLY"):
            await stub.FinishPayout(finish, metadata=metadata)
    worker = tuple(people.headers("worker", user_id=new_id()).items())
    with refused(grpc.StatusCode.NOT_FOUND, "PAYOUT_NOT_FOUND"):
        await stub.GetPayout(GetPayoutRequest(payout_id=payout_id), metadata=worker)
    begun = await stub.StartPayout(start, metadata=worker)
    assert (begun.recipient, begun.payout.status) == (RECIPIENT, Payout.PROCESSING)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
        await stub.FinishPayout(FinishPayoutRequest(payout_id=payout_id, status=Payout.CANCELED), metadata=worker)
    failed = await stub.FinishPayout(finish, metadata=worker)
    assert (failed.status, bool(failed.failure_reason)) == (Payout.FAILED, True)
    mine = tuple(people.headers(key=new_id()).items())
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS"):
        await stub.CreatePayout(CreatePayoutRequest(amount=MONEY + 1, recipient=RECIPIENT), metadata=mine)
    assert await people.held() == 0


async def test_creating_is_limited_as_deposits_are(people: People) -> None:
    answers = [await people.create(amount=0) for _ in range(70)]
    assert {answer.status_code for answer in answers} == {400, 429}
    assert_error(next(a for a in answers if a.status_code == 429), 429, 8, "RATE_LIMITED")
    assert (await people.rest.get("/payouts", headers=people.headers())).status_code == 200
