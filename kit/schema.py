"""The plumbing's own tables, which a service adds to its metadata: outbox, inbox and idempotency keys."""

from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text, Uuid, func


def outbox(metadata: MetaData) -> Table:
    """Events that wait to be published; `id` is a UUIDv7, so the oldest come first."""
    return Table(
        "outbox",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("subject", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("traceparent", Text, nullable=False),
    )


def inbox(metadata: MetaData) -> Table:
    """Messages that a consumer has handled."""
    return Table(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("message_id", Uuid, primary_key=True),
        Column("handled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def idempotency_keys(metadata: MetaData) -> Table:
    """Keys of clients, with the request they stood for and the answer it got."""
    return Table(
        "idempotency_keys",
        metadata,
        Column("user_id", Uuid, primary_key=True),
        Column("method", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("request_hash", LargeBinary, nullable=False),
        Column("response", LargeBinary),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
