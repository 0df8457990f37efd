"""A collector of OpenTelemetry in the test's own process."""

from typing import NamedTuple, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from tests.support import free_port


class Hop(NamedTuple):
    """A span, as far as tests look at it; ids in hex."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]
    failed: bool


class Collector(TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.hops: list[Hop] = []
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._server = grpc.aio.server()
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated without
        self._server.add_insecure_port(f"127.0.0.1:{port}")

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def Export(  # noqa: N802 - the name in the contract
        self, request: ExportTraceServiceRequest, _context: object
    ) -> ExportTraceServiceResponse:
        for of_process in request.resource_spans:
            resource = {one.key: one.value.string_value for one in of_process.resource.attributes}
            self.hops += [
                Hop(
                    resource["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    {one.key: one.value.string_value for one in span.attributes},
                    span.status.code == span.status.STATUS_CODE_ERROR,
                )
                for scope in of_process.scope_spans
                for span in scope.spans
            ]
        return ExportTraceServiceResponse()

    def parents(self, trace_id: str) -> dict[tuple[str, str], tuple[str, str] | str]:
        """Returns the hops of a trace, service and name, each with the one before it, or an id that nobody has."""
        hops = [hop for hop in self.hops if hop.trace_id == trace_id]
        names = {hop.span_id: (hop.service, hop.name) for hop in hops}
        return {names[hop.span_id]: names.get(hop.parent_id, hop.parent_id) for hop in hops}
