"""Order processing through everything, with workers that are absent, killed and stopped, and a broker that forgets.

The stack has no workers of its own: each test starts those it needs.
"""

import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest
from kombu import Connection

from kit.ids import new_id
from services.topology import WORKERS_ORDERS
from stack.home import Stack
from tests.collector import Collector
from tests.conftest import running
from tests.journeys.conftest import Mortal
from tests.push.ear import listening
from tests.support import Edge, User, eventually, free_port
from tests.workers.broker import Broker
from tests.workers.process import Worker, metrics
from tests.workers.simulator import Provider
from workers.app import TaskName, app, configure, taken_keys
from workers.settings import BrokerSettings

NewWorker = Callable[..., Worker]

MAX_QUEUED = 5
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PROCESSED = (TaskName.PROCESS_ORDER, "succeeded")
FOR_LONG = 30
"""Seconds of work that end by nothing but a death."""


@pytest.fixture(scope="module")
async def collector() -> AsyncIterator[Collector]:
    """Who gets the traces."""
    async with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def own(mortal: Mortal, collector: Collector) -> Stack:
    """A stack without workers, which traces those alone who ask for it."""
    tracing = ("--trace-to", collector.url, "--trace-percent", "0")
    return mortal("--setting", f"dispatcher.max_queued={MAX_QUEUED}", *tracing)


@pytest.fixture(scope="module")
async def edge(own: Stack) -> AsyncIterator[Edge]:
    """Clients of its edge."""
    async with Edge(running(own.home.path)) as clients:
        yield clients


@pytest.fixture(scope="module")
async def ann(edge: Edge) -> User:
    """Somebody with money."""
    user = await edge.register()
    await edge.deposit(user, 1_000_000)
    return user


@pytest.fixture(autouse=True)
async def broker(own: Stack) -> AsyncIterator[Broker]:
    """The tasks that wait or were taken, at first none: a worker of the test before may have died with some."""
    broker = Broker(own.broker_url)
    await broker.client.flushall()
    yield broker
    await broker.client.aclose()


@pytest.fixture
def new_worker(own: Stack, tmp_path: Path) -> Iterator[NewWorker]:
    """Makes a worker of a kind, with settings of its own."""
    workers = []

    def make(kind: str, **settings: float | str) -> Worker:
        workers.append(Worker(own, kind, tmp_path, **settings))
        return workers[-1]

    yield make
    for worker in workers:
        worker.kill()


async def create_order(edge: Edge, user: User, **headers: str) -> str:
    """Creates an order and returns its id when it is paid."""
    answer = await edge.rest.post("/orders", json={"amount": 1}, headers={**user.headers, **headers})
    assert answer.status_code == 201, answer.text
    order_id: str = answer.json()["id"]
    assert (await edge.settled(user, order_id))["status"] == "PAID"
    return order_id


async def all_processed_once(edge: Edge, user: User, *orders: str) -> None:
    """Waits until a worker has processed them; nothing else may have happened to them than that and their payment."""
    for order in orders:
        await edge.processed(user, order)
        answer = await edge.rest.get(f"/orders/{order}/history", headers=user.headers)
        causes = [change["cause"] for change in answer.json()["changes"]]
        assert sorted(causes) == ["CREATED", "PAYMENT", "PROCESSING"]


async def is_at_work(worker: Worker) -> None:
    """Waits until a worker has begun a task."""

    async def begun() -> bool:
        return await worker.running() == 1

    await eventually(begun)


async def make_older(url: str, statement: str) -> None:
    """Lets time pass for a database, so that it is asked for what is still to be done."""
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def test_without_a_worker_orders_are_paid_and_whatever_waits_or_is_lost_is_processed_later(
    own: Stack, edge: Edge, ann: User, broker: Broker, new_worker: NewWorker
) -> None:
    orders = [await create_order(edge, ann) for _ in range(3 * MAX_QUEUED)]

    async def broker_is_full() -> bool:
        return len(await broker.waiting("orders")) >= MAX_QUEUED

    await eventually(broker_is_full)
    # The rest is in NATS: these orders were created one by one, so each event is a message.
    assert [task.arguments for task in await broker.waiting("orders")] == [[id_, ann.id] for id_ in orders[:MAX_QUEUED]]
    client = await nats.connect(own.nats_url)
    waiting = await client.jetstream().consumer_info(WORKERS_ORDERS.stream, WORKERS_ORDERS.name)
    await client.close()
    assert (waiting.num_pending, waiting.num_ack_pending) == (2 * MAX_QUEUED, 0)
    queued = await metrics(own.config.ports["dispatcher-metrics"], "queue_tasks")
    assert ({"worker": "orders", "queue": "orders"}, MAX_QUEUED) in queued

    await broker.client.flushall()
    worker = new_worker("orders", process_order_seconds=0)
    await worker.start()
    await all_processed_once(edge, ann, *orders[MAX_QUEUED:])
    for order in orders[:MAX_QUEUED]:
        lost = (await edge.rest.get(f"/orders/{order}", headers=ann.headers)).json()
        assert (lost["status"], lost.get("processed_at")) == ("PAID", None)
    await make_older(own.database_url("orders"), _A_MINUTE_OLDER)
    await all_processed_once(edge, ann, *orders)

    async def counted() -> bool:
        return await worker.ended() == {PROCESSED: len(orders)}

    await eventually(counted)
    assert await worker.stop() == 0
    for order in orders:
        assert sum(f"Order {order} processed" in line for line in worker.log()) == 1


async def test_a_payout_whose_task_is_lost_is_paid_later(
    own: Stack, edge: Edge, ann: User, broker: Broker, new_worker: NewWorker
) -> None:
    answer = await edge.rest.post(
        "/payouts",
        json={"amount": 700, "recipient": {"type": "CARD", "card": {"number": "4111111111111111"}}},
        headers={**ann.headers, "idempotency-key": uuid.uuid4().hex},
    )
    assert answer.status_code == 201, answer.text
    payout: dict[str, Any] = answer.json()

    async def waits() -> bool:
        return [task.arguments for task in await broker.waiting("payouts")] == [[payout["id"], ann.id]]

    await eventually(waits)
    await broker.client.flushall()
    worker = new_worker("payouts")
    await worker.start()
    await make_older(own.database_url("payments"), _HALF_A_MINUTE_OLDER)

    async def completed() -> bool:
        found = (await edge.rest.get(f"/payouts/{payout['id']}", headers=ann.headers)).json()
        return bool(found["status"] == "COMPLETED")

    await eventually(completed)
    provider = Provider(own.provider_url, own.secrets.provider)
    assert (await provider.book())[payout["id"]]["requests"] == 1
    await provider.client.aclose()


async def test_a_task_that_is_delivered_again_has_one_effect(
    own: Stack, edge: Edge, ann: User, new_worker: NewWorker
) -> None:
    worker = new_worker("orders", process_order_seconds=3, concurrency=2)
    await worker.start()
    order = await create_order(edge, ann, traceparent=TRACE)
    await is_at_work(worker)
    _visibility_times_out(own)
    # Both are at it, and neither knows of the other.
    await all_processed_once(edge, ann, order)

    async def ended(outcome: dict[tuple[str, str], int]) -> bool:
        return await worker.ended() == outcome

    await eventually(lambda: ended({PROCESSED: 2}))
    lines = [line for line in worker.log() if f"Order {order} processed" in line]
    assert [TRACE[3:35] in line for line in lines] == [True, True]
    # Once more, as after a question that crossed the answer.
    configure(BrokerSettings(broker_url=own.broker_url))
    with app.connection_for_write() as connection:
        app.send_task(TaskName.PROCESS_ORDER, args=(order, ann.id), connection=connection)
        app.send_task(TaskName.PROCESS_ORDER, args=(new_id(), ann.id), connection=connection)
    # There is no such order as the last one.
    await eventually(lambda: ended({PROCESSED: 3, (TaskName.PROCESS_ORDER, "failed"): 1}))
    await all_processed_once(edge, ann, order)


async def test_when_the_process_of_a_task_dies_another_one_does_it(
    edge: Edge, ann: User, new_worker: NewWorker
) -> None:
    worker = new_worker("orders", process_order_seconds=2, concurrency=1)
    await worker.start()
    order = await create_order(edge, ann)
    await is_at_work(worker)
    worker.signal_children(signal.SIGKILL)
    await all_processed_once(edge, ann, order)

    async def counted() -> bool:
        return await worker.ended() == {(TaskName.PROCESS_ORDER, "lost"): 1, PROCESSED: 1}

    await eventually(counted)
    assert await worker.running() == 0


async def test_a_task_that_hangs_is_killed_and_done_when_it_is_asked_for_again(
    own: Stack, edge: Edge, ann: User, new_worker: NewWorker
) -> None:
    worker = new_worker("orders", process_order_seconds=5, concurrency=1, task_seconds=10, provider_seconds=5)
    await worker.start()
    order = await create_order(edge, ann)
    await is_at_work(worker)
    # It does not hear the soft limit either.
    worker.signal_children(signal.SIGSTOP)

    async def killed() -> bool:
        return await worker.ended() == {(TaskName.PROCESS_ORDER, "timed_out"): 1}

    await eventually(killed)
    await make_older(own.database_url("orders"), _A_MINUTE_OLDER)
    await all_processed_once(edge, ann, order)


async def test_when_a_worker_is_killed_its_task_is_given_to_another_one(
    edge: Edge, ann: User, broker: Broker, new_worker: NewWorker
) -> None:
    worker = new_worker("orders", process_order_seconds=FOR_LONG, concurrency=1)
    await worker.start()
    order = await create_order(edge, ann)
    await is_at_work(worker)
    worker.kill()
    assert await broker.taken("orders") == 1
    await broker.make_older("orders")
    await new_worker("orders", process_order_seconds=0).start()
    await all_processed_once(edge, ann, order)


async def test_a_worker_that_is_stopped_ends_its_task_and_leaves_the_others(
    edge: Edge, ann: User, broker: Broker, new_worker: NewWorker
) -> None:
    worker = new_worker("orders", process_order_seconds=2, concurrency=1)
    await worker.start()
    orders = [await create_order(edge, ann) for _ in range(3)]
    await is_at_work(worker)
    assert await worker.stop() == 0
    assert [order for order in orders if any(f"Order {order} processed" in line for line in worker.log())] == orders[:1]
    assert await broker.taken("orders") == 0
    assert [task.arguments[0] for task in await broker.waiting("orders")] == orders[1:]
    await new_worker("orders", process_order_seconds=0).start()
    await all_processed_once(edge, ann, *orders)


async def test_what_cant_be_done_now_is_done_later_by_whoever_is_there_then(
    edge: Edge, ann: User, broker: Broker, new_worker: NewWorker
) -> None:
    worker = new_worker("orders", orders_target=f"127.0.0.1:{free_port()}")
    await worker.start()
    order = await create_order(edge, ann)

    async def retried() -> bool:
        return (TaskName.PROCESS_ORDER, "retried") in await worker.ended()

    await eventually(retried)
    # It has the next attempt in hand, whose time has not come, and gives that back.
    assert await worker.stop() == 0
    assert await broker.taken("orders") == 0
    assert [task.arguments[0] for task in await broker.waiting("orders")] == [order]
    await new_worker("orders", process_order_seconds=0).start()
    await all_processed_once(edge, ann, order)


async def test_one_trace_shows_every_hop_of_an_order(
    own: Stack, edge: Edge, ann: User, new_worker: NewWorker, collector: Collector
) -> None:
    worker = new_worker("orders", process_order_seconds=0, concurrency=1)
    await worker.start()
    trace_id = uuid.uuid4().hex
    async with listening(own.edge_url, ann.token) as ear:
        order = await create_order(edge, ann, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
        await ear.hear_until("order.processed", id=order)
    api = "gozon.orders.v1.OrdersService"
    created, succeeded = "orders.created", "payments.succeeded"
    hops = {
        ("edge", f"POST /{api}/CreateOrder"): "00f067aa0ba902b7",
        ("orders", f"{api}/CreateOrder"): ("edge", f"POST /{api}/CreateOrder"),
        ("orders", f"publish {created}"): ("orders", f"{api}/CreateOrder"),
        ("push", "push order.created"): ("orders", f"publish {created}"),
        ("payments", f"process {created}"): ("orders", f"publish {created}"),
        ("payments", f"publish {succeeded}"): ("payments", f"process {created}"),
        ("push", "push balance.changed"): ("payments", f"publish {succeeded}"),
        ("orders", f"process {succeeded}"): ("payments", f"publish {succeeded}"),
        ("orders", "publish orders.paid"): ("orders", f"process {succeeded}"),
        ("push", "push order.paid"): ("orders", "publish orders.paid"),
        ("dispatcher", f"process {created}"): ("orders", f"publish {created}"),
        ("worker-orders", "task process_order"): ("dispatcher", f"process {created}"),
        ("orders", f"{api}/GetOrder"): ("worker-orders", "task process_order"),
        ("orders", f"{api}/MarkOrderProcessed"): ("worker-orders", "task process_order"),
        ("orders", "publish orders.processed"): ("orders", f"{api}/MarkOrderProcessed"),
        ("push", "push order.processed"): ("orders", "publish orders.processed"),
    }

    async def all_told() -> bool:
        return collector.parents(trace_id).keys() >= hops.keys()

    await eventually(all_told)
    assert collector.parents(trace_id) == hops
    # Nobody else has asked for it.
    assert {hop.trace_id for hop in collector.hops} <= {trace_id, TRACE[3:35]}


def _visibility_times_out(stack: Stack) -> None:
    """Gives back what workers have taken, as any of them does with what was taken too long ago."""
    options = {**taken_keys("orders"), "visibility_timeout": 0}
    with Connection(stack.broker_url, transport_options=options) as connection:
        # The stubs know the interface of all transports, and this is Redis's.
        channel: Any = connection.channel()
        channel.qos.restore_visible(interval=1)


_A_MINUTE_OLDER = "UPDATE orders SET processing_asked_at = processing_asked_at - interval '1 minute'"
_HALF_A_MINUTE_OLDER = "UPDATE payouts SET asked_at = asked_at - interval '30 seconds'"
