"""The WebSocket server: who may open a socket, what it is told, and when it is closed."""

import asyncio
import collections
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client import Counter, Gauge, Histogram
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, Event
from websockets.typing import Subprotocol

from kit import errors, tracing
from kit.auth import Identity, TokenVerifier
from services.push import messages
from services.push.domain import (
    BadHandshake,
    BadId,
    CloseCode,
    MessageId,
    NotReady,
    TooManySockets,
    message_id,
    read_id,
)
from services.push.handshake import PROTOCOL, json_response, read_ticket, refusal
from services.push.hub import RESYNC, Fell, Hub, Listener

PATH = "/ws"
HEALTH_PATH = "/healthz"
MAX_MESSAGE_BYTES = 1024
RECEIVE_BUFFER_BYTES = 4096
"""The kernel's, of each socket: so much of what somebody floods us with is looked at before the limit is."""
SEND_BUFFER_BYTES = 65_536
"""The kernel's: a slow reader is to be noticed."""
LINGER_SECONDS = 2.0
"""So long a client may take to read why its socket was closed."""
AHEAD_SECONDS = 2.0
"""So long a client waits for this instance to receive what another one has told it."""
SWEEP_SECONDS = 1.0
VERIFY_SWEEPS = 10
"""In so many sweeps the tokens of all open sockets are verified again: their key may have been removed."""

CLOSED_BY_LIBRARY = {1002: "nonsense", 1007: "nonsense", 1009: "too_big", 1011: "no_pong"}
"""What the library closes a socket for, by close code."""

SOCKETS = Gauge("push_sockets", "Open sockets")
SENT = Counter("push_messages_total", "Messages sent", ["type"])
OPENED = Counter("push_opened_total", "Sockets opened: new, resumed, or told to read everything anew", ["how"])
CLOSED = Counter("push_closed_total", "Sockets closed, and why", ["reason"])
REFUSED = Counter("push_refused_total", "Handshakes refused", ["reason"])
LAG = Histogram(
    "push_lag_seconds",
    "From the making of an event, just before its commit, to its writing to a socket",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """What sockets may cost."""

    max_sockets: int = 5_000
    max_user_sockets: int = 10
    frames_a_minute: int = 60
    """What a client sends, pings and pongs included; it need not say anything."""
    ping_seconds: float = 20.0
    """Between pings; and how long an answer to one may take."""
    write_seconds: float = 10.0
    """How long a message may wait for its reader to read."""


class Socket(ServerConnection):
    """One connection. What its client says is counted and thrown away."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.authorization = ""
        self.identity: Identity | None = None
        """Whose it is; None before the handshake."""
        self.after: MessageId | None = None
        self.refusal: tuple[CloseCode, str] | None = None
        """What is wrong with a socket that is opened only to say so: pages can't read the answer to a handshake."""
        self.most_frames = 0
        """What its client may send in a minute."""
        self.reason = "client"
        """Why it was closed, for the metrics."""
        self.on_gone: Callable[[Socket], None] | None = None
        self.gone = asyncio.Event()
        """Set when the connection has ended."""
        self._frames = 0
        self._minute = 0.0
        self._is_ending = False

    @property
    def caller(self) -> Identity:
        """Whose it is, after the handshake."""
        assert self.identity is not None
        return self.identity

    def process_event(self, event: Event) -> None:
        """Takes the handshake, or one frame."""
        if not isinstance(event, Frame):
            super().process_event(event)
            return
        now = time.monotonic()
        if now - self._minute >= 60:
            self._minute, self._frames = now, 0
        self._frames += 1
        if self._frames > self.most_frames:
            self.drop(CloseCode.POLICY, "too many messages", "flood")
        elif event.opcode not in DATA_OPCODES:
            super().process_event(event)

    def data_received(self, data: bytes) -> None:
        """Takes what has arrived."""
        super().data_received(data)
        if self.protocol.close_expected():
            self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hears that the connection has ended."""
        super().connection_lost(exc)
        if self.reason == "client" and self.protocol.close_sent is not None:
            self.reason = CLOSED_BY_LIBRARY.get(self.protocol.close_sent.code, self.reason)
        self.gone.set()
        if self.on_gone is not None:
            self.on_gone(self)

    def drop(self, code: CloseCode, why: str, reason: str) -> None:
        """Closes the socket without waiting for anything that its client may never do."""
        if self.protocol.state is not OPEN:
            return
        self.reason = reason
        self.protocol.fail(code, why)
        with suppress(OSError, RuntimeError):
            self.send_data()
        self._end_soon()

    def _end_soon(self) -> None:
        # The library leaves the end to a client that may never come to one.
        if not self._is_ending:
            self._is_ending = True
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)


class Gateway:
    """Serves sockets from a hub."""

    def __init__(self, hub: Hub, verifier: TokenVerifier, origins: frozenset[str], limits: Limits = Limits()) -> None:
        """`origins` (scheme://host:port) may open sockets besides the one they connect to."""
        self._hub = hub
        self._verifier = verifier
        self._origins = origins
        self._limits = limits
        self._sockets: dict[Socket, Listener | None] = {}
        """Without a listener as long as nothing was said yet."""
        self._users: collections.Counter[str] = collections.Counter()
        self._stopping = False
        self._server: Server | None = None

    async def start(self, listen: str) -> None:
        """Begins to serve at host:port. Errors: OSError when that is taken."""
        host, _, port = listen.rpartition(":")
        listener = socket.create_server((host, int(port)), backlog=1024)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # Whoever sends nonsense would fill the log with it; what is wrong on our side we log ourselves.
        quiet = logging.getLogger("push.websockets")
        quiet.setLevel(logging.CRITICAL)
        self._server = await serve(
            self._serve,
            sock=listener,
            create_connection=Socket,
            process_request=self._on_request,
            process_response=self._on_response,
            select_subprotocol=_select_subprotocol,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            ping_interval=self._limits.ping_seconds,
            ping_timeout=self._limits.ping_seconds,
            close_timeout=LINGER_SECONDS,
            server_header=None,
            logger=quiet,
        )

    async def sweep(self) -> None:
        """Closes the sockets whose tokens have expired, for ever."""
        sweeps = 0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            sweeps += 1
            for number, one in enumerate(list(self._sockets)):
                try:
                    if one.caller.expires_at <= time.time():
                        raise errors.InvalidToken
                    if number % VERIFY_SWEEPS == sweeps % VERIFY_SWEEPS:
                        await self._verifier.verify(one.authorization)
                        # After new keys each one costs what signatures cost: others have their turns in between.
                        await asyncio.sleep(0)
                except errors.InvalidToken:
                    one.drop(CloseCode.TOKEN_EXPIRED, "the token has expired; get a new one", "token_expired")
                except errors.Unavailable:
                    # No news of the keys.
                    pass

    def refuse(self) -> None:
        """Takes no more sockets, and is not healthy any more."""
        self._stopping = True

    async def stop(self) -> None:
        """Closes all sockets, whose clients then go to another instance, and ends serving."""
        self.refuse()
        for one in list(self._sockets):
            one.drop(CloseCode.GOING_AWAY, "this instance stops; connect again", "going_away")
        assert self._server is not None
        self._server.close(close_connections=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS + 1):
                await self._server.wait_closed()

    async def _on_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answers what is no handshake, or may not be one; None lets a socket be opened."""
        assert isinstance(connection, Socket)
        connection.most_frames = self._limits.frames_a_minute
        url = urlsplit(request.path)
        if url.path == HEALTH_PATH:
            healthy = self._hub.is_ready and not self._stopping
            return json_response(HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE, {"healthy": healthy})
        try:
            if url.path != PATH:
                raise errors.NotFound
            await self._admit(connection, request.headers, url.query)
        except errors.Error as error:
            REFUSED.labels(error.reason).inc()
            return refusal(error)
        except Exception as error:
            log.error("handshake_failed", exc_info=error)
            return refusal(errors.Error("Something went wrong on our side."))
        return None

    async def _admit(self, one: Socket, headers: Headers, query: str) -> None:
        """Notes who opens a socket and what for. Errors: kit.errors, those of domain."""
        ticket = read_ticket(headers, query, self._origins)
        one.authorization = ticket.authorization
        identity = await self._verifier.verify(ticket.authorization)
        if ticket.after is not None:
            try:
                one.after = read_id(identity.user_id, ticket.after)
            except BadId:
                one.refusal = CloseCode.BAD_ID, "this is no id of yours; connect without one"
        if not self._hub.is_ready or self._stopping or len(self._sockets) >= self._limits.max_sockets:
            raise NotReady
        if self._users[identity.user_id] >= self._limits.max_user_sockets:
            raise TooManySockets
        # Counted from here on, so that many at once can't be more than they may.
        one.identity, one.on_gone = identity, self._release
        self._sockets[one] = None
        self._users[identity.user_id] += 1
        SOCKETS.inc()

    def _on_response(self, _connection: ServerConnection, _request: Request, response: Response) -> Response | None:
        """Gives what the library refuses the shape of our errors."""
        if response.status_code < HTTPStatus.BAD_REQUEST or response.headers.get("Content-Type") == "application/json":
            return None
        kept = {name: response.headers[name] for name in ("Upgrade",) if name in response.headers}
        return refusal(BadHandshake(), HTTPStatus(response.status_code), kept)

    def _release(self, one: Socket) -> None:
        """Forgets a socket whose connection has ended."""
        user_id = one.caller.user_id
        listener = self._sockets.pop(one)
        self._users[user_id] -= 1
        if not self._users[user_id]:
            del self._users[user_id]
        SOCKETS.dec()
        CLOSED.labels(one.reason).inc()
        if listener is not None:
            self._hub.leave(listener)
            listener.wake.set()

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Socket)
        if connection.refusal is not None:
            connection.drop(*connection.refusal, "bad_id")
        elif connection.after is not None:
            await self._wait_until_received(connection.after)
        if connection.protocol.state is OPEN:
            await self._listen(connection)
        await connection.gone.wait()

    async def _listen(self, connection: Socket) -> None:
        """Tells a client all that it is to know until its socket is closed."""
        listener = self._hub.listen(connection.caller.user_id, connection.after)
        self._sockets[connection] = listener
        how = RESYNC if listener.greeting == RESYNC else "resumed" if connection.after else "new"
        OPENED.labels(how).inc()
        try:
            await self._tell(connection, listener)
        except ConnectionClosed:
            pass
        except (TimeoutError, Fell):
            connection.drop(CloseCode.TOO_SLOW, "messages are not read fast enough", "too_slow")
        except Exception as error:
            log.error("socket_failed", exc_info=error)
            connection.drop(CloseCode.INTERNAL_ERROR, "something went wrong on our side", "failed")

    async def _tell(self, connection: Socket, listener: Listener) -> None:
        """Sends what there is to tell, until the connection has ended. Errors: ConnectionClosed, TimeoutError, Fell."""
        hub, user_id, expires_at = self._hub, listener.user_id, connection.caller.expires_at
        while not connection.gone.is_set():
            if name := listener.greeting:
                listener.greeting = ""
                greeted = message_id(user_id, hub.life, listener.start)
                await self._send(connection, messages.greeting(name, greeted, time.time(), expires_at), name)
            elif told := hub.take(listener):
                text = messages.news(told.event, message_id(user_id, hub.life, told.position))
                kind = messages.KINDS[told.event.subject].type
                with tracing.span(f"push {kind}", told.event.traceparent, "PRODUCER"):
                    await self._send(connection, text, kind)
                if listener.next > listener.live_from:
                    LAG.observe(max(0.0, time.time() - messages.happened_at(told.event)))
            else:
                listener.wake.clear()
                await listener.wake.wait()

    async def _send(self, connection: Socket, text: str, name: str) -> None:
        async with asyncio.timeout(self._limits.write_seconds):
            await connection.send(text)
        SENT.labels(name).inc()

    async def _wait_until_received(self, after: MessageId) -> None:
        """Waits a moment for what another instance has already told; without it there would be a resync."""
        deadline = time.monotonic() + AHEAD_SECONDS
        while self._hub.is_ahead(after) and time.monotonic() < deadline:  # noqa: ASYNC110 - rare, and short
            await asyncio.sleep(0.02)


def _select_subprotocol(_connection: ServerConnection, offered: Any) -> Subprotocol | None:
    return PROTOCOL if offered else None
