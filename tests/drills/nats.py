"""NATS as a cluster of three, each stream on all of them: its servers are killed, one after another, twice."""

import asyncio

from stack.config import NATS
from tests.bench.stack import WORKERLESS, own_stack
from tests.chaos.killer import Killer
from tests.drills.load import crowd, outcome

ROUNDS = 2
BETWEEN_SECONDS = 3.0
"""From one being back to the next kill: the streams have three copies again."""
SEED = 8


async def nats() -> list[str]:
    """Kills each server twice with SIGKILL, and returns what is wrong."""
    instances = {**WORKERLESS, "orders": 2, "payments": 2, NATS: 3}
    async with own_stack("drill", instances, log_level="info") as stack:
        async with crowd(stack) as people:
            killer = Killer(stack, SEED, people.tell)
            for name in ROUNDS * stack.config.instance_names(NATS):
                await asyncio.sleep(BETWEEN_SECONDS)
                await asyncio.gather(*await killer.kill(name))
            await asyncio.sleep(BETWEEN_SECONDS)
        lost = [f"{kill.victim} did not come back" for kill in killer.kills if kill.back_at is None]
        return lost + await outcome(stack, people, may_fail=False)
