"""SQL of Users."""

from kit.db import Connection, Row, Transaction, sql
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


def _user(row: Row | None) -> User | None:
    if row is None:
        return None
    return User(
        str(row["id"]), row["email"], row["username"], row["password_hash"], tuple(row["roles"]), row["created_at"]
    )


_INSERT = sql("""
    INSERT INTO users (id, email, username, password_hash, roles, created_at)
    VALUES (:id::uuid, :email::text, :username::text, :password_hash::text, :roles::text[],
            :created_at::timestamptz)
    ON CONFLICT (email) DO NOTHING RETURNING id
""")
_COLUMNS = "SELECT id, email, username, password_hash, roles, created_at FROM users"
_BY_EMAIL = sql(f"{_COLUMNS} WHERE email = :email::text")
_BY_ID = sql(f"{_COLUMNS} WHERE id = :user_id::uuid")
