"""Rules of Users, with no framework around them."""

from dataclasses import dataclass
from datetime import datetime

from kit.errors import AlreadyExists, InvalidArgument, Unauthenticated

USER = "user"


class EmailTaken(AlreadyExists):
    """This email is registered already; sign in with POST /token."""

    reason = "EMAIL_TAKEN"


class InvalidCredentials(Unauthenticated):
    """Email or password is wrong."""

    reason = "INVALID_CREDENTIALS"


class UnsupportedGrantType(InvalidArgument):
    """This grant_type is not supported; use "password"."""

    reason = "UNSUPPORTED_GRANT_TYPE"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who registered."""

    id: str
    email: str
    username: str
    password_hash: str
    roles: tuple[str, ...]
    created_at: datetime


def canonical_email(email: str) -> str:
    """Returns the form that is stored: letter case does not distinguish users."""
    return email.strip().lower()
