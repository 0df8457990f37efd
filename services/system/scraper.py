"""What the metrics of all processes say, read when somebody asks."""

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

SCRAPE_SECONDS = 1.0
"""So long an instance may take to answer; and so long an answer is good for whoever else asks."""
NAMES = (
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "orders_created_total",
    "orders_changed_total",
    "order_settle_seconds_bucket",
    "outbox_age_seconds",
    "dead_letters",
    "bus_consumer_lag",
    "push_sockets",
)
"""The metrics that are asked for; a process is not to spend time on others."""


Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""By name of the metric: labels and value."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the metrics of a process are; behind the name of a host there may be several instances."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What one instance said; nothing when it did not answer."""

    name: str
    instance: str
    samples: Samples | None = None

    def value(self, name: str) -> float | None:
        """Returns the value of a metric that has no labels; None when it has not been told."""
        told = (self.samples or {}).get(name, ())
        return told[0][1] if told else None


def read_targets(text: str) -> tuple[Target, ...]:
    """Reads `orders=orders:9100;push=10.0.0.7:9100,10.0.0.8:9100`. Errors: ValueError."""
    targets = []
    for entry in filter(None, text.split(";")):
        name, _, addresses = entry.partition("=")
        for address in addresses.split(","):
            host, _, port = address.strip().rpartition(":")
            if not (name.strip() and host and port.isdecimal()):
                raise ValueError(f"{entry.strip()!r} is not written as name=host:port,host:port")
            targets.append(Target(name.strip(), host.strip("[]"), int(port)))
    return tuple(targets)


class Scraper:
    """Asks all instances at once; however many want to know, once a second."""

    def __init__(self, targets: Sequence[Target], client: httpx.AsyncClient) -> None:
        self._targets = targets
        self._client = client
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._readings: list[Reading] = []
        self.observed_at = 0.0
        """When the readings were taken, in Unix time."""

    async def readings(self) -> Sequence[Reading]:
        """Returns what each instance says, by name and address; at most a second old."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= SCRAPE_SECONDS:
                found = await asyncio.gather(*map(self._of_target, self._targets))
                self._readings = [reading for readings in found for reading in readings]
                self._asked_at, self.observed_at = time.monotonic(), time.time()
        return self._readings

    async def _of_target(self, target: Target) -> list[Reading]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError):
            return [Reading(target.name, f"{target.host}:{target.port}")]
        hosts = sorted({str(address[0]) for *_, address in found})
        addresses = [f"[{host}]:{target.port}" if ":" in host else f"{host}:{target.port}" for host in hosts]
        return list(await asyncio.gather(*(self._of_instance(target.name, address) for address in addresses)))

    async def _of_instance(self, name: str, address: str) -> Reading:
        samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                answer = await self._client.get(f"http://{address}/metrics", params={"name[]": list(NAMES)})
            for family in text_string_to_metric_families(answer.raise_for_status().text):
                for sample in family.samples:
                    samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        except (httpx.HTTPError, OSError, TimeoutError, ValueError):
            return Reading(name, address)
        return Reading(name, address, samples)
