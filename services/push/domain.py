"""Ids of messages, and why a socket is refused or closed; no framework."""

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from kit.errors import InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable

WHOLE_ENVELOPE = 65_535
"""More events than an envelope has."""

_ID = re.compile(r"([0-9a-z]{1,16})-(\d{1,19})-(\d{1,5})-([0-9a-f]{12})", re.ASCII)


class Position(NamedTuple):
    """A place in the stream: behind the first `events` events of the message with this number."""

    sequence: int
    events: int


@dataclass(frozen=True, slots=True)
class MessageId:
    """What the id of a message says: up to where its reader has been told, in which life of the stream."""

    life: str
    position: Position


class CloseCode(IntEnum):
    """Why we close a socket; 4000 and above are ours (RFC 6455 section 7.4)."""

    GOING_AWAY = 1001
    POLICY = 1008
    INTERNAL_ERROR = 1011
    BAD_ID = 4400
    TOKEN_EXPIRED = 4401
    TOO_SLOW = 4408


class BadId(Exception):
    """The id to go on from is none of this user's."""


class ForeignOrigin(PermissionDenied):
    """A page of another origin may not open sockets; a program without a browser sends its token as a subprotocol."""

    reason = "FOREIGN_ORIGIN"


class TooManySockets(ResourceExhausted):
    """You have too many sockets open; close one before you open another."""

    reason = "TOO_MANY_SOCKETS"


class NotReady(Unavailable):
    """No more sockets can be taken here right now; try again in a moment."""

    reason = "UNAVAILABLE"


class BadHandshake(InvalidArgument):
    """The request is no WebSocket handshake, or asks for what is not spoken here: the subprotocol is gozon.v1."""

    reason = "INVALID_REQUEST"


def message_id(user_id: str, life: str, position: Position) -> str:
    """Returns the id of what a user is told at a position.

    It is nobody's secret: whoever knows or makes one gets what is his anyway. The tag at its end finds out mistakes.
    """
    text = f"{life}-{position.sequence}-{position.events}"
    return f"{text}-{_tag(user_id, text)}"


def read_id(user_id: str, text: str) -> MessageId:
    """Reads an id. Errors: BadId for one that this user was never given."""
    parts = _ID.fullmatch(text)
    if parts is None:
        raise BadId
    life, sequence, events, tag = parts.groups()
    if tag != _tag(user_id, text.rpartition("-")[0]):
        raise BadId
    return MessageId(life, Position(int(sequence), int(events)))


def _tag(user_id: str, text: str) -> str:
    return hashlib.sha256(f"{user_id}/{text}".encode()).hexdigest()[:12]
