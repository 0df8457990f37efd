"""The RPCs of System."""

from google.protobuf.empty_pb2 import Empty

from gozon.system.v1.system_pb2 import (
    DropDeadLetterRequest,
    GetSystemRequest,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    ReplayDeadLetterRequest,
    System,
)
from kit import access, pages
from kit.rpc import Call
from services.system import view
from services.system.auditor import Auditor
from services.system.dead_letters import DeadLetters
from services.system.scraper import Scraper

RULES = {
    "GetSystem": access.ADMIN,
    "ListDeadLetters": access.ADMIN,
    "ReplayDeadLetter": access.ADMIN,
    "DropDeadLetter": access.ADMIN,
}
DEFAULT_PAGE_SIZE = 20


class SystemApi:
    """gozon.system.v1.SystemService."""

    def __init__(self, scraper: Scraper, auditor: Auditor, dead_letters: DeadLetters) -> None:
        self._scraper = scraper
        self._auditor = auditor
        self._dead_letters = dead_letters

    async def get_system(self, request: GetSystemRequest, call: Call) -> System:
        readings = await self._scraper.readings()
        system = System(
            processes=view.processes(readings),
            backlogs=view.backlogs(readings, self._dead_letters.services),
            consumers=view.consumers(readings),
            audit=self._auditor.found,
        )
        system.observed_at.FromMicroseconds(int(self._scraper.observed_at * 1e6))
        return system

    async def list_dead_letters(self, request: ListDeadLettersRequest, call: Call) -> ListDeadLettersResponse:
        limit = request.page_size or DEFAULT_PAGE_SIZE
        found, silent = await self._dead_letters.page(request.page_token, limit + 1, call)
        letters, more = pages.cut(found, limit)
        # Not the token of other lists: these are in the order of their dates.
        return ListDeadLettersResponse(
            dead_letters=letters, next_page_token=letters[-1].id if more else "", silent_services=silent
        )

    async def replay_dead_letter(self, request: ReplayDeadLetterRequest, call: Call) -> Empty:
        await self._dead_letters.replay(request.dead_letter_id, call)
        call.no_content()
        return Empty()

    async def drop_dead_letter(self, request: DropDeadLetterRequest, call: Call) -> Empty:
        await self._dead_letters.drop(request.dead_letter_id, call)
        call.no_content()
        return Empty()
