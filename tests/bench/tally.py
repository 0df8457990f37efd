"""What a load generator counts, whatever protocol it speaks."""

import resource
import time
from collections import Counter
from dataclasses import asdict, dataclass

GENERATOR = "load generator"
"""What the tables call it; for the floor it is pgbench."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of the load generator did. Times are Unix seconds, durations seconds, latencies milliseconds."""

    began: float
    ended: float
    accepted: int
    failed: dict[str, int]
    """Failures by kind; empty when every request was accepted."""
    median_ms: float
    p99_ms: float
    cpu_seconds: float
    """What the generator itself used."""

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return self.ended - self.began

    @property
    def rate(self) -> float:
        """Accepted requests a second."""
        return self.accepted / self.seconds

    def to_json(self) -> dict[str, object]:
        """Returns plain data."""
        return asdict(self)


class Tally:
    """Counts answers, and says when to stop asking."""

    def __init__(self, seconds: float) -> None:
        self._cpu = _cpu_seconds()
        self._began = time.time()
        self._deadline = time.perf_counter() + seconds
        self._latencies: list[float] = []
        self._failed: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether new requests may be sent."""
        return time.perf_counter() < self._deadline

    def accepted(self, started: float) -> None:
        """Counts an answer to a request that was sent at `started` (perf_counter)."""
        self._latencies.append(time.perf_counter() - started)

    def failed(self, kind: str) -> None:
        """Counts a request that was not accepted."""
        self._failed[kind] += 1

    def result(self) -> Result:
        """Sums up; call it once nothing is in flight."""
        ended = time.time()
        latencies = sorted(self._latencies) or [float("nan")]
        return Result(
            began=self._began,
            ended=ended,
            accepted=len(self._latencies),
            failed=dict(self._failed),
            median_ms=latencies[len(latencies) // 2] * 1e3,
            p99_ms=latencies[len(latencies) * 99 // 100] * 1e3,
            cpu_seconds=_cpu_seconds() - self._cpu,
        )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
