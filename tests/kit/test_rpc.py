"""kit.rpc over the wire: what a client sees of errors, deadlines, health and reflection."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gozon.users.v1.users_pb2 import GetJwksRequest, GetMeRequest, RegisterRequest, TokenRequest, TokenResponse
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from kit.rpc import ALIVE
from stack.config import SERVICES
from tests.support import RunningStack, User, eventually, free_port, reason_of, refused

if TYPE_CHECKING:
    from gozon.users.v1.users_pb2_grpc import UsersServiceAsyncStub

REGISTER = RegisterRequest(email="ann@example.com", password="12345678")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Misbehaving:
    """The process of tests/kit/misbehaving.py, and clients of it."""

    process: asyncio.subprocess.Process
    log: Path
    folder: Path
    channel: grpc.aio.Channel

    @property
    def stub(self) -> "UsersServiceAsyncStub":
        return UsersServiceStub(self.channel)

    async def health(self) -> int:
        try:
            return await health_of(self.channel)
        except grpc.aio.AioRpcError:
            return 0


async def health_of(channel: grpc.aio.Channel, name: str = "") -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Misbehaving]:
    folder = tmp_path_factory.mktemp("misbehaving")
    target, log = f"127.0.0.1:{free_port()}", folder / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.kit.misbehaving", target, str(folder)), stdout=out, stderr=subprocess.STDOUT
        )
    async with grpc.aio.insecure_channel(target, options=(("grpc.max_reconnect_backoff_ms", 100),)) as channel:
        server = Misbehaving(process, log, folder, channel)

        async def serves() -> bool:
            assert process.returncode is None, log.read_text()
            return await server.health() == SERVING

        await eventually(serves)
        yield server
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_an_unforeseen_error_is_internal_and_its_text_stays_here(server: Misbehaving) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.stub.Register(REGISTER, metadata=(("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"),))
    error = caught.value
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert trace_id in (error.details() or "")
    assert "hunter2" not in f"{error!r} {error.trailing_metadata()!r}"

    async def logged() -> list[str]:
        lines = await asyncio.to_thread(server.log.read_text)
        return [line for line in lines.splitlines() if trace_id in line and "call_failed" in line]

    [line] = await eventually(logged)
    assert json.loads(line)["trace_id"] == trace_id
    assert "RuntimeError" in line


async def test_a_database_that_is_away_is_unavailable(server: Misbehaving) -> None:
    with refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"):
        await server.stub.GetJwks(GetJwksRequest())


async def test_a_client_that_stops_waiting_hears_so(server: Misbehaving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.stub.Token(TokenRequest(), timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_bytes_that_are_no_message_are_the_clients_fault(server: Misbehaving) -> None:
    raw: Any = server.channel.unary_unary("/gozon.users.v1.UsersService/Register")
    for garbage in (b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\xff" * 10):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
            await raw(garbage)


async def test_every_field_at_fault_is_named(server: Misbehaving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.stub.Register(RegisterRequest(email="nobody", password="short"))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert re.search(r"email: .*; password: ", caught.value.details() or "")
    assert violations_of(caught.value).keys() == {"email", "password"}


async def test_a_string_with_nul_is_refused_wherever_it_is(server: Misbehaving) -> None:
    for request in (RegisterRequest(email="a\0@example.com"), RegisterRequest(username="\0")):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
            await server.stub.Register(request)


async def test_a_method_that_needs_a_token_gets_no_call_without_one(server: Misbehaving) -> None:
    with refused(grpc.StatusCode.UNAUTHENTICATED, "MISSING_TOKEN"):
        await server.stub.GetMe(GetMeRequest())
    with refused(grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN"):
        await server.stub.GetMe(GetMeRequest(), metadata=(("authorization", "Bearer nonsense"),))


async def test_a_service_called_past_the_edge_verifies_tokens_itself(stack: RunningStack, alice: User) -> None:
    async with grpc.aio.insecure_channel(stack.targets["users"]) as channel:
        stub = UsersServiceStub(channel)
        assert (await stub.GetMe(GetMeRequest(), metadata=alice.metadata())).email == alice.email
        forged = (("authorization", f"Bearer {alice.token[:-4]}AAAA"), ("x-user-id", alice.id))
        with refused(grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN"):
            await stub.GetMe(GetMeRequest(), metadata=forged)


async def test_an_idempotency_key_has_a_longest_length(server: Misbehaving) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
        await server.stub.Token(TokenRequest(), metadata=(("idempotency-key", "k" * 129),))


async def test_a_request_beyond_the_limit_is_refused(server: Misbehaving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.stub.Register(RegisterRequest(username="x" * 1024 * 1024))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_health_tells_whether_the_process_can_work(server: Misbehaving) -> None:
    async def is_now(status: int) -> bool:
        return await server.health() == status

    assert await server.health() == SERVING
    away = server.folder / "away"
    away.touch()
    await eventually(lambda: is_now(NOT_SERVING))
    # Who restarts what is dead must not restart what waits.
    assert await health_of(server.channel, ALIVE) == SERVING
    away.unlink()
    await eventually(lambda: is_now(SERVING))


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_is_healthy_and_its_reflection_lists_them_all(service: str, stack: RunningStack) -> None:
    async with grpc.aio.insecure_channel(stack.targets[service]) as channel:
        assert await health_of(channel) == SERVING
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # typed for sync only
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answers = [answer async for answer in stub.ServerReflectionInfo(asked)]
    names = {listed.name for listed in answers[0].list_services_response.service}
    assert names >= {
        "gozon.users.v1.UsersService",
        "gozon.orders.v1.OrdersService",
        "gozon.payments.v1.PaymentsService",
        "gozon.payouts.v1.PayoutsService",
        "gozon.shop.v1.ShopService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_port_that_is_taken_is_told_in_one_line(stack: RunningStack, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.kit.misbehaving", stack.targets["users"], str(tmp_path)), stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    # Above it gRPC's own library writes what it thinks of it.
    last = errors.decode().splitlines()[-1]
    assert last == f"GOZON_LISTEN: {stack.targets['users']} is taken or no address of this machine"


async def test_a_stopping_process_says_so_finishes_what_it_began_and_exits_well(server: Misbehaving) -> None:
    begun = server.folder / "begun"
    # Ends in the middle of the stop: after the drain of 2.5 s began and before the grace of 5 s is over.
    call = asyncio.ensure_future(server.stub.Token(TokenRequest(username=str(begun), password="3.5")))

    async def has_begun() -> bool:
        return begun.exists()

    await eventually(has_begun)
    server.process.send_signal(signal.SIGTERM)

    async def says_so() -> bool:
        return await server.health() == NOT_SERVING

    await eventually(says_so)
    assert await call == TokenResponse(access_token="late")
    assert await server.process.wait() == 0


def violations_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Returns the BadRequest that came with an error: what is wrong, by field."""
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    bad_request = error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(bytes(details)).details:
        if detail.Unpack(bad_request):
            return {violation.field: violation.description for violation in bad_request.field_violations}
    return {}
