"""Tables of Users."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("username", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Counts changes: the etag.
    Column("version", BigInteger, nullable=False, server_default="1"),
    CheckConstraint("email = lower(email)", name="users_email_lower"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    # SHA-256: the tokens are random, so nothing slower is needed.
    Column("token_hash", LargeBinary, primary_key=True),
    # Common to all tokens that came from one sign-in with a password, each bought with the one before.
    Column("sign_in_id", Uuid, nullable=False, index=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    # Of the sign-in: the next token does not live longer.
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    # Kept after use, so that a second use is noticed.
    Column("used_at", DateTime(timezone=True)),
    # The token that was exchanged for this one; NULL for the first of a sign-in.
    Column("bought_with", LargeBinary),
)

attempts = Table(
    "attempts",
    metadata,
    # A hash, because people type their password into the wrong field.
    Column("email_hash", LargeBinary, primary_key=True),
    # Wrong passwords since the last right one.
    Column("failures", Integer, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False, index=True),
)
