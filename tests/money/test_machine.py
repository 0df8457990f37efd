"""Every operation on real databases, in any sequence, at once, with duplicates and deaths: money stays right.

`make test ARGS="tests/money/test_machine.py"` tries some; GOZON_EXAMPLES=2000 tries as many, GOZON_SEED=n the same
ones again.
"""

import asyncio
import faulthandler
import os
import random
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from gozon.shop.v1.shop_pb2 import Product
from kit.errors import Error
from services.system.audit.check import check_databases
from tests.money.faults import AFTER_COMMIT, Crash, crash
from tests.money.invariants import hold_always, hold_at_rest
from tests.money.world import Users, World, new_world
from tests.support import RunningStack

EXAMPLES = int(os.environ.get("GOZON_EXAMPLES", "15"))
SEED = int(os.environ.get("GOZON_SEED", random.randrange(2**32)))

SOME = st.integers(0, 4)
AMOUNTS = st.integers(1, 30)
PARTS = st.integers(1, 15)
Operation = tuple[Any, ...]
DETAILS: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
    "deposit": (st.integers(0, 1), st.integers(0, 3), st.integers(1, 100)),
    "order": (st.integers(0, 2), AMOUNTS, st.booleans()),
    # By number, so that the same event comes again and again.
    "deliver": (st.lists(st.integers(0, 63), min_size=1, max_size=8),),
    "cancel": (SOME,),
    "ship": (SOME,),
    "refund": (SOME, st.integers(0, 3), PARTS),
    "hold": (SOME, AMOUNTS),
    "capture": (SOME, st.integers(0, 30)),
    "release": (SOME,),
    "payout": (st.integers(0, 2), st.integers(0, 3), AMOUNTS),
    "delete_payout": (SOME,),
    "buy": (st.integers(0, 2), st.integers(0, 1), st.integers(1, 3), st.integers(0, 3)),
    "use": (st.integers(0, 2), st.integers(0, 1), st.integers(1, 3), st.integers(0, 3)),
    "holds_expire": (),
    "orders_expire": (),
    "sweep": (),
}
# As often as it takes for the rare things to meet.
WEIGHTS = {"order": 3, "deliver": 3, "refund": 3, "capture": 2, "payout": 2}
OPERATIONS: st.SearchStrategy[Operation] = st.sampled_from(
    [what for what in DETAILS for _ in range(WEIGHTS.get(what, 1))]
).flatmap(lambda what: st.tuples(st.just(what), *DETAILS[what]))
INSTANCE = st.integers(0, 1)


class Machine(RuleBasedStateMachine):
    """One example: three people, and whatever happens to them."""

    loop: asyncio.AbstractEventLoop
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.users: Users = self._run(self.world.people())
        kinds = (Product.CONSUMABLE, Product.PERMANENT)
        self.products = [self._run(self.world.product(kind)) for kind in kinds]
        # In the middle of things: what it takes many steps to reach is reached too seldom.
        for operation in (
            ("deposit", 0, 0, 90),
            ("deposit", 1, 0, 90),
            ("order", 0, 30, False),
            ("order", 1, 30, True),
        ):
            self.one_and_all_that_follows(operation, 0)

    @rule(operation=OPERATIONS, instance=INSTANCE)
    def one(self, operation: Operation, instance: int) -> None:
        """One thing happens."""
        self._run(self._attempt(operation, instance))
        self._look()

    @rule(operation=OPERATIONS, instance=INSTANCE)
    def one_and_all_that_follows(self, operation: Operation, instance: int) -> None:
        """One thing happens, and the broker delivers what it has not delivered yet, to the last answer."""
        self.one(operation, instance)
        while left := [event for event in self.users.pool if event.id not in self.users.delivered]:
            self._run(self.world.deliver(self.users, left, instance))
            self._look()

    @rule(operations=st.lists(st.tuples(OPERATIONS, INSTANCE), min_size=2, max_size=5))
    def many_at_once(self, operations: Sequence[tuple[Operation, int]]) -> None:
        """Several things happen at the same time."""
        self._run(self._together([self._attempt(operation, instance) for operation, instance in operations]))
        self._look()

    @rule(operation=OPERATIONS, instance=INSTANCE, at=st.integers(AFTER_COMMIT, 9))
    def one_that_dies(self, operation: Operation, instance: int, at: int) -> None:
        """A process dies in the middle of something."""
        with crash(at):
            self._run(self._attempt(operation, instance))
        self._look()

    def teardown(self) -> None:
        """Everybody tries again what failed, everything comes to rest, and the books must be right."""
        self._run(self._deposits_again())
        self._run(self.world.drain(self.users))
        self._run(hold_at_rest(self.world, self.users))

    def _look(self) -> None:
        self._run(self.world.collect(self.users))
        self._run(hold_always(self.world, self.users))

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _together(self, attempts: Sequence[Coroutine[Any, Any, None]]) -> None:
        for outcome in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _attempt(self, operation: Operation, instance: int) -> None:
        # Refused, or dead: either is allowed to happen, and to leave nothing half done.
        with suppress(Error, Crash):
            await self._operate(operation, instance)

    async def _operate(self, operation: Operation, instance: int) -> None:
        world, users = self.world, self.users
        match operation:
            case ("deposit", who, key, amount):
                await world.deposit(users, who, key, amount, instance)
            case (("buy" | "use") as what, who, number, quantity, key):
                await getattr(world, what)(users, who, self.products[number], quantity, key, instance)
            case (("payout" | "delete_payout") as what, *details):
                await getattr(world, what)(users, *details, instance)
            case ("order", who, amount, manual):
                await world.order(users, who, amount, manual=manual, instance=instance)
            case ("deliver", list(picks)):
                # From the end: what is new is more often what matters.
                events = [users.pool[-1 - pick % len(users.pool)] for pick in picks if users.pool]
                await world.deliver(users, events, instance)
            case (("holds_expire" | "orders_expire" | "sweep") as what,):
                await getattr(world, what)(users, instance)
            case (what, number, *details):
                await getattr(world, what)(self._order(number), *details, instance)

    async def _deposits_again(self) -> None:
        for (user_id, key), amount in self.users.deposits.items():
            await self.world.deposit(self.users, self.users.ids.index(user_id), int(key), amount, 0)

    def _order(self, number: int) -> tuple[str, str]:
        """One of the last orders, or something that is none."""
        orders = [(self.users.ids[0], self.users.no_order), *self.users.orders]
        return orders[-1 - number % len(orders)]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_money_stays_right_whatever_happens(
    loop: asyncio.AbstractEventLoop,
    stack: RunningStack,
    templates: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with capsys.disabled():
        print(f"\n{EXAMPLES} examples, GOZON_SEED={SEED}")
    # That it takes long is what was asked for, and no sign of a hang.
    faulthandler.cancel_dump_traceback_later()

    opened = AsyncExitStack()
    try:
        world = loop.run_until_complete(opened.enter_async_context(new_world(stack, templates)))

        @seed(SEED)
        class Example(Machine):
            pass

        Example.loop, Example.world = loop, world
        run_state_machine_as_test(
            Example,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                # What failed is told with its seed; another run of CI is not to depend on this one's files.
                database=None,
            ),
        )
        # What `gozon check` would say of them all.
        report = loop.run_until_complete(check_databases(world.urls, stuck_after=0.0))
        assert report.ok, [result for result in report.results if result.broken]
    finally:
        loop.run_until_complete(opened.aclose())
