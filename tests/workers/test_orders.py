"""workers.orders: an order is processed once, and Orders is told; what is not there yet is waited for."""

from contextvars import copy_context
from types import SimpleNamespace

import grpc
import pytest
from celery.result import EagerResult
from structlog.testing import capture_logs

from gozon.orders.v1.orders_pb2 import GetOrderRequest, MarkOrderProcessedRequest, Order
from kit.ids import new_id
from tests.workers.fake import FakeServices, Refusal
from workers.calls import Refused
from workers.orders import process_order
from workers.settings import WorkerSettings

AWAY = ("ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE")
WORK_SECONDS = WorkerSettings.model_fields["process_order_seconds"].default


class Books:
    """An order as Orders keeps it, as far as a worker sees that."""

    def __init__(self, fake: FakeServices) -> None:
        self.order = Order(id=new_id(), user_id=new_id(), status=Order.PENDING)
        self.refusals: dict[str, list[Refusal]] = {"GetOrder": [], "MarkOrderProcessed": []}
        """What a method answers first."""
        fake.answer("OrdersService.GetOrder", self._get)
        fake.answer("OrdersService.MarkOrderProcessed", self._mark)

    def _get(self, request: GetOrderRequest) -> Order:
        self._refuse("GetOrder")
        assert request.order_id == self.order.id
        return self.order

    def _mark(self, request: MarkOrderProcessedRequest) -> Order:
        self._refuse("MarkOrderProcessed")
        assert request.order_id == self.order.id
        self.order.processed_at.GetCurrentTime()
        return self.order

    def _refuse(self, method: str) -> None:
        if self.refusals[method]:
            raise self.refusals[method].pop()


@pytest.fixture
def books(fake: FakeServices, monkeypatch: pytest.MonkeyPatch) -> Books:
    """Work is noted among what the services are asked, instead of being waited for."""
    clock = SimpleNamespace(sleep=lambda seconds: fake.asked.append(("sleep", seconds)))
    monkeypatch.setattr("workers.orders.time", clock)
    return Books(fake)


def run(books: Books) -> "EagerResult[None]":
    """Runs the task as a worker does, with all its retries, but without the pauses between them."""
    # What a task notes of its trace stays in its process, which here is ours.
    return copy_context().run(process_order.apply, (books.order.id, books.order.user_id))


def test_it_works_for_a_while_and_then_tells_orders_and_the_log(fake: FakeServices, books: Books) -> None:
    with capture_logs() as logs:
        assert run(books).successful()
    assert fake.names() == ["GetOrder", "sleep", "MarkOrderProcessed"]
    assert ("sleep", WORK_SECONDS) in fake.asked
    [line] = logs
    assert line == {
        "event": f"Order {books.order.id} processed",
        "user_id": books.order.user_id,
        "log_level": "info",
    }


def test_what_was_processed_already_is_left_alone(fake: FakeServices, books: Books) -> None:
    books.order.processed_at.GetCurrentTime()
    with capture_logs() as logs:
        assert run(books).successful()
    assert fake.names() == ["GetOrder"]
    assert logs == []


def test_a_second_delivery_finds_that_out(fake: FakeServices, books: Books) -> None:
    assert run(books).successful()
    assert run(books).successful()
    assert fake.names() == ["GetOrder", "sleep", "MarkOrderProcessed", "GetOrder"]


@pytest.mark.parametrize("status", [Order.PAID, Order.AUTHORIZED, Order.SHIPPED, Order.CANCELED], ids=Order.Status.Name)
def test_whatever_became_of_the_order_it_is_processed(status: Order.Status, fake: FakeServices, books: Books) -> None:
    books.order.status = status
    assert run(books).successful()
    assert fake.names() == ["GetOrder", "sleep", "MarkOrderProcessed"]


@pytest.mark.parametrize("code", AWAY)
def test_while_orders_is_away_it_is_tried_again(code: str, fake: FakeServices, books: Books) -> None:
    books.refusals["GetOrder"] = [Refusal(grpc.StatusCode[code])]
    books.refusals["MarkOrderProcessed"] = [Refusal(grpc.StatusCode[code])]
    with capture_logs() as logs:
        assert run(books).successful()
    assert fake.names() == ["GetOrder", *["GetOrder", "sleep", "MarkOrderProcessed"] * 2]
    assert [line["retries"] for line in logs if line["event"] == "task_retried"] == [0, 1]


@pytest.mark.parametrize(
    ("method", "refusal", "asked"),
    [
        ("GetOrder", Refusal(grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"), ["GetOrder"]),
        (
            "MarkOrderProcessed",
            Refusal(grpc.StatusCode.PERMISSION_DENIED, "WORKER_ONLY"),
            ["GetOrder", "sleep", "MarkOrderProcessed"],
        ),
    ],
    ids=["unknown", "forbidden"],
)
def test_what_orders_refuses_fails_and_is_not_repeated(
    method: str, refusal: Refusal, asked: list[str], fake: FakeServices, books: Books
) -> None:
    books.refusals[method] = [refusal]
    result = run(books)
    assert result.failed()
    assert isinstance(result.result, Refused)
    assert result.result.reason == refusal.reason
    assert fake.names() == asked
