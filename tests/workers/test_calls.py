"""workers.calls: one token for many calls, replaced in time, and the trace of the task on each of them."""

from contextvars import copy_context

import grpc
import pytest
from celery import signals
from structlog.testing import capture_logs

from gozon.orders.v1.orders_pb2 import GetOrderRequest, Order
from gozon.users.v1.users_pb2 import TokenRequest, TokenResponse
from kit.errors import Unavailable
from kit.telemetry import continue_trace
from tests.workers.fake import FakeServices, Refusal
from workers.calls import CLIENT_ID, services
from workers.orders import process_order

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Users:
    """Gives tokens, each with a number, that are valid for a time."""

    def __init__(self, fake: FakeServices) -> None:
        self.seconds = 900
        self.refusals: list[Refusal] = []
        self.requests: list[TokenRequest] = []
        fake.answer("UsersService.Token", self._token)

    def _token(self, request: TokenRequest) -> TokenResponse:
        self.requests.append(request)
        if self.refusals:
            raise self.refusals.pop()
        return TokenResponse(access_token=f"token-{len(self.requests)}", expires_in=self.seconds)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def users(fake: FakeServices) -> Users:
    fake.answer("OrdersService.GetOrder", lambda _: Order())
    return Users(fake)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("workers.calls.time", clock)
    return clock


def call() -> None:
    services().call(services().orders.GetOrder, GetOrderRequest(order_id="any"))


def shown(fake: FakeServices) -> list[str | bytes]:
    """What GetOrder was shown as authorization, call by call."""
    return [
        metadata["authorization"]
        for (name, _), metadata in zip(fake.asked, fake.metadata, strict=True)
        if name == "GetOrder"
    ]


@pytest.mark.parametrize(("lives", "used"), [(900, 840), (60, 30)], ids=["long", "short"])
def test_a_token_is_asked_for_once_and_replaced_before_it_expires(
    lives: int, used: int, fake: FakeServices, users: Users, clock: Clock
) -> None:
    users.seconds = lives
    call()
    clock.now += used - 1
    call()
    clock.now += 1
    call()
    call()
    assert shown(fake) == ["Bearer token-1"] * 2 + ["Bearer token-2"] * 2
    wanted = TokenRequest(grant_type="client_credentials", client_id=CLIENT_ID, client_secret="secret")
    assert users.requests == [wanted] * 2


def test_one_that_is_refused_is_replaced(fake: FakeServices, users: Users) -> None:
    """As after all keys of Users were changed at once."""

    def answer(_: GetOrderRequest) -> Order:
        if len(users.requests) == 1:
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
        return Order()

    fake.answer("OrdersService.GetOrder", answer)
    with pytest.raises(Unavailable):
        call()
    call()
    call()
    assert shown(fake) == ["Bearer token-1", "Bearer token-2", "Bearer token-2"]


@pytest.mark.parametrize(
    ("code", "told"),
    [(grpc.StatusCode.UNAVAILABLE, False), (grpc.StatusCode.UNAUTHENTICATED, True)],
    ids=["users away", "wrong secret"],
)
def test_without_a_token_tasks_wait(code: grpc.StatusCode, told: bool, fake: FakeServices, users: Users) -> None:
    users.refusals = [Refusal(code)]
    with capture_logs() as logs, pytest.raises(Unavailable):
        call()
    assert [line["event"] for line in logs] == ["no_token"] * told
    assert fake.names() == []
    call()
    assert shown(fake) == ["Bearer token-2"]


def test_calls_carry_the_trace_of_the_task(fake: FakeServices) -> None:
    fake.answer("OrdersService.GetOrder", lambda _: Order())

    def run(**headers: str) -> str:
        process_order.push_request(id="any", **headers)
        signals.task_prerun.send(process_order, task=process_order)
        call()
        process_order.pop_request()
        return str(fake.metadata[-1]["traceparent"])

    assert copy_context().run(run, traceparent=TRACE) == TRACE
    # One that came without has a trace of its own.
    own, another = copy_context().run(run), copy_context().run(run)
    assert own != another
    assert continue_trace(own) == own
