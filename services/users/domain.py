"""Rules of Users, with no framework around them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from kit.errors import AlreadyExists, InvalidArgument, PermissionDenied, ResourceExhausted, Unauthenticated

USER = "user"
ADMIN = "admin"
WORKER = "worker"
"""What programs of ours are: the name of the client that asks for a token, and its role."""
WORKER_ID = "00000000-0000-7000-8000-000000000001"
"""Whom their tokens belong to: nobody who has registered."""
SIGN_IN_LIFETIME = timedelta(days=30)
"""How long refresh tokens may follow one sign-in with a password."""
REFRESH_GRACE = timedelta(seconds=60)
"""How long after its use a refresh token may be used again, should its answer have been lost: several timeouts."""
FREE_ATTEMPTS = 10
"""Wrong passwords in a row that cost nothing but the answer."""
LONGEST_WAIT = timedelta(minutes=15)
ATTEMPTS_FORGOTTEN_AFTER = timedelta(days=1)


class EmailTaken(AlreadyExists):
    """This email is registered already; sign in with POST /token."""

    reason = "EMAIL_TAKEN"


class CommonPassword(InvalidArgument):
    """This password is one of the most common ones, which are tried first; choose another."""

    reason = "COMMON_PASSWORD"


class InvalidCredentials(Unauthenticated):
    """Email or password is wrong."""

    reason = "INVALID_CREDENTIALS"


class InvalidRefreshToken(Unauthenticated):
    """The refresh token is unknown, was used before, or its sign-in has ended; sign in with the password."""

    reason = "INVALID_REFRESH_TOKEN"


class InvalidClient(Unauthenticated):
    """There is no such client, or its secret is wrong."""

    reason = "INVALID_CLIENT"


class WrongPassword(PermissionDenied):
    """The current password is wrong."""

    reason = "WRONG_PASSWORD"


class TooManyAttempts(ResourceExhausted):
    """Too many wrong passwords for this email; wait the seconds that the header retry-after says."""

    reason = "TOO_MANY_ATTEMPTS"


class UnsupportedGrantType(InvalidArgument):
    """This grant_type is not supported; use "password", "refresh_token" or "client_credentials"."""

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
    version: int = 1
    """Counts the user's changes."""


def canonical_email(email: str) -> str:
    """Returns the form that is stored: letter case does not distinguish users."""
    return email.strip().lower()


def wait_after(failures: int) -> timedelta:
    """Returns how long the next attempt must wait after so many wrong passwords in a row: 1 s, 2 s, 4 s, …"""
    if failures < FREE_ATTEMPTS:
        return timedelta()
    # No power of two beyond what the longest wait needs.
    return min(timedelta(seconds=2 ** min(failures - FREE_ATTEMPTS, 20)), LONGEST_WAIT)
