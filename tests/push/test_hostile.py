"""Clients that mean no good, or are simply gone: closed with the right code, and nobody else notices."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kit.ids import new_id
from services.push.gateway import MAX_MESSAGE_BYTES, Limits
from tests.edge.conftest import Issuer
from tests.push.conftest import NewPush, Publish, Push, metric, paid
from tests.push.ear import Ear, listening
from tests.push.raw import BINARY, PING, PONG, TEXT, frame, raw_socket
from tests.support import PATIENCE_SECONDS, eventually

ANN, MALLORY = new_id(), new_id()
MINUTE_FRAMES = 20
PING_SECONDS = 2.0
"""Long enough for those who do answer, on a busy machine."""


@asynccontextmanager
async def ann_notices_nothing(push: Push, publish: Publish, issuer: Issuer) -> AsyncIterator[None]:
    """Somebody else's socket hears everything, in order, all the while."""
    last = 10**9
    stop = asyncio.Event()

    async def publish_now_and_then() -> int:
        number = 0
        while not stop.is_set() or number < 10:
            number += 1
            await publish([paid(ANN, number)])
            await asyncio.sleep(0.01)
        return number

    async def hear_everything(ear: Ear) -> None:
        while len(ear.heard) < last:
            await ear.hear()

    async with listening(push.url, issuer.issue(ANN)) as ear:
        publishing, hearing = asyncio.create_task(publish_now_and_then()), asyncio.create_task(hear_everything(ear))
        try:
            yield
        finally:
            stop.set()
            last = await publishing

        async def all_heard() -> bool:
            return hearing.done() or len(ear.heard) >= last

        await eventually(all_heard)
        hearing.cancel()
        assert [int(message["data"]["total_price"]) for message in ear.heard] == list(range(1, last + 1))


async def all_gone_but(number: int) -> None:
    """Waits until so many sockets are open."""

    async def gone() -> bool:
        return metric("push_sockets") == number

    await eventually(gone)


FLOODS = {
    "messages": (frame(TEXT, b"x") * 500, 1008),
    "pings": (frame(PING, b"x") * 500, 1008),
    "pongs": (frame(PONG) * 500, 1008),
    "empty fragments of one message": (frame(TEXT, fin=False) + frame(0, fin=False) * 500, 1008),
    "a large message": (frame(BINARY, b"x" * 1024 * 1024), 1009),
    "a large message in fragments": (frame(TEXT, b"x" * 600, fin=False) + frame(0, b"x" * 600, fin=False), 1009),
    "nonsense": (b"\xff" * 1000, 1002),
}


@pytest.mark.parametrize(("data", "code"), FLOODS.values(), ids=FLOODS.keys())
async def test_who_floods_us_is_closed_with_the_right_code(
    new_push: NewPush, publish: Publish, issuer: Issuer, data: bytes, code: int
) -> None:
    # Pings are no help: whoever floods us is gone before the first one.
    push = await new_push(Limits(frames_a_minute=MINUTE_FRAMES, ping_seconds=2 * PATIENCE_SECONDS))
    async with ann_notices_nothing(push, publish, issuer), raw_socket(push.url, issuer.issue(MALLORY)) as raw:
        flooding = asyncio.create_task(raw.flood(data))
        assert await raw.close_code() == code
        # Without waiting for a client that never closes its side.
        await all_gone_but(1)
        await flooding


async def test_as_much_as_is_allowed_closes_nothing(new_push: NewPush, publish: Publish, issuer: Issuer) -> None:
    push = await new_push(Limits(frames_a_minute=MINUTE_FRAMES))
    async with listening(push.url, issuer.issue(ANN)) as ear:
        for _ in range(MINUTE_FRAMES):
            await ear.connection.send(b"x" * MAX_MESSAGE_BYTES)
        await publish([paid(ANN, 1)])
        assert (await ear.hear())["data"]["total_price"] == "1"
        await ear.connection.send("once more")
        assert await ear.close_code() == 1008


async def test_who_does_not_answer_pings_is_dropped(new_push: NewPush, publish: Publish, issuer: Issuer) -> None:
    push = await new_push(Limits(ping_seconds=PING_SECONDS))
    before = metric("push_closed_total", reason="no_pong")
    async with ann_notices_nothing(push, publish, issuer), raw_socket(push.url, issuer.issue(MALLORY)) as raw:
        assert await raw.close_code() == 1011
    assert metric("push_closed_total", reason="no_pong") == before + 1


async def test_a_connection_whose_other_end_is_gone_without_a_word_is_dropped(
    new_push: NewPush, publish: Publish, issuer: Issuer
) -> None:
    push = await new_push(Limits(ping_seconds=PING_SECONDS))
    async with ann_notices_nothing(push, publish, issuer), raw_socket(push.url, issuer.issue(MALLORY)):
        # It reads nothing, says nothing and does not end its side: what a machine that lost its power looks like.
        await all_gone_but(2)
        await all_gone_but(1)


async def test_a_slow_reader_is_dropped_and_costs_no_memory(
    new_push: NewPush, publish: Publish, issuer: Issuer
) -> None:
    push = await new_push(Limits(ping_seconds=60, write_seconds=0.5))
    before = metric("push_closed_total", reason="too_slow")
    async with (
        ann_notices_nothing(push, publish, issuer),
        raw_socket(push.url, issuer.issue(MALLORY), receive_buffer=4096) as raw,
    ):
        await all_gone_but(2)
        for number in range(300):
            await publish([paid(MALLORY, number, filling=4_000)])
        await all_gone_but(1)
        heard = [payload async for opcode, payload in raw.frames() if opcode == TEXT]
        assert len(heard) < 150
    assert metric("push_closed_total", reason="too_slow") == before + 1


async def test_a_reader_that_falls_out_of_the_memory_is_dropped(
    new_push: NewPush, publish: Publish, issuer: Issuer
) -> None:
    push = await new_push(Limits(ping_seconds=60), max_bytes=20_000)
    async with raw_socket(push.url, issuer.issue(MALLORY), receive_buffer=4096) as raw:
        await all_gone_but(1)
        for number in range(300):
            await publish([paid(MALLORY, number, filling=4_000)])
        assert await raw.close_code() == 4408


GARBAGE = {
    "nonsense": b"\x16\x03\x01" + bytes(range(256)),
    "another method": b"POST /ws HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc",
    "endless headers": b"GET /ws HTTP/1.1\r\n" + b"x: " + b"y" * 100_000,
    "too many headers": b"GET /ws HTTP/1.1\r\n" + b"x: y\r\n" * 1_000 + b"\r\n",
    "half a request": b"GET /ws HT",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_instead_of_a_handshake_disturbs_nobody(
    new_push: NewPush, publish: Publish, issuer: Issuer, data: bytes
) -> None:
    push = await new_push()
    async with ann_notices_nothing(push, publish, issuer):
        host, _, port = push.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        writer.close()
        assert b" 101 " not in answer
        assert metric("push_sockets") <= 1
