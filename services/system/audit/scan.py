"""Rules as data: conditions that must be true of every row of a scan.

A scan reads a table once, with what belongs to its rows, however many rules there are about it. What is not finished
is judged only when it is older than `stuck_before`, a moment that every rule may name.
"""

from dataclasses import dataclass
from typing import Literal

Guarantee = Literal["nothing lost", "paid once", "books balance"]


@dataclass(frozen=True)
class Rule:
    """What must be true of every row: an SQL condition over the columns of its scan. NULL is not true."""

    name: str
    guarantee: Guarantee
    must: str


@dataclass(frozen=True)
class Scan:
    """A query, and the rules about its rows."""

    source: str
    rules: tuple[Rule, ...]

    @property
    def sql(self) -> str:
        """Returns the rows that break a rule, and in `lies` for each rule whether they do; $1 is in seconds."""
        lies = ", ".join(f"({rule.must}) IS NOT TRUE" for rule in self.rules)
        truth = " AND ".join(f"({rule.must})" for rule in self.rules)
        return f"""
            SELECT ARRAY[{lies}] AS lies, scanned.*
            FROM ({self.source}) AS scanned, (SELECT now() - make_interval(secs => $1) AS stuck_before) AS patience
            WHERE ({truth}) IS NOT TRUE
        """


def outbox(of: str) -> Scan:
    """Whether the events of a service go out."""
    published = Rule(f"events of {of} are published", "nothing lost", "created_at >= stuck_before")
    return Scan("SELECT id, subject, created_at FROM outbox", (published,))


def none(source: str, name: str, guarantee: Guarantee) -> Scan:
    """Returns a scan for what must not be there at all."""
    return Scan(source, (Rule(name, guarantee, "false"),))
