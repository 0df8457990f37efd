"""Ids: UUIDv7 (RFC 9562), as lower-case strings. They sort by time of creation, so indexes on them grow at one end."""

import uuid

from uuid_utils import uuid7


def new_id() -> str:
    """Returns a new UUIDv7."""
    return str(uuid7())


def canonical(value: str) -> str:
    """Returns a valid UUID in the one form that is stored and compared: lower case, with dashes."""
    return str(uuid.UUID(value))


def first_id_at(unix_seconds: float) -> str:
    """Returns a bound: ids made before `unix_seconds` are less, ids made after are greater."""
    milliseconds = int(unix_seconds * 1000)
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | 0x2 << 62))
