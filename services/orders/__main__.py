"""The process of Orders: `python -m services.orders` serves, `… migrate` brings the database up to date."""

from functools import partial
from pathlib import Path

from pydantic import Field

from gozon.orders.v1 import orders_pb2
from kit import maintenance, process, rpc
from kit.auth import TokenVerifier
from kit.bus import Bus
from kit.cache import Cache
from kit.db import Database
from kit.dead_letters import DeadLetters
from kit.housekeeping import Housekeeping
from kit.outbox import Outbox
from kit.settings import BusSettings, Settings
from services.jwks import keys_of
from services.orders.api import RULES, OrdersApi
from services.orders.cached import CachedOrders
from services.orders.catalog import Catalog
from services.orders.consumer import consume, learn
from services.orders.service import OrderService
from services.orders.settlement import Settlement
from services.orders.sweep import Sweeper
from services.orders.watch import Watchers
from services.topology import CONSUMERS, ORDERS_CATALOG, ORDERS_SETTLE, STREAMS, WORKERS_ORDERS


class OrdersSettings(Settings, BusSettings):
    """Settings of Orders."""

    redis_url: str
    """redis://:password@host:port/db"""
    users_target: str
    """host:port of Users, whose keys verify tokens."""
    cache_seconds: int = Field(default=300, gt=0)
    """How long an order stays in the cache."""
    pending_seconds: int = Field(default=86_400, ge=60)
    """How long an order may be PENDING until it expires."""
    processing_seconds: int = Field(default=60, ge=1)
    """How long an order waits for a worker that has nothing else to do, until it is given to it again."""


async def serve(settings: OrdersSettings) -> None:
    """Serves until told to stop."""
    database = Database(settings.database_url)
    bus = Bus(settings.nats_url, STREAMS, CONSUMERS, settings.stream_replicas)
    await bus.connect()
    cache = Cache(settings.redis_url, settings.cache_seconds)
    outbox = Outbox(database, bus)
    cached = CachedOrders(cache)
    catalog = Catalog(database)
    service = OrderService(database, outbox, cached, Watchers(bus), catalog)
    settlement = Settlement(database, outbox, cached)

    workers_are_idle = partial(bus.is_idle, WORKERS_ORDERS)
    sweeper = Sweeper(database, outbox, settings.pending_seconds, settings.processing_seconds, workers_are_idle)
    housekeeping = Housekeeping(database, bus, [ORDERS_SETTLE, ORDERS_CATALOG], has_inbox=False)
    verifier = TokenVerifier(keys_of(settings.users_target))

    await rpc.serve(
        settings.listen,
        [
            rpc.Service(orders_pb2.DESCRIPTOR.services_by_name["OrdersService"], OrdersApi(service), RULES),
            maintenance.service(housekeeping.clean_up, DeadLetters(database, bus.publish_again)),
        ],
        verifier,
        ready=database.ping,
        background=[
            service.batcher.run,
            outbox.run,
            partial(consume, bus, settlement, database),
            partial(learn, bus, catalog, database),
            sweeper.run,
            housekeeping.run,
        ],
        drain=[service.batcher.drain, bus.stop_consuming, outbox.drain, bus.close, cache.close, database.close],
    )


if __name__ == "__main__":
    process.run("orders", OrdersSettings, serve, Path(__file__).parent)
