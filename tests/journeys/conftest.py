"""A stack of a test's own, for others would not like its deaths."""

from collections.abc import Callable, Iterator

import asyncpg
import pytest

from stack.home import Home, Stack
from tests.conftest import RATE_LIMIT_SCALE
from tests.support import gozon, new_home

Mortal = Callable[..., Stack]

WORKERLESS = "worker-orders=0,worker-payouts=0,system=0"


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    """Starts a stack without workers and System, a third of its start, with further arguments of `gozon up`."""
    homes = []

    def start(*arguments: str) -> Stack:
        homes.append(new_home())
        scale = ("--rate-limit-scale", str(RATE_LIMIT_SCALE))
        up = gozon("up", "--home", str(homes[-1]), "--free-ports", *scale, "--instances", WORKERLESS, *arguments)
        assert up.returncode == 0, up.stdout + up.stderr
        return Stack.load(Home(homes[-1]))

    yield start
    for home in homes:
        gozon("down", "--home", str(home))


async def half_a_minute_later(stack: Stack) -> None:
    """Has it that what Orders asks Payments was asked half a minute earlier: so long it waits until it asks again."""
    connection = await asyncpg.connect(stack.database_url("orders"))
    for table in ("orders", "refunds"):
        await connection.execute(f"UPDATE {table} SET asked_at = asked_at - interval '30 seconds'")
    await connection.close()
