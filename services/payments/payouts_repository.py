"""SQL of payouts."""

from dataclasses import dataclass
from datetime import datetime

from gozon.payouts.v1.payouts_pb2 import Payout, Recipient
from kit.db import Connection, Row, Transaction, sql


@dataclass(frozen=True, slots=True)
class Stored:
    """A payout, and its recipient as it is sealed."""

    payout: Payout
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a payout. None leaves a column as it is."""

    status: str
    at: datetime
    comment: str | None = None
    failure_reason: str = ""
    provider_reference: str = ""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """Which payouts a list has; what is None or empty does not matter."""

    user_id: str | None = None
    status: str = ""
    recipient_type: str = ""
    show_deleted: bool = False


async def insert(tx: Transaction, payout: Payout, sealed: bytes, now: datetime) -> Payout:
    """Adds a new payout, PENDING and asked for, and returns it as it is stored."""
    row = await tx.one_or_none(
        _INSERT,
        user_id=payout.user_id,
        id=payout.id,
        amount=payout.amount,
        currency=payout.currency,
        recipient_type=Recipient.Type.Name(payout.recipient.type),
        recipient=sealed,
        recipient_masked=payout.recipient.SerializeToString(),
        comment=payout.comment,
        now=now,
    )
    assert row is not None
    return _payout(row)


async def change(tx: Transaction, payout: Payout, how: Change) -> Payout:
    """Changes a payout that is locked, and returns it as it is then."""
    row = await tx.one_or_none(
        _CHANGE,
        user_id=payout.user_id,
        id=payout.id,
        status=how.status,
        comment=how.comment,
        failure_reason=how.failure_reason,
        provider_reference=how.provider_reference,
        deleted=how.deleted,
        now=how.at,
    )
    assert row is not None
    return _payout(row)


async def by_id(connection: Connection, user_id: str | None, payout_id: str) -> Stored | None:
    """Returns a payout, of this user if one is given."""
    row = await connection.one_or_none(_BY_ID, user_id=user_id, payout_id=payout_id)
    return Stored(_payout(row), row["recipient"]) if row else None


async def lock(tx: Transaction, user_id: str | None, payout_id: str) -> Stored | None:
    """Returns a payout, of this user if one is given, that nobody else changes until `tx` ends."""
    row = await tx.one_or_none(_LOCK, user_id=user_id, payout_id=payout_id)
    return Stored(_payout(row), row["recipient"]) if row else None


async def page(connection: Connection, which: Filter, before: str, limit: int) -> list[Payout]:
    """Returns payouts with ids below `before`, newest first."""
    rows = await connection.execute(
        _PAGE,
        user_id=which.user_id,
        status=which.status,
        recipient_type=which.recipient_type,
        show_deleted=which.show_deleted,
        before=before,
        limit=limit,
    )
    return [_payout(row) for row in rows]


async def unended(tx: Transaction, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Returns (payout, user) where workers were asked longer than 30 seconds ago, and notes that they are asked again.

    Each time the wait doubles, up to 10 minutes, so that a long absence of workers does not fill the broker.
    """
    rows = await tx.execute(_UNENDED, now=now, limit=limit)
    return [(str(row["id"]), str(row["user_id"])) for row in rows]


def _payout(row: Row) -> Payout:
    payout = Payout(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        status=row["status"],
        amount=row["amount"],
        currency=row["currency"],
        recipient=Recipient.FromString(row["recipient_masked"]),
        comment=row["comment"],
        failure_reason=row["failure_reason"],
        provider_reference=row["provider_reference"],
        etag=str(row["version"]),
    )
    payout.created_at.FromDatetime(row["created_at"])
    payout.updated_at.FromDatetime(row["updated_at"])
    if row["deleted_at"]:
        payout.deleted_at.FromDatetime(row["deleted_at"])
    return payout


_COLUMNS = """user_id, id, status, amount, currency, recipient, recipient_masked, comment, failure_reason,
    provider_reference, version, deleted_at, created_at, updated_at"""
_INSERT = sql(f"""
    INSERT INTO payouts (user_id, id, status, amount, currency, recipient_type, recipient, recipient_masked, comment,
                         failure_reason, provider_reference, version, asked_at, created_at, updated_at)
    VALUES (:user_id::uuid, :id::uuid, 'PENDING', :amount::bigint, :currency::text, :recipient_type::text,
            :recipient::bytea, :recipient_masked::bytea, :comment::text, '', '', 1, :now::timestamptz,
            :now::timestamptz, :now::timestamptz)
    RETURNING {_COLUMNS}
""")
# Who begins it has as long as anybody before it is asked for again.
_CHANGE = sql(f"""
    UPDATE payouts SET status = :status::text, comment = coalesce(:comment::text, comment),
        failure_reason = :failure_reason::text, provider_reference = :provider_reference::text,
        version = version + 1, updated_at = greatest(updated_at, :now::timestamptz),
        asked_at = CASE :status::text WHEN 'PENDING' THEN asked_at WHEN 'PROCESSING' THEN :now::timestamptz END,
        deleted_at = CASE WHEN :deleted::boolean THEN :now::timestamptz END
    WHERE user_id = :user_id::uuid AND id = :id::uuid
    RETURNING {_COLUMNS}
""")
_ONE = f"""SELECT {_COLUMNS} FROM payouts
    WHERE id = :payout_id::uuid AND (:user_id::uuid IS NULL OR user_id = :user_id::uuid)"""
_BY_ID, _LOCK = sql(_ONE), sql(f"{_ONE} FOR NO KEY UPDATE")
_PAGE = sql(f"""
    SELECT {_COLUMNS} FROM payouts
    WHERE id < :before::uuid AND (:user_id::uuid IS NULL OR user_id = :user_id::uuid)
          AND (:status::text = '' OR status = :status::text)
          AND (:recipient_type::text = '' OR recipient_type = :recipient_type::text)
          AND (:show_deleted::boolean OR deleted_at IS NULL)
    ORDER BY id DESC LIMIT :limit
""")
_UNENDED = sql("""
    UPDATE payouts SET asked_at = :now::timestamptz
    FROM (
        SELECT user_id, id FROM payouts
        WHERE asked_at < :now::timestamptz - interval '30 seconds'
              AND asked_at < :now::timestamptz - least(asked_at - updated_at, interval '10 minutes')
        ORDER BY asked_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE payouts.user_id = waiting.user_id AND payouts.id = waiting.id
    RETURNING payouts.id, payouts.user_id
""")
