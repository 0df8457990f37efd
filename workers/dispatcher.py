"""The dispatcher: turns events into tasks, and lets events wait in NATS while the workers have enough to do.

An event is acknowledged once the broker has its task. Should the broker lose that, those who know what was not done ask
again: Orders for the processing of an order, Payments for a payout.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import structlog
from google.protobuf.message import DecodeError
from kombu.exceptions import OperationalError
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from gozon.orders.v1.events_pb2 import OrderCreated, ProcessingRequested
from gozon.payouts.v1.events_pb2 import PayoutRequested
from kit.bus import Bus
from kit.errors import Unavailable
from kit.events import Event
from kit.housekeeping import MEASURE_SECONDS, measure_lag
from services.topology import (
    CONSUMERS,
    DISPATCHER_CONSUMERS,
    ORDER_CREATED,
    PAYOUT_REQUESTED,
    PROCESSING_REQUESTED,
    STREAMS,
    WORKERS_ORDERS,
    WORKERS_PAYOUTS,
)
from workers.app import BROKER_SECONDS, TRACE_HEADER, WORKERS, TaskName, app, configure, taken_keys
from workers.settings import DispatcherSettings

Arguments = tuple[str, ...]

log = structlog.get_logger()


def _created(event: Event) -> Arguments:
    created = OrderCreated.FromString(event.payload)
    return created.order_id, created.user_id


def _processing_requested(event: Event) -> Arguments:
    requested = ProcessingRequested.FromString(event.payload)
    return requested.order_id, requested.user_id


def _payout_requested(event: Event) -> Arguments:
    requested = PayoutRequested.FromString(event.payload)
    return requested.payout_id, requested.user_id


TASK_OF: dict[str, tuple[TaskName, Callable[[Event], Arguments]]] = {
    ORDER_CREATED: (TaskName.PROCESS_ORDER, _created),
    PROCESSING_REQUESTED: (TaskName.PROCESS_ORDER, _processing_requested),
    PAYOUT_REQUESTED: (TaskName.PAY_OUT, _payout_requested),
}
"""By subject: the task, and how its arguments are read from the event."""


class Queues(Collector):
    """How many tasks are in the broker, for each kind of worker: those that wait, and those that a worker has taken."""

    def __init__(self, url: str) -> None:
        """`url` is redis://:password@host:port/db of the broker."""
        self._redis = Redis.from_url(url, socket_timeout=BROKER_SECONDS, socket_connect_timeout=BROKER_SECONDS)

    def lengths(self, kind: str) -> dict[str, int]:
        """Returns the lengths of the queues of one kind of worker, and of `taken`. Errors: Unavailable."""
        keys = taken_keys(kind)
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for queue in WORKERS[kind]:
                    pipeline.llen(queue)
                pipeline.hlen(keys["unacked_key"])
                return dict(zip((*WORKERS[kind], "taken"), pipeline.execute(), strict=True))
        except (RedisError, OSError) as error:
            raise Unavailable from error

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Measures when somebody asks; nothing is measured while the broker is away."""
        tasks = GaugeMetricFamily(
            "queue_tasks", "Tasks that wait, or that a worker has taken", labels=["worker", "queue"]
        )
        for kind in WORKERS:
            try:
                for queue, length in self.lengths(kind).items():
                    tasks.add_metric([kind, queue], length)
            except Unavailable:
                continue
        yield tasks

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()


class Dispatcher:
    """Gives tasks to the broker, as long as there are not too many."""

    def __init__(self, queues: Queues, max_queued: int) -> None:
        self._queues = queues
        self._max = max_queued

    async def has_room(self, kind: str) -> bool:
        """Says whether a kind of worker has fewer tasks than it may. Errors: Unavailable."""
        lengths = await asyncio.to_thread(self._queues.lengths, kind)
        return sum(lengths.values()) < self._max

    async def dispatch(self, events: Sequence[Event]) -> None:
        """Starts a task for each event; one that can't be read is left out.

        Errors: Unavailable when the broker is away; some tasks may have been started then, and are again later.
        """
        try:
            await asyncio.to_thread(self._send, events)
        except (OperationalError, RedisError, OSError) as error:
            raise Unavailable from error

    def _send(self, events: Sequence[Event]) -> None:
        with app.producer_or_acquire() as producer:
            for event in events:
                name, read = TASK_OF[event.subject]
                try:
                    arguments = read(event)
                except DecodeError:
                    log.error("unreadable_event", event_id=event.id, subject=event.subject)
                    continue
                app.send_task(name, args=arguments, headers={TRACE_HEADER: event.traceparent}, producer=producer)


async def _measure(bus: Bus) -> None:
    """Measures for ever what waits in NATS for want of room: the broker alone looks the same however much that is."""
    while True:
        await measure_lag(bus, DISPATCHER_CONSUMERS)
        await asyncio.sleep(MEASURE_SECONDS)


async def run(settings: DispatcherSettings) -> None:
    """Dispatches until told to stop."""
    configure(settings)
    queues = Queues(settings.broker_url)
    dispatcher = Dispatcher(queues, settings.max_queued)
    consumers = (*CONSUMERS, *DISPATCHER_CONSUMERS)
    bus = Bus(settings.nats_url, STREAMS, consumers, settings.stream_replicas)
    await bus.connect()
    # Not before: whoever waits for NATS has nothing to finish, and would not hear of it.
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = [
        asyncio.create_task(bus.consume(consumer, dispatcher.dispatch, None, room=partial(dispatcher.has_room, kind)))
        for consumer, kind in ((WORKERS_ORDERS, "orders"), (WORKERS_PAYOUTS, "payouts"))
    ]
    running.append(asyncio.create_task(_measure(bus)))
    if settings.metrics_port:
        REGISTRY.register(queues)
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    log.info("dispatching")
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait((stopped, *running), return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    await bus.stop_consuming()
    await bus.close()
    queues.close()
    for task in done - {stopped}:
        task.result()
