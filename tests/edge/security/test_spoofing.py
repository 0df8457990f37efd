"""Headers that claim to be somebody, to come from somewhere, or to be from a proxy, and pages of other origins."""

import grpc
import pytest

from gozon.orders.v1.orders_pb2 import CreateOrderRequest
from gozon.users.v1.users_pb2 import GetMeRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from tests.edge.expect import assert_error
from tests.edge.http2 import GOAWAY, HEADERS, RST_STREAM, Connection
from tests.edge.security.rpcs import Owner
from tests.support import Edge, RunningStack

IDENTITY = ["x-user-id", "x-user", "x-forwarded-user", "x-auth-request-user", "x-remote-user", "remote-user",
            "x-jwt-sub", "x-jwt-payload", "x-roles", "x-is-admin", "sub", "user-id", "grpc-metadata-x-user-id",
            "grpc-metadata-authorization", "x-original-url", "x-rewrite-url"]  # fmt: skip
STEERING = {
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-expected-rq-timeout-ms": "1",
    "x-envoy-max-retries": "50",
    "x-envoy-retry-on": "5xx",
    "x-envoy-force-trace": "true",
    "x-envoy-internal": "true",
    "x-envoy-external-address": "192.0.2.7",
    "x-envoy-decorator-operation": "x",
    "x-envoy-upstream-alt-stat-name": "x",
    "x-envoy-original-path": "/healthz",
    "x-envoy-original-method": "DELETE",
    "x-envoy-original-host": "x",
    "x-envoy-ip-tags": "x",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-http-code": "500",
    "x-http-method-override": "DELETE",
    "x-oauth-error": "server_error",
    "x-reason": "SPOOFED",
}


@pytest.mark.parametrize("name", IDENTITY)
async def test_headers_name_nobody(name: str, edge: Edge, stack: RunningStack, mallory: Owner, victim: Owner) -> None:
    for value in (victim.user.id, victim.user.headers["authorization"], "admin", "/orders"):
        assert_error(await edge.rest.get("/users/me", headers={name: value}), 401, 16, "MISSING_TOKEN")
        posing = {**mallory.user.headers, name: value}
        assert (await edge.rest.get("/users/me", headers=posing)).json()["id"] == mallory.user.id
        order = await edge.orders.CreateOrder(CreateOrderRequest(amount=5), metadata=tuple(posing.items()))
        assert order.user_id == mallory.user.id
        async with grpc.aio.insecure_channel(stack.targets["users"]) as channel:
            me = await UsersServiceStub(channel).GetMe(GetMeRequest(), metadata=tuple(posing.items()))
            assert (me.id, list(me.roles)) == (mallory.user.id, ["user"])


@pytest.mark.parametrize("name", ["x_user_id", "x_forwarded_for", "x_http_code", "grpc_status", "content_length"])
async def test_underscores_are_no_way_around(name: str, edge: Edge, mallory: Owner, victim: Owner) -> None:
    answer = await edge.rest.get("/users/me", headers={**mallory.user.headers, name: victim.user.id})
    assert_error(answer, 400, 3, "INVALID_REQUEST")
    with pytest.raises(grpc.aio.AioRpcError):
        await edge.users.GetMe(GetMeRequest(), metadata=(*mallory.user.metadata(), (name, "1")))


@pytest.mark.parametrize(("name", "value"), STEERING.items())
async def test_headers_of_proxies_steer_nothing(name: str, value: str, edge: Edge, mallory: Owner) -> None:
    headers = {**mallory.user.headers, name: value}
    plain = await edge.rest.get("/users/me", headers=mallory.user.headers)
    steered = await edge.rest.get("/users/me", headers=headers)
    assert (steered.status_code, steered.json()) == (200, plain.json())
    assert set(steered.headers) == set(plain.headers)
    assert_error(await edge.rest.get("/orders/x", headers=headers), 400, 3, "INVALID_REQUEST")
    assert_error(await edge.rest.get("/nothing", headers=headers), 404, 5, "ROUTE_NOT_FOUND")
    # What is meant for REST is not for native callers, whatever they pretend.
    call = edge.orders.CreateOrder(CreateOrderRequest(amount=5), metadata=tuple(headers.items()))
    await call
    assert not {"location", "etag", "x-http-code"} & set(dict(await call.initial_metadata()))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:9", "localhost", "evil.example:80@x", "[::1]"])
async def test_the_host_is_nobodys_business(host: str, edge: Edge, mallory: Owner) -> None:
    headers = {**mallory.user.headers, "host": host, "x-forwarded-host": host, "x-forwarded-proto": "https"}
    made = await edge.rest.post("/orders", json={"amount": 5}, headers=headers)
    assert made.headers["location"] == f"/orders/{made.json()['id']}"
    for answer in (made, await edge.rest.get("/nothing", headers=headers), await edge.rest.get("/", headers=headers)):
        assert host not in answer.text + str(answer.headers)


NEIGHBOURS = [
    "null", "http://evil.example", "https://localhost:8080", "http://localhost", "http://localhost:80800",
    "http://localhost:8080.evil.example", "http://evil.localhost:8080", "http://localhost:8080@evil.example",
    "http://evil.example/http://localhost:8080", "http://localhostx8080", "http://127.0.0.1:8081", "file://",
    "http://LOCALHOST:8080/", "http://localhost:8080 http://evil.example", "*", "",
]  # fmt: skip


@pytest.mark.parametrize("origin", NEIGHBOURS)
async def test_pages_of_other_origins_get_no_leave(origin: str, edge: Edge, mallory: Owner) -> None:
    headers = {**mallory.user.headers, "origin": origin}
    answers = [
        await edge.rest.get("/users/me", headers=headers),
        await edge.rest.get("/users/me", headers={"origin": origin}),
        await edge.rest.get("/nothing", headers=headers),
        await edge.rest.post("/token", data={"grant_type": "none"}, headers={"origin": origin}),
        await edge.rest.get("/.well-known/jwks.json", headers={"origin": origin}),
    ]
    for path in ("/orders", "/token", "/users/me", "/gozon.orders.v1.OrdersService/CreateOrder"):
        for method in ("POST", "PATCH", "DELETE"):
            asked = {"origin": origin, "access-control-request-method": method}
            answers.append(await edge.rest.options(path, headers=asked))
    for answer in answers:
        # Without these two a browser shows the page nothing and sends no request that needs leave; Envoy tells anybody
        # which methods and headers there are.
        assert not {"access-control-allow-origin", "access-control-allow-credentials"} & set(answer.headers)


MALFORMED = {
    "grpc-timeout": ["nonsense", "", "-1S", "99999999999999H", "1S,2S"],
    "grpc-encoding": ["nonsense", ""],
    "grpc-previous-rpc-attempts": ["x"],
    "grpc-retry-pushback-ms": ["x"],
    "grpc-trace-bin": ["!!"],
    "grpc-tags-bin": ["!!"],
    "x-some-bin": ["!!"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values])
async def test_what_grpc_can_not_read_harms_neither_its_sender_nor_the_next_one(
    name: str, value: str, edge: Edge, stack: RunningStack, mallory: Owner, victim: Owner
) -> None:
    """grpc remembers a malformed header with its name, for the connection that all of the edge's callers share."""
    for path in ("/users/me", "/orders", "/.well-known/jwks.json"):
        answer = await edge.rest.get(path, headers={**mallory.user.headers, name: value})
        assert answer.status_code == 200, answer.text
    connection = await Connection.open(stack.edge_target)
    native = [("content-type", "application/grpc"), ("te", "trailers"), (name, value)]
    connection.get("/gozon.users.v1.UsersService/GetJwks", more=native)
    while (await connection.frame())[0] not in (HEADERS, RST_STREAM, GOAWAY):
        pass
    await connection.close()
    for seconds in (3.0, 4.0, 5.0):
        me = await edge.users.GetMe(GetMeRequest(), metadata=victim.user.metadata(), timeout=seconds)
        assert me.id == victim.user.id
        good = {"grpc-timeout": f"{seconds:.0f}S", "x-some-bin": "AAAA"}
        assert (await edge.rest.get("/users/me", headers={**victim.user.headers, **good})).status_code == 200
