"""Logs as JSON lines with the trace's id, and Prometheus metrics. Spans are in kit/tracing.py."""

import logging
import re
import secrets
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog
from prometheus_client import Histogram, start_http_server

from kit.settings import ProcessSettings

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""The trace that the current task works for, as in https://www.w3.org/TR/trace-context/; empty outside of one."""

BATCH_SIZE = Histogram(
    "batch_size", "Items handled in one go", ["batch"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_sampled_share = 0.0
"""Of the traces that begin in this process."""


def continue_trace(header: str, request_id: str = "") -> str:
    """Returns a traceparent: the client's own, else one whose trace id is the edge's x-request-id, else a new one."""
    if header and _TRACEPARENT.fullmatch(header):
        return header
    trace_id = request_id.replace("-", "").lower()
    if not _TRACE_ID.fullmatch(trace_id):
        trace_id = secrets.token_hex(16)
    # By the end of the id, which is random in UUIDs too: whoever begins the same trace decides the same.
    sampled = int(trace_id[18:], 16) < _sampled_share * 2**56
    return f"00-{trace_id}-{trace_id[16:]}-{'01' if sampled else '00'}"


def is_sampled(header: str) -> bool:
    """Says whether the spans of a trace are to be seen, as was decided where it began."""
    return header != "" and header[-1] in "13579bdf"


def begins_here(header: str) -> bool:
    """Says whether a traceparent is one of continue_trace's own, which names no span before it."""
    return header[36:52] == header[19:35]


def trace_id(header: str) -> str:
    """Returns the trace id in a traceparent, for logs; empty for an empty one."""
    return header[3:35]


def _add_trace_id(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if header := traceparent.get():
        event.setdefault("trace_id", trace_id(header))
    return event


def configure(service: str, settings: ProcessSettings) -> None:
    """Sets up structlog on standard output, and which traces that begin here are sampled."""
    global _sampled_share  # noqa: PLW0603 - like the loggers it belongs to the process
    _sampled_share = settings.trace_percent / 100 if settings.otlp_endpoint else 0.0
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    # Tracebacks without the frames' local variables, in either format: tokens and passwords are among them.
    if settings.log_format == "json":
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared.append(structlog.processors.ExceptionRenderer(transformer))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Libraries (nats, grpc, alembic) log through the standard module: into the same stream, in the same form.
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer),
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def serve_metrics(settings: ProcessSettings) -> None:
    """Serves Prometheus metrics, if a port is set for them."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr=settings.metrics_host)
