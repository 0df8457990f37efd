"""gRPC: from bytes to a method of an api class and back. The only module that knows grpc.aio.

An api class has one method for each RPC of its service, in snake_case: `async def create_order(self, request, call)`,
returning the response, or yielding responses for a server stream. Everything around it (trace, token, parsing,
validation, errors, metrics, log) happens here, in one function rather than in a chain of interceptors, each of which
would cost 15-30 µs a call.
"""

import asyncio
import gc
import importlib
import re
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf import symbol_database
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection
from prometheus_client import Counter, Histogram

import gozon
from kit import errors, tracing
from kit.access import Rule
from kit.auth import Identity, TokenVerifier
from kit.statuses import FAILURES, STATUS, status, status_of
from kit.telemetry import continue_trace, trace_id, traceparent
from kit.validation import validator_of

DEADLINE_SECONDS = 10.0
"""The longest a unary call may take; a client's own deadline may be shorter. Less than the edge waits."""
FORWARD_SECONDS = 8.0
"""The longest another service may take that is called on the way."""
MAX_REQUEST_BYTES = 256 * 1024
MAX_METADATA_BYTES = 64 * 1024
"""More than the edge's limit of headers, because gRPC counts 32 bytes more for each."""
MAX_CONCURRENT_CALLS = 4_000
DRAIN_SECONDS = 2.5
"""How long a stopping server still accepts calls, so that the edge's health checks see it going."""
MAX_KEY_LENGTH = 128
MAX_IF_MATCH = 64
ALIVE = "alive"
"""The health service says SERVING for this name as long as the process runs at all, whatever it waits for."""

SECONDS = Histogram(
    "rpc_seconds", "Duration of calls", ["method"], buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
)
CALLS = Counter("rpc_calls_total", "Calls by result", ["method", "code"])

log = structlog.get_logger()

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Call:
    """What a method knows of its call, whatever the transport."""

    identity: Identity | None
    metadata: dict[str, str]
    idempotency_key: str
    response_headers: dict[str, str] = field(default_factory=dict)
    """Sent as headers before the response."""

    @property
    def caller(self) -> Identity:
        """The caller of a method that needs a token."""
        assert self.identity is not None
        return self.identity

    @property
    def if_match(self) -> str:
        """The etag in the header if-match; empty when there is none, or any will do. Errors: InvalidArgument."""
        header = self.metadata.get("if-match", "")
        if len(header) > MAX_IF_MATCH:
            raise errors.InvalidArgument(f"The header if-match is at most {MAX_IF_MATCH} characters.")
        # RFC 9110 section 8.8.3: quoted; a weak one is as good, there being one representation of each state.
        return header.removeprefix("W/").strip('"').removeprefix("*")

    @property
    def _over_rest(self) -> bool:
        """Whether the edge made this call of a REST request; a gRPC client has no use for what is HTTP's."""
        return "x-envoy-original-path" in self.metadata

    def created(self, location: str) -> None:
        """Makes the answer over REST a 201 with `location`."""
        if self._over_rest:
            self.response_headers["x-http-code"] = "201"
            self.response_headers["location"] = location

    def no_content(self) -> None:
        """Makes the answer over REST a 204 without a body."""
        if self._over_rest:
            self.response_headers["x-http-code"] = "204"

    def etag(self, etag: str) -> None:
        """Adds the header ETag to the answer over REST."""
        if self._over_rest:
            self.response_headers["etag"] = f'"{etag}"'

    def replayed(self) -> None:
        """Says that the answer is the one an earlier request with this idempotency-key got."""
        self.response_headers["idempotency-replayed"] = "true"


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the contract, the object that implements it, and who may call which of its methods."""

    descriptor: ServiceDescriptor
    api: object
    rules: Mapping[str, Rule]


async def serve(
    listen: str,
    services: Sequence[Service],
    verifier: TokenVerifier,
    *,
    ready: Callable[[], Awaitable[None]],
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    drain: Sequence[Callable[[], Awaitable[None]]] = (),
) -> None:
    """Serves until SIGTERM or SIGINT; then stops being healthy, finishes what it began, and returns.

    `ready` returns when the process can work and raises errors.Unavailable when it can't; the health service tells
    (it is asked every second). `background` runs beside the server: when one of them fails, so does the process.
    `drain` is awaited in order once no call is in progress any more.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    server = grpc.aio.server(
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            # What the edge lets pass must not be refused here, at random between 8 and 16 KiB and in words of grpc.
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ),
        maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
    )
    for service in services:
        server.add_generic_rpc_handlers((_handlers(service, verifier),))
    servicer = health.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    await servicer.set(ALIVE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection(_all_services(), server)
    try:
        server.add_insecure_port(listen)
    except RuntimeError:
        raise SystemExit(f"GOZON_LISTEN: {listen} is taken or no address of this machine") from None

    tasks = [asyncio.create_task(run()) for run in (*background, verifier.refresh_now_and_then)]
    # What lives as long as the process need not be looked through by each collection, nor so often.
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    await server.start()
    log.info("serving", listen=listen)
    watch = asyncio.create_task(_tell_health(servicer, ready))
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait((stopped, watch, *tasks), return_when=asyncio.FIRST_COMPLETED)
    watch.cancel()
    await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    if stopped in done:
        log.info("stopping")
        await asyncio.sleep(DRAIN_SECONDS)
    await server.stop(grace=5)
    for finish in drain:
        try:
            await finish()
        except Exception as error:
            # The next ones must have their turn: a broker that is away keeps no order from being written.
            log.warning("drain_failed", step=finish.__qualname__, error=repr(error))
    failed = [task for task in done - {stopped} if not task.cancelled() and task.exception()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if failed:
        log.critical("background_failed", exc_info=failed[0].exception())
        raise SystemExit(1)


async def forward(method: Callable[..., Awaitable[Answer]], request: Message, call: Call) -> Answer:
    """Calls a method of another service for the caller of this one, with the caller's own token.

    Errors: those of the other service's group; Unavailable when it does not answer, or does not know the method.
    """
    metadata = (("authorization", call.metadata.get("authorization", "")), ("traceparent", traceparent.get()))
    try:
        return await method(request, timeout=FORWARD_SECONDS, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INTERNAL:
            raise errors.Error from error
        raise next((kind for kind, code in STATUS.items() if code is error.code()), errors.Unavailable) from error


def channel(target: str) -> grpc.aio.Channel:
    """Opens a channel to another service, host:port."""
    backoff = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))
    return grpc.aio.insecure_channel(target, options=backoff)


async def _tell_health(servicer: health.HealthServicer, ready: Callable[[], Awaitable[None]]) -> None:
    healthy: bool | None = None
    while True:
        try:
            async with asyncio.timeout(2):
                await ready()
            now = True
        except (errors.Unavailable, TimeoutError):
            now = False
        if now != healthy:
            log.info("health", serving=now)
            serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
            await servicer.set("", serving if now else not_serving)
            healthy = now
        await asyncio.sleep(1 if now else 0.05)


def _all_services() -> list[str]:
    # Every service's descriptors are known to every process, so any of them answers reflection for all.
    names = [reflection.SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
    root = Path(next(iter(gozon.__path__))).parent
    for file in sorted(root.glob("gozon/**/*_pb2.py")):
        descriptor = importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts)).DESCRIPTOR
        names += [service.full_name for service in descriptor.services_by_name.values()]
    return names


def _handlers(service: Service, verifier: TokenVerifier) -> grpc.GenericRpcHandler:
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
    if odd := service.rules.keys() ^ set(service.descriptor.methods_by_name):
        raise SystemExit(f"{service.descriptor.full_name}: RULES and RPCs differ in {', '.join(sorted(odd))}")
    for method in service.descriptor.methods:
        implementation = getattr(service.api, re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower())
        endpoint = _Endpoint(method, implementation, service.rules[method.name], verifier)
        # Bytes in, bytes out: what can't be parsed must be INVALID_ARGUMENT, and grpc would say INTERNAL.
        if method.server_streaming:
            handlers[method.name] = grpc.unary_stream_rpc_method_handler(endpoint.stream)
        else:
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(endpoint.unary)
    return grpc.method_handlers_generic_handler(service.descriptor.full_name, handlers)


class _Endpoint:
    """One RPC, between grpc.aio and the api class."""

    def __init__(
        self,
        method: MethodDescriptor,
        implementation: Callable[[Any, Call], Any],
        rule: Rule,
        verifier: TokenVerifier,
    ) -> None:
        self._name = method.full_name
        self._span_name = f"{method.containing_service.full_name}/{method.name}"
        self._validate = validator_of(method.input_type)
        self._request_type = symbol_database.Default().GetSymbol(method.input_type.full_name)
        self._implementation = implementation
        self._rule = rule
        self._verifier = verifier
        self._seconds = SECONDS.labels(self._name)
        self._ok = CALLS.labels(self._name, "OK")

    async def unary(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        started = time.perf_counter()
        metadata = _metadata(context)
        span = self._begin(metadata)
        try:
            async with asyncio.timeout(_seconds_left(context)):
                call = await self._call(metadata)
                response: Message = await self._implementation(self._request(data, call), call)
            if call.response_headers:
                await context.send_initial_metadata(tuple(call.response_headers.items()))
            self._ok.inc()
            return response.SerializeToString()
        except Exception as error:
            await self._abort(error, context, span)
            raise AssertionError("abort raises") from error
        finally:
            self._seconds.observe(time.perf_counter() - started)
            if span is not None:
                span.end()

    async def stream(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        metadata = _metadata(context)
        span = self._begin(metadata)
        try:
            call = await self._call(metadata)
            responses: AsyncGenerator[Message, None] = self._implementation(self._request(data, call), call)
            # A client that leaves must end the method at once, not when its generator is collected.
            async with aclosing(responses):
                async for response in responses:
                    yield response.SerializeToString()
            self._ok.inc()
        except Exception as error:
            await self._abort(error, context, span)
        finally:
            if span is not None:
                span.end()

    def _begin(self, metadata: Mapping[str, str]) -> tracing.Span | None:
        """Continues the trace of the caller, by a span if it is sampled."""
        header = continue_trace(metadata.get("traceparent", ""), metadata.get("x-request-id", ""))
        span = tracing.begin(self._span_name, header, "SERVER")
        traceparent.set(header if span is None else span.traceparent)
        return span

    async def _call(self, metadata: dict[str, str]) -> Call:
        needs_token = self._rule.needs_token
        identity = await self._verifier.verify(metadata.get("authorization", "")) if needs_token else None
        key = metadata.get("idempotency-key", "")
        if len(key) > MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
            raise errors.InvalidArgument(f"The header idempotency-key is at most {MAX_KEY_LENGTH} ASCII characters.")
        return Call(identity, metadata, key)

    def _request(self, data: bytes, call: Call) -> Message:
        request = self._parse(data)
        if call.identity is not None:
            self._rule.check(call.identity, request)
        return request

    def _parse(self, data: bytes) -> Message:
        request: Message = self._request_type()
        try:
            request.ParseFromString(data)
        except DecodeError as error:
            raise errors.InvalidArgument("The request is not a valid message: check types and UTF-8.") from error
        self._validate(request, data)
        return request

    async def _abort(
        self, error: Exception, context: grpc.aio.ServicerContext[bytes, bytes], span: tracing.Span | None
    ) -> None:
        if isinstance(error, grpc.aio.AbortError | grpc.aio.BaseError):
            raise error
        if isinstance(error, TimeoutError):
            error = errors.DeadlineExceeded()
        if isinstance(error, errors.Error):
            code = status_of(error)
            log.info("call_refused", method=self._name, code=code.name, reason=error.reason)
        else:
            # The text of an unforeseen error stays here: it may hold SQL, data or secrets.
            code = grpc.StatusCode.INTERNAL
            log.error("call_failed", method=self._name, exc_info=error)
            number = trace_id(traceparent.get())
            error = errors.Error(f"Something went wrong on our side; quote {number} when you report it.")
        CALLS.labels(self._name, code.name).inc()
        if span is not None:
            span.note(code.name, failed=code in FAILURES)
        told = status(error, code)
        details = ("grpc-status-details-bin", told.SerializeToString())
        await context.abort(code, told.message, (details, *error.headers.items()))


def _metadata(context: grpc.aio.ServicerContext[bytes, bytes]) -> dict[str, str]:
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}


def _seconds_left(context: grpc.aio.ServicerContext[bytes, bytes]) -> float:
    remaining = context.time_remaining()
    return DEADLINE_SECONDS if remaining is None else min(remaining, DEADLINE_SECONDS)
