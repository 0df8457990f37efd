"""What Payments does when others say something."""

from kit.bus import Bus
from kit.db import Database
from services.payments.goods_cache import CachedInventories
from services.payments.service import PaymentService
from services.topology import PAYMENTS_CHARGE, PAYMENTS_FORGET


async def consume(bus: Bus, service: PaymentService, database: Database) -> None:
    """Takes, holds and gives back the money for orders, until the bus stops consuming."""
    await bus.consume(PAYMENTS_CHARGE, service.answer_orders, database)


async def forget(bus: Bus, inventories: CachedInventories, database: Database) -> None:
    """Removes goods from the cache that have changed, until the bus stops consuming."""
    await bus.consume(PAYMENTS_FORGET, inventories.forget_again, database)
