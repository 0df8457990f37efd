"""Spans by OpenTelemetry's SDK, sent by OTLP over gRPC. Imported only where they are exported."""

import threading

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

from kit import tracing
from kit.telemetry import begins_here

QUEUE = 8_192
"""Spans that wait to be sent; when there are more, the oldest are dropped."""
EVERY_MILLISECONDS = 1_000
SEND_SECONDS = 3
"""So long one attempt to send a batch may take, repetitions included; then it is dropped."""
CLOSE_SECONDS = 4.0
"""Less than a process is given to stop."""

_KINDS: dict[tracing.Kind, SpanKind] = {
    "SERVER": SpanKind.SERVER,
    "PRODUCER": SpanKind.PRODUCER,
    "CONSUMER": SpanKind.CONSUMER,
}


class OtlpSpan:
    """A span under way."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: SdkSpan) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def note(self, outcome: str, *, failed: bool) -> None:
        """Notes how it ends."""
        self._span.set_attribute("outcome", outcome)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR, outcome))

    def end(self) -> None:
        """Ends it, now."""
        self._span.end()


class OtlpExporter:
    """Has a thread of the SDK send what has ended, in batches. When nobody takes them, spans are dropped."""

    def __init__(self, service: str, endpoint: str) -> None:
        """`endpoint` is http://host:port, or https."""
        self._ids = _Ids()
        # Only what is sampled comes here at all. Its own hook at exit would wait half a minute for a collector.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": service}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        sender = OTLPSpanExporter(endpoint=endpoint, timeout=SEND_SECONDS)
        self._provider.add_span_processor(
            BatchSpanProcessor(sender, max_queue_size=QUEUE, schedule_delay_millis=EVERY_MILLISECONDS)
        )
        self._tracer = self._provider.get_tracer("gozon")

    def begin(self, name: str, parent: str, kind: tracing.Kind, attributes: dict[str, str]) -> OtlpSpan:
        """Begins a span, child of a traceparent, or the first one of a trace that begins here."""
        trace_id = int(parent[3:35], 16)
        if begins_here(parent):
            self._ids.trace_id = trace_id
            context = set_span_in_context(NonRecordingSpan(_NOBODY))
        else:
            before = SpanContext(trace_id, int(parent[36:52], 16), is_remote=True, trace_flags=_SAMPLED)
            context = set_span_in_context(NonRecordingSpan(before))
        return OtlpSpan(self._tracer.start_span(name, context, _KINDS[kind], attributes))

    def close(self) -> None:
        """Sends what there is, for 4 seconds at most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class _Ids(RandomIdGenerator):
    """A trace that begins here has the id that logs and answers have told already."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id


_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOBODY = SpanContext(0, 0, is_remote=False)
