"""gozon.maintenance.v1, which is the same in every service; workers call it once a day."""

from collections.abc import Awaitable, Callable, Mapping

from gozon.maintenance.v1.maintenance_pb2 import DESCRIPTOR, CleanUpRequest, CleanUpResponse
from kit import access
from kit.rpc import Call, Service

RULES = {"CleanUp": access.WORKER}
CleanUp = Callable[[int], Awaitable[Mapping[str, int]]]
"""Deletes what is too old, dead letters of so many days too, and returns how many rows it was, by table."""


class MaintenanceApi:
    """gozon.maintenance.v1.MaintenanceService."""

    def __init__(self, clean_up: CleanUp) -> None:
        self._clean_up = clean_up

    async def clean_up(self, request: CleanUpRequest, call: Call) -> CleanUpResponse:
        """See the contract. When there is more than it finds the time for, the next call goes on with the rest."""
        return CleanUpResponse(deleted=await self._clean_up(request.dead_letter_days))


def service(clean_up: CleanUp) -> Service:
    """Returns the service, to be served beside others."""
    return Service(DESCRIPTOR.services_by_name["MaintenanceService"], MaintenanceApi(clean_up), RULES)
