"""Inbox: which messages a consumer has handled, written in the transaction of their effect.

JetStream tells duplicates apart for two minutes only; the inbox does it for as long as its rows are kept.
"""

from collections.abc import Sequence

from kit.db import Transaction, sql
from kit.events import Event
from kit.ids import canonical


async def new_ones(tx: Transaction, consumer: str, messages: Sequence[Event]) -> list[Event]:
    """Marks messages as handled by `consumer` and returns those that were not before, in order, each id once.

    Errors: ValueError for an id that is no UUID.
    """
    first_of: dict[str, Event] = {}
    for message in messages:
        first_of.setdefault(canonical(message.id), message)
    # Sorted, so that two instances with overlapping batches wait for each other instead of deadlocking.
    rows = await tx.execute(_MARK, consumer=consumer, ids=sorted(first_of))
    marked = {str(row["message_id"]) for row in rows}
    return [message for message_id, message in first_of.items() if message_id in marked]


_MARK = sql("""
    INSERT INTO inbox (consumer, message_id)
    SELECT :consumer::text, id FROM unnest(:ids::uuid[]) AS id
    ON CONFLICT DO NOTHING RETURNING message_id
""")
