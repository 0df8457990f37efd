"""The process of Push: `python -m services.push` serves."""

import asyncio
import gc
import signal
import time

import structlog
import uvloop
from prometheus_client import Gauge
from pydantic import Field

from kit import telemetry
from kit.auth import TokenVerifier
from kit.bus import Bus
from kit.settings import BusSettings
from services.jwks import keys_of
from services.push.gateway import Gateway, Limits
from services.push.hub import MEMORY_SECONDS, Hub
from services.topology import PUSH, STREAMS

DRAIN_SECONDS = 2.5
"""So long the edge has to notice that an instance takes no more sockets."""

log = structlog.get_logger()


class PushSettings(BusSettings):
    """Settings of Push."""

    users_target: str
    """host:port of Users, whose keys verify tokens."""
    listen: str = "127.0.0.1:50052"
    """host:port of the WebSocket server."""
    origins: str = ""
    """Origins (https://shop.example.com) whose pages may open sockets besides the host's own, separated by commas."""
    max_sockets: int = Field(default=5_000, ge=1)
    """Sockets that one instance takes."""
    max_user_sockets: int = Field(default=10, ge=1)
    """Sockets that one user may have on one instance."""
    memory_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)
    """What the events of the last minutes may take; when it is full, clients can resume from less long ago."""


async def serve(settings: PushSettings) -> None:
    """Serves until told to stop."""
    hub = Hub(settings.memory_bytes, time.time)
    verifier = TokenVerifier(keys_of(settings.users_target))
    origins = frozenset(origin.strip() for origin in settings.origins.split(",") if origin.strip())
    limits = Limits(settings.max_sockets, settings.max_user_sockets)
    gateway = Gateway(hub, verifier, origins, limits)
    Gauge("push_remembered_events", "Events in memory for who comes back").set_function(lambda: hub.size[0])
    Gauge("push_remembered_bytes", "What they take, about").set_function(lambda: hub.size[1])
    bus = Bus(settings.nats_url, (*STREAMS, PUSH), (), settings.stream_replicas)
    await bus.connect()
    # Not before: whoever waits for NATS has nothing to finish, and would not hear of it.
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await gateway.start(settings.listen)
    except OSError:
        raise SystemExit(f"GOZON_LISTEN: {settings.listen} is taken or no address of this machine") from None
    # Those of the last minutes are many objects, which no collection need look through that often.
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    following = asyncio.create_task(bus.follow(PUSH, MEMORY_SECONDS, hub))
    running = [
        following, asyncio.create_task(gateway.sweep()), asyncio.create_task(verifier.refresh_now_and_then())
    ]  # fmt: skip
    log.info("serving", listen=settings.listen)
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait((stopped, *running), return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    if stopped in done:
        gateway.refuse()
        await asyncio.sleep(DRAIN_SECONDS)
    await gateway.stop()
    await bus.stop_consuming()
    await bus.close()
    for task in done - {stopped}:
        task.result()


if __name__ == "__main__":
    settings = PushSettings.load()
    telemetry.configure("push", settings.log_level, settings.log_format, settings.metrics_port)
    uvloop.run(serve(settings))
