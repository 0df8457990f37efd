"""Every process is restarted, one after another, as by an upgrade without changes."""

from stack.restart import names_of, restart
from tests.bench.stack import own_stack
from tests.drills.load import QUICK_WORKERS, TWO_OF_EACH, crowd, outcome

STORES = ["nats", "valkey", "broker", "provider"]
"""Servers that no request needs at every moment."""


async def rolling() -> list[str]:
    """Restarts all that is ours, Envoy too, and the stores but PostgreSQL; returns what is wrong."""
    instances = {**TWO_OF_EACH, "system": 1}
    async with own_stack("drill", instances, log_level="info", settings=QUICK_WORKERS) as stack:
        async with crowd(stack) as people:
            await restart(stack, [*STORES, *names_of(stack, [])], people.tell)
        return await outcome(stack, people, may_fail=False)
