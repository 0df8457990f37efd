"""What Users does."""

import asyncio
import hashlib
import math
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from kit.db import Database, atomic
from kit.errors import InvalidToken, ResourceExhausted, StaleEtag
from kit.ids import new_id
from services.users import repository
from services.users.domain import (
    ADMIN,
    ATTEMPTS_FORGOTTEN_AFTER,
    REFRESH_GRACE,
    SIGN_IN_LIFETIME,
    USER,
    CommonPassword,
    EmailTaken,
    InvalidCredentials,
    InvalidRefreshToken,
    TooManyAttempts,
    User,
    WrongPassword,
    canonical_email,
    wait_after,
)
from services.users.passwords import is_common

HASH_KIB = 64 * 1024
"""Memory of a password's hash in KiB, the second choice of RFC 9106, section 4."""
HASHING_THREADS = 2
"""Each hash takes 64 MiB and a core for some 50 ms: more at once would only take the machine down."""
MAX_HASHING = 100
"""More would wait for seconds, and be given up by their clients while they still cost."""
CLEAN_SECONDS = 3600.0

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SignIn:
    """Somebody who signed in, and the refresh token that buys the next access token."""

    user: User
    refresh_token: str


class UserService:
    """Registration, sign-in, and what users change of themselves."""

    def __init__(self, database: Database, hash_kib: int = HASH_KIB, refresh_grace: timedelta = REFRESH_GRACE) -> None:
        """`refresh_grace` after its use a refresh token may be used again, as long as what it bought was not."""
        self._database = database
        self._refresh_grace = refresh_grace
        self._hasher = PasswordHasher(memory_cost=hash_kib)
        self._hashing = 0
        self._threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="argon2")
        # Verified for unknown users, so that they take the same time.
        self._nobody = self._hasher.hash(new_id())

    async def register(self, email: str, password: str, username: str) -> User:
        """Creates a user.

        Errors: EmailTaken, CommonPassword; ResourceExhausted when too many passwords wait to be hashed.
        """
        return await self._create(email, password, username, (USER,))

    async def sign_in(self, email: str, password: str) -> SignIn:
        """Returns the user with this email and password, with the first refresh token of a new sign-in.

        Errors: InvalidCredentials, whichever of them is wrong; TooManyAttempts; ResourceExhausted when too many
        passwords wait.
        """
        email = canonical_email(email)
        async with self._database.autocommit() as connection:
            user = await repository.by_email(connection, email)
        if not await self._verify(email, user.password_hash if user else self._nobody, password) or user is None:
            raise InvalidCredentials
        return await self._begin_sign_in(user)

    @atomic
    async def refresh(self, refresh_token: str) -> SignIn:
        """Exchanges a refresh token for the next one.

        When the answer was lost on its way, the same token buys another next one in place of the lost one, for a short
        time. Any other token that was used before is in two hands, so its sign-in ends for both.
        Errors: InvalidRefreshToken.
        """
        token_hash, next_token = _hash(refresh_token), _new_token()
        next_hash = _hash(next_token)
        async with self._database.transaction() as tx:
            user = await repository.lock_owner(tx, token_hash)
            # Of those who waited for the lock each is later than the one before.
            now = datetime.now(UTC)
            exchanged = user and (
                await repository.exchange(tx, token_hash, next_hash, now)
                or await repository.exchange_again(tx, token_hash, next_hash, now, now - self._refresh_grace)
            )
            if user and not exchanged:
                await repository.end_sign_in(tx, token_hash)
        if user is None:
            raise InvalidRefreshToken
        if not exchanged:
            log.warning("refresh_token_reused", user_id=user.id)
            raise InvalidRefreshToken
        return SignIn(user, next_token)

    @atomic
    async def revoke(self, refresh_token: str) -> None:
        """Ends the sign-in of a refresh token; does nothing when there is none."""
        token_hash = _hash(refresh_token)
        async with self._database.transaction() as tx:
            if await repository.lock_owner(tx, token_hash):
                await repository.end_sign_in(tx, token_hash)

    async def get(self, user_id: str) -> User:
        """Returns the user a token belongs to. Errors: InvalidToken when there is no such user any more."""
        async with self._database.autocommit() as connection:
            user = await repository.by_id(connection, user_id)
        if user is None:
            raise InvalidToken
        return user

    @atomic
    async def rename(self, user_id: str, username: str, version: int | None) -> User:
        """Changes a user's name. Errors: StaleEtag when `version` is given and another now; InvalidToken."""
        async with self._database.transaction() as tx:
            user = await repository.set_username(tx, user_id, username, version)
        if user is None:
            await self.get(user_id)
            raise StaleEtag
        return user

    async def change_password(self, user_id: str, current: str, new: str) -> None:
        """Sets a new password and ends all sign-ins. Errors: WrongPassword, CommonPassword, TooManyAttempts."""
        if is_common(new):
            raise CommonPassword(violations=(("new_password", "is one of the most common passwords; choose another"),))
        user = await self.get(user_id)
        if not await self._verify(user.email, user.password_hash, current):
            raise WrongPassword
        with self._hashing_slot():
            new_hash = await self._in_thread(lambda: self._hasher.hash(new))
        await self._set_password(user, new_hash)

    async def create_first_admin(self, email: str, password: str) -> None:
        """Creates an administrator unless there is one."""
        async with self._database.autocommit() as connection:
            if await repository.any_with_role(connection, ADMIN):
                return
        try:
            await self._create(email, password, "Administrator", (USER, ADMIN))
        except EmailTaken:
            # Of two who do this at the same time, one; or somebody whom only `grant` may make an administrator.
            log.warning("first_admin_exists")

    @atomic
    async def set_admin(self, email: str, *, admin: bool) -> bool:
        """Makes a user an administrator, or an ordinary user; from the next access token on. False: no such user."""
        roles = [USER, ADMIN] if admin else [USER]
        async with self._database.transaction() as tx:
            return await repository.set_roles(tx, canonical_email(email), roles) is not None

    async def clean_up(self) -> dict[str, int]:
        """Deletes what has expired; returns how many rows, by table. Errors: Unavailable."""
        return await repository.clean(self._database, datetime.now(UTC), ATTEMPTS_FORGOTTEN_AFTER)

    async def clean_now_and_then(self) -> None:
        """Deletes what has expired, for ever."""
        while True:
            try:
                await self.clean_up()
            except Exception as error:
                log.warning("clean_failed", error=repr(error))
            await asyncio.sleep(CLEAN_SECONDS)

    async def _create(self, email: str, password: str, username: str, roles: tuple[str, ...]) -> User:
        if is_common(password):
            raise CommonPassword(violations=(("password", "is one of the most common passwords; choose another"),))
        with self._hashing_slot():
            password_hash = await self._in_thread(lambda: self._hasher.hash(password))
        user = User(new_id(), canonical_email(email), username, password_hash, roles, datetime.now(UTC))
        await self._insert(user)
        return user

    @atomic
    async def _insert(self, user: User) -> None:
        async with self._database.transaction() as tx:
            if not await repository.insert(tx, user):
                raise EmailTaken

    @atomic
    async def _begin_sign_in(self, user: User) -> SignIn:
        token = _new_token()
        expires_at = datetime.now(UTC) + SIGN_IN_LIFETIME
        async with self._database.transaction() as tx:
            if not await repository.begin_sign_in(tx, user, _hash(token), new_id(), expires_at):
                raise InvalidCredentials
        return SignIn(user, token)

    @atomic
    async def _set_password(self, user: User, new_hash: str) -> None:
        async with self._database.transaction() as tx:
            if not await repository.set_password(tx, user.id, user.password_hash, new_hash):
                raise WrongPassword
            await repository.end_sign_ins(tx, user.id)

    async def _verify(self, email: str, password_hash: str, password: str) -> bool:
        """Says whether the password is right. Errors: TooManyAttempts for this email, ResourceExhausted."""
        email_hash = hashlib.sha256(email.encode()).digest()
        # A slot first, so that who is sent away for want of one has not used up an attempt.
        with self._hashing_slot():
            await self._begin_attempt(email_hash)
            try:
                await self._in_thread(lambda: self._hasher.verify(password_hash, password))
            except VerifyMismatchError:
                return False
        async with self._database.autocommit() as connection:
            await repository.forget_attempts(connection, email_hash)
        return True

    @atomic
    async def _begin_attempt(self, email_hash: bytes) -> None:
        # Counted before the password is looked at: else a thousand guesses at once would all be the first.
        now = datetime.now(UTC)
        forgotten_before = now - ATTEMPTS_FORGOTTEN_AFTER
        async with self._database.transaction() as tx:
            failures, last_at = await repository.lock_attempts(tx, email_hash, now)
            pause = wait_after(failures)
            # Those who came at the same time may have begun after `now`: without a pause nobody waits.
            if pause and (left := (last_at + pause - now).total_seconds()) > 0:
                raise TooManyAttempts(retry_after=math.ceil(left))
            await repository.begin_attempt(tx, email_hash, now, forgotten_before)

    @contextmanager
    def _hashing_slot(self) -> Iterator[None]:
        if self._hashing >= MAX_HASHING:
            raise ResourceExhausted
        self._hashing += 1
        try:
            yield
        finally:
            self._hashing -= 1

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _new_token() -> str:
    return secrets.token_urlsafe(32)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
