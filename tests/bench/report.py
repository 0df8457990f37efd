"""The result of a benchmark: medians, ratios to the floor, as tables and as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.answered import Answered
from tests.bench.floor import Floor
from tests.bench.latency import Latency
from tests.bench.settled import Settled

FLOOR, PIPELINED = "floor", "pipelined"
MISSES = "misses-"
"""What subjects begin with that the cache can't answer."""
LABELS = {
    FLOOR: "pgbench",
    PIPELINED: "pipelined",
    "grpc": "gRPC direct",
    "grpc-edge": "gRPC edge",
    "rest-edge": "REST edge",
    f"{MISSES}grpc-edge": "gRPC edge, misses",
    f"{MISSES}rest-edge": "REST edge, misses",
}
TITLES = {"orders": "Settled orders", "purchases": "Purchases", "inventory": "Inventories"}


@dataclass
class Part:
    """All that was measured of one thing, by subject; each list has one entry a repeat."""

    title: str
    floors: dict[str, list[Floor]] = field(default_factory=dict)
    loads: dict[str, list[Answered]] = field(default_factory=dict)

    @property
    def runs(self) -> Mapping[str, Sequence[Floor | Answered]]:
        """All runs."""
        return {**self.floors, **self.loads}

    def rate(self, subject: str) -> float | None:
        """The median a second; None when it was not measured."""
        return median(run.rate for run in self.runs[subject]) if subject in self.runs else None

    def ratio(self, subject: str, to: str) -> float | None:
        """How many times the rate of `to` a subject reaches."""
        rate, base = self.rate(subject), self.rate(to)
        return rate / base if rate and base else None

    def cpu_us(self, subject: str) -> dict[str, float]:
        """The medians of CPU by process, µs each."""
        runs = self.runs[subject]
        return {name: median(run.cpu_us[name] for run in runs) for name in runs[0].cpu_us}

    def others_cores(self, subject: str) -> float:
        """The median of the cores that everybody else kept busy."""
        return median(run.others_cores for run in self.runs[subject])

    def to_json(self) -> dict[str, Any]:
        """Returns plain data: the medians first, then every run."""
        summary = {
            subject: {
                "per_second": self.rate(subject),
                "ratio_to_floor": self.ratio(subject, FLOOR),
                "ratio_to_pipelined": self.ratio(subject, PIPELINED),
                "cpu_us": self.cpu_us(subject),
                "cpu_us_in_all": sum(self.cpu_us(subject).values()),
                "others_cores": self.others_cores(subject),
            }
            for subject in self.runs
        }
        return {"summary": summary, "runs": {name: [asdict(run) for run in runs] for name, runs in self.runs.items()}}

    def rates(self) -> Table:
        """How many a second, and how long answers took."""
        table = _table(f"{self.title}, medians")
        paid = any(isinstance(run, Settled) for runs in self.loads.values() for run in runs)
        headings = ("a second", "x floor", "x pipelined", "answer ms p50/p99", *(["paid ms p50/p99"] if paid else []))
        for heading in headings:
            table.add_column(heading, justify="right")
        for subject in self.runs:
            runs = self.loads.get(subject, [])
            table.add_row(
                LABELS[subject],
                _number(self.rate(subject), "{:,.0f}"),
                _number(self.ratio(subject, FLOOR), "{:.2f}"),
                _number(self.ratio(subject, PIPELINED), "{:.2f}"),
                _pair(runs, lambda run: (run.accept_median_ms, run.accept_p99_ms)),
                *([_pair(runs, _settle_ms)] if paid else []),
            )
        return table

    def cpu(self) -> Table:
        """What one costs, by process."""
        table = _table(f"{self.title}: CPU, µs each, medians")
        used = {subject: self.cpu_us(subject) for subject in self.runs}
        for subject in used:
            table.add_column(LABELS[subject], justify="right")
        for name in max(used.values(), key=len):
            table.add_row(name, *(_number(cpu.get(name), "{:.0f}") for cpu in used.values()))
        table.add_section()
        table.add_row("in all", *(f"{sum(cpu.values()):.0f}" for cpu in used.values()))
        table.add_section()
        shares = (self._generator_share(subject) for subject in used)
        table.add_row("generator, of a core", *(_number(share, "{:.0%}") for share in shares))
        table.add_row("cores used by others", *(f"{self.others_cores(subject):.2f}" for subject in used))
        return table

    def _generator_share(self, subject: str) -> float | None:
        runs = self.loads.get(subject)
        return median(run.generator_share for run in runs) if runs else None


@dataclass
class Report:
    """Everything measured."""

    facts: dict[str, Any]
    """When, where and with which options."""
    parts: dict[str, Part] = field(default_factory=lambda: {name: Part(title) for name, title in TITLES.items()})
    latency: dict[str, Latency] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns plain data."""
        latency = {subject: asdict(found) for subject, found in self.latency.items()}
        return {**self.facts, "latency": latency, **{name: part.to_json() for name, part in self.parts.items()}}

    def show(self, console: Console) -> None:
        """Prints the tables."""
        for part in self.parts.values():
            if part.runs:
                console.print(part.rates())
                console.print(part.cpu())
        if self.latency:
            console.print(self._latencies())

    def _latencies(self) -> Table:
        table = _table("One order at a time, from CreateOrder to PAID seen by WatchOrder")
        for heading in ("orders", "median ms", "p99 ms"):
            table.add_column(heading, justify="right")
        for subject, latency in self.latency.items():
            table.add_row(LABELS[subject], str(latency.orders), f"{latency.median_ms:.2f}", f"{latency.p99_ms:.2f}")
        return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column(no_wrap=True)
    return table


def _number(value: float | None, form: str) -> str:
    return form.format(value) if value is not None else ""


def _settle_ms(run: Answered) -> tuple[float, float]:
    assert isinstance(run, Settled)
    return run.settle_median_ms, run.settle_p99_ms


def _pair(runs: Iterable[Answered], of: Callable[[Answered], tuple[float, float]]) -> str:
    pairs = [of(run) for run in runs]
    return "/".join(f"{median(column):.1f}" for column in zip(*pairs, strict=True))
