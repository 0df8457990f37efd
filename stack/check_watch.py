"""`gozon check --watch`: the check again and again, with a line about each round."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from kit.snapshot import AWAY
from services.system.audit.check import Report
from stack.check import check
from stack.home import Stack


@dataclass(frozen=True)
class Round:
    """One round of the check, as `gozon check --watch --json` prints it."""

    at: datetime
    """When it began."""
    seconds: float
    ok: bool
    news: list[str]
    """What the round before had not."""
    report: Report | None
    """None when a database could not be read."""


def rounds(stack: Stack, stuck_after: float, every: float) -> Iterator[Round]:
    """Checks for ever, with a pause of `every` seconds after each round."""
    before: Report | None = None
    while True:
        at, began = datetime.now(UTC), time.monotonic()
        try:
            report = asyncio.run(check(stack, stuck_after))
        except AWAY as error:
            # It may come back: whoever watches wants to see that.
            news = [f"the databases can't be read now ({error})"]
            yield Round(at, time.monotonic() - began, ok=False, news=news, report=None)
        else:
            yield Round(at, time.monotonic() - began, report.ok, changes(report, before), report)
            before = report
        time.sleep(every)


def changes(report: Report, before: Report | None) -> list[str]:
    """Says what a round found that the one before had not: numbers that grew, rules that broke or hold again."""
    told = []
    for name in ("orders", "payments", "transactions", "dead_letters"):
        now, then = getattr(report, name), getattr(before, name) if before else 0
        if now != then:
            told.append(f"{now} {name.replace('_', ' ')}" + (f" ({now - then:+})" if before else ""))
    were = {result.rule: result for result in before.results} if before else {}
    for result in report.results:
        then = were[result.rule].broken if before else 0
        if result.broken and result.broken != then:
            told.append(f"✗ {result.rule}: {result.broken} rows")
        elif then and not result.broken:
            told.append(f"✓ {result.rule}")
    return told or ["nothing new"]
