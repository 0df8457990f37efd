"""Pages of lists that are newest first: the token of the next page says after which id it begins."""

import base64
from collections.abc import Sequence
from typing import Protocol, TypeVar

from kit.errors import InvalidPageToken
from kit.ids import canonical

NEWEST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""Above all ids."""
MAX_BYTES = 400_000
"""A page is no longer than this, as protobuf, or one entry: the edge transcodes messages up to 1 MiB."""


class Listed(Protocol):
    """A message with an id, by which it is listed."""

    @property
    def id(self) -> str:
        """Its id."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Its length as protobuf."""


AnyListed = TypeVar("AnyListed", bound=Listed)


def cut(found: Sequence[AnyListed], limit: int) -> tuple[Sequence[AnyListed], str]:
    """Returns a page of what was found, and the token of the next one, which is empty on the last one.

    Find one more than `limit` to tell whether there is another page. Long entries make a page hold fewer (AIP-158).
    """
    size = 0
    for number, message in enumerate(found):
        size += message.ByteSize()
        if number == limit or (number and size > MAX_BYTES):
            return found[:number], _token(found[number - 1].id)
    return found, ""


def read_token(page_token: str) -> str:
    """Returns the id that those of a page are below; NEWEST without a token. Errors: InvalidPageToken."""
    if not page_token:
        return NEWEST
    try:
        return canonical(base64.urlsafe_b64decode(page_token.encode()).decode())
    except ValueError:
        raise InvalidPageToken from None


def _token(last_id: str) -> str:
    return base64.urlsafe_b64encode(last_id.encode()).decode()
