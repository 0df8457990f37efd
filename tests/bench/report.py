"""The result of a benchmark: medians, ratios to the floor, as tables and as JSON."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.floor import Floor
from tests.bench.latency import Latency
from tests.bench.settled import Settled

FLOOR, PIPELINED = "floor", "pipelined"
LABELS = {
    FLOOR: "pgbench",
    PIPELINED: "pipelined",
    "grpc": "gRPC direct",
    "grpc-edge": "gRPC edge",
    "rest-edge": "REST edge",
}


@dataclass
class Report:
    """Everything measured, by subject; each list has one entry a repeat."""

    facts: dict[str, Any]
    """When, where and with which options."""
    floors: dict[str, list[Floor]] = field(default_factory=dict)
    settled: dict[str, list[Settled]] = field(default_factory=dict)
    latency: dict[str, Latency] = field(default_factory=dict)

    @property
    def runs(self) -> dict[str, list[Floor] | list[Settled]]:
        """All that was measured under load."""
        return {**self.floors, **self.settled}

    def rate(self, subject: str) -> float | None:
        """The median of orders a second; None when it was not measured."""
        return median(run.rate for run in self.runs[subject]) if subject in self.runs else None

    def ratio(self, subject: str, to: str) -> float | None:
        """How many times the rate of `to` a subject reaches."""
        rate, base = self.rate(subject), self.rate(to)
        return rate / base if rate and base else None

    def cpu_us(self, subject: str) -> dict[str, float]:
        """The medians of CPU by process, µs an order."""
        runs = self.runs[subject]
        return {name: median(run.cpu_us[name] for run in runs) for name in runs[0].cpu_us}

    def others_cores(self, subject: str) -> float:
        """The median of the cores that everybody else kept busy."""
        return median(run.others_cores for run in self.runs[subject])

    def to_json(self) -> dict[str, Any]:
        """Returns plain data: the medians first, then every run."""
        summary = {
            subject: {
                "orders_per_second": self.rate(subject),
                "ratio_to_floor": self.ratio(subject, FLOOR),
                "ratio_to_pipelined": self.ratio(subject, PIPELINED),
                "cpu_us": self.cpu_us(subject),
                "others_cores": self.others_cores(subject),
            }
            for subject in self.runs
        }
        runs = {subject: [asdict(run) for run in runs] for subject, runs in self.runs.items()}
        latency = {subject: asdict(found) for subject, found in self.latency.items()}
        return {**self.facts, "summary": summary, "latency": latency, "runs": runs}

    def show(self, console: Console) -> None:
        """Prints the tables."""
        if self.runs:
            console.print(self._rates())
            console.print(self._cpu())
        if self.latency:
            console.print(self._latencies())

    def _rates(self) -> Table:
        table = _table("Settled orders, medians")
        for heading in ("orders/s", "x floor", "x pipelined", "answer ms p50/p99", "paid ms p50/p99"):
            table.add_column(heading, justify="right")
        for subject in self.runs:
            runs = self.settled.get(subject, [])
            table.add_row(
                LABELS[subject],
                _number(self.rate(subject), "{:,.0f}"),
                _number(self.ratio(subject, FLOOR), "{:.2f}"),
                _number(self.ratio(subject, PIPELINED), "{:.2f}"),
                _pair(runs, lambda run: (run.accept_median_ms, run.accept_p99_ms)),
                _pair(runs, lambda run: (run.settle_median_ms, run.settle_p99_ms)),
            )
        return table

    def _cpu(self) -> Table:
        table = _table("CPU, µs an order, medians")
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
        runs = self.settled.get(subject)
        return median(run.generator_share for run in runs) if runs else None

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


def _pair(runs: Iterable[Settled], of: Callable[[Settled], tuple[float, float]]) -> str:
    pairs = [of(run) for run in runs]
    return "/".join(f"{median(column):.1f}" for column in zip(*pairs, strict=True))
