"""Inbox: which messages a consumer has handled, written in the transaction of their effect.

JetStream tells duplicates apart for two minutes only; the inbox does it for as long as its rows are kept.
"""

from collections.abc import Sequence

from sqlalchemy import text

from kit.bus import Message
from kit.db import Transaction


async def new_ones(tx: Transaction, consumer: str, messages: Sequence[Message]) -> list[Message]:
    """Marks messages as handled by `consumer` and returns those that were not before, in order, each id once."""
    # Sorted, so that two instances with overlapping batches wait for each other instead of deadlocking.
    first_of = {message.id: message for message in reversed(messages)}
    rows = await tx.execute(_MARK, consumer=consumer, ids=sorted(first_of))
    marked = {str(row.message_id) for row in rows}
    return [m for m in messages if m.id in marked and first_of[m.id] is m]


_MARK = text("""
    INSERT INTO inbox (consumer, message_id)
    SELECT :consumer ::text, id FROM unnest(:ids ::uuid[]) AS id
    ON CONFLICT DO NOTHING RETURNING message_id
""")
