"""Requests that can't be right get a clear error in the one shape, and leave nothing behind."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest

from tests.edge.expect import assert_error
from tests.support import Edge, User

INVALID = (400, 3, "INVALID_REQUEST")
NO_ROUTE = (404, 5, "ROUTE_NOT_FOUND")
TOO_LARGE = (413, 3, "REQUEST_TOO_LARGE")
ITEM = {"name": "x" * 20, "quantity": 1, "price": "1"}


@pytest.fixture(scope="module")
async def carol(edge: Edge) -> User:
    return await edge.register()


@pytest.fixture
async def nothing_left(edge: Edge, carol: User) -> AsyncIterator[User]:
    """A user who has no order, neither before nor after a test."""
    yield carol
    listed = await edge.rest.get("/orders", headers=carol.headers)
    assert listed.json() == {"orders": [], "next_page_token": ""}


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount":',
        b'{"amount":5}}',
        b"[]",
        b"null",
        b'"amount"',
        b'{"amount":"five"}',
        b'{"amount":1.5}',
        b'{"amount":true}',
        b'{"amount":{}}',
        b'{"amount":9223372036854775808}',
        b'{"amount":"92233720368547758080"}',
        b'{"amount":5,"description":7}',
        b'{"amount":5,"description":"\\ud800"}',
        b'{"amount":5,"description":"a\\u0000b"}',
        b'{"amount":5,"description":"a\x00b"}',
        b'{"amount":5,"description":"\xff"}',
        b'{"amount":0}',
        b'{"amount":-5}',
        b'{"amount":1000000000001}',
        b'{"amount":9223372036854775807}',
        b'{"items":[]}',
        b'{"items":[{}]}',
        b'{"items":' * 500,
        b"",
    ],
)
async def test_bodies_of_an_order(edge: Edge, nothing_left: User, body: bytes) -> None:
    answer = await edge.rest.post("/orders", content=body, headers=nothing_left.headers)

    assert_error(answer, *INVALID)


async def test_too_many_items_whether_they_fit_into_a_body_or_not(edge: Edge, nothing_left: User) -> None:
    short = await edge.rest.post("/orders", json={"items": [{}] * 10_000}, headers=nothing_left.headers)
    long = await edge.rest.post("/orders", json={"items": [ITEM] * 10_000}, headers=nothing_left.headers)

    assert_error(short, *INVALID)
    assert_error(long, *TOO_LARGE)


async def test_a_large_body_in_one_piece_and_in_many(edge: Edge, nothing_left: User) -> None:
    body = json.dumps({"amount": 5, "description": "x" * 1024 * 1024}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 8192):
            yield body[start : start + 8192]

    for content in (body, pieces()):
        assert_error(await edge.rest.post("/orders", content=content, headers=nothing_left.headers), *TOO_LARGE)


@pytest.mark.parametrize(
    "query",
    ["unknown=1", "page_size=many", "page_size=99999999999", "page_size=-1", "page_size=101", "status=NOPE",
     "status=77", "page_token=%FF", "page_token=%00", "access_token=x"],
)  # fmt: skip
async def test_query_parameters(edge: Edge, alice: User, query: str) -> None:
    assert_error(await edge.rest.get(f"/orders?{query}", headers=alice.headers), *INVALID)


@pytest.mark.parametrize("path", ["/orders/%FF", "/orders/not-a-uuid", "/orders/%00", "/orders%2Fx", "/orders%5Cx"])
async def test_paths_with_values_that_are_none(edge: Edge, alice: User, path: str) -> None:
    assert_error(await edge.rest.get(path, headers=alice.headers), *INVALID)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/order"),
        ("PUT", "/orders"),
        ("DELETE", "/orders"),
        ("GET", "/register"),
        ("GET", "/token"),
        ("DELETE", "/users/me"),
        ("GET", "/orders/x/y"),
        ("POST", "/gozon.orders.v1.OrdersService/CreateOrder"),
        ("GET", "/gozon.orders.v1.OrdersService/ListOrders"),
        ("GET", "/readyz/x"),
        ("GET", "/stats"),
    ],
)
async def test_unknown_paths_and_wrong_verbs(edge: Edge, alice: User, method: str, path: str) -> None:
    assert_error(await edge.rest.request(method, path, headers=alice.headers, json={"amount": 5}), *NO_ROUTE)


async def test_an_id_in_the_body_does_not_replace_the_one_in_the_path(edge: Edge, alice: User) -> None:
    answer = await edge.rest.post(f"/accounts/{uuid.uuid4()}", json={"user_id": alice.id}, headers=alice.headers)

    assert_error(answer, *INVALID)


async def test_headers_that_imitate_others_or_are_too_many(edge: Edge, alice: User) -> None:
    underscore = await edge.rest.get("/users/me", headers={**alice.headers, "x_user_id": alice.id})
    large = await edge.rest.get("/users/me", headers={**alice.headers, "x-large": "x" * 40_000})
    many = await edge.rest.get("/users/me", headers={**alice.headers, **{f"x-{n}": "1" for n in range(80)}})

    assert_error(underscore, *INVALID)
    assert_error(large, 431, 3, "REQUEST_TOO_LARGE")
    assert_error(many, 431, 3, "REQUEST_TOO_LARGE")


async def test_plain_headers_say_nothing_about_who_one_is(edge: Edge, alice: User, bob: User) -> None:
    posing = {**alice.headers, "x-user-id": bob.id, "x-forwarded-user": bob.id, "x-jwt-payload": bob.id, "sub": bob.id}
    me = await edge.rest.get("/users/me", headers=posing)
    nobody = await edge.rest.get("/users/me", headers={"x-user-id": bob.id})

    assert me.json()["id"] == alice.id
    assert_error(nobody, 401, 16, "MISSING_TOKEN")


async def test_headers_for_proxies_change_nothing(edge: Edge, alice: User) -> None:
    steering = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/users/me",
        "x-http-method-override": "DELETE",
        "x-envoy-internal": "true",
        "x-http-code": "500",
    }
    answer = await edge.rest.get("/users/me", headers={**alice.headers, **steering})

    assert answer.status_code == 200


async def test_what_is_not_http_is_answered_in_the_same_shape(edge: Edge) -> None:
    url = edge.rest.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /users/me HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert json.loads(body)["details"][0]["reason"] == "INVALID_REQUEST"
