"""What Payments says about products though nothing has changed: it tells them again, should the news have been lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from kit.db import Database, atomic
from kit.outbox import Outbox
from services.payments import events, shop_repository

TELL_SECONDS = 60.0
LATELY = timedelta(hours=1)
TELL_LIMIT = 500

EVER = datetime.fromtimestamp(0, UTC)
NO_ID = "00000000-0000-0000-0000-000000000000"

log = structlog.get_logger()


class ProductNews:
    """Tells products again to who keeps a copy of them. Any number of instances may run at once."""

    def __init__(self, database: Database, outbox: Outbox, nothing_waits: Callable[[], Awaitable[bool]]) -> None:
        """Tells only if `nothing_waits`: as long as events wait for their reader, that of a product may be one of them.

        So a long absence of the reader, or of NATS, does not fill the outbox.
        """
        self._database = database
        self._outbox = outbox
        self._nothing_waits = nothing_waits

    async def run(self) -> None:
        """Tells all products at the start and each hour, and each minute those that changed within an hour, for ever.

        This is what makes the loss of the broker's storage harmless, and how a new reader gets to know what was there
        before it.
        """
        all_told_at: float | None = None
        while True:
            try:
                if await self._nothing_waits():
                    now = time.monotonic()
                    of_all = all_told_at is None or now - all_told_at > LATELY.total_seconds()
                    found = await self.tell(EVER if of_all else datetime.now(UTC) - LATELY)
                    all_told_at = now if of_all else all_told_at
                    log.debug("products_told_again", products=found)
            except Exception as error:
                log.warning("telling_failed", error=repr(error))
            await asyncio.sleep(TELL_SECONDS)

    async def tell(self, since: datetime) -> int:
        """Tells the products that changed after a moment, and returns how many these are."""
        found, last = 0, (since, NO_ID)
        while (page := await self._tell_page(*last)) is not None:
            told, last = page
            found += told
        return found

    @atomic
    async def _tell_page(self, since: datetime, after: str) -> tuple[int, tuple[datetime, str]] | None:
        """Tells at most 500 products, and returns how many and where they end; None when there are no more."""
        async with self._database.transaction() as tx:
            products = await shop_repository.products_changed(tx, since, after, TELL_LIMIT)
            if not products:
                return None
            await self._outbox.add(tx, [events.product_changed(product, "") for product in products])
        return len(products), (products[-1].updated_at.ToDatetime(UTC), products[-1].id)
