"""A stack of a test's own, for others would not like its deaths."""

from collections.abc import Callable, Iterator

import asyncpg
import pytest

from stack.home import Home, Stack
from tests import distant
from tests.conftest import RATE_LIMIT_SCALE
from tests.support import CHEAP_PASSWORDS, gozon, new_home

Mortal = Callable[..., Stack]

WORKERLESS = "worker-orders=0,worker-payouts=0,system=0"


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    """Starts a stack without workers and System, a third of its start, with further arguments of `gozon up`."""
    if distant.EDGE:
        pytest.skip("needs a stack that may be killed")
    homes = []

    def start(*arguments: str) -> Stack:
        homes.append(new_home())
        quick = ("--rate-limit-scale", str(RATE_LIMIT_SCALE), "--instances", WORKERLESS, *CHEAP_PASSWORDS)
        up = gozon("up", "--home", str(homes[-1]), "--free-ports", *quick, *arguments)
        assert up.returncode == 0, up.stdout + up.stderr
        return Stack.load(Home(homes[-1]))

    yield start
    for home in homes:
        gozon("down", "--home", str(home))


async def half_a_minute_later(stack: Stack) -> None:
    """Has it that what Orders asks Payments was asked half a minute earlier: so long it waits until it asks again.

    Orders that wait for their money are as much older, as they would be then.
    """
    connection = await asyncpg.connect(stack.database_url("orders"))
    await connection.execute(
        "UPDATE orders SET created_at = created_at - interval '30 seconds' WHERE status = 'PENDING'"
    )
    for table in ("orders", "refunds"):
        await connection.execute(f"UPDATE {table} SET asked_at = asked_at - interval '30 seconds'")
    await connection.close()
