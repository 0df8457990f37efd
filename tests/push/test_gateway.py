"""Sockets: who may open one, what is told on it, and going on after it broke."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from kit import auth
from kit.ids import new_id
from services.push import gateway
from services.push.domain import Position, message_id
from services.push.gateway import Limits
from tests.edge.conftest import Issuer
from tests.push.conftest import NewPush, Publish, Push, metric, paid
from tests.push.ear import Ear, listening
from tests.support import NatsServer, eventually

ANN, BOB = new_id(), new_id()
UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture
async def push(new_push: NewPush) -> Push:
    return await new_push()


async def knock(push: Push, query: str = "", **headers: str) -> tuple[int, str]:
    """Tries to open a socket and returns the status and the reason of the refusal; 101 and nothing when it opens."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=push.url) as client:
        request = client.build_request("GET", f"/ws{query}", headers=UPGRADE | given)
        answer = await client.send(request, stream=True)
        if answer.status_code == 101:
            await answer.aclose()
            return 101, ""
        body = json.loads(await answer.aread())
    assert answer.headers["content-type"] == "application/json"
    assert set(body) == {"code", "message", "details"}
    return answer.status_code, body["details"][0]["reason"]


def bearer(token: str) -> dict[str, str]:
    """Headers with a token as browsers can send it."""
    return {"sec_websocket_protocol": f"gozon.v1, bearer.{token}"}


async def test_who_shows_no_good_token_is_refused(push: Push, issuer: Issuer) -> None:
    expired = issuer.issue(ANN, exp=int(time.time()) - 60)
    assert await knock(push) == (401, "MISSING_TOKEN")
    assert await knock(push, sec_websocket_protocol="gozon.v1") == (401, "MISSING_TOKEN")
    for token in ("nonsense", "a.b.c", expired, Issuer().issue(ANN), issuer.issue(ANN, aud="others")):
        assert await knock(push, **bearer(token)) == (401, "INVALID_TOKEN")
        assert await knock(push, origin=push.url, cookie=f"gozon_access={token}") == (401, "INVALID_TOKEN")
    assert await knock(push, **bearer(issuer.issue(ANN))) == (101, "")


async def test_a_token_is_never_read_from_the_url_or_from_headers_that_pages_can_not_set(
    push: Push, issuer: Issuer
) -> None:
    token = issuer.issue(ANN)
    for query in (f"?token={token}", f"?access_token={token}", "?after=x&after=y", f"?after=x&token={token}"):
        assert await knock(push, query, **bearer(token)) == (400, "INVALID_REQUEST")
    assert await knock(push, authorization=f"Bearer {token}") == (401, "MISSING_TOKEN")


async def test_pages_of_other_origins_are_refused_and_cookies_need_an_origin(push: Push, issuer: Issuer) -> None:
    token = issuer.issue(ANN)
    cookie = {"cookie": f"gozon_access={token}"}
    own, host = push.url, push.url.removeprefix("http://")
    foreign = ("https://evil.example", f"http://{host}.evil.example", "null", "http://[", f"ftp://{host}", "")
    for origin in foreign:
        for shown in (cookie, bearer(token)):
            assert await knock(push, origin=origin, **shown) == (403, "FOREIGN_ORIGIN"), origin
    assert await knock(push, **cookie) == (403, "FOREIGN_ORIGIN")
    for origin in (own, own.replace("http", "https"), "https://shop.example"):
        for shown in (cookie, bearer(token)):
            assert await knock(push, origin=origin, **shown) == (101, ""), origin


async def test_what_is_no_handshake_gets_an_error_in_json(push: Push, issuer: Issuer) -> None:
    shown = bearer(issuer.issue(ANN))
    assert await knock(push, **shown, upgrade="h2c") == (426, "INVALID_REQUEST")
    assert await knock(push, **shown, sec_websocket_version="8") == (400, "INVALID_REQUEST")
    assert await knock(push, sec_websocket_protocol="mqtt") == (400, "INVALID_REQUEST")
    async with httpx.AsyncClient(base_url=push.url) as client:
        assert (await client.get("/elsewhere")).status_code == 404
        assert (await client.get("/healthz")).status_code == 200
    assert metric("push_sockets") == 0


async def test_many_at_once_get_no_more_sockets_than_a_user_or_an_instance_may_have(
    new_push: NewPush, issuer: Issuer
) -> None:
    push = await new_push(Limits(max_sockets=7, max_user_sockets=5))
    opened: list[Ear] = []
    refused: list[int] = []
    leave = asyncio.Event()

    async def come(user_id: str) -> None:
        try:
            async with listening(push.url, issuer.issue(user_id)) as ear:
                opened.append(ear)
                await leave.wait()
        except InvalidStatus as error:
            refused.append(error.response.status_code)

    async def all_answered(number: int) -> bool:
        return len(opened) + len(refused) == number

    anns = asyncio.gather(*(come(ANN) for _ in range(30)))
    await eventually(lambda: all_answered(30))
    assert (len(opened), set(refused)) == (5, {429})
    bobs = asyncio.gather(*(come(BOB) for _ in range(5)))
    await eventually(lambda: all_answered(35))
    assert (len(opened), refused.count(503)) == (7, 3)
    assert metric("push_sockets") == 7
    leave.set()
    await asyncio.gather(anns, bobs)

    async def is_empty() -> bool:
        return metric("push_sockets") == 0

    await eventually(is_empty)
    async with listening(push.url, issuer.issue(ANN)):
        assert metric("push_sockets") == 1


async def test_who_comes_back_goes_on_where_he_was_on_any_instance(
    new_push: NewPush, publish: Publish, issuer: Issuer
) -> None:
    instances = [await new_push(), await new_push()]
    token, last, number = issuer.issue(ANN), "", 0
    heard: list[int] = []
    for turn in range(6):
        for _ in range(3):
            number += 1
            await publish([paid(ANN, number), paid(BOB)])
        async with listening(instances[turn % 2].url, token, after=last) as ear:
            assert ear.greeting["type"] == "hello"
            # Of those before the first socket, it hears what had not arrived yet.
            while turn and heard[-1] < number:
                heard.append(int((await ear.hear())["data"]["total_price"]))
            number += 1
            await publish([paid(ANN, number)])
            heard.append(int((await ear.hear())["data"]["total_price"]))
            last = ear.last_id
    assert heard == list(range(heard[0], number + 1))


async def test_the_id_of_a_greeting_is_enough_to_go_on_from(push: Push, publish: Publish, issuer: Issuer) -> None:
    async with listening(push.url, issuer.issue(ANN)) as ear:
        first = ear.last_id
    await publish([paid(ANN, 1)])
    async with listening(push.url, issuer.issue(ANN), after=first) as ear:
        assert ear.greeting["id"] == first
        assert (await ear.hear())["data"]["total_price"] == "1"


async def test_an_id_of_somebody_else_and_an_invented_one_close_the_socket(push: Push, issuer: Issuer) -> None:
    async with listening(push.url, issuer.issue(BOB)) as ear:
        foreign = ear.last_id
    for bad in (foreign, "nonsense", "1-1-1-0123456789ab", "%00", "9" * 4000):
        async with listening(push.url, issuer.issue(ANN), after=bad, greeted=False) as ear:
            assert await ear.close_code() == 4400
            assert ear.greeting == {}


async def test_an_instance_that_lags_behind_lets_a_client_wait(push: Push, publish: Publish, issuer: Issuer) -> None:
    async with listening(push.url, issuer.issue(ANN)) as ear:
        await publish([paid(ANN, 1)])
        await ear.hear()
        end = push.hub.end
        ahead = message_id(ANN, push.hub.life, Position(end.sequence + 1, 1))
        coming = asyncio.create_task(_first_two(push, issuer, ahead))
        await publish([paid(ANN, 2), paid(ANN, 3)])
        await ear.hear()
    greeting, message = await coming
    assert (greeting["type"], message["data"]["total_price"]) == ("hello", "3")


async def _first_two(push: Push, issuer: Issuer, after: str) -> tuple[dict[str, Any], dict[str, Any]]:
    async with listening(push.url, issuer.issue(ANN), after=after) as ear:
        return ear.greeting, await ear.hear()


async def test_an_id_that_never_was_gets_a_resync(
    push: Push, issuer: Issuer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "AHEAD_SECONDS", 0.1)
    future = message_id(ANN, push.hub.life, Position(10**9, 1))
    for strange in (future, message_id(ANN, "abc", Position(0, 0))):
        async with listening(push.url, issuer.issue(ANN), after=strange) as ear:
            assert ear.greeting["type"] == "resync"
            await publish([paid(ANN, 1)])
            assert (await ear.hear())["data"]["total_price"] == "1"


async def test_a_socket_ends_with_its_token(push: Push, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Verifying it again would notice too, but later.
    monkeypatch.setattr(gateway, "VERIFY_SWEEPS", 10**9)
    token = issuer.issue(ANN, exp=int(time.time()) + 2)
    async with listening(push.url, token) as ear, listening(push.url, issuer.issue(ANN)) as other:
        assert await ear.close_code() == 4401
        assert other.connection.close_code is None
    assert await knock(push, **bearer(token)) == (401, "INVALID_TOKEN")


async def test_a_socket_ends_when_the_key_of_its_token_is_removed(
    new_push: NewPush, issuer: Issuer, keys: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REFRESH_SECONDS", 0.2)
    monkeypatch.setattr(gateway, "SWEEP_SECONDS", 0.05)
    push = await new_push()
    async with listening(push.url, issuer.issue(ANN)) as ear:
        keys[:] = [Issuer().jwk]
        assert await ear.close_code() == 4401


async def test_while_nats_is_away_sockets_stay_and_hear_everything_in_order_when_it_is_back(
    push: Push, publish: Publish, issuer: Issuer, nats_server: NatsServer
) -> None:
    async with listening(push.url, issuer.issue(ANN)) as ear:
        await publish([paid(ANN, 1)])
        assert (await ear.hear())["data"]["total_price"] == "1"
        nats_server.kill()
        async with listening(push.url, issuer.issue(ANN), after=ear.last_id) as other:
            await nats_server.start()
            await publish([paid(ANN, number) for number in range(2, 30)])
            for one in (ear, other):
                await one.hear_until("order.paid", total_price="29")
        assert [int(message["data"]["total_price"]) for message in ear.heard] == list(range(1, 30))
        assert [int(message["data"]["total_price"]) for message in other.heard] == list(range(2, 30))


async def test_after_nats_lost_its_storage_sockets_are_told_to_read_anew(
    push: Push, publish: Publish, issuer: Issuer, nats_server: NatsServer
) -> None:
    async with listening(push.url, issuer.issue(ANN)) as ear:
        await publish([paid(ANN, 1)])
        await ear.hear()
        old = ear.last_id
        nats_server.kill()
        nats_server.wipe()
        await nats_server.start()
        assert (await ear.hear())["type"] == "resync"
        await publish([paid(ANN, 2)])
        assert (await ear.hear())["data"]["total_price"] == "2"
        async with listening(push.url, issuer.issue(ANN), after=old) as other:
            assert other.greeting["type"] == "resync"
        async with listening(push.url, issuer.issue(ANN), after=ear.last_id) as other:
            assert other.greeting["type"] == "hello"


async def test_an_instance_that_stops_says_so_and_takes_nobody_any_more(push: Push, issuer: Issuer) -> None:
    async with listening(push.url, issuer.issue(ANN)) as ear:
        push.gateway.refuse()
        assert await knock(push, **bearer(issuer.issue(ANN))) == (503, "UNAVAILABLE")
        async with httpx.AsyncClient(base_url=push.url) as client:
            assert (await client.get("/healthz")).status_code == 503
        closing = asyncio.create_task(ear.close_code())
        await push.stop()
        assert await closing == 1001
