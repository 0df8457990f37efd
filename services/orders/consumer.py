"""What Orders does when others say something."""

from kit.bus import Bus
from kit.db import Database
from services.orders.service import OrderService
from services.topology import ORDERS_SETTLE


async def consume(bus: Bus, service: OrderService, database: Database) -> None:
    """Ends orders when Payments has decided about them, until the bus stops consuming."""
    await bus.consume(ORDERS_SETTLE, service.settle, database)
