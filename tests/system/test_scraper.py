"""Reading the metrics of processes that answer, don't answer, or talk nonsense."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from services.system import scraper
from services.system.scraper import Scraper, Target, read_targets
from tests.support import RunningStack, free_port

Serve = Callable[[bytes | None], Awaitable[Target]]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture
async def asked() -> list[bytes]:
    """What the servers of `serve` were asked."""
    return []


@pytest.fixture
async def serve(asked: list[bytes]) -> AsyncIterator[Serve]:
    """Starts something that says these bytes to whoever asks, or nothing at all."""
    async with AsyncExitStack() as exits:

        async def start(answer: bytes | None) -> Target:
            async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                if answer is None:
                    await reader.read()
                else:
                    writer.write(answer)
                writer.close()

            port = free_port()
            await exits.enter_async_context(await asyncio.start_server(say, "127.0.0.1", port))
            return Target("stranger", "127.0.0.1", port)

        yield start


async def test_who_answers_is_read_and_who_does_not_is_told(
    stack: RunningStack, client: httpx.AsyncClient, serve: Serve
) -> None:
    orders = urlsplit(stack.metrics_urls["orders"])
    assert orders.hostname
    assert orders.port
    targets = [
        Target("orders", orders.hostname, orders.port),
        Target("dead", "127.0.0.1", free_port()),
        Target("unknown", "", 1),
        await serve(None),
        await serve(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"),
        await serve(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\na_metric x!"),
        await serve(b"\0\1\2"),
    ]

    readings = await Scraper(targets, client).readings()

    assert [reading.name for reading in readings] == [target.name for target in targets]
    assert [reading.samples is not None for reading in readings] == [True, *[False] * 6]
    assert readings[0].instance == orders.netloc
    assert readings[0].samples is not None
    # Nothing else was asked for.
    assert readings[0].samples.keys() <= set(scraper.NAMES)
    assert readings[0].value("process_resident_memory_bytes") or 0 > 1_000_000
    assert readings[0].value("outbox_age_seconds") is not None


async def test_however_many_ask_each_process_is_asked_once(
    client: httpx.AsyncClient, serve: Serve, asked: list[bytes]
) -> None:
    watched = Scraper([await serve(b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\npush_sockets 3")], client)

    found = await asyncio.gather(*(watched.readings() for _ in range(20)))

    assert {reading.value("push_sockets") for readings in found for reading in readings} == {3}
    assert len(asked) == 1


def test_targets_are_read() -> None:
    assert read_targets("orders=127.0.0.1:1,orders-2:22 ; push=[::1]:3") == (
        Target("orders", "127.0.0.1", 1),
        Target("orders", "orders-2", 22),
        Target("push", "::1", 3),
    )
    for text in ("orders", "orders=", "orders=host", "orders=host:x", "=host:1", "orders=:1"):
        with pytest.raises(ValueError, match="name=host:port"):
            read_targets(text)
