"""Spans: what a trace shows of each hop that a request and its events take, for a collector of OpenTelemetry.

Only where a setting names a collector: otherwise nothing of OpenTelemetry is even imported. Whether a trace is sampled
is decided where it begins (the edge, or kit.telemetry.continue_trace) and told by its traceparent; one that is not
costs a look at one character.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, Protocol

from kit.events import Event
from kit.settings import ProcessSettings
from kit.telemetry import is_sampled

Kind = Literal["SERVER", "PRODUCER", "CONSUMER"]
"""What a hop is to the one before: it answers a call, sends a message, or handles one."""


class Span(Protocol):
    """A hop that is under way."""

    traceparent: str
    """What comes next is a child of this."""

    def note(self, outcome: str, *, failed: bool) -> None:
        """Notes how it ends, by a name, and whether that is a failure of ours."""

    def end(self) -> None:
        """Ends it, now."""


class Exporter(Protocol):
    """Makes spans, and sends them when they have ended, without anybody waiting for that."""

    def begin(self, name: str, parent: str, kind: Kind, attributes: dict[str, str]) -> Span:
        """Begins a span, child of a traceparent."""

    def close(self) -> None:
        """Sends what there is, for some seconds at most, and ends."""


_exporter: Exporter | None = None


def begin_export(service: str, settings: ProcessSettings) -> None:
    """Has this process make and export spans, under the name of a service, if a collector is set. Not before a fork."""
    global _exporter  # noqa: PLW0603 - like logs and metrics it belongs to the process
    if settings.otlp_endpoint:
        # Imported here: it takes a third of a second, and memory.
        from kit import otlp  # noqa: PLC0415

        _exporter = otlp.OtlpExporter(service, settings.otlp_endpoint)


def end_export() -> None:
    """Exports what is left, for some seconds at most; from then on there are no spans."""
    global _exporter
    if _exporter is not None:
        exporter, _exporter = _exporter, None
        exporter.close()


@contextmanager
def exported(service: str, settings: ProcessSettings) -> Iterator[None]:
    """Has spans exported while in the block."""
    begin_export(service, settings)
    try:
        yield
    finally:
        end_export()


def begin(name: str, parent: str, kind: Kind, **attributes: str) -> Span | None:
    """Begins a span, child of a traceparent; None when nobody is to see it."""
    if _exporter is None or not is_sampled(parent):
        return None
    return _exporter.begin(name, parent, kind, attributes)


@contextmanager
def span(name: str, parent: str, kind: Kind, **attributes: str) -> Iterator[None]:
    """Makes the block a span, if it is to be seen."""
    begun = begin(name, parent, kind, **attributes)
    if begun is None:
        yield
        return
    with _ended([begun]):
        yield


@contextmanager
def hop(verb: str, kind: Kind, events: Sequence[Event], **attributes: str) -> Iterator[Sequence[Event]]:
    """Makes the block, which does something with many events, a span of each trace that is sampled.

    Gives the same events, with those spans as their traceparents: what follows from an event is the child of its span.
    """
    if _exporter is None or not any(is_sampled(event.traceparent) for event in events):
        yield events
        return
    spans: list[Span] = []
    passed: list[Event] = []
    for event in events:
        subject = event.subject
        begun = begin(f"{verb} {subject}", event.traceparent, kind, **{_ID: event.id, _SUBJECT: subject}, **attributes)
        if begun is not None:
            spans.append(begun)
            event = replace(event, traceparent=begun.traceparent)  # noqa: PLW2901 - the same event, one hop further
        passed.append(event)
    with _ended(spans):
        yield passed


@contextmanager
def _ended(spans: Sequence[Span]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        for begun in spans:
            # Not its text, which may hold what nobody may read.
            begun.note(type(error).__name__, failed=True)
        raise
    finally:
        for begun in spans:
            begun.end()


# Of OpenTelemetry's semantic conventions.
_ID = "messaging.message.id"
_SUBJECT = "messaging.destination.name"
