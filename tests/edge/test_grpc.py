"""gRPC, gRPC-Web and reflection on the same port."""

import base64
import re
import struct
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from gozon.orders.v1 import orders_pb2
from tests.support import Edge, User, reason_of, refused

SERVICES = (
    "gozon.users.v1.UsersService",
    "gozon.orders.v1.OrdersService",
    "gozon.payments.v1.PaymentsService",
    "gozon.payouts.v1.PayoutsService",
    "gozon.shop.v1.ShopService",
    "gozon.system.v1.SystemService",
)
CREATE_ORDER = "/gozon.orders.v1.OrdersService/CreateOrder"


async def test_a_call_passes_with_its_metadata_and_without_what_is_meant_for_rest(edge: Edge, alice: User) -> None:
    call = edge.orders.CreateOrder(orders_pb2.CreateOrderRequest(amount=5), metadata=alice.metadata())
    order = await call
    metadata = dict(await call.initial_metadata())

    assert order.status == orders_pb2.Order.PENDING
    assert "x-request-id" in metadata
    assert not {"x-http-code", "server"} & set(metadata)


async def test_errors_of_services_stay_native(edge: Edge, alice: User) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
        await edge.orders.CreateOrder(orders_pb2.CreateOrderRequest(), metadata=alice.metadata())


async def test_errors_of_the_edge_stay_native(edge: Edge, alice: User) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as no_token:
        await edge.orders.CreateOrder(orders_pb2.CreateOrderRequest(amount=5))
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await edge.channel.unary_unary("/gozon.nothing.v1.Nothing/Do", bytes, bytes)(b"", metadata=alice.metadata())
    large = orders_pb2.CreateOrderRequest(description="x" * 1024 * 1024)
    with pytest.raises(grpc.aio.AioRpcError) as too_large:
        await edge.orders.CreateOrder(large, metadata=alice.metadata())

    assert no_token.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert too_large.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "256 KiB" in (too_large.value.details() or "")
    reasons = [reason_of(one.value) for one in (no_token, unknown, too_large)]
    assert reasons == ["MISSING_TOKEN", "ROUTE_NOT_FOUND", "REQUEST_TOO_LARGE"]


async def test_a_stream_passes(edge: Edge, alice: User) -> None:
    order = await edge.orders.CreateOrder(orders_pb2.CreateOrderRequest(amount=5), metadata=alice.metadata())
    watched = edge.orders.WatchOrder(orders_pb2.WatchOrderRequest(order_id=order.id), metadata=alice.metadata())

    # She has no account, so it is canceled, which ends the stream.
    assert [one.status async for one in watched][-1] == orders_pb2.Order.CANCELED


async def test_health_needs_no_token(edge: Edge) -> None:
    check = edge.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = await check(health_pb2.HealthCheckRequest())

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_nobody_holds_a_stream_without_a_token(edge: Edge) -> None:
    watch = edge.channel.unary_stream("/grpc.health.v1.Health/Watch", bytes, bytes)(b"")

    with refused(grpc.StatusCode.UNAUTHENTICATED, "MISSING_TOKEN"):
        await watch.read()


def reflection(edge: Edge, version: str) -> Any:
    return edge.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_every_service(edge: Edge, alice: User, version: str) -> None:
    call = reflection(edge, version)(metadata=alice.metadata())

    # One question after the other on one stream, as grpcurl asks.
    await call.write(ServerReflectionRequest(list_services="*"))
    listed = await call.read()
    assert {one.name for one in listed.list_services_response.service} >= set(SERVICES)
    for name in SERVICES:
        await call.write(ServerReflectionRequest(file_containing_symbol=name))
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
    await call.done_writing()


async def test_reflection_needs_a_token(edge: Edge) -> None:
    call = reflection(edge, "v1")()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def frame(message: Message) -> bytes:
    body = message.SerializeToString()
    return b"\0" + struct.pack(">I", len(body)) + body


@pytest.mark.parametrize("text", [False, True])
async def test_a_browser_calls_over_grpc_web(edge: Edge, alice: User, text: bool) -> None:
    request = frame(orders_pb2.CreateOrderRequest(amount=5))
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    answer = await edge.rest.post(
        CREATE_ORDER,
        content=base64.b64encode(request) if text else request,
        headers={**alice.headers, "content-type": kind, "accept": kind, "origin": "http://localhost:8080"},
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://localhost:8080"
    # Each frame is encoded, and padded, by itself.
    parts = re.findall(rb"[^=]+=*", answer.content) if text else []
    body = b"".join(map(base64.b64decode, parts)) if text else answer.content
    length = struct.unpack(">I", body[1:5])[0]
    order = orders_pb2.Order.FromString(body[5 : 5 + length])
    assert order.user_id == alice.id
    assert b"grpc-status:0" in body[5 + length :]


async def test_grpc_web_reads_errors_as_grpc(edge: Edge, alice: User) -> None:
    headers = {"content-type": "application/grpc-web+proto"}
    invalid = frame(orders_pb2.CreateOrderRequest())
    refused_by_service = await edge.rest.post(CREATE_ORDER, content=invalid, headers={**alice.headers, **headers})
    refused_by_edge = await edge.rest.post(CREATE_ORDER, content=invalid, headers=headers)

    assert refused_by_service.headers["grpc-status"] == "3"
    assert refused_by_edge.headers["grpc-status"] == "16"
    assert "{" not in refused_by_edge.headers["grpc-message"]
