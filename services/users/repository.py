"""SQL of Users."""

from datetime import datetime, timedelta

from kit.cleaning import delete_all
from kit.db import Connection, Database, Row, Transaction, sql
from services.users.domain import User


async def insert(tx: Transaction, user: User) -> bool:
    """Adds a user; returns False when the email is taken."""
    inserted = await tx.one_or_none(
        _INSERT,
        id=user.id,
        email=user.email,
        username=user.username,
        password_hash=user.password_hash,
        roles=list(user.roles),
        created_at=user.created_at,
    )
    return inserted is not None


async def by_email(connection: Connection, email: str) -> User | None:
    """Returns the user with this email, in lower case."""
    return _user(await connection.one_or_none(_BY_EMAIL, email=email))


async def by_id(connection: Connection, user_id: str) -> User | None:
    """Returns the user with this id."""
    return _user(await connection.one_or_none(_BY_ID, user_id=user_id))


async def any_with_role(connection: Connection, role: str) -> bool:
    """Says whether there is a user with this role."""
    return await connection.one_or_none(_ANY_WITH_ROLE, role=role) is not None


async def set_username(tx: Transaction, user_id: str, username: str, version: int | None) -> User | None:
    """Changes a user's name; returns None when the version, if one is given, is another now."""
    return _user(await tx.one_or_none(_SET_USERNAME, user_id=user_id, username=username, version=version))


async def set_password(tx: Transaction, user_id: str, old_hash: str, new_hash: str) -> bool:
    """Changes a user's password, unless it was changed in the meantime."""
    return await tx.one_or_none(_SET_PASSWORD, user_id=user_id, old_hash=old_hash, new_hash=new_hash) is not None


async def set_roles(tx: Transaction, email: str, roles: list[str]) -> User | None:
    """Gives a user other roles; returns None when there is none with this email."""
    return _user(await tx.one_or_none(_SET_ROLES, email=email, roles=roles))


async def lock_attempts(tx: Transaction, email_hash: bytes, now: datetime) -> tuple[int, datetime]:
    """Locks the count of an email until `tx` ends; returns how many failed in a row, and when the last one began."""
    [row] = await tx.execute(_LOCK_ATTEMPTS, email_hash=email_hash, now=now)
    return row["failures"], row["last_at"]


async def begin_attempt(tx: Transaction, email_hash: bytes, now: datetime, forgotten_before: datetime) -> None:
    """Counts an attempt to sign in, as failed until it is forgotten."""
    await tx.execute(_BEGIN_ATTEMPT, email_hash=email_hash, now=now, forgotten_before=forgotten_before)


async def forget_attempts(connection: Connection, email_hash: bytes) -> None:
    """Begins the count anew."""
    await connection.execute(_FORGET_ATTEMPTS, email_hash=email_hash)


async def begin_sign_in(tx: Transaction, user: User, token_hash: bytes, sign_in_id: str, expires_at: datetime) -> bool:
    """Adds the first refresh token of a sign-in; returns False when the password was changed in the meantime."""
    row = await tx.one_or_none(
        _BEGIN_SIGN_IN,
        user_id=user.id,
        password_hash=user.password_hash,
        token_hash=token_hash,
        sign_in_id=sign_in_id,
        expires_at=expires_at,
    )
    return row is not None


async def lock_owner(tx: Transaction, token_hash: bytes) -> User | None:
    """Returns whose refresh token this is; what else would change that user's sign-ins waits until `tx` ends."""
    return _user(await tx.one_or_none(_LOCK_OWNER, token_hash=token_hash))


async def exchange(tx: Transaction, token_hash: bytes, next_hash: bytes, now: datetime) -> bool:
    """Marks a refresh token as used and adds the next; returns False when it was used before, or is too old."""
    return await tx.one_or_none(_EXCHANGE, token_hash=token_hash, next_hash=next_hash, now=now) is not None


async def exchange_again(
    tx: Transaction, token_hash: bytes, next_hash: bytes, now: datetime, used_after: datetime
) -> bool:
    """Puts another token in the place of the one that was bought with `token_hash`, which counts as used from now on.

    Returns False when that one was used already, when `token_hash` was first used before `used_after`, or is too old.
    """
    row = await tx.one_or_none(
        _EXCHANGE_AGAIN, token_hash=token_hash, next_hash=next_hash, now=now, used_after=used_after
    )
    return row is not None


async def end_sign_in(tx: Transaction, token_hash: bytes) -> None:
    """Deletes all refresh tokens of the sign-in that this one is of."""
    await tx.execute(_END_SIGN_IN, token_hash=token_hash)


async def end_sign_ins(tx: Transaction, user_id: str) -> None:
    """Deletes all refresh tokens of a user."""
    await tx.execute(_END_SIGN_INS, user_id=user_id)


async def clean(database: Database, now: datetime, forgotten_after: timedelta) -> dict[str, int]:
    """Deletes sign-ins that have expired and attempts that are forgotten; returns how many rows, by table."""
    return {
        "refresh_tokens": await delete_all(database, "refresh_tokens", _CLEAN_TOKENS, before=now),
        "attempts": await delete_all(database, "attempts", _CLEAN_ATTEMPTS, before=now - forgotten_after),
    }


def _user(row: Row | None) -> User | None:
    if row is None:
        return None
    return User(
        str(row["id"]),
        row["email"],
        row["username"],
        row["password_hash"],
        tuple(row["roles"]),
        row["created_at"],
        row["version"],
    )


_COLUMNS = """users.id, users.email, users.username, users.password_hash, users.roles, users.created_at,
    users.version"""
_INSERT = sql("""
    INSERT INTO users (id, email, username, password_hash, roles, created_at)
    VALUES (:id::uuid, :email::text, :username::text, :password_hash::text, :roles::text[],
            :created_at::timestamptz)
    ON CONFLICT (email) DO NOTHING RETURNING id
""")
_BY_EMAIL = sql(f"SELECT {_COLUMNS} FROM users WHERE email = :email::text")
_BY_ID = sql(f"SELECT {_COLUMNS} FROM users WHERE id = :user_id::uuid")
_ANY_WITH_ROLE = sql("SELECT id FROM users WHERE :role::text = ANY(roles) LIMIT 1")
_SET_USERNAME = sql(f"""
    UPDATE users SET username = :username::text, version = version + 1
    WHERE id = :user_id::uuid AND (:version::bigint IS NULL OR version = :version::bigint)
    RETURNING {_COLUMNS}
""")
_SET_PASSWORD = sql("""
    UPDATE users SET password_hash = :new_hash::text
    WHERE id = :user_id::uuid AND password_hash = :old_hash::text RETURNING id
""")
_SET_ROLES = sql(f"""
    UPDATE users SET roles = :roles::text[], version = version + 1
    WHERE email = :email::text RETURNING {_COLUMNS}
""")
_BEGIN_ATTEMPT = sql("""
    UPDATE attempts SET last_at = :now::timestamptz, failures = 1 +
        CASE WHEN last_at < :forgotten_before::timestamptz THEN 0 ELSE failures END
    WHERE email_hash = :email_hash::bytea
""")
# The row is made if there is none, so that there is always something to lock.
_LOCK_ATTEMPTS = sql("""
    INSERT INTO attempts (email_hash, failures, last_at) VALUES (:email_hash::bytea, 0, :now::timestamptz)
    ON CONFLICT (email_hash) DO UPDATE SET failures = attempts.failures RETURNING failures, last_at
""")
_FORGET_ATTEMPTS = sql("DELETE FROM attempts WHERE email_hash = :email_hash::bytea")
_BEGIN_SIGN_IN = sql("""
    WITH signed_in AS (
        SELECT id FROM users WHERE id = :user_id::uuid AND password_hash = :password_hash::text
        FOR NO KEY UPDATE
    )
    INSERT INTO refresh_tokens (token_hash, sign_in_id, user_id, expires_at)
    SELECT :token_hash::bytea, :sign_in_id::uuid, id, :expires_at::timestamptz FROM signed_in RETURNING user_id
""")
_LOCK_OWNER = sql(f"""
    SELECT {_COLUMNS} FROM refresh_tokens JOIN users ON users.id = refresh_tokens.user_id
    WHERE token_hash = :token_hash::bytea FOR NO KEY UPDATE OF users
""")
_EXCHANGE = sql("""
    WITH used AS (
        UPDATE refresh_tokens SET used_at = :now::timestamptz
        WHERE token_hash = :token_hash::bytea AND used_at IS NULL AND expires_at > :now::timestamptz
        RETURNING sign_in_id, user_id, expires_at
    )
    INSERT INTO refresh_tokens (token_hash, sign_in_id, user_id, expires_at, bought_with)
    SELECT :next_hash::bytea, sign_in_id, user_id, expires_at, :token_hash::bytea FROM used RETURNING user_id
""")
_EXCHANGE_AGAIN = sql("""
    WITH given_up AS (
        UPDATE refresh_tokens SET used_at = :now::timestamptz
        FROM refresh_tokens AS first
        WHERE first.token_hash = :token_hash::bytea AND first.used_at > :used_after::timestamptz
              AND refresh_tokens.sign_in_id = first.sign_in_id AND refresh_tokens.bought_with = first.token_hash
              AND refresh_tokens.used_at IS NULL AND refresh_tokens.expires_at > :now::timestamptz
        RETURNING refresh_tokens.sign_in_id, refresh_tokens.user_id, refresh_tokens.expires_at
    )
    INSERT INTO refresh_tokens (token_hash, sign_in_id, user_id, expires_at, bought_with)
    SELECT :next_hash::bytea, sign_in_id, user_id, expires_at, :token_hash::bytea FROM given_up RETURNING user_id
""")
_END_SIGN_IN = sql("""
    DELETE FROM refresh_tokens WHERE sign_in_id =
        (SELECT sign_in_id FROM refresh_tokens WHERE token_hash = :token_hash::bytea)
""")
_END_SIGN_INS = sql("DELETE FROM refresh_tokens WHERE user_id = :user_id::uuid")
# By ctid, for the reason that kit/housekeeping.py tells.
_CLEAN_TOKENS = sql("""
    DELETE FROM refresh_tokens WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM refresh_tokens WHERE expires_at < :before::timestamptz
        ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )) RETURNING 1
""")
_CLEAN_ATTEMPTS = sql("""
    DELETE FROM attempts WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM attempts WHERE last_at < :before::timestamptz
        ORDER BY last_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )) RETURNING 1
""")
