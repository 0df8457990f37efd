"""workers.dispatcher with a real Valkey and a real NATS: events become tasks, as long as there is room for them."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import nats
import pytest
from nats.js.api import ConsumerInfo
from prometheus_client import CollectorRegistry

from gozon.orders.v1.events_pb2 import OrderCreated, ProcessingRequested
from gozon.payouts.v1.events_pb2 import PayoutRequested
from kit.bus import Bus
from kit.errors import Unavailable
from kit.events import ENVELOPE_EVENTS, Event
from kit.ids import new_id
from services.topology import (
    CONSUMERS,
    DISPATCHER_CONSUMERS,
    ORDER_CREATED,
    PAYOUT_REQUESTED,
    PROCESSING_REQUESTED,
    STREAMS,
    WORKERS_ORDERS,
)
from tests.support import NatsServer, eventually
from tests.workers.broker import OwnBroker, Waiting
from workers.app import configure
from workers.dispatcher import Dispatcher, Queues
from workers.settings import BrokerSettings

MAX_QUEUED = 5
USER = "0192f0c1-2345-7000-8000-000000000000"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
async def _broker() -> AsyncIterator[OwnBroker]:
    broker = OwnBroker()
    configure(BrokerSettings(broker_url=broker.url))
    yield broker
    await broker.kill()


@pytest.fixture
async def broker(_broker: OwnBroker) -> OwnBroker:
    """The broker of these tests: it runs, and has no task."""
    await _broker.start()
    await _broker.client.flushall()
    return _broker


@pytest.fixture
def queues(broker: OwnBroker) -> Iterator[Queues]:
    queues = Queues(broker.url)
    yield queues
    queues.close()


@pytest.fixture
def dispatcher(queues: Queues) -> Dispatcher:
    return Dispatcher(queues, MAX_QUEUED)


def created(number: int = 1) -> list[Event]:
    """So many new orders."""
    orders = [OrderCreated(order_id=new_id(), user_id=USER) for _ in range(number)]
    return [Event(new_id(), ORDER_CREATED, order.SerializeToString(), TRACE) for order in orders]


@pytest.mark.parametrize(
    ("subject", "message", "queue", "task"),
    [
        (ORDER_CREATED, OrderCreated(order_id="1", user_id=USER), "orders", "process_order"),
        (PROCESSING_REQUESTED, ProcessingRequested(order_id="1", user_id=USER), "orders", "process_order"),
        (PAYOUT_REQUESTED, PayoutRequested(payout_id="1", user_id=USER), "payouts", "pay_out"),
    ],
    ids=[ORDER_CREATED, PROCESSING_REQUESTED, PAYOUT_REQUESTED],
)
async def test_an_event_becomes_the_task_of_its_subject(
    subject: str,
    message: OrderCreated | ProcessingRequested | PayoutRequested,
    queue: str,
    task: str,
    dispatcher: Dispatcher,
    broker: OwnBroker,
) -> None:
    await dispatcher.dispatch([Event(new_id(), subject, message.SerializeToString(), TRACE)])
    assert await broker.waiting(queue) == [Waiting(task, ["1", USER], TRACE)]


async def test_of_some_events_that_cant_be_read_is_left_out(dispatcher: Dispatcher, broker: OwnBroker) -> None:
    first, last = created(2)
    await dispatcher.dispatch([first, Event(new_id(), ORDER_CREATED, b"\xff", TRACE), last])
    wanted = [OrderCreated.FromString(event.payload).order_id for event in (first, last)]
    assert [task.arguments[0] for task in await broker.waiting("orders")] == wanted


async def test_while_the_broker_is_away_nothing_is_dispatched_and_there_is_no_room(
    dispatcher: Dispatcher, broker: OwnBroker
) -> None:
    await broker.kill()
    with pytest.raises(Unavailable):
        await dispatcher.dispatch(created())
    with pytest.raises(Unavailable):
        await dispatcher.has_room("orders")
    await broker.start()
    await dispatcher.dispatch(created())
    assert len(await broker.waiting("orders")) == 1


async def test_neither_is_it_while_the_broker_is_full(dispatcher: Dispatcher, broker: OwnBroker) -> None:
    await broker.client.config_set("maxmemory", 1)
    with pytest.raises(Unavailable):
        await dispatcher.dispatch(created())
    await broker.client.config_set("maxmemory", 0)
    await dispatcher.dispatch(created())
    assert len(await broker.waiting("orders")) == 1


async def test_room_is_what_is_left_by_tasks_that_wait_and_tasks_at_work(
    dispatcher: Dispatcher, queues: Queues, broker: OwnBroker
) -> None:
    await dispatcher.dispatch(created(MAX_QUEUED - 2))
    await broker.client.hset("unacked.orders", "a tag", "a task")
    assert await dispatcher.has_room("orders")
    await dispatcher.dispatch(created())
    assert not await dispatcher.has_room("orders")
    # Who processes many orders keeps nobody from being paid.
    assert await dispatcher.has_room("payouts")
    await broker.client.lpush("maintenance", *["a task"] * MAX_QUEUED)
    assert not await dispatcher.has_room("payouts")

    registry = CollectorRegistry()
    registry.register(queues)
    measured = {
        tuple(sample.labels.values()): sample.value for metric in registry.collect() for sample in metric.samples
    }
    assert measured == {
        ("orders", "orders"): MAX_QUEUED - 1,
        ("orders", "taken"): 1,
        ("payouts", "payouts"): 0,
        ("payouts", "maintenance"): MAX_QUEUED,
        ("payouts", "taken"): 0,
    }
    await broker.kill()
    assert [metric.samples for metric in registry.collect()] == [[]]


class Dispatching:
    """The dispatcher's consumer of orders, at work on a NATS of a test's own."""

    def __init__(self, dispatcher: Dispatcher, url: str) -> None:
        self.bus = Bus(url, STREAMS, (*CONSUMERS, *DISPATCHER_CONSUMERS))
        self.times_refused = 0
        self._dispatcher = dispatcher
        self._url = url

    async def __aenter__(self) -> "Dispatching":
        await self.bus.connect()
        self._task = asyncio.create_task(
            self.bus.consume(WORKERS_ORDERS, self._dispatcher.dispatch, None, room=self._has_room)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.bus.stop_consuming()
        await self.bus.close()
        await self._task

    async def _has_room(self) -> bool:
        answer = False
        try:
            answer = await self._dispatcher.has_room("orders")
        finally:
            self.times_refused += not answer
        return answer

    async def refused_once_more(self) -> None:
        """Waits until the consumer has asked for room after what it took last, in vain."""
        times = self.times_refused

        async def again() -> bool:
            return self.times_refused > times

        await eventually(again)

    async def in_nats(self) -> ConsumerInfo:
        """What the consumer has yet to take, and what it has in hand."""
        client = await nats.connect(self._url)
        info: ConsumerInfo = await client.jetstream().consumer_info(WORKERS_ORDERS.stream, WORKERS_ORDERS.name)
        await client.close()
        return info


@pytest.mark.parametrize(
    ("company", "held"), [(1, MAX_QUEUED), (ENVELOPE_EVENTS, ENVELOPE_EVENTS)], ids=["alone", "in envelopes"]
)
async def test_what_there_is_no_room_for_waits_in_nats(
    company: int, held: int, dispatcher: Dispatcher, broker: OwnBroker, nats_server: NatsServer
) -> None:
    async with Dispatching(dispatcher, nats_server.url) as dispatching:
        published = 3 * held // company
        for _ in range(published):
            await dispatching.bus.publish(created(company))

        async def full() -> bool:
            return len(await broker.waiting("orders")) >= MAX_QUEUED

        await eventually(full)
        await dispatching.refused_once_more()
        assert len(await broker.waiting("orders")) == held
        info = await dispatching.in_nats()
        assert (info.num_pending, info.num_ack_pending) == (published - held // company, 0)
        # Workers end them all, and so on: nothing is lost or started twice.
        begun = []
        for _ in range(3):
            await eventually(full)
            await dispatching.refused_once_more()
            begun += await broker.waiting("orders")
            await broker.client.delete("orders")
        assert len({task.arguments[0] for task in begun}) == len(begun) == 3 * held


async def test_what_comes_while_the_broker_is_away_is_dispatched_when_it_is_back(
    dispatcher: Dispatcher, broker: OwnBroker, nats_server: NatsServer
) -> None:
    async with Dispatching(dispatcher, nats_server.url) as dispatching:
        # It has asked for a message while there was room, so that this one is in its hand.
        await broker.kill()
        [first] = created()
        await dispatching.bus.publish([first])
        await dispatching.refused_once_more()
        [second] = created()
        await dispatching.bus.publish([second])
        await broker.start()

        async def both() -> bool:
            return {task.arguments[0] for task in await broker.waiting("orders")} == {
                OrderCreated.FromString(event.payload).order_id for event in (first, second)
            }

        await eventually(both)
