"""The process of Payments: `python -m services.payments` serves, `… migrate` brings the database up to date."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from pydantic import Field, field_validator

from gozon.payments.v1 import payments_pb2
from gozon.payouts.v1 import payouts_pb2
from gozon.shop.v1 import shop_pb2
from kit import maintenance, process, rpc
from kit.auth import TokenVerifier
from kit.bus import Bus
from kit.cache import Cache
from kit.db import Database
from kit.dead_letters import DeadLetters
from kit.housekeeping import Housekeeping
from kit.outbox import Outbox
from kit.sealing import Sealer
from kit.settings import BusSettings, Settings
from services.jwks import keys_of
from services.payments import payouts_api, shop_api
from services.payments.api import RULES, PaymentsApi
from services.payments.consumer import consume, forget
from services.payments.domain import Limits
from services.payments.goods_cache import POPULAR_SECONDS, CachedInventories, CachedPopularity
from services.payments.payouts_api import PayoutsApi
from services.payments.payouts_service import PayoutService
from services.payments.product_news import ProductNews
from services.payments.service import PaymentService
from services.payments.shop_api import ShopApi
from services.payments.shop_service import ShopService
from services.topology import CONSUMERS, ORDERS_CATALOG, PAYMENTS_CHARGE, PAYMENTS_FORGET, STREAMS, WORKERS_PAYOUTS


class PaymentsSettings(Settings, BusSettings):
    """Settings of Payments."""

    redis_url: str
    """redis://:password@host:port/db"""
    users_target: str
    """host:port of Users, whose keys verify tokens."""
    cache_seconds: int = Field(default=300, gt=0)
    """How long the goods of a user stay in the cache."""
    max_deposit: int = Field(default=1_000_000_000_000, gt=0, le=1_000_000_000_000)
    """The most that one deposit may be, in minor units."""
    max_balance: int = Field(default=1_000_000_000_000_000, gt=0, le=1_000_000_000_000_000)
    """The most that deposits may bring an account to, in minor units."""
    hold_seconds: int = Field(default=7 * 24 * 3600, gt=0, le=366 * 24 * 3600)
    """How long money is held for an order before it is released."""
    max_payout: int = Field(default=100_000_000, gt=0, le=1_000_000_000_000)
    """The most that one payout may be, in minor units."""
    payout_keys: str
    """Seal who is paid: 32 bytes each as base64, separated by commas. The first one seals, all of them open."""

    @field_validator("payout_keys")
    @classmethod
    def _are_keys(cls, keys: str) -> str:
        Sealer(keys)
        return keys


async def serve(settings: PaymentsSettings) -> None:
    """Serves until told to stop."""
    database = Database(settings.database_url)
    bus = Bus(settings.nats_url, STREAMS, CONSUMERS, settings.stream_replicas)
    await bus.connect()
    cache = Cache(settings.redis_url, settings.cache_seconds)
    hourly_cache = Cache(settings.redis_url, POPULAR_SECONDS)
    inventories = CachedInventories(cache)
    outbox = Outbox(database, bus)
    lifetime = timedelta(seconds=settings.hold_seconds)
    limits = Limits(settings.max_deposit, settings.max_balance, lifetime, settings.max_payout)
    service = PaymentService(database, outbox, limits)
    payouts = PayoutService(database, outbox, Sealer(settings.payout_keys), limits)
    shop = ShopService(database, outbox, inventories, CachedPopularity(hourly_cache))
    news = ProductNews(database, outbox, partial(bus.is_idle, ORDERS_CATALOG))
    caches = {"cached_inventories": inventories.clear}
    housekeeping = Housekeeping(database, bus, [PAYMENTS_CHARGE, PAYMENTS_FORGET], has_inbox=True, caches=caches)
    verifier = TokenVerifier(keys_of(settings.users_target))

    await rpc.serve(
        settings.listen,
        [
            rpc.Service(payments_pb2.DESCRIPTOR.services_by_name["PaymentsService"], PaymentsApi(service), RULES),
            rpc.Service(
                payouts_pb2.DESCRIPTOR.services_by_name["PayoutsService"], PayoutsApi(payouts), payouts_api.RULES
            ),
            rpc.Service(shop_pb2.DESCRIPTOR.services_by_name["ShopService"], ShopApi(shop), shop_api.RULES),
            maintenance.service(housekeeping.clean_up, DeadLetters(database, bus.publish_again)),
        ],
        verifier,
        ready=database.ping,
        background=[
            shop.batcher.run,
            outbox.run,
            partial(consume, bus, service, database),
            partial(forget, bus, inventories, database),
            service.release_expired_now_and_then,
            partial(payouts.ask_again_now_and_then, partial(bus.is_idle, WORKERS_PAYOUTS)),
            news.run,
            housekeeping.run,
        ],
        drain=[
            shop.batcher.drain,
            bus.stop_consuming,
            outbox.drain,
            bus.close,
            cache.close,
            hourly_cache.close,
            database.close,
        ],
    )


if __name__ == "__main__":
    process.run("payments", PaymentsSettings, serve, Path(__file__).parent)
