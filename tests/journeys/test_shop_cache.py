"""The cache of the shop, with two instances of Payments: never old goods, and no error without it."""

import os
import signal

from redis.asyncio import Redis

from gozon.shop.v1.shop_pb2 import Inventory, InventoryItem
from kit.ids import new_id
from stack import seed
from tests.conftest import running
from tests.journeys.conftest import Mortal
from tests.support import Edge, User, eventually

MONEY = 10_000
READS = 6
"""Enough for each instance to be asked."""


async def quantities(edge: Edge, user: User) -> set[int]:
    """How many goods somebody has, as all instances say."""
    found = set()
    for _ in range(READS):
        answer = await edge.rest.get(f"/users/{user.id}/inventory", headers=user.headers)
        assert answer.status_code == 200, answer.text
        found.add(sum(int(item["quantity"]) for item in answer.json()["items"]))
    return found


async def buy(edge: Edge, user: User, product_id: str) -> None:
    """Buys one."""
    headers = {**user.headers, "idempotency-key": new_id()}
    answer = await edge.rest.post(f"/products/{product_id}/purchase", json={}, headers=headers)
    assert answer.status_code == 201, answer.text


async def test_goods_are_never_old_and_never_an_error(mortal: Mortal) -> None:
    stack = mortal("--instances", "payments=2")
    boost = seed.run(stack.edge_url, stack.secrets.admin)[0]
    redis = Redis.from_url(stack.redis_url)
    valkey = stack.home.living()["valkey"]
    async with Edge(running(stack.home.path)) as edge:
        ann, bob = await edge.register(), await edge.register()
        await edge.deposit(ann, MONEY)
        assert await quantities(edge, ann) == {0}
        for number in (1, 2, 3):
            await buy(edge, ann, boost.id)
            assert await quantities(edge, ann) == {number}

        os.kill(valkey, signal.SIGSTOP)
        try:
            for number in (4, 5, 6):
                await buy(edge, ann, boost.id)
                assert await quantities(edge, ann) == {number}
                assert await quantities(edge, bob) == {0}
        finally:
            os.kill(valkey, signal.SIGCONT)

        await redis.set(f"inventory:{bob.id}", _with_seven(bob.id).SerializeToString())

        async def comes_from_the_cache() -> bool:
            return await quantities(edge, bob) == {7}

        await eventually(comes_from_the_cache)
        assert await quantities(edge, ann) == {6}
    await redis.aclose()


def _with_seven(user_id: str) -> Inventory:
    return Inventory(user_id=user_id, items=[InventoryItem(product_id=new_id(), name="tea", quantity=7)])
