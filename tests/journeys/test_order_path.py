"""From registration to a paid order, as somebody outside does it."""

import asyncio
import uuid
from collections import Counter

import grpc
import httpx
import pytest

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, GetOrderRequest, Order, OrderItem
from gozon.payments.v1.payments_pb2 import DepositRequest, GetAccountRequest, OpenAccountRequest
from gozon.users.v1.users_pb2 import GetMeRequest, RegisterRequest, TokenRequest
from tests.conftest import NewUser
from tests.support import Edge, RunningStack, User, eventually


async def test_over_rest_from_registration_to_a_paid_order(edge: Edge) -> None:
    email = f"Ann.{uuid.uuid4().hex}@Example.com"
    answer = await edge.rest.post("/register", json={"email": email, "password": "a good password", "username": "Ann"})
    assert (answer.status_code, answer.headers["location"]) == (201, "/users/me")
    user = answer.json()
    assert user.keys() == {"id", "email", "username", "roles", "created_at", "etag"}
    assert (user["email"], user["username"], user["roles"]) == (email.lower(), "Ann", ["user"])

    form = {"grant_type": "password", "username": email, "password": "a good password"}
    answer = await edge.rest.post("/token", data=form)
    assert answer.status_code == 200
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 900)
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await edge.rest.get("/users/me", headers=headers)).json() == user

    answer = await edge.rest.post(f"/accounts/{user['id']}", json={"currency": "EUR"}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (201, f"/accounts/{user['id']}")
    # Zeros are printed, money is a string (proto JSON of int64), names are those of the contract.
    assert {name: answer.json()[name] for name in ("currency", "balance", "held", "available")} == {
        "currency": "EUR",
        "balance": "0",
        "held": "0",
        "available": "0",
    }
    answer = await edge.rest.post(
        f"/users/{user['id']}/add-funds", json={"amount": 2500}, headers={**headers, "idempotency-key": "first"}
    )
    assert (answer.status_code, answer.json()["balance"]) == (200, "2500")

    items = [{"name": "чай", "quantity": 2, "price": 450}, {"name": "cup", "quantity": 1, "price": "1100"}]
    body = {"items": items, "currency": "EUR", "total_price": 2000, "description": "for two"}
    answer = await edge.rest.post("/orders", json=body, headers=headers)
    order = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/orders/{order['id']}")
    assert "x-http-code" not in answer.headers
    assert (order["status"], order["total_price"], order["user_id"]) == ("PENDING", "2000", user["id"])

    settled = await edge.settled(User(user["id"], email, "", headers["authorization"][7:]), order["id"])
    assert settled["status"] == "PAID"
    assert settled["items"] == [{**items[0], "price": "450", "product_id": ""}, {**items[1], "product_id": ""}]
    account = (await edge.rest.get(f"/accounts/{user['id']}", headers=headers)).json()
    assert (account["balance"], account["available"]) == ("500", "500")


async def test_over_grpc_from_registration_to_a_paid_order(edge: Edge) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    user = await edge.users.Register(RegisterRequest(email=email, password="a good password"))
    token = await edge.users.Token(TokenRequest(grant_type="password", username=email, password="a good password"))
    ann = User(user.id, email, "a good password", token.access_token)
    assert await edge.users.GetMe(GetMeRequest(), metadata=ann.metadata()) == user
    await edge.payments.OpenAccount(OpenAccountRequest(user_id=user.id), metadata=ann.metadata())
    await edge.payments.Deposit(DepositRequest(user_id=user.id, amount=1000), metadata=ann.metadata("k"))

    request = CreateOrderRequest(items=[OrderItem(name="tea", quantity=3, price=300)])
    call = edge.orders.CreateOrder(request, metadata=ann.metadata())
    order = await call
    assert (order.status, order.total_price) == (Order.PENDING, 900)
    # What makes a 201 of it over REST is not for gRPC.
    assert not {"x-http-code", "location"} & {str(name) for name, _ in await call.initial_metadata()}

    async def paid() -> bool:
        now = await edge.orders.GetOrder(GetOrderRequest(order_id=order.id), metadata=ann.metadata())
        return now.status == Order.PAID

    await eventually(paid)
    account = await edge.payments.GetAccount(GetAccountRequest(user_id=user.id), metadata=ann.metadata())
    assert (account.balance, account.held, account.available) == (100, 0, 100)


@pytest.fixture(scope="module")
async def carl(edge: Edge, new_user: NewUser) -> User:
    """A user with an account and little money."""
    user = await new_user()
    await edge.deposit(user, 100)
    return user


async def order_of(edge: Edge, user: User, **body: object) -> dict[str, object]:
    answer = await edge.rest.post("/orders", json=body, headers=user.headers)
    assert answer.status_code == 201, answer.text
    return await edge.settled(user, answer.json()["id"])


async def test_an_order_that_costs_more_than_there_is_is_canceled_and_takes_nothing(edge: Edge, carl: User) -> None:
    order = await order_of(edge, carl, amount=101)
    assert (order["status"], order["cancel_reason"]) == ("CANCELED", "INSUFFICIENT_FUNDS")
    account = (await edge.rest.get(f"/accounts/{carl.id}", headers=carl.headers)).json()
    assert account["balance"] == "100"


async def test_an_order_in_a_currency_that_is_not_the_accounts_is_canceled(edge: Edge, carl: User) -> None:
    order = await order_of(edge, carl, amount=1, currency="EUR")
    assert (order["status"], order["cancel_reason"]) == ("CANCELED", "CURRENCY_MISMATCH")


async def test_an_order_of_a_user_without_an_account_is_canceled(edge: Edge, alice: User) -> None:
    order = await order_of(edge, alice, amount=1)
    assert (order["status"], order["cancel_reason"]) == ("CANCELED", "NO_ACCOUNT")


async def assert_that_half_were_paid(edge: Edge, user: User, order_ids: list[str]) -> None:
    settled = await asyncio.gather(*(edge.settled(user, order_id) for order_id in order_ids))
    outcomes = Counter((order["status"], order["cancel_reason"]) for order in settled)
    assert outcomes == {("PAID", "CANCEL_REASON_UNSPECIFIED"): 100, ("CANCELED", "INSUFFICIENT_FUNDS"): 100}
    account = (await edge.rest.get(f"/accounts/{user.id}", headers=user.headers)).json()
    assert account["balance"] == "0"


@pytest.mark.parametrize("way", ["past the edge", "through the edge"])
async def test_of_200_orders_at_once_over_grpc_an_account_pays_the_100_that_it_can(
    way: str, edge: Edge, stack: RunningStack, new_user: NewUser
) -> None:
    user = await new_user()
    await edge.deposit(user, 100 * 7)
    past = way == "past the edge"
    async with grpc.aio.insecure_channel(stack.targets["orders"]) if past else stack.channel() as channel:
        create = type(edge.orders)(channel).CreateOrder
        orders = await asyncio.gather(
            *(create(CreateOrderRequest(amount=7), metadata=user.metadata()) for _ in range(200))
        )
    await assert_that_half_were_paid(edge, user, [order.id for order in orders])


async def test_of_200_orders_at_once_over_rest_an_account_pays_the_100_that_it_can(
    edge: Edge, new_user: NewUser
) -> None:
    user = await new_user()
    await edge.deposit(user, 100 * 7)

    async def create() -> httpx.Response:
        return await edge.rest.post("/orders", json={"amount": 7}, headers=user.headers)

    answers = await asyncio.gather(*(create() for _ in range(200)))
    assert Counter(answer.status_code for answer in answers) == {201: 200}
    await assert_that_half_were_paid(edge, user, [answer.json()["id"] for answer in answers])
