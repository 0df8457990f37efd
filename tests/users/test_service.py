"""services.users.service on a real PostgreSQL."""

import asyncio

import pytest

from kit.db import Database
from kit.errors import InvalidToken
from kit.ids import new_id
from services.users.domain import EmailTaken, InvalidCredentials
from services.users.service import UserService
from tests.support import count

PASSWORD = "correct horse battery staple"


@pytest.fixture
def service(users_db: Database) -> UserService:
    return UserService(users_db)


async def test_who_registered_can_sign_in_in_any_letter_case(service: UserService) -> None:
    registered = await service.register("Ann@Example.com", PASSWORD, "Ann")
    assert (registered.email, registered.username, registered.roles) == ("ann@example.com", "Ann", ("user",))
    assert (await service.authenticate("aNN@eXAMPLE.COM", PASSWORD)).id == registered.id
    assert await service.get(registered.id) == registered


async def test_the_password_is_kept_as_a_hash_of_its_own(service: UserService) -> None:
    ann = await service.register("ann@example.com", PASSWORD, "")
    ben = await service.register("ben@example.com", PASSWORD, "")
    assert ann.password_hash.startswith("$argon2id$")
    assert ann.password_hash != ben.password_hash


async def test_one_email_registers_once_however_it_is_written(service: UserService, users_db: Database) -> None:
    emails = ("ann@example.com", "Ann@example.com", "ANN@EXAMPLE.COM")
    results = await asyncio.gather(*(service.register(e, PASSWORD, "") for e in emails), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["EmailTaken", "EmailTaken", "User"]
    with pytest.raises(EmailTaken):
        await service.register("ann@example.com", "another password", "")
    assert await count(users_db, "users") == 1


async def test_a_wrong_password_and_an_unknown_user_are_told_the_same(service: UserService) -> None:
    await service.register("ann@example.com", PASSWORD, "")
    messages = set()
    for email, password in (("ann@example.com", PASSWORD + "r"), ("nobody@example.com", PASSWORD), ("", "")):
        with pytest.raises(InvalidCredentials) as caught:
            await service.authenticate(email, password)
        messages.add(caught.value.message)
    assert len(messages) == 1


async def test_the_token_of_a_user_who_is_gone_is_no_token(service: UserService) -> None:
    with pytest.raises(InvalidToken):
        await service.get(new_id())
