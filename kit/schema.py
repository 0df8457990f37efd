"""The plumbing's own tables, which a service adds to its metadata."""

from sqlalchemy import Column, DateTime, Index, Integer, LargeBinary, MetaData, Table, Text, Uuid, func


def outbox(metadata: MetaData) -> Table:
    """Events that wait to be published; `id` is a UUIDv7, so the oldest come first."""
    return Table(
        "outbox",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("subject", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("traceparent", Text, nullable=False),
        # Of the database's clock, by which the sweep goes: the clock of whoever made the id may be off.
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def inbox(metadata: MetaData) -> Table:
    """Events that a consumer has handled; rows older than 8 days are deleted (kit/housekeeping.py)."""
    return Table(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Uuid, primary_key=True),
        Column("handled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def idempotency_keys(metadata: MetaData) -> Table:
    """Keys of clients, with the request they stood for and the answer it got; deleted after 25 hours."""
    return Table(
        "idempotency_keys",
        metadata,
        Column("user_id", Uuid, primary_key=True),
        Column("method", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("request_hash", LargeBinary, nullable=False),
        Column("response", LargeBinary),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        # For their deletion.
        Index("idempotency_keys_created_at", "created_at"),
    )


def dead_letters(metadata: MetaData) -> Table:
    """Events that a consumer could not handle, with the error; `gozon dlq` lists and replays them."""
    return Table(
        "dead_letters",
        metadata,
        Column("consumer", Text, primary_key=True),
        # No UUID: what can't be read as an event has a hash for an id.
        Column("event_id", Text, primary_key=True),
        Column("subject", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("traceparent", Text, nullable=False),
        Column("error", Text, nullable=False),
        # How often the handler failed on it, and how often the server had delivered its message in all.
        Column("failures", Integer, nullable=False),
        Column("deliveries", Integer, nullable=False),
        Column("first_failed_at", DateTime(timezone=True), nullable=False),
        Column("died_at", DateTime(timezone=True), nullable=False),
        # For their deletion.
        Index("dead_letters_died_at", "died_at"),
    )
