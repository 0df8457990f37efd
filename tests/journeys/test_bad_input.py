"""Input that must get a clear error and leave nothing behind, over REST and gRPC."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, GetOrderRequest, OrderItem
from gozon.payments.v1.payments_pb2 import DepositRequest, GetAccountRequest, OpenAccountRequest
from gozon.users.v1.users_pb2 import RegisterRequest
from kit import keys
from kit.ids import new_id
from tests.conftest import NewUser
from tests.distant import DistantStack
from tests.support import Edge, RunningStack, User, refused

# Made before the first test begins to count.
pytestmark = pytest.mark.usefixtures("known", "alice")

OVER_INT64 = 2**63
TEA = {"name": "tea", "quantity": 1, "price": 100}


@pytest.fixture(scope="module")
async def gina(edge: Edge, new_user: NewUser) -> User:
    """A user with an account and money."""
    user = await new_user()
    await edge.deposit(user, 1000)
    return user


async def everything(stack: RunningStack) -> dict[str, int]:
    """Counts what requests make, in all databases, and all the money; what events make may still be on its way."""
    found: dict[str, int] = {}
    if isinstance(stack, DistantStack):  # whose databases nobody can count in
        return found
    for service, table in (
        ("users", "users"),
        ("orders", "orders"),
        ("orders", "idempotency_keys"),
        ("payments", "accounts"),
        ("payments", "idempotency_keys"),
        ("payments", "entries WHERE account = 'funding'"),
    ):
        connection = await asyncpg.connect(stack.database_urls[service])
        found[f"{service}: {table}"] = await connection.fetchval(f"SELECT count(*) FROM {table}")
        await connection.close()
    return found


@dataclass
class Known:
    """What Gina has made before the tests begin."""

    order_id: str
    key: str
    """Under which she ordered and paid in 5."""


@pytest.fixture(scope="module")
async def known(edge: Edge, gina: User) -> Known:
    key = new_id()
    headers = {**gina.headers, "idempotency-key": key}
    order = await edge.rest.post("/orders", json={"amount": 5}, headers=headers)
    deposit = await edge.rest.post(f"/accounts/{gina.id}/deposit", json={"amount": 5}, headers=headers)
    assert (order.status_code, deposit.status_code) == (201, 200)
    await edge.settled(gina, order.json()["id"])
    return Known(order.json()["id"], key)


@pytest.fixture(autouse=True)
async def leaves_nothing_behind(stack: RunningStack) -> AsyncIterator[None]:
    """Every test of this module must leave the databases as they were."""
    before = await everything(stack)
    yield
    assert await everything(stack) == before


def assert_refused(answer: httpx.Response, status: int, reason: str, oauth: str = "") -> None:
    """The one JSON shape of errors, with this reason, and the members of an OAuth error where one is expected."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    if oauth:
        assert error.pop("error") == oauth
        assert error.pop("error_description") == error["message"].replace('"', "'")
    assert error.keys() == {"code", "message", "details"}
    assert error["message"]
    info = error["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (info["reason"], info["domain"]) == (reason, "gozon"), answer.text


JSON = "application/json"
NO_PRODUCT = "01a1fcd5-5a44-77a7-b02f-b51bc5639cd1"
BODIES: dict[str, str | bytes] = {
    "no JSON": '{"amount": 5',
    "no object": "[5]",
    "a bare word": "amount",
    "nothing": "",
    "a list where a number belongs": '{"amount": [5]}',
    "a word where a number belongs": '{"amount": "five"}',
    "a fraction": '{"amount": 5.5}',
    "an object where a list belongs": '{"items": {"name": "tea"}}',
    "a number where a string belongs": '{"items": [{"name": 5, "quantity": 1, "price": 1}]}',
    "true": '{"amount": true}',
    "null": '{"amount": null}',
    "amount 0": '{"amount": 0}',
    "a negative amount": '{"amount": -1}',
    "an amount above the limit": '{"amount": 1000000000001}',
    "an amount above int64": f'{{"amount": {OVER_INT64}}}',
    "an amount above int64 in a string": f'{{"amount": "{OVER_INT64}"}}',
    "an amount far above int64": f'{{"amount": 1{"0" * 400}}}',
    "an amount of 1e400": '{"amount": 1e400}',
    "NaN": '{"amount": NaN}',
    "empty items": '{"items": []}',
    "neither items nor amount": '{"description": "tea"}',
    "items and amount": json.dumps({"items": [TEA], "amount": 5}),
    "an item without a name": json.dumps({"items": [{**TEA, "name": ""}]}),
    "an item without a price": json.dumps({"items": [{"name": "tea", "quantity": 1}]}),
    "an item with a price and a product": json.dumps({"items": [{**TEA, "product_id": NO_PRODUCT}]}),
    "a product with a price": json.dumps({"items": [{"quantity": 1, "price": 5, "product_id": NO_PRODUCT}]}),
    "a product with a name": json.dumps({"items": [{"quantity": 1, "name": "x", "product_id": NO_PRODUCT}]}),
    "a product without a quantity": json.dumps({"items": [{"product_id": NO_PRODUCT}]}),
    "a product that is a word": json.dumps({"items": [{"quantity": 1, "product_id": "tea"}]}),
    "a product that is a number": json.dumps({"items": [{"quantity": 1, "product_id": 5}]}),
    "a product in braces": json.dumps({"items": [{"quantity": 1, "product_id": f"{{{NO_PRODUCT}}}"}]}),
    "a product without dashes": json.dumps({"items": [{"quantity": 1, "product_id": NO_PRODUCT.replace("-", "")}]}),
    "a product with a line break": json.dumps({"items": [{"quantity": 1, "product_id": f"{NO_PRODUCT}\n"}]}),
    "quantity 0": json.dumps({"items": [{**TEA, "quantity": 0}]}),
    "a negative price": json.dumps({"items": [{**TEA, "price": -100}]}),
    "a quantity above int32": json.dumps({"items": [{**TEA, "quantity": 2**31}]}),
    "a price above the limit": json.dumps({"items": [{**TEA, "price": 10**12 + 1}]}),
    "101 items": json.dumps({"items": [TEA] * 101}),
    "a name of 201 characters": json.dumps({"items": [{**TEA, "name": "x" * 201}]}),
    "a description of 501 characters": json.dumps({"amount": 5, "description": "x" * 501}),
    "a currency in lower case": json.dumps({"amount": 5, "currency": "rub"}),
    "a currency of four letters": json.dumps({"amount": 5, "currency": "RUBL"}),
    "a currency with a line break": json.dumps({"amount": 5, "currency": "RUB\n"}),
    "NUL in a string": '{"amount": 5, "description": "a\\u0000b"}',
    "NUL in a name": '{"items": [{"name": "a\\u0000b", "quantity": 1, "price": 1}]}',
    "a lone high surrogate": '{"amount": 5, "description": "a\\ud800b"}',
    "a lone low surrogate": '{"amount": 5, "description": "a\\udc00b"}',
    "bytes that are no UTF-8": b'{"amount": 5, "description": "a\xff\xfeb"}',
    "a raw NUL byte": b'{"amount": 5, "description": "a\x00b"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_an_order_that_makes_no_sense_is_refused(body: str | bytes, edge: Edge, gina: User) -> None:
    headers = {**gina.headers, "content-type": JSON, "idempotency-key": "bad"}
    answer = await edge.rest.post("/orders", content=body, headers=headers)
    assert_refused(answer, 400, "INVALID_REQUEST")


async def test_a_total_that_contradicts_the_items_is_refused(edge: Edge, gina: User) -> None:
    for total in (99, 101, 0, -100, 2**63 - 1):
        answer = await edge.rest.post("/orders", json={"items": [TEA], "total_price": total}, headers=gina.headers)
        assert_refused(answer, 400, "TOTAL_MISMATCH")
    request = CreateOrderRequest(items=[OrderItem(**TEA)], total_price=0)  # type: ignore[arg-type]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "TOTAL_MISMATCH"):
        await edge.orders.CreateOrder(request, metadata=gina.metadata())


async def test_a_total_above_the_limit_is_refused(edge: Edge, gina: User) -> None:
    items = [{"name": "palace", "quantity": 10_000, "price": 10**11}] * 100
    answer = await edge.rest.post("/orders", json={"items": items}, headers=gina.headers)
    assert_refused(answer, 400, "TOTAL_TOO_LARGE")


async def test_too_many_items_are_refused(edge: Edge, gina: User) -> None:
    ten_thousand = json.dumps({"items": [TEA] * 10_000})
    a_mebibyte = json.dumps({"items": [{**TEA, "name": "x" * 200}] * 5000})
    assert len(a_mebibyte) > 1024 * 1024
    for body in (ten_thousand, a_mebibyte):
        answer = await edge.rest.post("/orders", content=body, headers={**gina.headers, "content-type": JSON})
        assert_refused(answer, 413, "REQUEST_TOO_LARGE")
    items = [OrderItem(**TEA)] * 10_000  # type: ignore[arg-type]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
        await edge.orders.CreateOrder(CreateOrderRequest(items=items), metadata=gina.metadata())


async def test_over_grpc_an_order_that_makes_no_sense_is_refused(edge: Edge, gina: User) -> None:
    for request in (
        CreateOrderRequest(),
        CreateOrderRequest(amount=-1),
        CreateOrderRequest(amount=2**63 - 1),
        CreateOrderRequest(amount=5, description="\0"),
        CreateOrderRequest(amount=5, items=[OrderItem(**TEA)]),  # type: ignore[arg-type]
    ):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
            await edge.orders.CreateOrder(request, metadata=gina.metadata("bad"))


@pytest.mark.parametrize(
    "url", ["/orders?pagesize=5", "/orders?user_id=7", "/orders?page_size=5&x=", "/orders/{id}?full=1", "/users/me?x=1"]
)
async def test_unknown_fields_in_the_query_are_refused(url: str, edge: Edge, gina: User) -> None:
    answer = await edge.rest.get(url.format(id=new_id()), headers=gina.headers)
    assert_refused(answer, 400, "INVALID_REQUEST")


@pytest.mark.parametrize("query", ["page_size=-1", "page_size=101", "page_size=many", "status=SHINY", "status=77"])
async def test_a_query_that_makes_no_sense_is_refused(query: str, edge: Edge, gina: User) -> None:
    assert_refused(await edge.rest.get(f"/orders?{query}", headers=gina.headers), 400, "INVALID_REQUEST")


async def test_a_page_token_that_is_none_is_refused(edge: Edge, gina: User) -> None:
    answer = await edge.rest.get("/orders?page_token=nonsense", headers=gina.headers)
    assert_refused(answer, 400, "INVALID_PAGE_TOKEN")


@pytest.mark.parametrize("amount", [0, -1, 10**12 + 1, OVER_INT64, str(OVER_INT64), 5.5, "five", None, [5], True])
async def test_a_deposit_of_no_sensible_amount_is_refused(amount: object, edge: Edge, gina: User) -> None:
    for path in (f"/accounts/{gina.id}/deposit", f"/users/{gina.id}/add-funds"):
        headers = {**gina.headers, "idempotency-key": new_id()}
        answer = await edge.rest.post(path, json={"amount": amount}, headers=headers)
        assert_refused(answer, 400, "INVALID_REQUEST")


async def test_a_deposit_without_a_key_is_refused(edge: Edge, gina: User) -> None:
    for headers in ({}, {"idempotency-key": ""}):
        answer = await edge.rest.post(
            f"/accounts/{gina.id}/deposit", json={"amount": 5}, headers={**gina.headers, **headers}
        )
        assert_refused(answer, 400, "IDEMPOTENCY_KEY_REQUIRED")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REQUIRED"):
        await edge.payments.Deposit(DepositRequest(user_id=gina.id, amount=5), metadata=gina.metadata())


async def test_a_key_that_is_too_long_is_refused(edge: Edge, gina: User) -> None:
    headers = {**gina.headers, "idempotency-key": "k" * 129}
    assert_refused(await edge.rest.post("/orders", json={"amount": 5}, headers=headers), 400, "INVALID_REQUEST")


async def test_a_deposit_in_another_currency_is_refused(edge: Edge, gina: User) -> None:
    answer = await edge.rest.post(
        f"/accounts/{gina.id}/deposit",
        json={"amount": 5, "currency": "EUR"},
        headers={**gina.headers, "idempotency-key": new_id()},
    )
    assert_refused(answer, 400, "CURRENCY_MISMATCH")


async def test_a_second_account_is_refused_in_whatever_currency(edge: Edge, gina: User) -> None:
    for currency in ("", "RUB", "EUR"):
        answer = await edge.rest.post(f"/accounts/{gina.id}", json={"currency": currency}, headers=gina.headers)
        assert_refused(answer, 409, "ACCOUNT_EXISTS")
    with refused(grpc.StatusCode.ALREADY_EXISTS, "ACCOUNT_EXISTS"):
        await edge.payments.OpenAccount(OpenAccountRequest(user_id=gina.id.upper()), metadata=gina.metadata())


async def test_the_account_of_somebody_else_is_not_there(edge: Edge, gina: User, alice: User) -> None:
    key = {"idempotency-key": new_id()}
    for whose in (gina.id, new_id()):
        path = f"/accounts/{whose}"
        assert_refused(await edge.rest.get(path, headers=alice.headers), 404, "ACCOUNT_NOT_FOUND")
        answer = await edge.rest.post(f"{path}/deposit", json={"amount": 5}, headers={**alice.headers, **key})
        assert_refused(answer, 404, "ACCOUNT_NOT_FOUND")
        assert_refused(await edge.rest.post(path, json={}, headers=alice.headers), 404, "USER_NOT_FOUND")
        with refused(grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"):
            await edge.payments.GetAccount(GetAccountRequest(user_id=whose), metadata=alice.metadata())
    # Neither does it help to name oneself in the path and somebody else in the body.
    headers = {**alice.headers, **key}
    answer = await edge.rest.post(
        f"/accounts/{alice.id}/deposit", json={"amount": 5, "user_id": gina.id}, headers=headers
    )
    assert_refused(answer, 400, "INVALID_REQUEST")


async def test_an_order_that_is_not_there_is_not_found(edge: Edge, gina: User) -> None:
    assert_refused(await edge.rest.get(f"/orders/{new_id()}", headers=gina.headers), 404, "ORDER_NOT_FOUND")
    with refused(grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"):
        await edge.orders.GetOrder(GetOrderRequest(order_id=new_id()), metadata=gina.metadata())
    for nonsense in ("7", "nonsense", new_id() + "0", "' OR 1=1 --", "%00"):
        answer = await edge.rest.get(f"/orders/{nonsense}", headers=gina.headers)
        assert answer.status_code in (400, 404), answer.text


async def test_a_path_that_leads_nowhere_is_not_found(edge: Edge, gina: User) -> None:
    for path in ("/order", "/orders/1/2/3", "/gozon.orders.v1.OrdersService/Nothing"):
        assert_refused(await edge.rest.get(path, headers=gina.headers), 404, "ROUTE_NOT_FOUND")
    answer = await edge.rest.delete("/orders", headers=gina.headers)
    assert_refused(answer, 404, "ROUTE_NOT_FOUND")


REGISTRATIONS: dict[str, dict[str, Any]] = {
    "no email": {"password": "a good password"},
    "no such email": {"email": "nobody", "password": "a good password"},
    "an email of 255 characters": {"email": f"{'a' * 243}@example.com", "password": "a good password"},
    "a short password": {"email": "bad@example.com", "password": "1234567"},
    "a long password": {"email": "bad@example.com", "password": "x" * 129},
    "NUL in a password": {"email": "bad@example.com", "password": "1234\x005678"},
    "a long name": {"email": "bad@example.com", "password": "a good password", "username": "x" * 65},
    "a list as password": {"email": "bad@example.com", "password": ["a good password"]},
}


@pytest.mark.parametrize("body", REGISTRATIONS.values(), ids=REGISTRATIONS.keys())
async def test_a_registration_that_makes_no_sense_is_refused(body: dict[str, Any], edge: Edge) -> None:
    assert_refused(await edge.rest.post("/register", json=body), 400, "INVALID_REQUEST")


async def test_an_email_registers_once_in_whatever_letter_case(edge: Edge, alice: User) -> None:
    for email in (alice.email, alice.email.upper(), alice.email.title()):
        answer = await edge.rest.post("/register", json={"email": email, "password": "a good password"})
        assert_refused(answer, 409, "EMAIL_TAKEN")
    with refused(grpc.StatusCode.ALREADY_EXISTS, "EMAIL_TAKEN"):
        await edge.users.Register(RegisterRequest(email=alice.email.upper(), password="a good password"))


async def test_signing_in_badly_is_refused_and_does_not_tell_who_exists(edge: Edge, alice: User) -> None:
    answers = []
    for username, password in ((alice.email, "wrong password"), ("nobody@example.com", alice.password)):
        form = {"grant_type": "password", "username": username, "password": password}
        answers.append(await edge.rest.post("/token", data=form))
        assert_refused(answers[-1], 400, "INVALID_CREDENTIALS", "invalid_grant")
    assert answers[0].json() == answers[1].json()
    refused_grant = await edge.rest.post("/token", data={"grant_type": "implicit"})
    assert_refused(refused_grant, 400, "UNSUPPORTED_GRANT_TYPE", "unsupported_grant_type")
    assert_refused(await edge.rest.post("/token/revoke", data={"token": ""}), 400, "INVALID_REQUEST", "invalid_request")


@dataclass
class Forger:
    """Makes tokens: with the real key, and with others."""

    key: ec.EllipticCurvePrivateKey
    kid: str
    user: User

    def token(self, *, key: ec.EllipticCurvePrivateKey | None = None, **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": "gozon", "aud": "gozon", "sub": self.user.id, "iat": now, "exp": now + 900, "jti": new_id()}
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(claims, key or self.key, "ES256", headers={"kid": self.kid})

    def unsigned(self) -> str:
        def segment(data: dict[str, Any]) -> str:
            return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")

        claims = jwt.decode(self.token(), options={"verify_signature": False})
        return f"{segment({'alg': 'none', 'typ': 'JWT', 'kid': self.kid})}.{segment(claims)}."


@pytest.fixture(scope="module")
async def forger(stack: RunningStack, gina: User) -> Forger:
    key = keys.load(stack.home / "keys").signing(datetime.now(UTC)).private
    return Forger(key, str(jwt.get_unverified_header(gina.token)["kid"]), gina)


async def test_a_token_made_with_the_real_key_is_valid(forger: Forger, edge: Edge) -> None:
    """Else the tests below would say nothing."""
    answer = await edge.rest.get("/users/me", headers={"authorization": f"Bearer {forger.token()}"})
    assert answer.status_code == 200, answer.text


TOKENS: dict[str, Callable[[Forger], str]] = {
    "no token": lambda _: "",
    "an expired token": lambda f: f"Bearer {f.token(iat=1, exp=int(time.time()) - 60)}",
    "a token without an end": lambda f: f"Bearer {f.token(exp=None)}",
    "a token of another key": lambda f: f"Bearer {f.token(key=ec.generate_private_key(ec.SECP256R1()))}",
    "a token of another issuer": lambda f: f"Bearer {f.token(iss='nozog')}",
    "a token for somebody else": lambda f: f"Bearer {f.token(aud='nozog')}",
    "alg none": lambda f: f"Bearer {f.unsigned()}",
    "a cut token": lambda f: f"Bearer {f.token()[:-8]}",
    "nonsense": lambda _: "Bearer nonsense",
    "a password": lambda _: f"Basic {base64.b64encode(b'gina:secret').decode()}",
}


@pytest.mark.parametrize("forge", TOKENS.values(), ids=TOKENS.keys())
async def test_without_a_valid_token_nothing_happens(
    forge: Callable[[Forger], str], edge: Edge, forger: Forger
) -> None:
    headers = {"authorization": authorization} if (authorization := forge(forger)) else {}
    user_id = forger.user.id
    answers = [
        await edge.rest.post("/orders", json={"amount": 5}, headers=headers),
        await edge.rest.get("/orders", headers=headers),
        await edge.rest.get(f"/orders/{new_id()}:watch", headers=headers),
        await edge.rest.post(f"/accounts/{user_id}", json={}, headers=headers),
        await edge.rest.post(
            f"/accounts/{user_id}/deposit", json={"amount": 5}, headers={**headers, "idempotency-key": "k"}
        ),
        await edge.rest.get("/users/me", headers=headers),
    ]
    for answer in answers:
        assert_refused(answer, 401, "INVALID_TOKEN" if headers else "MISSING_TOKEN")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.orders.CreateOrder(CreateOrderRequest(amount=5), metadata=tuple(headers.items()))
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_headers_that_claim_to_be_somebody_are_not_believed(edge: Edge, gina: User) -> None:
    for headers in ({"x-user-id": gina.id}, {"x-jwt-payload": "{}"}, {"x-envoy-original-path": "/token"}):
        assert (await edge.rest.get("/orders", headers=headers)).status_code == 401


async def test_the_same_key_with_another_body_is_refused(edge: Edge, gina: User, known: Known) -> None:
    headers = {**gina.headers, "idempotency-key": known.key}
    for path in ("/orders", f"/accounts/{gina.id}/deposit"):
        for body in ({"amount": 6}, {"amount": 5, "currency": "RUB"}):
            assert_refused(await edge.rest.post(path, json=body, headers=headers), 409, "IDEMPOTENCY_KEY_REUSED")


async def test_the_order_of_somebody_else_is_not_there(edge: Edge, alice: User, known: Known) -> None:
    answer = await edge.rest.get(f"/orders/{known.order_id}", headers=alice.headers)
    assert_refused(answer, 404, "ORDER_NOT_FOUND")
    with refused(grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"):
        await edge.orders.GetOrder(GetOrderRequest(order_id=known.order_id), metadata=alice.metadata())
