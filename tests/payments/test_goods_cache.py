"""services.payments.goods_cache with the shop, on a Valkey of the test's own that is cleared, killed and frozen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from gozon.shop.v1.events_pb2 import InventoryChanged
from gozon.shop.v1.shop_pb2 import (
    Inventory,
    ListPopularProductsRequest,
    ListPopularProductsResponse,
    PopularProduct,
    Product,
)
from kit.cache import Cache
from kit.db import Database
from kit.errors import Unavailable
from kit.events import Event
from kit.housekeeping import Housekeeping
from kit.ids import new_id
from services.payments.goods_cache import POPULAR_SECONDS, CachedInventories, CachedPopularity
from services.payments.service import PaymentService
from services.payments.shop_api import ShopApi
from services.topology import INVENTORY_CHANGED
from tests.payments.payout_steps import call
from tests.payments.shop_steps import buy, owned, product, selling, use
from tests.payments.steps import account_with
from tests.support import disconnected_bus, eventually
from tests.valkey import ValkeyServer

MONEY = 1_000


class Instances:
    """Instances of Payments, each with a cache of its own on one server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._shops = AsyncExitStack()
        self.caches: list[Cache] = []

    async def shop(self, database: Database) -> ShopApi:
        """One more instance."""
        return await self._shops.enter_async_context(selling(database, self._cache(60)))

    def inventories(self) -> CachedInventories:
        """What one more instance caches of goods."""
        return CachedInventories(self._cache(60))

    def popularity(self) -> CachedPopularity:
        """What one more instance caches of what is popular."""
        return CachedPopularity(self._cache(POPULAR_SECONDS))

    async def close(self) -> None:
        """Ends all of them."""
        await self._shops.aclose()
        for cache in self.caches:
            await cache.close()

    def _cache(self, ttl: int) -> Cache:
        self.caches.append(Cache(self._url, ttl))
        return self.caches[-1]


class Counted:
    """Reads and counts, and knows how often."""

    def __init__(self) -> None:
        self.times = 0
        self.now = 1
        self.answers = asyncio.Event()
        self.answers.set()

    async def inventory(self) -> Inventory:
        self.times += 1
        found = Inventory(user_id=str(self.now))
        await self.answers.wait()
        return found

    async def popular(self) -> ListPopularProductsResponse:
        self.times += 1
        found = [PopularProduct(product=Product(id="tea"), purchases=self.now)] if self.now else []
        await self.answers.wait()
        return ListPopularProductsResponse(products=found)


@pytest.fixture
async def valkey(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ValkeyServer]:
    # One that lives may take longer on a busy machine; one that is frozen is asked at once again.
    monkeypatch.setattr("kit.cache.TIMEOUT_SECONDS", 1)
    monkeypatch.setattr("kit.cache.PROBE_SECONDS", 0.05)
    monkeypatch.setattr("kit.cache.FORGET_AGAIN_SECONDS", 0.05)
    server = ValkeyServer()
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def instances(valkey: ValkeyServer) -> AsyncIterator[Instances]:
    instances = Instances(valkey.url)
    yield instances
    await instances.close()


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    redis = Redis.from_url(valkey.url)
    yield redis
    await redis.aclose()


@pytest.fixture
async def api(payments_db: Database, instances: Instances) -> ShopApi:
    return await instances.shop(payments_db)


@pytest.fixture
async def ann(service: PaymentService) -> str:
    """Somebody with money."""
    return await account_with(service, MONEY)


def changed(user_id: str) -> Event:
    """Tells that goods of a user have changed."""
    return Event(new_id(), INVENTORY_CHANGED, InventoryChanged(user_id=user_id).SerializeToString(), "")


async def test_goods_come_from_the_cache_until_something_is_bought_or_used(
    api: ShopApi, ann: str, payments_db: Database, instances: Instances, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.FORGET_SECONDS", 1)
    tea, other = await product(api, 1), await instances.shop(payments_db)

    async def is_cached() -> bool:
        await owned(other, ann)
        return bool(await redis.get(f"inventory:{ann}"))

    assert await owned(api, ann) == {}
    await eventually(is_cached)
    await buy(api, ann, tea, 3)
    assert await owned(other, ann) == {tea.id: 3}
    await eventually(is_cached)
    await use(other, ann, tea, 2)
    assert await owned(api, ann) == {tea.id: 1}
    await eventually(is_cached)
    # The database does not say so: the cache does.
    await redis.set(f"inventory:{ann}", Inventory(user_id=ann).SerializeToString())
    assert await owned(api, ann) == {}


async def test_a_purchase_that_is_refused_leaves_the_cache_alone(api: ShopApi, ann: str, redis: Redis) -> None:
    telescope = await product(api, MONEY + 1)
    await owned(api, ann)
    with pytest.raises(Exception, match="money"):
        await buy(api, ann, telescope)
    assert await redis.get(f"inventory:{ann}")


async def test_who_read_before_a_change_does_not_store_it_after(instances: Instances) -> None:
    reader, writer, source = instances.inventories(), instances.inventories(), Counted()
    source.answers.clear()
    before = asyncio.create_task(reader.get("ann", source.inventory))

    async def is_reading() -> bool:
        return source.times == 1

    await eventually(is_reading)
    await writer.forget(["ann"])
    source.now = 2
    source.answers.set()
    assert (await before).user_id == "1"
    for instance in (reader, writer):
        assert (await instance.get("ann", source.inventory)).user_id == "2"


async def test_of_fifty_readers_one_asks_the_database(instances: Instances) -> None:
    inventories, source = instances.inventories(), Counted()
    await asyncio.gather(*(inventories.get("ann", source.inventory) for _ in range(50)))
    assert source.times == 1


@pytest.mark.parametrize("is_frozen", [False, True], ids=["dead", "frozen"])
async def test_without_the_cache_goods_come_from_the_database_and_from_the_cache_when_it_is_back(
    is_frozen: bool, api: ShopApi, ann: str, valkey: ValkeyServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.cache.FORGET_SECONDS", 1)
    tea = await product(api, 1)
    await buy(api, ann, tea)
    await owned(api, ann)
    if is_frozen:
        valkey.freeze()
    else:
        await valkey.kill()
    for number in (2, 3, 4):
        await buy(api, ann, tea)
        assert await asyncio.gather(*(owned(api, ann) for _ in range(20))) == [{tea.id: number}] * 20
    if is_frozen:
        valkey.thaw()
    else:
        await valkey.start()

    async def is_cached() -> bool:
        assert await owned(api, ann) == {tea.id: 4}
        value = await redis.get(f"inventory:{ann}")
        return isinstance(value, bytes) and [item.quantity for item in Inventory.FromString(value).items] == [4]

    await eventually(is_cached)


async def test_what_could_not_be_forgotten_by_who_died_is_forgotten_by_the_event(
    instances: Instances, valkey: ValkeyServer
) -> None:
    died, lives, source = instances.inventories(), instances.inventories(), Counted()
    await died.get("ann", source.inventory)
    valkey.freeze()
    assert not await died.forget(["ann"])
    await instances.caches[0].close()
    source.now = 2
    with pytest.raises(Unavailable):
        await lives.forget_again([changed("ann"), changed("bob")])
    valkey.thaw()

    async def is_forgotten() -> bool:
        try:
            await lives.forget_again([changed("ann"), changed("bob")])
        except Unavailable:
            return False
        return True

    await eventually(is_forgotten)
    assert (await instances.inventories().get("ann", source.inventory)).user_id == "2"


async def test_an_event_that_tells_of_nobody_is_refused(instances: Instances) -> None:
    with pytest.raises(ValueError, match="nobody"):
        await instances.inventories().forget_again([changed("")])


async def test_the_daily_job_clears_the_goods_of_everybody_and_says_how_many(
    instances: Instances, payments_db: Database, redis: Redis, valkey: ValkeyServer
) -> None:
    inventories, source = instances.inventories(), Counted()
    for number in range(7):
        await inventories.get(str(number), source.inventory)
    await inventories.forget(["6"])
    await redis.set("order:1", b"stays")
    caches = {"cached_inventories": inventories.clear}
    housekeeping = Housekeeping(payments_db, disconnected_bus(), [], has_inbox=False, caches=caches)
    for number in (6, 0):
        deleted = await housekeeping.clean_up(90)
        assert deleted == {"idempotency_keys": 0, "dead_letters": 0, "cached_inventories": number}
    assert sorted(await redis.keys()) == [b"inventory:6", b"order:1"]
    await valkey.kill()
    with pytest.raises(Unavailable):
        await housekeeping.clean_up(90)


async def test_what_is_popular_is_counted_once_by_all_instances(instances: Instances, redis: Redis) -> None:
    popularities, source = [instances.popularity() for _ in range(3)], Counted()
    source.answers.clear()
    asked = [asyncio.create_task(one.get(source.popular)) for one in popularities for _ in range(20)]

    async def all_wait() -> bool:
        return source.times == 1 and bool(await redis.get("popular-products:counting"))

    await eventually(all_wait)
    source.answers.set()
    assert {found.products[0].purchases for found in await asyncio.gather(*asked)} == {1}
    source.now = 2
    assert {(await one.get(source.popular)).products[0].purchases for one in popularities} == {1}
    assert source.times == 1
    assert POPULAR_SECONDS - 60 < await redis.ttl("popular-products") <= POPULAR_SECONDS


async def test_what_the_cache_has_lost_who_counted_it_gives_it_back_for_the_rest_of_the_hour(
    instances: Instances, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, other, source = instances.popularity(), instances.popularity(), Counted()
    monkeypatch.setattr("services.payments.goods_cache.POPULAR_SECONDS", 1_000)
    await counted.get(source.popular)
    await redis.flushall()
    source.now = 2
    for one in (counted, other):
        assert (await one.get(source.popular)).products[0].purchases == 1
    assert source.times == 1
    assert await redis.ttl("popular-products") <= 1_000


async def test_what_was_popular_before_a_backup_was_restored_is_left_out(api: ShopApi, ann: str, redis: Redis) -> None:
    tea = await product(api, 1)
    counted = [PopularProduct(product=Product(id=id_), purchases=2) for id_ in (new_id(), tea.id)]
    await redis.set("popular-products", ListPopularProductsResponse(products=counted).SerializeToString())
    popular = (await api.list_popular_products(ListPopularProductsRequest(), call(ann))).products
    assert [one.product for one in popular] == [tea]


async def test_without_the_cache_each_instance_counts_once(instances: Instances, valkey: ValkeyServer) -> None:
    popularities, source = [instances.popularity() for _ in range(2)], Counted()
    await valkey.kill()
    for _ in range(3):
        for one in popularities:
            await asyncio.gather(*(one.get(source.popular) for _ in range(20)))
    assert source.times == 2


async def test_who_dies_counting_keeps_nobody_waiting_for_long(
    instances: Instances, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.payments.goods_cache.LOOKS", 2)
    await redis.set("popular-products:counting", b"1")
    source = Counted()
    assert (await instances.popularity().get(source.popular)).products
    assert await redis.get("popular-products:counting") is None


async def test_that_nothing_is_popular_is_not_kept(instances: Instances) -> None:
    popularity, source = instances.popularity(), Counted()
    source.now = 0
    assert not (await popularity.get(source.popular)).products
    source.now = 5
    assert (await popularity.get(source.popular)).products[0].purchases == 5
