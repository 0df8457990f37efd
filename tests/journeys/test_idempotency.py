"""Asking twice with one key: the effect comes once, and the answer both times."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from gozon.orders.v1.orders_pb2 import CreateOrderRequest
from gozon.payments.v1.payments_pb2 import DepositRequest
from tests.conftest import NewUser
from tests.support import Edge, User


@pytest.fixture(scope="module")
async def fred(edge: Edge, new_user: NewUser) -> User:
    """A user with an account."""
    user = await new_user()
    await edge.deposit(user, 1000)
    return user


async def balance(edge: Edge, user: User) -> int:
    return int((await edge.rest.get(f"/accounts/{user.id}", headers=user.headers)).json()["balance"])


async def post(edge: Edge, user: User, path: str, body: dict[str, Any], key: str) -> httpx.Response:
    return await edge.rest.post(path, json=body, headers={**user.headers, "idempotency-key": key})


async def test_a_deposit_that_is_repeated_over_rest_and_grpc_is_made_once(edge: Edge, fred: User) -> None:
    before, key = await balance(edge, fred), uuid.uuid4().hex
    path = f"/accounts/{fred.id}/deposit"
    first = await post(edge, fred, path, {"amount": 50}, key)
    again = await post(edge, fred, path, {"amount": 50}, key)
    other_path = await post(edge, fred, f"/users/{fred.id}/add-funds", {"amount": "50"}, key)
    assert [answer.status_code for answer in (first, again, other_path)] == [200] * 3
    assert first.json() == again.json() == other_path.json()
    replayed = [answer.headers.get("idempotency-replayed") for answer in (first, again, other_path)]
    assert replayed == [None, "true", "true"]
    call = edge.payments.Deposit(DepositRequest(user_id=fred.id, amount=50), metadata=fred.metadata(key))
    assert str((await call).balance) == first.json()["balance"]
    assert ("idempotency-replayed", "true") in tuple(await call.initial_metadata())
    assert await balance(edge, fred) == before + 50


async def test_an_order_that_is_repeated_over_rest_and_grpc_is_made_once(edge: Edge, fred: User) -> None:
    key, body = uuid.uuid4().hex, {"amount": 5, "description": "tea"}
    first = await post(edge, fred, "/orders", body, key)
    again = await post(edge, fred, "/orders", body, key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    # The first answer stays what it was, though the order has been paid by now.
    await edge.settled(fred, first.json()["id"])
    request = CreateOrderRequest(amount=5, description="tea")
    assert (await edge.orders.CreateOrder(request, metadata=fred.metadata(key))).id == first.json()["id"]
    assert (await post(edge, fred, "/orders", body, key)).json()["status"] == "PENDING"


@pytest.mark.parametrize("what", ["orders", "deposits"])
async def test_fifty_at_once_have_one_effect(what: str, edge: Edge, fred: User) -> None:
    key = uuid.uuid4().hex
    path = "/orders" if what == "orders" else f"/accounts/{fred.id}/deposit"
    before = await balance(edge, fred)
    answers = await asyncio.gather(*(post(edge, fred, path, {"amount": 1}, key) for _ in range(50)))
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    if what == "deposits":
        assert await balance(edge, fred) == before + 1
    else:
        await edge.settled(fred, answers[0].json()["id"])
        assert await balance(edge, fred) == before - 1


async def test_keys_of_different_people_have_nothing_to_do_with_each_other(edge: Edge, fred: User, alice: User) -> None:
    key = uuid.uuid4().hex
    mine = await post(edge, fred, "/orders", {"amount": 1}, key)
    hers = await post(edge, alice, "/orders", {"amount": 2}, key)
    assert (mine.status_code, hers.status_code) == (201, 201)
    assert mine.json()["id"] != hers.json()["id"]
