"""The process of Orders: `python -m services.orders` serves, `… migrate` brings the database up to date."""

import sys
from functools import partial

import uvloop

from gozon.orders.v1 import orders_pb2
from kit import migrations, rpc, telemetry
from kit.auth import TokenVerifier
from kit.bus import Bus
from kit.cache import Cache
from kit.db import Database
from kit.outbox import Outbox
from kit.settings import Settings
from services.jwks import keys_of
from services.orders.api import OrdersApi
from services.orders.consumer import consume
from services.orders.service import OrderService
from services.orders.watch import Watchers
from services.topology import CONSUMERS, STREAMS


class OrdersSettings(Settings):
    """Settings of Orders."""

    nats_url: str
    """nats://user:password@host:port"""
    redis_url: str
    """redis://:password@host:port/db"""
    users_target: str
    """host:port of Users, whose keys verify tokens."""
    cache_seconds: int = 300


async def serve(settings: OrdersSettings) -> None:
    """Serves until told to stop."""
    database = Database(settings.database_url)
    bus = Bus(settings.nats_url, STREAMS, CONSUMERS)
    await bus.connect()
    cache = Cache(settings.redis_url, settings.cache_seconds)
    outbox = Outbox(database, bus)
    service = OrderService(database, outbox, cache, Watchers(bus))
    verifier = TokenVerifier(keys_of(settings.users_target), issuer=settings.jwt_issuer, audience=settings.jwt_audience)

    async def ready() -> None:
        await database.ping()
        await bus.ping()

    await rpc.serve(
        settings.listen,
        [rpc.Service(orders_pb2.DESCRIPTOR.services_by_name["OrdersService"], OrdersApi(service))],
        verifier,
        ready=ready,
        background=[service.batcher.run, outbox.run, partial(consume, bus, service), service.ask_again_now_and_then],
        drain=[service.batcher.drain, bus.stop_consuming, outbox.drain, bus.close, cache.close, database.close],
    )


def main() -> None:
    """Runs the process."""
    settings = OrdersSettings.load()
    telemetry.configure("orders", settings.log_level, settings.log_format, settings.metrics_port)
    if sys.argv[1:] == ["migrate"]:
        migrations.upgrade(settings.database_url, __file__)
    else:
        uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
