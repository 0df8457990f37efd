"""The daily job, by the real worker: what is too old goes, in every service, however often it is asked for."""

import grpc
import pytest
from redis.asyncio import Redis

from gozon.maintenance.v1.maintenance_pb2 import CleanUpRequest
from gozon.maintenance.v1.maintenance_pb2_grpc import MaintenanceServiceStub
from gozon.shop.v1.shop_pb2 import Inventory, InventoryItem
from kit.db import Database, sql
from kit.ids import new_id
from stack.config import SERVICES
from stack.home import Home, Stack
from tests.support import Edge, RunningStack, User, eventually, refused
from tests.workers.process import metrics
from workers.app import TaskName, app, configure
from workers.settings import BrokerSettings


async def test_what_is_too_old_goes_and_what_is_young_stays(stack: RunningStack) -> None:
    old, young = new_id(), new_id()
    databases = {service: Database(url) for service, url in stack.database_urls.items() if service != "users"}
    for database in databases.values():
        async with database.autocommit() as connection:
            await connection.execute(_DEAD, ids=[old, young], days=[40, 20])
    configure(BrokerSettings(broker_url=Stack.load(Home(stack.home)).broker_url))
    # Twice, as two schedulers do.
    with app.connection_for_write() as broker:
        for service in (*SERVICES, *SERVICES):
            app.send_task(TaskName.CLEAN_UP, args=(service, 30), connection=broker)

    async def left() -> set[str]:
        found = set()
        for database in databases.values():
            async with database.autocommit() as connection:
                rows = await connection.execute(_LEFT, ids=[old, young])
                found |= {row["event_id"] for row in rows}
        return found

    async def old_one_is_gone() -> bool:
        return old not in await left()

    await eventually(old_one_is_gone)
    assert await left() == {young}
    for database in databases.values():
        async with database.autocommit() as connection:
            await connection.execute(_FORGET, ids=[young])
        await database.close()


async def test_the_inventories_in_the_cache_are_cleared_and_counted(stack: RunningStack, edge: Edge) -> None:
    own = Stack.load(Home(stack.home))
    redis = Redis.from_url(own.redis_url)
    user = await edge.register()
    key = f"inventory:{user.id}"
    before = await cleared(own)
    invented = Inventory(user_id=user.id, items=[InventoryItem(product_id=new_id(), name="tea", quantity=7)])
    assert await redis.set(key, invented.SerializeToString(), ex=300)
    configure(BrokerSettings(broker_url=own.broker_url))
    with app.connection_for_write() as broker:
        app.send_task(TaskName.CLEAN_UP, args=("payments", 90), connection=broker)

    async def is_cleared() -> bool:
        return not await redis.exists(key)

    await eventually(is_cleared)
    assert await cleared(own) > before
    answer = await edge.rest.get(f"/users/{user.id}/inventory", headers=user.headers)
    assert answer.json() == {"user_id": user.id, "items": []}
    await redis.aclose()


@pytest.mark.parametrize("service", SERVICES)
async def test_it_is_for_workers_and_not_even_for_administrators(
    service: str, stack: RunningStack, admin: User, alice: User
) -> None:
    async with grpc.aio.insecure_channel(stack.targets[service]) as channel:
        for user in (admin, alice):
            with refused(grpc.StatusCode.PERMISSION_DENIED, "WORKER_ONLY"):
                await MaintenanceServiceStub(channel).CleanUp(
                    CleanUpRequest(dead_letter_days=1), metadata=user.metadata()
                )


async def cleared(stack: Stack) -> float:
    """How many inventories Payments says it has cleared."""
    [name] = stack.config.instance_names("payments")
    samples = await metrics(stack.config.ports[f"{name}-metrics"], "cache_cleared_total")
    return sum(value for _, value in samples)


_DEAD = sql("""
    INSERT INTO dead_letters
    SELECT 'nobody', id, 's', '', '', '', 1, 1, now(), now() - make_interval(days => ago)
    FROM unnest(:ids::text[], :days::int[]) AS of (id, ago)
""")
_LEFT = sql("SELECT event_id FROM dead_letters WHERE event_id = ANY(:ids::text[])")
_FORGET = sql("DELETE FROM dead_letters WHERE consumer = 'nobody' AND event_id = ANY(:ids::text[])")
