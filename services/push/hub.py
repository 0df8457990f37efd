"""What users were told in the last minutes, and who listens on this instance.

The memory is what live messages and resuming are served from: a listener is a place in the log of its user, so nothing
is queued for it, and nothing can be missed or told twice between what it missed and what comes now.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import structlog
from google.protobuf.message import DecodeError

from kit.events import Event
from services.push import messages
from services.push.domain import WHOLE_ENVELOPE, MessageId, Position

RESUME_SECONDS = 300.0
"""How long an event is remembered for those who come back."""
REPEAT_SECONDS = 300
"""An event that comes again within this many seconds, and up to a minute more, is told once."""
MEMORY_SECONDS = RESUME_SECONDS + REPEAT_SECONDS + 60
"""So much an instance reads when it starts, so that all agree on what is a repetition."""
OVERHEAD_BYTES = 800
"""About what an event costs in memory beside its payload."""
MINUTE = 60
MAX_IDS = 200_000
"""So many of a minute are known; more than that, and some repetitions are told twice."""

HELLO = "hello"
RESYNC = "resync"

log = structlog.get_logger()


class Told(NamedTuple):
    """An event in memory."""

    position: Position
    """Behind it."""
    at: float
    """When the stream got it, as Unix time."""
    user_id: str
    event: Event


@dataclass(slots=True, eq=False)
class Log:
    """What concerns one user, and who listens to it. Most are short: lists take a fifth of what deques and sets do."""

    told: list[Told] = field(default_factory=list)
    forgotten: int = 0
    """How many there were before the first one of `told`."""
    listeners: list["Listener"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Listener:
    """A socket's place in the log of its user."""

    user_id: str
    log: Log
    next: int
    """The number of the first event that it was not told, counting all there ever were in this log."""
    greeting: str
    """HELLO or RESYNC: what is to be said before the next event; empty when it was said."""
    start: Position
    """The position that goes with the greeting."""
    live_from: int
    """The number of the first event that is news; those before it were missed."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Fell(Exception):
    """A listener is so far behind that what it should be told next is forgotten."""


class Hub:
    """Everybody's logs on this instance; one follower of the stream PUSH fills them."""

    def __init__(self, max_bytes: int, now: Callable[[], float]) -> None:
        """`max_bytes` of events are remembered, the last ones; `now` is Unix time."""
        self._max_bytes = max_bytes
        self._now = now
        self._logs: dict[str, Log] = {}
        self._all: deque[Told] = deque()
        self._bytes = 0
        self._seen: dict[int, set[str]] = {}
        """Ids of events by minute of the stream's time: what a repetition is must not depend on when we started."""
        self._floor = Position(0, 0)
        """Nothing behind this is forgotten."""
        self._end = Position(0, 0)
        self.life = ""
        self.is_ready = False

    @property
    def end(self) -> Position:
        """The position behind everything that was received."""
        return self._end

    @property
    def size(self) -> tuple[int, int]:
        """How many events are remembered, and how many bytes that is, about."""
        return len(self._all), self._bytes

    @property
    def known_users(self) -> int:
        """How many users have a log here."""
        return len(self._logs)

    def begin(self, life: str, sequence: int) -> None:
        """Forgets everything, and tells all listeners to read everything anew."""
        self.life = life
        self._end = self._floor = Position(sequence, WHOLE_ENVELOPE)
        self._all.clear()
        self._seen.clear()
        self._bytes = 0
        for user_id, user_log in list(self._logs.items()):
            user_log.forgotten += len(user_log.told)
            user_log.told.clear()
            for listener in user_log.listeners:
                listener.next = listener.live_from = user_log.forgotten
                listener.greeting, listener.start = RESYNC, self._end
                listener.wake.set()
            if not user_log.listeners:
                del self._logs[user_id]

    def receive(self, sequence: int, at: datetime, events: Sequence[Event]) -> None:
        """Takes a message of the stream, and wakes those whom it concerns."""
        moment = at.timestamp()
        for number, event in enumerate(events, start=1):
            try:
                user_id = messages.owner(event)
            except (DecodeError, ValueError) as error:
                log.error("unreadable_event", event_id=event.id, subject=event.subject, error=repr(error))
                continue
            if user_id and not self._is_repetition(event.id, int(moment)):
                self._remember(Told(Position(sequence, number), moment, user_id, event))
        self._end = Position(sequence, WHOLE_ENVELOPE)
        self._forget()

    def caught_up(self) -> None:
        """From now on listeners can be served."""
        self.is_ready = True

    def listen(self, user_id: str, after: MessageId | None) -> Listener:
        """Returns a new listener: to what follows `after` if all of that is known here, else to what comes from now on.

        It begins with HELLO, or with RESYNC when something may be missing.
        """
        user_log = self._logs.setdefault(user_id, Log())
        end = user_log.forgotten + len(user_log.told)
        if after is None:
            listener = Listener(user_id, user_log, end, HELLO, self._end, end)
        elif after.life != self.life or not self._floor <= after.position <= self._end:
            listener = Listener(user_id, user_log, end, RESYNC, self._end, end)
        else:
            missed = 0
            for told in reversed(user_log.told):
                if told.position <= after.position:
                    break
                missed += 1
            listener = Listener(user_id, user_log, end - missed, HELLO, after.position, end)
        user_log.listeners.append(listener)
        listener.wake.set()
        return listener

    def leave(self, listener: Listener) -> None:
        """Ends listening."""
        listener.log.listeners.remove(listener)
        if not listener.log.listeners and not listener.log.told:
            self._logs.pop(listener.user_id, None)

    def take(self, listener: Listener) -> Told | None:
        """Returns what a listener is to be told next; None when there is nothing. Errors: Fell."""
        index = listener.next - listener.log.forgotten
        if index < 0:
            raise Fell
        if index >= len(listener.log.told):
            return None
        listener.next += 1
        return listener.log.told[index]

    def is_ahead(self, after: MessageId) -> bool:
        """Says whether another instance has told more than this one has received."""
        return after.life == self.life and after.position > self._end

    def _remember(self, told: Told) -> None:
        user_log = self._logs.get(told.user_id)
        if user_log is None:
            user_log = self._logs[told.user_id] = Log()
        user_log.told.append(told)
        self._all.append(told)
        self._bytes += len(told.event.payload) + OVERHEAD_BYTES
        for listener in user_log.listeners:
            listener.wake.set()

    def _forget(self) -> None:
        oldest = self._now() - RESUME_SECONDS
        while self._all and (self._all[0].at < oldest or self._bytes > self._max_bytes):
            told = self._all.popleft()
            self._bytes -= len(told.event.payload) + OVERHEAD_BYTES
            self._floor = told.position
            user_log = self._logs[told.user_id]
            del user_log.told[0]
            user_log.forgotten += 1
            if not user_log.told and not user_log.listeners:
                del self._logs[told.user_id]

    def _is_repetition(self, event_id: str, second: int) -> bool:
        minute = second // MINUTE
        ids = self._seen.get(minute)
        if ids is None:
            ids = self._seen[minute] = set()
            for old in [known for known in self._seen if known < minute - REPEAT_SECONDS // MINUTE]:
                del self._seen[old]
        if any(event_id in known for known in self._seen.values()):
            return True
        if len(ids) >= MAX_IDS:
            ids.clear()
        ids.add(event_id)
        return False
