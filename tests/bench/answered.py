"""One run of the load generator on a stack: what was answered, how fast, and what it cost."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from stack.home import Stack
from tests.bench.cpu import Meter
from tests.bench.stack import address, pids
from tests.bench.tally import GENERATOR, Result

TARGETS = {"grpc": "grpc", "grpc-edge": "grpc", "rest-edge": "rest"}
"""The protocol of each subject."""
EDGE = "-edge"
"""Subjects that end so are asked through the edge, others directly."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One run of the load generator."""

    began: float
    """Unix seconds."""
    accepted: int
    rate: float
    """A second, until all that the requests have caused was done."""
    accept_median_ms: float
    accept_p99_ms: float
    cpu_us: dict[str, float]
    """CPU by process, µs a request."""
    generator_share: float
    """How much of one core the load generator used."""
    others_cores: float
    """How many cores everybody else kept busy meanwhile: noise."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the generator is to do."""

    work: str
    tokens: Path
    seconds: float
    clients: int
    ids: Path | None = None


async def under(
    stack: Stack, subject: str, service: str, load: Load, done: Callable[[], Awaitable[float]] | None = None
) -> Answered:
    """Loads a subject of TARGETS once, and waits for `done`, which returns when that was, in Unix seconds.

    Errors: RuntimeError unless every request was accepted.
    """
    target = address(stack, "edge" if subject.endswith(EDGE) else service)
    meter, began = Meter(pids(stack)), monotonic()
    generator = await _start_generator(TARGETS[subject], target, load)
    result = await _result_of(generator)
    done_at = await done() if done else result.ended
    await generator.wait()
    used, _, others = meter.stop()
    measured = monotonic() - began
    used[GENERATOR] = result.cpu_seconds
    return Answered(
        began=result.began,
        accepted=result.accepted,
        rate=result.accepted / (done_at - result.began),
        accept_median_ms=result.median_ms,
        accept_p99_ms=result.p99_ms,
        cpu_us={name: total / result.accepted * 1e6 for name, total in used.items()},
        generator_share=result.cpu_seconds / result.seconds,
        others_cores=others / measured,
    )


async def _start_generator(protocol: str, target: str, load: Load) -> asyncio.subprocess.Process:
    command = ["-m", "tests.bench.load", protocol, target, f"--work={load.work}", f"--tokens={load.tokens}", "--json"]
    command += [f"--seconds={load.seconds}", f"--clients={load.clients}"]
    command += [f"--ids={load.ids}"] if load.ids else []
    return await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)


async def _result_of(generator: asyncio.subprocess.Process) -> Result:
    assert generator.stdout is not None
    # A line, not the end of the process: that costs time which is not ours to count.
    line = await generator.stdout.readline()
    result = Result(**json.loads(line)) if line else None
    if result is None or result.failed or not result.accepted:
        raise RuntimeError(f"not every request was accepted: {result.failed if result else 'no answer'}")
    return result
