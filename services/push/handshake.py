"""The handshake of a socket: what a client asks for and shows, and how it is refused."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.typing import Subprotocol

from kit import errors
from kit.statuses import status_of
from services.push.domain import BadHandshake, ForeignOrigin

PROTOCOL = Subprotocol("gozon.v1")
TOKEN_PREFIX = "bearer."  # noqa: S105 - precedes a token
COOKIE = "gozon_access"

HTTP_STATUS: dict[type[errors.Error], HTTPStatus] = {
    errors.InvalidArgument: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.PermissionDenied: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.ResourceExhausted: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a client shows."""

    authorization: str
    """As in a header of REST; empty without a token."""
    after: str | None
    """The id to go on from."""


def read_ticket(headers: Headers, query: str, origins: frozenset[str]) -> Ticket:
    """Reads a handshake. `origins` may open sockets, and the one whose host is asked.

    Errors: BadHandshake, ForeignOrigin.
    """
    offered = [word.strip() for value in headers.get_all("Sec-WebSocket-Protocol") for word in value.split(",")]
    if offered and PROTOCOL not in offered:
        raise BadHandshake
    tokens = [word.removeprefix(TOKEN_PREFIX) for word in offered if word.startswith(TOKEN_PREFIX)]
    cookie = _cookie(headers)
    claimed = headers.get_all("Origin")
    if cookie and not tokens and not claimed:
        # A browser always says whose page it is, for its cookies go with other people's pages too.
        raise ForeignOrigin
    if any(not _is_ours(origin, headers.get_all("Host"), origins) for origin in claimed):
        raise ForeignOrigin
    token = tokens[0] if tokens else cookie
    return Ticket(f"Bearer {token}" if token else "", _after(query))


def _is_ours(origin: str, hosts: list[str], origins: frozenset[str]) -> bool:
    if origin in origins:
        return True
    try:
        url = urlsplit(origin)
    except ValueError:
        return False
    # Whether it is https, the proxy in front knows and we don't.
    return url.scheme in ("http", "https") and [url.netloc.lower()] == [host.lower() for host in hosts]


def _cookie(headers: Headers) -> str:
    """Returns the token in the cookie; empty when there is none."""
    for value in headers.get_all("Cookie"):
        for pair in value.split(";"):
            name, _, token = pair.strip().partition("=")
            if name == COOKIE:
                return token.strip('"')
    return ""


def _after(query: str) -> str | None:
    """Returns the id to go on from. Errors: BadHandshake for any other parameter, which might be a secret."""
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(name != "after" for name, _ in pairs) or len(pairs) > 1:
        raise BadHandshake('The only query parameter is "after"; a token is never one.')
    return pairs[0][1] if pairs else None


def refusal(error: errors.Error, status: HTTPStatus | None = None, headers: dict[str, str] | None = None) -> Response:
    """Returns an error in the shape that all of them have over REST."""
    if status is None:
        kinds = (HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)
        status = next(kinds, HTTPStatus.INTERNAL_SERVER_ERROR)
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.reason,
        "domain": "gozon",
        "metadata": {},
    }
    body = {"code": status_of(error).value[0], "message": error.message, "details": [info]}
    return json_response(status, body, headers)


def json_response(status: HTTPStatus, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """Returns an answer with a body in JSON."""
    data = json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"}
    return Response(status.value, status.phrase, Headers({**fields, **(headers or {})}), data)
