"""What Orders does when others say something."""

from kit.bus import Bus
from kit.db import Database
from services.orders.settlement import Settlement
from services.topology import ORDERS_SETTLE


async def consume(bus: Bus, settlement: Settlement, database: Database) -> None:
    """Takes orders further when Payments has answered, until the bus stops consuming."""
    await bus.consume(ORDERS_SETTLE, settlement.settle, database)
