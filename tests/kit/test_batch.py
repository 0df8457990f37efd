"""kit.batch: group commit."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from kit.batch import Batcher
from kit.errors import DeadlineExceeded, Error, NotFound, ResourceExhausted, Unavailable

FOREVER = 3600.0


@pytest.fixture(autouse=True)
def linger_forever_when_busy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Waiting where nobody should would never end."""
    monkeypatch.setattr("kit.batch.LINGER_SECONDS", FOREVER)
    monkeypatch.setattr("kit.batch.BUSY", 1000)
    return monkeypatch


class Writer:
    """Stands where a service's flush method stands: notes the batches, doubles the numbers, waits when told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def flush(self, items: Sequence[int]) -> list[int | Error]:
        self.batches.append(list(items))
        self.begun.set()
        await self.go_on.wait()
        return [2 * item for item in items]


@asynccontextmanager
async def running(batcher: Batcher[int, int]) -> AsyncIterator[Batcher[int, int]]:
    run = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        await batcher.drain()
        await run


async def test_a_lone_item_is_flushed_at_once() -> None:
    writer = Writer()
    async with running(Batcher(writer.flush, name="test")) as batcher:
        assert [await batcher.submit(1), await batcher.submit(2)] == [2, 4]
    assert writer.batches == [[1], [2]]


async def test_what_arrives_during_a_flush_makes_up_the_next_batch() -> None:
    writer = Writer()
    async with running(Batcher(writer.flush, name="test")) as batcher:
        writer.go_on.clear()
        first = asyncio.create_task(batcher.submit(0))
        await writer.begun.wait()
        others = [asyncio.create_task(batcher.submit(item)) for item in range(1, 51)]
        await asyncio.sleep(0)
        writer.go_on.set()
        assert await asyncio.gather(first, *others) == [2 * item for item in range(51)]
    assert writer.batches == [[0], list(range(1, 51))]


async def test_a_batch_has_a_largest_size() -> None:
    writer = Writer()
    async with running(Batcher(writer.flush, name="test", max_batch=10)) as batcher:
        assert await asyncio.gather(*(batcher.submit(item) for item in range(25))) == [2 * i for i in range(25)]
    assert [len(batch) for batch in writer.batches] == [10, 10, 5]


async def test_only_under_load_the_next_batch_waits_to_grow(linger_forever_when_busy: pytest.MonkeyPatch) -> None:
    linger_forever_when_busy.setattr("kit.batch.BUSY", 2)
    linger_forever_when_busy.setattr("kit.batch.LINGER_SECONDS", 0.2)
    writer = Writer()
    async with running(Batcher(writer.flush, name="test")) as batcher:
        await asyncio.gather(*(batcher.submit(item) for item in range(3)))
        early = asyncio.create_task(batcher.submit(3))
        for _ in range(20):
            await asyncio.sleep(0)
        assert list(await asyncio.gather(early, batcher.submit(4))) == [6, 8]
    assert writer.batches == [[0, 1, 2], [3, 4]]


async def test_a_row_that_cannot_be_written_fails_alone() -> None:
    written: list[int] = []

    async def flush(items: Sequence[int]) -> list[int | Error]:
        if 13 in items:
            raise ValueError("13")
        written.extend(items)
        return list(items)

    async with running(Batcher(flush, name="test")) as batcher:
        results = await asyncio.gather(*(batcher.submit(item) for item in (11, 12, 13, 14)), return_exceptions=True)
        assert await batcher.submit(15) == 15
    assert [repr(result) for result in results] == ["11", "12", "ValueError('13')", "14"]
    assert written == [11, 12, 14, 15]


async def test_a_row_that_somebody_holds_a_lock_on_is_slow_alone() -> None:
    async def flush(items: Sequence[int]) -> list[int | Error]:
        if 13 in items:
            raise DeadlineExceeded
        return list(items)

    async with running(Batcher(flush, name="test")) as batcher:
        results = await asyncio.gather(*(batcher.submit(item) for item in (11, 13, 14)), return_exceptions=True)
    assert (results[0], type(results[1]), results[2]) == (11, DeadlineExceeded, 14)


async def test_an_error_among_the_results_is_for_its_item_only() -> None:
    async def flush(items: Sequence[int]) -> list[int | Error]:
        return [NotFound() if item == 2 else item for item in items]

    async with running(Batcher(flush, name="test")) as batcher:
        results = await asyncio.gather(*(batcher.submit(item) for item in (1, 2, 3)), return_exceptions=True)
    assert (results[0], type(results[1]), results[2]) == (1, NotFound, 3)


async def test_when_the_database_is_away_all_hear_it_and_nothing_is_tried_one_by_one() -> None:
    batches: list[int] = []

    async def flush(items: Sequence[int]) -> list[int | Error]:
        batches.append(len(items))
        raise Unavailable

    async with running(Batcher(flush, name="test")) as batcher:
        results = await asyncio.gather(*(batcher.submit(item) for item in range(5)), return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert batches == [5]


async def test_a_caller_that_leaves_while_its_item_waits_takes_it_along() -> None:
    writer = Writer()
    async with running(Batcher(writer.flush, name="test")) as batcher:
        writer.go_on.clear()
        first = asyncio.create_task(batcher.submit(1))
        await writer.begun.wait()
        leaving, staying = (asyncio.create_task(batcher.submit(item)) for item in (2, 3))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        writer.go_on.set()
        assert list(await asyncio.gather(first, staying)) == [2, 6]
    assert writer.batches == [[1], [3]]


async def test_a_caller_that_leaves_during_its_flush_harms_nobody() -> None:
    writer = Writer()
    async with running(Batcher(writer.flush, name="test")) as batcher:
        writer.go_on.clear()
        leaving, staying = (asyncio.create_task(batcher.submit(item)) for item in (1, 2))
        await writer.begun.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        writer.go_on.set()
        assert await staying == 4
        assert await batcher.submit(3) == 6
    assert writer.batches == [[1, 2], [3]]


async def test_draining_writes_what_waits_and_refuses_what_comes() -> None:
    writer = Writer()
    batcher = Batcher(writer.flush, name="test", max_batch=1)
    run = asyncio.create_task(batcher.run())
    writer.go_on.clear()
    waiting = [asyncio.create_task(batcher.submit(item)) for item in (1, 2, 3)]
    await writer.begun.wait()
    draining = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await batcher.submit(4)
    assert not draining.done()
    writer.go_on.set()
    await draining
    await run
    assert await asyncio.gather(*waiting) == [2, 4, 6]
    assert writer.batches == [[1], [2], [3]]


async def test_when_too_many_wait_the_next_one_is_refused() -> None:
    writer = Writer()
    async with running(Batcher(writer.flush, name="test", max_waiting=3)) as batcher:
        writer.go_on.clear()
        first = asyncio.create_task(batcher.submit(0))
        await writer.begun.wait()
        waiting = [asyncio.create_task(batcher.submit(item)) for item in (1, 2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            await batcher.submit(4)
        writer.go_on.set()
        assert await asyncio.gather(first, *waiting) == [0, 2, 4, 6]
