"""What the edge itself answers, over REST and over gRPC: one code, one reason, and a message that says what to do."""

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, GetOrderRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from tests.edge.conftest import Issuer, LoneEdge, edge_before, lone_edge, manager
from tests.edge.expect import assert_error
from tests.edge.http2 import GOAWAY, RST_STREAM, Connection
from tests.edge.standin import Cable, Context, StandIn, never
from tests.support import eventually, refused

UNAVAILABLE = (503, 14, "UPSTREAM_UNAVAILABLE")
TOO_LATE = (504, 4, "DEADLINE_EXCEEDED")


def metadata(issuer: Issuer) -> tuple[tuple[str, str], ...]:
    return tuple(issuer.headers("u").items())


async def test_a_service_that_is_not_there(keys_only: LoneEdge, issuer: Issuer) -> None:
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        assert_error(await client.get("/orders/1", headers=issuer.headers("u")), *UNAVAILABLE)
    async with grpc.aio.insecure_channel(keys_only.target) as channel:
        with refused(grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"):
            await OrdersServiceStub(channel).GetOrder(GetOrderRequest(), metadata=metadata(issuer))


async def test_a_bad_token_over_grpc(keys_only: LoneEdge, stranger: Issuer) -> None:
    async with grpc.aio.insecure_channel(keys_only.target) as channel:
        with refused(grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN"):
            await OrdersServiceStub(channel).GetOrder(GetOrderRequest(), metadata=metadata(stranger))


@pytest.mark.parametrize("extra", [[("x_user_id", "7")], [(f"x-{n}", "1") for n in range(80)]])
async def test_over_http_2_headers_that_may_not_be_end_their_request_and_no_other(
    keys_only: LoneEdge, extra: list[tuple[str, str]]
) -> None:
    connection = await Connection.open(keys_only.target)
    refused_stream = connection.get("/users/me", more=extra)
    while True:
        kind, _, stream, _ = await connection.frame()
        assert kind != GOAWAY
        if stream == refused_stream:
            break
    assert kind == RST_STREAM, "Envoy's HTTP/2 gives no answer to these"
    assert (await connection.answer(connection.get("/users/me"))).headers[":status"] == "401"
    await connection.close()


async def test_an_error_of_grpc_itself_gets_a_reason(
    before_standin: LoneEdge, rest: httpx.AsyncClient, issuer: Issuer
) -> None:
    # The stand-in has no such method.
    assert_error(await rest.get("/orders/1", headers=issuer.headers("u")), 501, 12, "INTERNAL")
    async with grpc.aio.insecure_channel(before_standin.target) as channel:
        with refused(grpc.StatusCode.UNIMPLEMENTED, "INTERNAL"):
            await OrdersServiceStub(channel).GetOrder(GetOrderRequest(), metadata=metadata(issuer))


async def test_a_service_that_takes_too_long(standin: StandIn, issuer: Issuer, tmp_path: Path) -> None:
    def impatient(edge: dict[str, Any]) -> None:
        manager(edge)["common_http_protocol_options"]["max_stream_duration"] = "0.5s"

    standin.answers |= {"GetOrder": never, "CreateOrder": never}
    async with edge_before(standin.port, tmp_path, impatient) as lone:
        async with httpx.AsyncClient(base_url=lone.url) as client:
            assert_error(await client.get("/orders/1", headers=issuer.headers("u")), *TOO_LATE)
        async with grpc.aio.insecure_channel(lone.target) as channel:
            with refused(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"):
                await OrdersServiceStub(channel).CreateOrder(CreateOrderRequest(), metadata=metadata(issuer))
    # It may have happened: it is not for the edge to repeat it.
    assert [name for name, _ in standin.calls] == ["GetOrder", "CreateOrder"]


async def test_a_service_that_breaks_off_in_mid_answer(standin: StandIn, issuer: Issuer, tmp_path: Path) -> None:
    async def begins(_request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("x-begun", "yes"),))
        return await never(b"", context)

    standin.answers["CreateOrder"] = begins
    async with (
        Cable(standin.port, mark=b"x-begun") as cable,
        edge_before(cable.port, tmp_path) as lone,
        httpx.AsyncClient(base_url=lone.url) as client,
    ):
        asked = asyncio.create_task(client.post("/orders", json={"amount": 1}, headers=issuer.headers("u")))
        await cable.marked.wait()
        cable.cut()
        assert_error(await asked, *UNAVAILABLE)


async def test_a_request_that_does_not_end(standin: StandIn, tmp_path: Path, issuer: Issuer) -> None:
    def impatient(edge: dict[str, Any]) -> None:
        assert manager(edge)["request_headers_timeout"] == "10s"
        manager(edge)["request_headers_timeout"] = "0.5s"
        manager(edge)["common_http_protocol_options"]["max_stream_duration"] = "1s"

    token = issuer.issue("u")
    async with edge_before(standin.port, tmp_path, impatient) as lone:
        host, _, port = lone.target.partition(":")
        for begun in ("", f"authorization: Bearer {token}\r\ncontent-length: 5\r\n\r\n{{"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"POST /orders HTTP/1.1\r\nhost: x\r\n{begun}".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            assert head.startswith(b"HTTP/1.1 408 ")
            assert json.loads(body)["details"][0]["reason"] == "REQUEST_TIMEOUT"


async def test_an_edge_without_memory(tmp_path: Path, issuer: Issuer) -> None:
    def tiny(edge: dict[str, Any]) -> None:
        heap = edge["overload_manager"]["resource_monitors"][1]
        heap["typed_config"]["max_heap_size_bytes"] = 1024 * 1024
        # Else what it refuses gets no answer.
        edge["overload_manager"]["actions"] = [
            one for one in edge["overload_manager"]["actions"] if not one["name"].endswith("high_memory_stream")
        ]

    with lone_edge(tmp_path, {}, change=tiny) as lone:
        async with httpx.AsyncClient(base_url=lone.url) as client:

            async def refuses_all() -> httpx.Response | None:
                try:
                    answer = await client.get("/users/me", headers=issuer.headers("u"))
                except httpx.TransportError:
                    return None
                return answer if answer.json()["details"][0]["reason"] == "EDGE_OVERLOADED" else None

            answer = await eventually(refuses_all)
            assert answer is not None
            assert_error(answer, 503, 14, "EDGE_OVERLOADED")
        async with grpc.aio.insecure_channel(lone.target) as channel:
            with refused(grpc.StatusCode.UNAVAILABLE, "EDGE_OVERLOADED"):
                await OrdersServiceStub(channel).GetOrder(GetOrderRequest(), metadata=metadata(issuer))


@pytest.mark.parametrize(
    ("request_line", "status"), [("GET /users/me HTTP/1.0", 426), ("GET  HTTP/1.1", 400), ("\x00\x01\x02", 400)]
)
async def test_what_is_not_our_http(keys_only: LoneEdge, request_line: str, status: int) -> None:
    host, _, port = keys_only.target.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{request_line}\r\nhost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()

    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(body)["details"][0]["reason"] == "INVALID_REQUEST"
