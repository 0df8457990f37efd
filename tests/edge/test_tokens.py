"""Who may pass: everything needs a token, unless it is named."""

import base64
import json
import time
from pathlib import Path

import grpc
import httpx
import jwt
import pytest

from gozon.orders.v1.orders_pb2 import CreateOrderRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from tests.edge.conftest import Issuer, LoneEdge
from tests.edge.expect import assert_error
from tests.support import Edge, User, eventually

MISSING = (401, 16, "MISSING_TOKEN")
INVALID = (401, 16, "INVALID_TOKEN")
UNAVAILABLE = (503, 14, "UPSTREAM_UNAVAILABLE")


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users/me"),
        ("POST", "/orders"),
        ("GET", "/orders"),
        ("GET", "/orders/x"),
        ("GET", "/orders/x:watch"),
        ("GET", "/orders/user/x"),
        ("POST", "/accounts/x"),
        ("GET", "/accounts/x"),
        ("POST", "/accounts/x/deposit"),
        ("POST", "/users/x/add-funds"),
    ],
)
async def test_without_a_token(edge: Edge, method: str, path: str) -> None:
    answer = await edge.rest.request(method, path)

    assert_error(answer, *MISSING)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Bearer x.y.z", "Bearer ..", "Basic YTpi", "x"])
async def test_with_garbage(edge: Edge, header: str) -> None:
    answer = await edge.rest.get("/users/me", headers={"authorization": header})

    assert answer.status_code == 401
    assert answer.json()["details"][0]["reason"] in ("MISSING_TOKEN", "INVALID_TOKEN")


async def test_a_token_nobody_signed_or_that_was_changed(edge: Edge, alice: User) -> None:
    head, body, signature = alice.token.split(".")
    claims = jwt.decode(alice.token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(alice.token)["kid"]
    promoted = {**claims, "roles": ["admin"]}
    public_key = (await edge.rest.get("/.well-known/jwks.json")).json()["keys"][0]["x"]
    forged = [
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        f"{part({'alg': 'none', 'kid': kid})}.{part(promoted)}.",
        f"{head}.{part(promoted)}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        jwt.encode(claims, public_key, "HS256", headers={"kid": kid}),
    ]

    for token in forged:
        assert_error(await edge.rest.get("/users/me", headers={"authorization": f"Bearer {token}"}), *INVALID)


async def test_a_token_in_the_query_is_none(edge: Edge, alice: User) -> None:
    answer = await edge.rest.get(f"/users/me?access_token={alice.token}")

    assert answer.status_code == 400


async def test_only_our_own_valid_tokens_pass(keys_only: LoneEdge, issuer: Issuer, stranger: Issuer) -> None:
    now = int(time.time())
    bad = {
        "foreign": stranger.issue("u"),
        "expired": issuer.issue("u", exp=now - 15),
        "other audience": issuer.issue("u", aud="another"),
        "other issuer": issuer.issue("u", iss="another"),
        "no expiry": issuer.issue("u", exp=None),
        "no audience": issuer.issue("u", aud=None),
        "no issuer": issuer.issue("u", iss=None),
        "not yet": issuer.issue("u", nbf=now + 30),
    }
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        for what, one in bad.items():
            answer = await client.post("/orders", json={"amount": 5}, headers={"authorization": f"Bearer {one}"})
            assert answer.status_code == 401, what
            assert_error(answer, *INVALID)
        passed = await client.post("/orders", json={"amount": 5}, headers=issuer.headers("u"))
    # It gets as far as the service, which isn't there; where it should be is nobody's business.
    assert_error(passed, *UNAVAILABLE)


async def test_native_calls_get_a_native_status(keys_only: LoneEdge, issuer: Issuer, stranger: Issuer) -> None:
    async def code(token: str) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await orders.CreateOrder(CreateOrderRequest(amount=5), metadata=(("authorization", f"Bearer {token}"),))
        return caught.value.code(), caught.value.details() or ""

    async with grpc.aio.insecure_channel(keys_only.target) as channel:
        orders = OrdersServiceStub(channel)
        assert (await code(stranger.issue("u")))[0] == grpc.StatusCode.UNAUTHENTICATED
        status, details = await code(issuer.issue("u"))
    assert status == grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1" not in details
    assert "upstream" not in details


async def test_while_there_are_no_keys_the_answer_is_try_again_and_not_sign_in_again(
    without_services: httpx.AsyncClient, issuer: Issuer
) -> None:
    headers = issuer.headers("u")

    assert_error(await without_services.get("/users/me", headers=headers), *UNAVAILABLE)
    assert_error(await without_services.get("/users/me"), *MISSING)
    assert_error(await without_services.post("/register", json={}), *UNAVAILABLE)
    assert_error(await without_services.get("/readyz"), *UNAVAILABLE)
    assert (await without_services.get("/healthz")).status_code == 200


async def test_the_access_log_names_the_user_and_the_trace_and_never_the_token(
    keys_only: LoneEdge, issuer: Issuer, tmp_path: Path
) -> None:
    token = issuer.issue("user-one")
    request_id = "5f0c7f4e-0000-4000-8000-000000000001"
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        headers = {"authorization": f"Bearer {token}", "x-request-id": request_id}
        await client.get("/orders?page_token=secret-in-query", headers=headers)
        # No traceparent, so that it is ignored here and in the services.
        await client.get("/users/me", headers=headers | {"traceparent": "00-7"})
        await client.get("/accounts/1", headers=headers | {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
        await client.get("/readyz")
        await client.post("/token", data={"username": "u", "password": "secret-in-body"})
    log = tmp_path / "access.log"

    async def written() -> bool:
        return '"/token"' in log.read_text()

    await eventually(written)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    line, odd, traced = (one for one in lines if one.get("request_id") == request_id)
    assert [one["trace_id"] for one in (line, odd, traced)] == [*[request_id.replace("-", "")] * 2, "a" * 32]
    assert (line["user"], line["method"], line["path"]) == ("user-one", "GET", "/orders")
    assert line["rpc"] == "/gozon.orders.v1.OrdersService/ListOrders"
    assert line["code"] == 503
    assert not [one for one in lines if one["path"] in ("/readyz", "/healthz")]
    for secret in (token, token.split(".")[2], "secret-in-query", "secret-in-body"):
        assert secret not in log.read_text()
