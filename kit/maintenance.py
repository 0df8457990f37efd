"""gozon.maintenance.v1, which is the same in every service: workers call it once a day, System for dead letters."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC

from google.protobuf.empty_pb2 import Empty

from gozon.maintenance.v1.maintenance_pb2 import (
    DESCRIPTOR,
    CleanUpRequest,
    CleanUpResponse,
    DeadLetter,
    DeadLetterKey,
    DropDeadLetterRequest,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    ReplayDeadLetterRequest,
)
from kit import access
from kit.db import Row
from kit.dead_letters import LATEST, DeadLetterNotFound, DeadLetters, Key
from kit.rpc import Call, Service

RULES = {
    "CleanUp": access.WORKER,
    "ListDeadLetters": access.ADMIN,
    "ReplayDeadLetter": access.ADMIN,
    "DropDeadLetter": access.ADMIN,
}
CleanUp = Callable[[int], Awaitable[Mapping[str, int]]]
"""Deletes what is too old, dead letters of so many days too, and returns how many rows it was, by table."""


class MaintenanceApi:
    """gozon.maintenance.v1.MaintenanceService."""

    def __init__(self, clean_up: CleanUp, dead_letters: DeadLetters | None) -> None:
        """A service that consumes no events has no dead letters."""
        self._clean_up = clean_up
        self._dead_letters = dead_letters

    async def clean_up(self, request: CleanUpRequest, call: Call) -> CleanUpResponse:
        """See the contract. When there is more than it finds the time for, the next call goes on with the rest."""
        return CleanUpResponse(deleted=await self._clean_up(request.dead_letter_days))

    async def list_dead_letters(self, request: ListDeadLettersRequest, call: Call) -> ListDeadLettersResponse:
        """See the contract."""
        if self._dead_letters is None:
            return ListDeadLettersResponse()
        after = _key(request.after) if request.HasField("after") else LATEST
        rows = await self._dead_letters.page(after, request.limit)
        return ListDeadLettersResponse(dead_letters=map(_dead_letter, rows))

    async def replay_dead_letter(self, request: ReplayDeadLetterRequest, call: Call) -> Empty:
        """See the contract."""
        await self._mine().replay(_key(request.key))
        return Empty()

    async def drop_dead_letter(self, request: DropDeadLetterRequest, call: Call) -> Empty:
        """See the contract."""
        await self._mine().drop(_key(request.key))
        return Empty()

    def _mine(self) -> DeadLetters:
        if self._dead_letters is None:
            raise DeadLetterNotFound
        return self._dead_letters


def service(clean_up: CleanUp, dead_letters: DeadLetters | None = None) -> Service:
    """Returns the service, to be served beside others."""
    api = MaintenanceApi(clean_up, dead_letters)
    return Service(DESCRIPTOR.services_by_name["MaintenanceService"], api, RULES)


def _key(key: DeadLetterKey) -> Key:
    return Key(key.consumer, key.event_id, key.died_at.ToDatetime(UTC))


def _dead_letter(row: Row) -> DeadLetter:
    letter = DeadLetter(
        key=DeadLetterKey(consumer=row["consumer"], event_id=row["event_id"]),
        subject=row["subject"],
        error=row["error"],
        failures=row["failures"],
        traceparent=row["traceparent"],
    )
    letter.key.died_at.FromDatetime(row["died_at"])
    letter.first_failed_at.FromDatetime(row["first_failed_at"])
    return letter
