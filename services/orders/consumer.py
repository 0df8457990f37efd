"""What Orders does when others say something."""

from kit.bus import Bus
from kit.db import Database
from services.orders.catalog import Catalog
from services.orders.settlement import Settlement
from services.topology import ORDERS_CATALOG, ORDERS_SETTLE


async def consume(bus: Bus, settlement: Settlement, database: Database) -> None:
    """Takes orders further when Payments has answered, until the bus stops consuming."""
    await bus.consume(ORDERS_SETTLE, settlement.settle, database)


async def learn(bus: Bus, catalog: Catalog, database: Database) -> None:
    """Keeps what orders need of products, until the bus stops consuming."""
    await bus.consume(ORDERS_CATALOG, catalog.learn, database)
