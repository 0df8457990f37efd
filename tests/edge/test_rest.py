"""REST over the contracts: each route, statuses, headers, and what the edge adds."""

import json
import uuid

import pytest

from tests.edge.expect import assert_error
from tests.support import Edge, User

ORIGIN = "http://localhost:8080"


async def create_order(edge: Edge, user: User) -> str:
    answer = await edge.rest.post("/orders", json={"amount": "700"}, headers=user.headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_registration_answers_201_with_the_user_and_a_location(edge: Edge) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    answer = await edge.rest.post("/register/", json={"email": email, "password": "correct horse"})

    assert answer.status_code == 201
    assert answer.headers["location"].startswith("/users/")
    assert answer.json() == {
        "id": answer.json()["id"],
        "email": email,
        "username": "",
        "roles": ["user"],
        "created_at": answer.json()["created_at"],
        "etag": "1",
    }


async def test_a_token_is_got_with_a_form_and_not_kept_by_caches(edge: Edge, alice: User) -> None:
    form = {"grant_type": "password", "username": alice.email, "password": alice.password}
    answer = await edge.rest.post("/token", data=form)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["token_type"] == "Bearer"


async def test_changes_of_oneself_by_etag(edge: Edge) -> None:
    user = await edge.register()
    read = await edge.rest.get("/users/me", headers=user.headers)
    etag = read.headers["etag"]
    assert etag == f'"{read.json()["etag"]}"'

    headers = {**user.headers, "if-match": etag}
    changed = await edge.rest.patch("/users/me", json={"username": "Ann"}, headers=headers)
    assert (changed.status_code, changed.json()["username"]) == (200, "Ann")
    assert changed.headers["etag"] != etag
    assert_error(await edge.rest.patch("/users/me", json={"username": "Bea"}, headers=headers), 409, 10, "STALE_ETAG")


async def test_a_changed_password_is_204(edge: Edge) -> None:
    user = await edge.register()
    passwords = {"current_password": user.password, "new_password": "an altogether different one"}
    answer = await edge.rest.post("/users/me/password", json=passwords, headers=user.headers)
    again = await edge.rest.post("/users/me/password", json=passwords, headers=user.headers)

    assert (answer.status_code, answer.content) == (204, b"")
    assert not {"content-type", "x-http-code"} & set(answer.headers)
    assert_error(again, 403, 7, "WRONG_PASSWORD")


async def test_keys_are_public(edge: Edge) -> None:
    answer = await edge.rest.get("/.well-known/jwks.json")

    assert answer.status_code == 200
    assert answer.json()["keys"][0]["alg"] == "ES256"


@pytest.mark.parametrize("slash", ["", "/"])
async def test_me_and_account_and_orders_with_and_without_a_slash(edge: Edge, bob: User, slash: str) -> None:
    headers = bob.headers
    me = await edge.rest.get(f"/users/me{slash}", headers=headers)
    assert (me.status_code, me.json()["id"]) == (200, bob.id)

    opened = await edge.rest.post(f"/accounts/{bob.id}{slash}", json={}, headers=headers)
    if opened.status_code == 201:
        assert opened.headers["location"] == f"/accounts/{bob.id}"
    else:
        assert opened.status_code == 409
    for path in (f"/accounts/{bob.id}/deposit{slash}", f"/users/{bob.id}/add-funds{slash}"):
        keyed = {**headers, "idempotency-key": uuid.uuid4().hex}
        deposited = await edge.rest.post(path, json={"amount": 100}, headers=keyed)
        assert deposited.status_code == 200, deposited.text
        again = await edge.rest.post(path, json={"amount": 100}, headers=keyed)
        assert (again.json(), again.headers["idempotency-replayed"]) == (deposited.json(), "true")
    account = await edge.rest.get(f"/accounts/{bob.id}{slash}", headers=headers)
    assert account.status_code == 200
    assert isinstance(account.json()["balance"], str), "int64 is a string in JSON"

    created = await edge.rest.post(f"/orders{slash}", json={"amount": 5}, headers=headers)
    assert created.status_code == 201
    order = created.json()
    assert created.headers["location"] == f"/orders/{order['id']}"
    assert (order["status"], order["total_price"], order["items"]) == ("PENDING", "5", [])
    got = await edge.rest.get(f"/orders/{order['id']}{slash}", headers=headers)
    assert (got.status_code, got.json()["id"]) == (200, order["id"])
    for path in (f"/orders{slash}?page_size=1", f"/orders/user/{bob.id}{slash}?page_size=1"):
        listed = await edge.rest.get(path, headers=headers)
        assert listed.status_code == 200
        assert len(listed.json()["orders"]) == 1


async def test_an_order_is_watched_as_server_sent_events(edge: Edge, alice: User) -> None:
    order_id = await create_order(edge, alice)

    async with edge.rest.stream("GET", f"/orders/{order_id}:watch", headers=alice.headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        # She has no account, so the order is canceled and the stream ends.
        lines = [line async for line in answer.aiter_lines() if line]

    assert all(line.startswith("data: ") for line in lines)
    assert json.loads(lines[-1].removeprefix("data: "))["status"] == "CANCELED"


async def test_answers_carry_the_callers_request_id_or_a_new_one_and_nothing_of_the_inside(
    edge: Edge, alice: User
) -> None:
    own = str(uuid.uuid4())
    kept = await edge.rest.get("/users/me", headers={**alice.headers, "x-request-id": own})
    made = await edge.rest.get("/users/me", headers=alice.headers)

    assert kept.headers["x-request-id"] == own
    assert uuid.UUID(made.headers["x-request-id"])
    for name in made.headers:
        assert not name.startswith(("grpc-", "x-envoy-", "server", "x-http-code")), name


async def test_healthz_and_readyz_need_no_token(edge: Edge) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await edge.rest.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_page_of_an_allowed_origin_may_ask_and_read(edge: Edge, alice: User) -> None:
    wanted = {"authorization", "content-type", "idempotency-key", "if-match"}
    for method in ("GET", "POST", "PATCH", "DELETE"):
        preflight = await edge.rest.options(
            "/orders",
            headers={
                "origin": ORIGIN,
                "access-control-request-method": method,
                "access-control-request-headers": ", ".join(wanted),
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert method in preflight.headers["access-control-allow-methods"].split(", ")
        assert wanted <= set(preflight.headers["access-control-allow-headers"].split(", "))

    answer = await edge.rest.get("/users/me", headers={**alice.headers, "origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"location", "etag", "idempotency-replayed", "retry-after", "x-request-id"} <= exposed
    refused = await edge.rest.get("/users/me", headers={"origin": ORIGIN})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == ORIGIN, "else the page can't read why"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8080.evil.example"])
async def test_a_page_of_another_origin_may_not(edge: Edge, alice: User, origin: str) -> None:
    preflight = await edge.rest.options("/orders", headers={"origin": origin, "access-control-request-method": "POST"})
    answer = await edge.rest.get("/users/me", headers={**alice.headers, "origin": origin})

    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in answer.headers
