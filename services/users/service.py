"""What Users does."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from kit.db import Database, atomic
from kit.errors import InvalidToken, ResourceExhausted
from kit.ids import new_id
from services.users import repository
from services.users.domain import USER, EmailTaken, InvalidCredentials, User, canonical_email

HASHING_THREADS = 2
"""Each hash takes 64 MiB and a core for some 50 ms: more at once would only take the machine down."""

MAX_HASHING = 100
"""More would wait for seconds, and be given up by their clients while they still cost."""

T = TypeVar("T")


class UserService:
    """Registration and sign-in."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hasher = PasswordHasher()
        self._hashing = 0
        self._threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="argon2")
        # Verified for unknown users, so that they take the same time.
        self._nobody = self._hasher.hash(new_id())

    async def register(self, email: str, password: str, username: str) -> User:
        """Creates a user. Errors: EmailTaken; ResourceExhausted when too many passwords wait to be hashed."""
        password_hash = await self._in_thread(lambda: self._hasher.hash(password))
        user = User(new_id(), canonical_email(email), username, password_hash, (USER,), datetime.now(UTC))
        await self._insert(user)
        return user

    async def authenticate(self, email: str, password: str) -> User:
        """Returns the user with this email and password.

        Errors: InvalidCredentials, whichever of them is wrong; ResourceExhausted when too many passwords wait.
        """
        async with self._database.autocommit() as connection:
            user = await repository.by_email(connection, canonical_email(email))
        password_hash = user.password_hash if user else self._nobody
        try:
            await self._in_thread(lambda: self._hasher.verify(password_hash, password))
        except VerifyMismatchError:
            raise InvalidCredentials from None
        if user is None:
            raise InvalidCredentials
        return user

    async def get(self, user_id: str) -> User:
        """Returns the user a token belongs to. Errors: InvalidToken when there is no such user any more."""
        async with self._database.autocommit() as connection:
            user = await repository.by_id(connection, user_id)
        if user is None:
            raise InvalidToken
        return user

    @atomic
    async def _insert(self, user: User) -> None:
        async with self._database.transaction() as tx:
            if not await repository.insert(tx, user):
                raise EmailTaken

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._hashing >= MAX_HASHING:
            raise ResourceExhausted
        self._hashing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._hashing -= 1
