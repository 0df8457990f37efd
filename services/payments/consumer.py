"""What Payments does when others say something."""

from kit.bus import Bus
from kit.db import Database
from services.payments.service import PaymentService
from services.topology import PAYMENTS_CHARGE


async def consume(bus: Bus, service: PaymentService, database: Database) -> None:
    """Takes, holds and gives back the money for orders, until the bus stops consuming."""
    await bus.consume(PAYMENTS_CHARGE, service.answer_orders, database)
