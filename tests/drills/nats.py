"""NATS as a cluster of three, each stream on all of them: its servers are killed, one after another, twice."""

import asyncio
import time

import nats.errors
from nats.js.client import JetStreamContext
from nats.js.errors import APIError

from services.topology import CONSUMERS, STREAMS
from stack.config import NATS
from stack.home import Stack
from tests.bench.stack import WORKERLESS, own_stack
from tests.chaos.killer import Killer
from tests.drills.load import console, crowd, outcome

ROUNDS = 2
BETWEEN_SECONDS = 5.0
"""From the cluster being whole to the next kill."""
WHOLE_SECONDS = 60.0
POLL_SECONDS = 0.1
SEED = 8


async def cluster() -> list[str]:
    """Kills each server twice with SIGKILL, when the others have all that it has, and returns what is wrong."""
    instances = {**WORKERLESS, "orders": 2, "payments": 2, NATS: 3}
    longest = 0.0
    async with own_stack("drill", instances, log_level="info") as stack:
        async with crowd(stack) as people:
            killer = Killer(stack, SEED, people.tell)
            await _whole(stack)
            for name in ROUNDS * stack.config.instance_names(NATS):
                await asyncio.sleep(BETWEEN_SECONDS)
                killed_at = time.monotonic()
                await asyncio.gather(*await killer.kill(name))
                await _whole(stack)
                longest = max(longest, time.monotonic() - killed_at)
                people.tell(f"the cluster is whole, {time.monotonic() - killed_at:.2f} s after the kill")
            await asyncio.sleep(BETWEEN_SECONDS)
        lost = [f"{kill.victim} did not come back" for kill in killer.kills if kill.back_at is None]
        console.print(f"The longest until the cluster was whole again: {longest:.2f} s")
        return lost + await outcome(stack, people, may_fail=False)


async def _whole(stack: Stack) -> None:
    """Waits until each stream and consumer has a leader and is up to date on all servers. Errors: TimeoutError."""
    client = await nats.connect(stack.nats_url.split(","))
    try:
        async with asyncio.timeout(WHOLE_SECONDS):
            while not await _is_whole(client.jetstream(timeout=1)):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(POLL_SECONDS)
    finally:
        await client.close()


async def _is_whole(js: JetStreamContext) -> bool:
    try:
        clusters = [(await js.stream_info(stream.name)).cluster for stream in STREAMS]
        clusters += [(await js.consumer_info(one.stream, one.name)).cluster for one in CONSUMERS]
    except (nats.errors.Error, APIError):
        return False
    return all(one and one.leader and one.replicas and all(peer.current for peer in one.replicas) for one in clusters)
