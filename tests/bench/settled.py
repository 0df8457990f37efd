"""Settled orders a second: from the first request until the database says that no accepted order is unpaid."""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from stack.home import Stack
from tests.bench.cpu import Meter
from tests.bench.stack import address, pids
from tests.bench.tally import GENERATOR, Result

SETTLE_SECONDS = 60.0
POLL_SECONDS = 0.002
TARGETS = {"grpc": ("grpc", "orders"), "grpc-edge": ("grpc", "envoy"), "rest-edge": ("rest", "envoy")}
"""By subject: the protocol, and the process that is asked."""


@dataclass(frozen=True, slots=True)
class Settled:
    """One run of the load generator, until the last order was PAID."""

    accepted: int
    rate: float
    """Settled orders a second."""
    accept_median_ms: float
    accept_p99_ms: float
    settle_median_ms: float
    """From an order's creation to PAID, under load, as its row says."""
    settle_p99_ms: float
    cpu_us: dict[str, float]
    """CPU by process, µs an order."""
    generator_share: float
    """How much of one core the load generator used."""
    others_cores: float
    """How many cores everybody else kept busy meanwhile: noise."""


async def measure(stack: Stack, subject: str, tokens: Path, *, seconds: float, clients: int) -> Settled:
    """Loads a subject of TARGETS once.

    Errors: RuntimeError unless every request was accepted and every accepted order, and no other, became PAID.
    """
    protocol, process = TARGETS[subject]
    target = address(stack, "edge" if process == "envoy" else process)
    connection = await asyncpg.connect(stack.superuser_url("orders"))
    try:
        await _wait_until_settled(connection)
        before = await _by_status(connection)
        meter, began = Meter(pids(stack)), time.monotonic()
        generator = await _start_generator(protocol, target, tokens, seconds, clients)
        result = await _result_of(generator)
        settled_at = await _wait_until_settled(connection)
        await generator.wait()
        used, _, others = meter.stop()
        measured = time.monotonic() - began
        after = await _by_status(connection)
        if after != before | {"PAID": before.get("PAID", 0) + result.accepted}:
            raise RuntimeError(f"{subject}: {result.accepted} accepted, but orders went from {before} to {after}")
        median, p99 = await connection.fetchrow(_SETTLE_SECONDS, result.began) or (0, 0)
    finally:
        await connection.close()
    used[GENERATOR] = result.cpu_seconds
    return Settled(
        accepted=result.accepted,
        rate=result.accepted / (settled_at - result.began),
        accept_median_ms=result.median_ms,
        accept_p99_ms=result.p99_ms,
        settle_median_ms=float(median) * 1e3,
        settle_p99_ms=float(p99) * 1e3,
        cpu_us={name: total / result.accepted * 1e6 for name, total in used.items()},
        generator_share=result.cpu_seconds / result.seconds,
        others_cores=others / measured,
    )


async def _start_generator(
    protocol: str, target: str, tokens: Path, seconds: float, clients: int
) -> asyncio.subprocess.Process:
    command = ["-m", "tests.bench.load", protocol, target, f"--tokens={tokens}", "--json"]
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, f"--seconds={seconds}", f"--clients={clients}", stdout=asyncio.subprocess.PIPE
    )


async def _result_of(generator: asyncio.subprocess.Process) -> Result:
    assert generator.stdout is not None
    # A line, not the end of the process: that costs time which is not ours to count.
    line = await generator.stdout.readline()
    result = Result(**json.loads(line)) if line else None
    if result is None or result.failed or not result.accepted:
        raise RuntimeError(f"not every request was accepted: {result.failed if result else 'no answer'}")
    return result


async def _wait_until_settled(connection: "asyncpg.Connection[asyncpg.Record]") -> float:
    deadline = time.monotonic() + SETTLE_SECONDS
    while await connection.fetchval("SELECT 1 FROM orders WHERE status = 'PENDING' LIMIT 1"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not settled after {SETTLE_SECONDS:.0f} s: {await _by_status(connection)}")
        await asyncio.sleep(POLL_SECONDS)
    return time.time()


async def _by_status(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    return {row["status"]: row["count"] for row in await connection.fetch(_BY_STATUS)}


_BY_STATUS = "SELECT status, count(*) FROM orders GROUP BY status"
_SETTLE_SECONDS = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY took), percentile_cont(0.99) WITHIN GROUP (ORDER BY took)
    FROM (SELECT extract(epoch FROM updated_at - created_at) AS took FROM orders
          WHERE created_at >= to_timestamp($1)) AS settled
"""
