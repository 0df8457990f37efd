"""The dead letters of all services, each of which is asked for its own."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING

import structlog
from google.protobuf.message import DecodeError

from gozon.maintenance.v1 import maintenance_pb2 as maintenance
from gozon.maintenance.v1.maintenance_pb2_grpc import MaintenanceServiceStub
from gozon.system.v1.system_pb2 import DeadLetter
from kit import rpc
from kit.dead_letters import DeadLetterNotFound
from kit.errors import Error, InvalidPageToken, NotFound
from kit.telemetry import trace_id

if TYPE_CHECKING:
    from gozon.maintenance.v1.maintenance_pb2_grpc import MaintenanceServiceAsyncStub as Stub

log = structlog.get_logger()


class DeadLetters:
    """Asks the services, with the token of whoever wants to know."""

    def __init__(self, services: Mapping[str, str]) -> None:
        """`services` are their gRPC targets, by name."""
        self._services = {name: MaintenanceServiceStub(rpc.channel(target)) for name, target in services.items()}

    @property
    def services(self) -> Sequence[str]:
        """The names of the services that have dead letters."""
        return tuple(self._services)

    async def page(self, page_token: str, limit: int, call: rpc.Call) -> tuple[list[DeadLetter], list[str]]:
        """Returns dead letters, the latest first, and which services did not answer. Errors: InvalidPageToken."""
        request = maintenance.ListDeadLettersRequest(limit=limit)
        if page_token:
            try:
                request.after.CopyFrom(_read(page_token)[1])
            except ValueError:
                raise InvalidPageToken from None
        found: list[DeadLetter] = []
        silent: list[str] = []

        async def ask(name: str, service: "Stub") -> None:
            try:
                answer = await rpc.forward(service.ListDeadLetters, request, call)
            except Error as error:
                log.warning("dead_letters_unknown", of=name, error=repr(error))
                silent.append(name)
            else:
                found.extend(_dead_letter(name, letter) for letter in answer.dead_letters)

        await asyncio.gather(*(ask(*service) for service in self._services.items()))
        found.sort(key=lambda letter: (letter.died_at.ToNanoseconds(), letter.consumer, letter.event_id), reverse=True)
        return found[:limit], sorted(silent)

    async def replay(self, dead_letter_id: str, call: rpc.Call) -> None:
        """Has the service of a dead letter publish its event again. Errors: DeadLetterNotFound, Unavailable."""
        service, key = self._owner(dead_letter_id)
        try:
            await rpc.forward(service.ReplayDeadLetter, maintenance.ReplayDeadLetterRequest(key=key), call)
        except NotFound:
            raise DeadLetterNotFound from None

    async def drop(self, dead_letter_id: str, call: rpc.Call) -> None:
        """Has the service of a dead letter delete it. Errors: DeadLetterNotFound, Unavailable."""
        service, key = self._owner(dead_letter_id)
        try:
            await rpc.forward(service.DropDeadLetter, maintenance.DropDeadLetterRequest(key=key), call)
        except NotFound:
            raise DeadLetterNotFound from None

    def _owner(self, dead_letter_id: str) -> "tuple[Stub, maintenance.DeadLetterKey]":
        try:
            name, key = _read(dead_letter_id)
            return self._services[name], key
        except (ValueError, KeyError):
            raise DeadLetterNotFound from None


def _dead_letter(service: str, letter: maintenance.DeadLetter) -> DeadLetter:
    key = base64.urlsafe_b64encode(letter.key.SerializeToString(deterministic=True)).decode().rstrip("=")
    return DeadLetter(
        id=f"{service}.{key}",
        service=service,
        consumer=letter.key.consumer,
        event_id=letter.key.event_id,
        subject=letter.subject,
        error=letter.error,
        failures=letter.failures,
        first_failed_at=letter.first_failed_at,
        died_at=letter.key.died_at,
        trace_id=trace_id(letter.traceparent),
    )


def _read(dead_letter_id: str) -> tuple[str, maintenance.DeadLetterKey]:
    """Returns the service and the key in the id of a dead letter. Errors: ValueError."""
    name, _, text = dead_letter_id.partition(".")
    try:
        key = maintenance.DeadLetterKey.FromString(base64.b64decode(text + "=" * (-len(text) % 4), "-_", validate=True))
        # What can be a moment of PostgreSQL's.
        key.died_at.ToDatetime(UTC)
    except (DecodeError, OverflowError) as error:
        raise ValueError from error
    if not key.HasField("died_at") or "\0" in key.consumer + key.event_id:
        raise ValueError
    return name, key
