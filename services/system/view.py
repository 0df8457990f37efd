"""What the metrics of the processes mean for who looks at the system."""

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite

from google.protobuf.timestamp_pb2 import Timestamp

from gozon.system.v1.system_pb2 import Backlog, Consumer, OrderCounts, Process, TimedOrders
from services.system.scraper import Reading


def processes(readings: Iterable[Reading]) -> Iterator[Process]:
    """Returns the instances, with what each says of itself."""
    for reading in readings:
        if reading.samples is None:
            yield Process(name=reading.name, instance=reading.instance, state=Process.DOWN)
            continue
        process = Process(
            name=reading.name,
            instance=reading.instance,
            state=Process.UP,
            started_at=Timestamp(seconds=int(reading.value("process_start_time_seconds") or 0)),
            cpu_seconds=reading.value("process_cpu_seconds_total") or 0.0,
            resident_bytes=int(reading.value("process_resident_memory_bytes") or 0),
            orders=_orders(reading),
        )
        sockets = reading.value("push_sockets")
        if sockets is not None:
            process.sockets = int(sockets)
        yield process


def backlogs(readings: Sequence[Reading], services: Iterable[str]) -> Iterator[Backlog]:
    """Returns what waits in the databases of services. Instances measure the same: any of them that could will do."""
    for service in services:
        told = [reading for reading in readings if reading.name == service]
        backlog = Backlog(service=service)
        ages = _finite(reading.value("outbox_age_seconds") for reading in told)
        letters = _finite(reading.value("dead_letters") for reading in told)
        if ages:
            backlog.outbox_age_seconds = max(ages)
        if letters:
            backlog.dead_letters = int(max(letters))
        yield backlog


def consumers(readings: Iterable[Reading]) -> Iterator[Consumer]:
    """Returns what waits for consumers, by name."""
    lags: dict[str, list[float]] = {}
    for reading in readings:
        for labels, lag in (reading.samples or {}).get("bus_consumer_lag", ()):
            lags.setdefault(labels["consumer"], []).append(lag)
    for name, told in sorted(lags.items()):
        known = _finite(told)
        yield Consumer(name=name, lag=int(max(known)) if known else None)


def _orders(reading: Reading) -> OrderCounts | None:
    created = reading.value("orders_created_total")
    if created is None or reading.samples is None:
        return None
    changed = {labels["status"]: int(count) for labels, count in reading.samples.get("orders_changed_total", ())}
    within = {float(labels["le"]): int(count) for labels, count in reading.samples["order_settle_seconds_bucket"]}
    return OrderCounts(
        created=int(created),
        authorized=changed.get("AUTHORIZED", 0),
        paid=changed.get("PAID", 0),
        shipped=changed.get("SHIPPED", 0),
        canceled=changed.get("CANCELED", 0),
        timed=max(within.values(), default=0),
        timed_within=[
            TimedOrders(seconds=seconds, orders=count) for seconds, count in sorted(within.items()) if isfinite(seconds)
        ],
    )


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and isfinite(value)]
