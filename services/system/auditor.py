"""Has the audit go through the databases now and then, and keeps what it found."""

import asyncio
import time
from collections.abc import Mapping
from math import nan

import structlog
from prometheus_client import Gauge

from gozon.system.v1.system_pb2 import Audit, AuditRule
from kit.snapshot import AWAY
from services.system.audit.check import Report, check_databases
from services.system.audit.scan import Guarantee

STUCK_SECONDS = 60.0
"""What is under way may take so long before it is held for stuck, as with `gozon check`."""
SHARE = 20
"""A round is followed by a pause that is at least so many times as long: the audit is at work 5 % of the time."""
ROUND_SECONDS = 600.0
"""A longer round is given up: as long as its snapshots are open, PostgreSQL can clean up nothing."""

BROKEN = Gauge("audit_broken_rows", "Rows that broke a rule of the audit in its last round", ["rule"])
SECONDS = Gauge("audit_seconds", "How long the last round of the audit took")
FINISHED = Gauge("audit_finished_seconds", "When the audit last came to its end, in Unix time")

_GUARANTEES: Mapping[Guarantee, AuditRule.Guarantee] = {
    "nothing lost": AuditRule.NOTHING_LOST,
    "paid once": AuditRule.PAID_ONCE,
    "books balance": AuditRule.BOOKS_BALANCE,
}

log = structlog.get_logger()


class Auditor:
    """The audit of one pair of databases."""

    def __init__(self, urls: Mapping[str, str], pause_seconds: float) -> None:
        """`urls` are those of the databases `orders` and `payments`; without them there is no audit."""
        self._urls = urls
        self._pause_seconds = pause_seconds
        self.found = Audit(state=Audit.UNKNOWN if urls else Audit.DISABLED)
        """What is known."""

    async def run(self) -> None:
        """Goes through the databases again and again, for ever."""
        while True:
            began = time.monotonic()
            await self.look()
            await asyncio.sleep(max(self._pause_seconds, SHARE * (time.monotonic() - began)))

    async def look(self) -> None:
        """Does one round. What can't be read is nothing that is broken."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                report = await check_databases(self._urls, STUCK_SECONDS)
        except AWAY as error:
            log.warning("audit_failed", error=repr(error))
            self.found.state = Audit.UNKNOWN
            for rule in self.found.rules:
                BROKEN.labels(rule.rule).set(nan)
            return
        for result in report.broken():
            log.error("guarantee_broken", rule=result.rule, rows=result.broken, first=result.rows[0])
        self.found = _audit(report, time.monotonic() - began)


def _audit(report: Report, seconds: float) -> Audit:
    audit = Audit(
        state=Audit.HOLDS if report.ok else Audit.BROKEN,
        seconds=seconds,
        orders=report.orders,
        transactions=report.transactions,
        rules=[
            AuditRule(rule=result.rule, guarantee=_GUARANTEES[result.guarantee], broken=result.broken)
            for result in report.results
        ],
    )
    audit.finished_at.GetCurrentTime()
    for rule in audit.rules:
        BROKEN.labels(rule.rule).set(rule.broken)
    SECONDS.set(seconds)
    FINISHED.set(audit.finished_at.seconds)
    return audit
