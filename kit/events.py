"""Events on their way: one by one for outbox, inbox and handlers, many in one envelope for NATS.

Many events in one message (gozon.events.v1.Envelope) are what makes an event cheap under load.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from gozon.events.v1 import envelope_pb2

ENVELOPE_EVENTS = 100
ENVELOPE_BYTES = 256 * 1024
"""An envelope is closed when it holds this much; NATS takes messages up to 1 MiB."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event on its way. `id` is a UUID and stays the same however often it is published or delivered."""

    id: str
    subject: str
    payload: bytes
    traceparent: str


@dataclass(frozen=True, slots=True)
class Packed:
    """An envelope, as bytes, and the ids of the events in it."""

    subject: str
    ids: list[str]
    payload: bytes

    @property
    def message_id(self) -> str:
        """Tells JetStream that the same events in the same company are a duplicate; others are the inbox's affair."""
        return self.ids[0] if len(self.ids) == 1 else hashlib.sha256("".join(self.ids).encode()).hexdigest()


def pack(events: Sequence[Event]) -> Iterator[Packed]:
    """Packs events into envelopes by subject, in order."""
    by_subject: dict[str, list[Event]] = {}
    for event in events:
        by_subject.setdefault(event.subject, []).append(event)
    for subject, company in by_subject.items():
        start = size = 0
        for end, event in enumerate(company):
            if end > start and (end - start >= ENVELOPE_EVENTS or size + len(event.payload) > ENVELOPE_BYTES):
                yield _envelope(subject, company[start:end])
                start, size = end, 0
            size += len(event.payload)
        yield _envelope(subject, company[start:])


def unpack(subject: str, data: bytes) -> list[Event]:
    """Unpacks the events of a message; one that is no envelope becomes an event that no handler can read."""
    try:
        events = envelope_pb2.Envelope.FromString(data).events
    except DecodeError:
        return [Event(hashlib.sha256(data).hexdigest(), subject, data, "")]
    return [Event(event.id, subject, event.payload, event.traceparent) for event in events]


def _envelope(subject: str, events: Sequence[Event]) -> Packed:
    inside = [envelope_pb2.Event(id=e.id, traceparent=e.traceparent, payload=e.payload) for e in events]
    return Packed(subject, [event.id for event in events], envelope_pb2.Envelope(events=inside).SerializeToString())
