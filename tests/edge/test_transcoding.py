"""What the transcoder makes of REST: the request that a service gets."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message

from gozon.orders.v1 import orders_pb2
from gozon.payments.v1 import payments_pb2
from tests.edge.conftest import Issuer
from tests.edge.expect import assert_error
from tests.edge.standin import Answer, Context, StandIn

Json = dict[str, Any]

MOMENT = 1_795_243_202
"""2026-11-21T06:40:02Z."""


@pytest.fixture
def received(standin: StandIn) -> list[Message]:
    """The requests that arrived at the services, oldest first."""
    found: list[Message] = []

    def keeps(parse: Callable[[bytes], Message]) -> Answer:
        async def answer(request: bytes, _context: Context) -> bytes:
            found.append(parse(request))
            return b""

        return answer

    for contract in (orders_pb2, payments_pb2):
        for name, message in contract.DESCRIPTOR.message_types_by_name.items():
            if name.endswith("Request"):
                parse = getattr(contract, message.name).FromString
                standin.answers[name.removesuffix("Request")] = keeps(parse)
    return found


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"status": "SHIPPED"}, {"status": "SHIPPED"}),
        ({"status": 5}, {"status": "SHIPPED"}),
        ({"description": ""}, {"description": ""}),
        ({"status": None, "description": None, "update_mask": None, "etag": None}, {}),
        ({"description": "x", "update_mask": "description,status"}, {"paths": ["description", "status"]}),
        ({"update_mask": {"paths": ["description"]}}, {"paths": ["description"]}),
        ({"updateMask": "cancelReason"}, {"paths": ["cancel_reason"]}),
        ({"update_mask": ""}, {"paths": []}),
        ({"order_id": "1", "etag": "7"}, {"etag": "7"}),
    ],
)
async def test_a_change_of_an_order_tells_what_is_set_and_what_is_not(
    rest: httpx.AsyncClient, received: list[Message], issuer: Issuer, body: Json, wanted: Json
) -> None:
    answer = await rest.patch("/orders/1", json=body, headers=issuer.headers("7"))

    assert answer.status_code == 200, answer.text
    [request] = received
    assert isinstance(request, orders_pb2.UpdateOrderRequest)
    assert request.order_id == "1"
    assert request.HasField("status") == ("status" in wanted)
    assert request.status == orders_pb2.Order.Status.Value(wanted.get("status", "STATUS_UNSPECIFIED"))
    assert request.HasField("description") == (body.get("description") is not None)
    assert (request.HasField("update_mask"), list(request.update_mask.paths)) == (
        "paths" in wanted,
        wanted.get("paths", []),
    )
    assert request.etag == wanted.get("etag", "")


async def test_a_mask_may_be_in_the_query_too(rest: httpx.AsyncClient, received: list[Message], issuer: Issuer) -> None:
    answer = await rest.patch("/orders/1/?update_mask=status", json={"status": "SHIPPED"}, headers=issuer.headers("7"))

    assert answer.status_code == 200, answer.text
    wanted = orders_pb2.UpdateOrderRequest(order_id="1", status=orders_pb2.Order.SHIPPED)
    wanted.update_mask.paths.append("status")
    assert received == [wanted]


@pytest.mark.parametrize(
    "body", [{"status": "shipped"}, {"status": "X"}, {"update_mask": ["status"]}, {"description": 5}, {"order_id": "2"}]
)
async def test_a_change_that_can_not_be_read_reaches_no_service(
    rest: httpx.AsyncClient, received: list[Message], issuer: Issuer, body: Json
) -> None:
    assert_error(await rest.patch("/orders/1", json=body, headers=issuer.headers("7")), 400, 3, "INVALID_REQUEST")
    assert not received


@pytest.mark.parametrize(
    ("query", "nanos"),
    [
        ("at=2026-11-21T06:40:02Z", 0),
        ("at=2026-11-21T06:40:02.894456Z", 894_456_000),
        ("at=2026-11-21T09:40:02%2B03:00", 0),
        ("at=2026-11-21T09:40:02+03:00", 0),
        ("at=2026-11-21T01:40:02-05:00", 0),
        (f"at.seconds={MOMENT}&at.nanos=5", 5),
    ],
)
async def test_a_moment_is_text_in_the_query(
    rest: httpx.AsyncClient, received: list[Message], issuer: Issuer, query: str, nanos: int
) -> None:
    answer = await rest.get(f"/accounts/1?{query}", headers=issuer.headers("7"))

    assert answer.status_code == 200, answer.text
    [request] = received
    assert isinstance(request, payments_pb2.GetAccountRequest)
    assert (request.at.seconds, request.at.nanos) == (MOMENT, nanos)


@pytest.mark.parametrize("at", ["", "now", "5", "2026-11-21", "2026-11-21T06:40:02", "2026-02-30T00:00:00Z", "null"])
async def test_what_is_no_moment_reaches_no_service(
    rest: httpx.AsyncClient, received: list[Message], issuer: Issuer, at: str
) -> None:
    answer = await rest.get("/accounts/1", params={"at": at}, headers=issuer.headers("7"))

    assert_error(answer, 400, 3, "INVALID_REQUEST")
    assert not received


@pytest.mark.parametrize("slash", ["", "/", "//", "/?etag=3", "?etag=3"])
@pytest.mark.parametrize("body", ["", "{}"])
async def test_a_verb_of_an_order_may_have_a_slash_behind_it_and_needs_no_body(
    rest: httpx.AsyncClient, received: list[Message], issuer: Issuer, slash: str, body: str
) -> None:
    answer = await rest.post(f"/orders/1:cancel{slash}", content=body, headers=issuer.headers("7"))

    assert answer.status_code == 200, answer.text
    assert received == [orders_pb2.CancelOrderRequest(order_id="1", etag="3" if "3" in slash else "")]


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/orders/1:cancel"),
        ("PATCH", "/orders/1:cancel"),
        ("PUT", "/orders/1"),
        ("DELETE", "/orders/1"),
        ("POST", "/orders/1:ship"),
        ("POST", "/orders/1:cancel/x"),
        ("POST", "/orders/1:cancelx/"),
        ("POST", "/orders/:cancel"),
        ("POST", "/orders/1/history"),
        ("POST", "/accounts/1/entries"),
        ("GET", "/accounts/1/hold"),
    ],
)
async def test_another_verb_or_method_is_no_path(
    rest: httpx.AsyncClient, received: list[Message], issuer: Issuer, verb: str, path: str
) -> None:
    assert_error(await rest.request(verb, path, headers=issuer.headers("7")), 404, 5, "ROUTE_NOT_FOUND")
    assert not received
