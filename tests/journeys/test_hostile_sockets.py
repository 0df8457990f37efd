"""Clients of push that mean no good, through the edge: each is closed with the right code, and nobody else notices."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest
from websockets.exceptions import InvalidStatus

from services.push.domain import Position, message_id, read_id
from services.push.gateway import Limits
from services.users.tokens import TokenIssuer
from stack.home import Home, Stack
from tests.conftest import NewUser
from tests.push.ear import Ear, listening
from tests.push.raw import BINARY, PING, TEXT, frame, raw_socket
from tests.support import Edge, RunningStack, User, eventually

UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
FLOODS = {
    "a message of a megabyte": (frame(BINARY, b"x" * 1024 * 1024), 1009),
    "many messages": (frame(TEXT, b"x") * 500, 1008),
    "many pings": (frame(PING) * 500, 1008),
    "nonsense": (b"\xff" * 1000, 1002),
}


@pytest.fixture(scope="module")
async def eve(edge: Edge, new_user: NewUser) -> User:
    """A user with money."""
    user = await new_user()
    await edge.deposit(user, 1_000_000)
    return user


@pytest.fixture(scope="module")
async def mallory(edge: Edge, new_user: NewUser) -> User:
    """Somebody with money who means no good."""
    user = await new_user()
    await edge.deposit(user, 1_000_000)
    return user


async def order(edge: Edge, user: User) -> str:
    """Creates an order and returns its id."""
    created = await edge.rest.post("/orders", json={"amount": 10}, headers=user.headers)
    assert created.status_code == 201, created.text
    return str(created.json()["id"])


@pytest.fixture(autouse=True)
async def eve_notices_nothing(edge: Edge, stack: RunningStack, eve: User) -> AsyncIterator[None]:
    """Eve orders and hears of each order what there is to hear, once and in order, during a test and after it."""
    stop = asyncio.Event()

    async def order_and_hear(ear: Ear) -> None:
        is_last = False
        while not is_last:
            is_last = stop.is_set()
            order_id, heard = await order(edge, eve), len(ear.heard)
            await ear.hear_until("order.paid", id=order_id)
            news = [message for message in ear.heard[heard:] if message["type"] != "balance.changed"]
            assert [(one["type"], one["data"]["id"]) for one in news] == [
                ("order.created", order_id),
                ("order.paid", order_id),
            ]

    async with listening(stack.edge_url, eve.token) as ear:
        hearing = asyncio.create_task(order_and_hear(ear))
        yield
        stop.set()
        await hearing


async def test_who_floods_us_is_closed_with_the_right_code(stack: RunningStack, mallory: User) -> None:
    async def flood(data: bytes) -> int:
        async with raw_socket(stack.edge_url, mallory.token) as raw:
            flooding = asyncio.create_task(raw.flood(data))
            code = await raw.close_code()
            await flooding
        return code

    codes = await asyncio.gather(*(flood(data) for data, _ in FLOODS.values()))
    assert dict(zip(FLOODS, codes, strict=True)) == {name: code for name, (_, code) in FLOODS.items()}


async def test_refusals_look_like_all_errors(edge: Edge, mallory: User) -> None:
    shown = {"sec-websocket-protocol": f"gozon.v1, bearer.{mallory.token}"}
    evil = {"origin": "https://evil.example"}
    wrong = [
        (401, "MISSING_TOKEN", UPGRADE),
        (401, "INVALID_TOKEN", UPGRADE | {"sec-websocket-protocol": "gozon.v1, bearer.nonsense"}),
        (403, "FOREIGN_ORIGIN", UPGRADE | shown | evil),
        (403, "FOREIGN_ORIGIN", UPGRADE | evil | {"cookie": f"gozon_access={mallory.token}"}),
        (400, "INVALID_REQUEST", UPGRADE | {"sec-websocket-protocol": f"mqtt, bearer.{mallory.token}"}),
        (426, "INVALID_REQUEST", shown),
        # The token of REST is for REST: a page can't send that header.
        (401, "MISSING_TOKEN", UPGRADE | mallory.headers),
    ]
    for status, reason, headers in wrong:
        answer = await edge.rest.get("/ws", headers=headers)
        [detail] = answer.json()["details"]
        assert (answer.status_code, detail["reason"], detail["domain"]) == (status, reason, "gozon")
    assert (await edge.rest.post("/ws", headers=shown)).status_code == 404


async def test_an_id_of_somebody_else_and_an_invented_one_close_the_socket(
    stack: RunningStack, eve: User, mallory: User
) -> None:
    async with listening(stack.edge_url, eve.token) as ear:
        foreign = ear.last_id

    async def code_for(after: str) -> int:
        async with listening(stack.edge_url, mallory.token, after=after, greeted=False) as ear:
            code = await ear.close_code()
            assert ear.greeting == {}
            return code

    bad = (foreign, "nonsense", "1-1-1-0123456789ab", "%00", "9" * 4000)
    assert await asyncio.gather(*map(code_for, bad)) == [4400] * len(bad)


async def test_an_id_that_somebody_made_tells_him_nothing_of_others(
    edge: Edge, stack: RunningStack, mallory: User
) -> None:
    async with listening(stack.edge_url, mallory.token) as ear:
        known = read_id(mallory.id, ear.last_id)
    # Of a moment in which others were told something, of the future, and of a stream that never was.
    life, now = known.life, known.position.sequence
    made = {(life, now - 5): "hello", (life, now + 10**9): "resync", ("abc", now): "resync"}
    async with AsyncExitStack() as exits:
        ids = [message_id(mallory.id, life, Position(number, 1)) for life, number in made]
        sockets = [listening(stack.edge_url, mallory.token, after=one) for one in ids]
        ears = await asyncio.gather(*map(exits.enter_async_context, sockets))
        assert [ear.greeting["type"] for ear in ears] == list(made.values())
        order_id = await order(edge, mallory)
        for ear in ears:
            await ear.hear_until("order.paid", id=order_id)
            assert {message["data"]["user_id"] for message in ear.heard} == {mallory.id}


async def test_a_socket_ends_with_its_token(stack: RunningStack, mallory: User) -> None:
    token = TokenIssuer(stack.home / "keys", lifetime=2).issue(mallory.id, [])
    async with listening(stack.edge_url, token) as ear:
        assert await ear.close_code() == 4401
    with pytest.raises(InvalidStatus) as refused:
        await _knock(stack, token)
    assert refused.value.response.status_code == 401


async def test_who_vanishes_without_a_word_leaves_his_places_to_others(stack: RunningStack, new_user: NewUser) -> None:
    token = (await new_user()).token
    async with AsyncExitStack() as exits:
        places = Limits().max_user_sockets * Stack.load(Home(stack.home)).config.instances["push"]
        while places:
            with suppress(ConnectionRefusedError):  # by an instance that is full; there is another
                await exits.enter_async_context(raw_socket(stack.edge_url, token))
                places -= 1
        with pytest.raises(InvalidStatus) as refused:
            await _knock(stack, token)
        assert refused.value.response.status_code == 429

    async def is_let_in() -> bool:
        with suppress(InvalidStatus):
            await _knock(stack, token)
            return True
        return False

    await eventually(is_let_in)


async def _knock(stack: RunningStack, token: str) -> None:
    """Opens a socket and closes it again."""
    async with listening(stack.edge_url, token):
        pass
