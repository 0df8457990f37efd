"""The daily job of Payments, many times a minute: it clears the cached goods while people buy and use them."""

import asyncio
import random

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from stack.home import Stack
from workers.app import TaskName, app, configure
from workers.settings import BrokerSettings

CLEAN_SECONDS = 8.0
DEAD_LETTER_DAYS = 90


async def clean_up_now_and_then(stack: Stack, seed: str, stop: asyncio.Event) -> None:
    """Starts the job every few seconds until `stop`, as beat does; not while the broker is dead."""
    configure(BrokerSettings(broker_url=stack.broker_url))
    chance = random.Random(seed)
    while True:
        try:
            await asyncio.wait_for(stop.wait(), chance.expovariate(1 / CLEAN_SECONDS))
        except TimeoutError:
            await asyncio.to_thread(_start)
        else:
            return


def _start() -> None:
    try:
        with app.connection_for_write() as broker:
            app.send_task(TaskName.CLEAN_UP, args=("payments", DEAD_LETTER_DAYS), connection=broker)
    except (OperationalError, RedisError, OSError):
        # There is a next time.
        return
