"""Inbox: which events a consumer has handled, written in the transaction of their effect.

JetStream tells duplicates apart for two minutes only; the inbox does it for 8 days,
which is longer than a stream keeps an event.
"""

from collections.abc import Sequence

from kit.db import Transaction, sql
from kit.events import Event
from kit.ids import canonical


async def new_ones(tx: Transaction, consumer: str, events: Sequence[Event]) -> list[Event]:
    """Marks events as handled by `consumer` and returns those that were not before, in order, each id once.

    Errors: ValueError for an id that is no UUID.
    """
    first_of: dict[str, Event] = {}
    for event in events:
        first_of.setdefault(canonical(event.id), event)
    # Sorted, so that two instances with overlapping batches wait for each other instead of deadlocking.
    rows = await tx.execute(_MARK, consumer=consumer, ids=sorted(first_of))
    marked = {str(row["event_id"]) for row in rows}
    return [event for event_id, event in first_of.items() if event_id in marked]


_MARK = sql("""
    INSERT INTO inbox (consumer, event_id)
    SELECT :consumer::text, id FROM unnest(:ids::uuid[]) AS id
    ON CONFLICT DO NOTHING RETURNING event_id
""")
