"""services.users.service on a real PostgreSQL."""

import asyncio
import hashlib
from collections import Counter
from datetime import timedelta

import pytest

from kit.db import Database, sql
from kit.errors import InvalidToken, ResourceExhausted, StaleEtag
from kit.ids import new_id
from services.users.domain import (
    FREE_ATTEMPTS,
    CommonPassword,
    EmailTaken,
    InvalidCredentials,
    InvalidRefreshToken,
    TooManyAttempts,
    WrongPassword,
    wait_after,
)
from services.users.service import UserService
from tests.support import count, eventually
from tests.users.conftest import CHEAP_KIB
from tests.users.steps import EMAIL, PASSWORD, run


async def test_who_registered_can_sign_in_in_any_letter_case(service: UserService) -> None:
    registered = await service.register("Ann@Example.com", PASSWORD, "Ann")
    assert (registered.email, registered.username, registered.roles) == (EMAIL, "Ann", ("user",))
    assert (await service.sign_in("aNN@eXAMPLE.COM", PASSWORD)).user == registered
    assert await service.get(registered.id) == registered


async def test_the_password_is_kept_as_a_hash_of_its_own(service: UserService) -> None:
    ann = await service.register(EMAIL, PASSWORD, "")
    ben = await service.register("ben@example.com", PASSWORD, "")
    assert ann.password_hash.startswith("$argon2id$")
    assert ann.password_hash != ben.password_hash


async def test_one_email_registers_once_however_it_is_written(service: UserService, users_db: Database) -> None:
    emails = (EMAIL, "Ann@example.com", "ANN@EXAMPLE.COM")
    results = await asyncio.gather(*(service.register(e, PASSWORD, "") for e in emails), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["EmailTaken", "EmailTaken", "User"]
    with pytest.raises(EmailTaken):
        await service.register(EMAIL, "another password", "")
    assert await count(users_db, "users") == 1


@pytest.mark.parametrize("password", ["password1", "Password1", "QWERTYUIOP", "1234567890"])
async def test_what_everybody_guesses_first_is_no_password(password: str, service: UserService) -> None:
    with pytest.raises(CommonPassword):
        await service.register(EMAIL, password, "")


async def test_a_wrong_password_and_an_unknown_user_are_told_the_same(service: UserService) -> None:
    await service.register(EMAIL, PASSWORD, "")
    messages = set()
    for email, password in ((EMAIL, PASSWORD + "r"), ("nobody@example.com", PASSWORD), ("", "")):
        with pytest.raises(InvalidCredentials) as caught:
            await service.sign_in(email, password)
        messages.add(caught.value.message)
    assert len(messages) == 1


async def test_the_token_of_a_user_who_is_gone_is_no_token(service: UserService) -> None:
    with pytest.raises(InvalidToken):
        await service.get(new_id())
    with pytest.raises(InvalidToken):
        await service.rename(new_id(), "Ann", None)


# --- Refresh tokens


async def test_each_refresh_token_buys_the_next_one(service: UserService) -> None:
    user = await service.register(EMAIL, PASSWORD, "")
    signed_in = await service.sign_in(EMAIL, PASSWORD)
    tokens = [signed_in.refresh_token]
    for _ in range(3):
        refreshed = await service.refresh(tokens[-1])
        assert refreshed.user == user
        tokens.append(refreshed.refresh_token)
    assert len(set(tokens)) == 4


async def test_only_hashes_are_kept(service: UserService, users_db: Database) -> None:
    await service.register(EMAIL, PASSWORD, "")
    token = (await service.sign_in(EMAIL, PASSWORD)).refresh_token
    async with users_db.autocommit() as connection:
        [row] = await connection.execute(sql("SELECT t::text FROM refresh_tokens t"))
    assert token not in row[0]
    assert token.encode().hex() not in row[0]


async def test_a_token_whose_successor_was_used_ends_its_sign_in_and_no_other(service: UserService) -> None:
    await service.register(EMAIL, PASSWORD, "")
    first, other = await service.sign_in(EMAIL, PASSWORD), await service.sign_in(EMAIL, PASSWORD)
    second = await service.refresh(first.refresh_token)
    third = await service.refresh(second.refresh_token)
    for token in (first.refresh_token, third.refresh_token, second.refresh_token):
        with pytest.raises(InvalidRefreshToken):
            await service.refresh(token)
    assert await service.refresh(other.refresh_token)


async def test_a_token_whose_answer_was_lost_is_exchanged_again(service: UserService) -> None:
    await service.register(EMAIL, PASSWORD, "")
    token = (await service.sign_in(EMAIL, PASSWORD)).refresh_token
    for _ in range(3):
        answered = await service.refresh(token)
    assert await service.refresh(answered.refresh_token)


async def test_what_was_taken_for_lost_and_is_used_after_all_ends_the_sign_in(service: UserService) -> None:
    await service.register(EMAIL, PASSWORD, "")
    stolen = (await service.sign_in(EMAIL, PASSWORD)).refresh_token
    the_owners, the_thiefs = await service.refresh(stolen), await service.refresh(stolen)
    for token in (the_owners.refresh_token, the_thiefs.refresh_token):
        with pytest.raises(InvalidRefreshToken):
            await service.refresh(token)


@pytest.mark.parametrize("seconds", [0, 60])
async def test_after_the_grace_a_token_that_is_used_twice_ends_its_sign_in(seconds: int, users_db: Database) -> None:
    service = UserService(users_db, CHEAP_KIB, timedelta(seconds=seconds))
    await service.register(EMAIL, PASSWORD, "")
    first = (await service.sign_in(EMAIL, PASSWORD)).refresh_token
    second = (await service.refresh(first)).refresh_token
    await run(users_db, f"UPDATE refresh_tokens SET used_at = used_at - interval '{seconds} seconds'")
    for token in (first, second):
        with pytest.raises(InvalidRefreshToken):
            await service.refresh(token)


async def test_of_many_uses_at_once_the_token_of_one_goes_on(service: UserService, users_db: Database) -> None:
    await service.register(EMAIL, PASSWORD, "")
    token = (await service.sign_in(EMAIL, PASSWORD)).refresh_token
    results = await asyncio.gather(*(service.refresh(token) for _ in range(8)))
    hashes = [hashlib.sha256(result.refresh_token.encode()).digest() for result in results]
    async with users_db.autocommit() as connection:
        rows = await connection.execute(sql("SELECT token_hash FROM refresh_tokens WHERE used_at IS NULL"))
    assert len(rows) == 1
    [good] = [result for result, kept in zip(results, hashes, strict=True) if kept == rows[0]["token_hash"]]
    assert await service.refresh(good.refresh_token)


async def test_a_sign_in_ends_however_often_it_was_refreshed(service: UserService, users_db: Database) -> None:
    await service.register(EMAIL, PASSWORD, "")
    token = (await service.refresh((await service.sign_in(EMAIL, PASSWORD)).refresh_token)).refresh_token
    await run(users_db, "UPDATE refresh_tokens SET expires_at = now() - interval '1 second'")
    with pytest.raises(InvalidRefreshToken):
        await service.refresh(token)


async def test_the_next_token_lives_no_longer_than_the_first(service: UserService, users_db: Database) -> None:
    await service.register(EMAIL, PASSWORD, "")
    token = (await service.sign_in(EMAIL, PASSWORD)).refresh_token
    await run(users_db, "UPDATE refresh_tokens SET expires_at = now() + interval '1 hour'")
    await service.refresh(token)
    async with users_db.autocommit() as connection:
        rows = await connection.execute(sql("SELECT DISTINCT expires_at FROM refresh_tokens"))
    assert len(rows) == 1


async def test_signing_out_ends_one_sign_in(service: UserService) -> None:
    await service.register(EMAIL, PASSWORD, "")
    here, there = await service.sign_in(EMAIL, PASSWORD), await service.sign_in(EMAIL, PASSWORD)
    latest = await service.refresh(here.refresh_token)
    await service.revoke(here.refresh_token)
    await service.revoke(here.refresh_token)
    await service.revoke("never issued")
    with pytest.raises(InvalidRefreshToken):
        await service.refresh(latest.refresh_token)
    assert await service.refresh(there.refresh_token)


async def test_signing_out_and_refreshing_at_once_leaves_nothing(service: UserService, users_db: Database) -> None:
    await service.register(EMAIL, PASSWORD, "")
    for _ in range(10):
        token = (await service.sign_in(EMAIL, PASSWORD)).refresh_token
        await asyncio.gather(service.refresh(token), service.revoke(token), return_exceptions=True)
        assert await count(users_db, "refresh_tokens") == 0


# --- Changes


async def test_a_new_password_ends_all_sign_ins(service: UserService) -> None:
    user = await service.register(EMAIL, PASSWORD, "")
    signed_in = await service.sign_in(EMAIL, PASSWORD)
    await service.change_password(user.id, PASSWORD, "another good password")
    with pytest.raises(InvalidRefreshToken):
        await service.refresh(signed_in.refresh_token)
    with pytest.raises(InvalidCredentials):
        await service.sign_in(EMAIL, PASSWORD)
    assert await service.sign_in(EMAIL, "another good password")


async def test_a_new_password_and_a_refresh_at_once_leave_no_sign_in(service: UserService, users_db: Database) -> None:
    user = await service.register(EMAIL, PASSWORD, "")
    old = PASSWORD
    for number in range(5):
        token = (await service.sign_in(EMAIL, old)).refresh_token
        new = f"{PASSWORD} {number}"
        change = asyncio.create_task(service.change_password(user.id, old, new))
        while not change.done():
            try:
                token = (await service.refresh(token)).refresh_token
            except InvalidRefreshToken:
                break
        await change
        assert await count(users_db, "refresh_tokens") == 0
        old = new


async def test_the_password_is_changed_by_who_knows_it(service: UserService) -> None:
    user = await service.register(EMAIL, PASSWORD, "")
    with pytest.raises(WrongPassword):
        await service.change_password(user.id, "wrong", "another good password")
    with pytest.raises(CommonPassword):
        await service.change_password(user.id, PASSWORD, "password1")
    assert await service.sign_in(EMAIL, PASSWORD)


async def test_a_stale_etag_changes_nothing(service: UserService) -> None:
    user = await service.register(EMAIL, PASSWORD, "Ann")
    renamed = await service.rename(user.id, "Anna", user.version)
    with pytest.raises(StaleEtag):
        await service.rename(user.id, "Annette", user.version)
    assert await service.get(user.id) == renamed
    assert (await service.rename(user.id, "Annette", None)).username == "Annette"


# --- Administrators


async def test_there_is_one_first_admin_however_often_one_starts(service: UserService, users_db: Database) -> None:
    await asyncio.gather(*(service.create_first_admin("root@example.com", PASSWORD) for _ in range(3)))
    await service.create_first_admin("second@example.com", PASSWORD)
    admin = (await service.sign_in("root@example.com", PASSWORD)).user
    assert admin.roles == ("user", "admin")
    assert await count(users_db, "users") == 1


async def test_who_registered_the_admins_email_first_is_no_admin(service: UserService) -> None:
    await service.register("root@example.com", PASSWORD, "")
    await service.create_first_admin("root@example.com", "the password of the admin")
    assert (await service.sign_in("root@example.com", PASSWORD)).user.roles == ("user",)


async def test_admins_are_made_and_unmade(service: UserService) -> None:
    user = await service.register(EMAIL, PASSWORD, "")
    assert await service.set_admin("ANN@example.com", admin=True)
    assert (await service.get(user.id)).roles == ("user", "admin")
    assert await service.set_admin(EMAIL, admin=False)
    assert (await service.get(user.id)).roles == ("user",)
    assert not await service.set_admin("nobody@example.com", admin=True)


# --- Guessing


async def test_who_guesses_too_often_must_wait_though_the_password_is_right(
    service: UserService, users_db: Database
) -> None:
    user = await service.register(EMAIL, PASSWORD, "")
    for _ in range(FREE_ATTEMPTS):
        with pytest.raises(InvalidCredentials):
            await service.sign_in(EMAIL, "wrong")
    for attempt in (
        service.sign_in(EMAIL, PASSWORD),
        service.sign_in(EMAIL.upper(), PASSWORD),
        service.change_password(user.id, PASSWORD, "another good password"),
    ):
        with pytest.raises(TooManyAttempts) as caught:
            await attempt
        assert int(caught.value.headers["retry-after"]) >= 1
    await run(users_db, "UPDATE attempts SET last_at = last_at - interval '2 seconds'")
    assert await service.sign_in(EMAIL, PASSWORD)
    assert await count(users_db, "attempts") == 0


async def test_the_wait_doubles_up_to_its_limit(service: UserService, users_db: Database) -> None:
    waits = []
    for failures in (FREE_ATTEMPTS, FREE_ATTEMPTS + 1, FREE_ATTEMPTS + 5, FREE_ATTEMPTS + 50):
        await run(users_db, "DELETE FROM attempts")
        with pytest.raises(InvalidCredentials):
            await service.sign_in(EMAIL, "wrong")
        await run(users_db, f"UPDATE attempts SET failures = {failures}, last_at = now() + interval '0.5 seconds'")
        with pytest.raises(TooManyAttempts) as caught:
            await service.sign_in(EMAIL, "wrong")
        waits.append(int(caught.value.headers["retry-after"]))
    assert [wait // 2 for wait in waits] == [1, 1, 16, 450]


async def test_guesses_at_once_are_counted_one_by_one(service: UserService, monkeypatch: pytest.MonkeyPatch) -> None:
    def long_wait(failures: int) -> timedelta:
        # However slow this machine is, nobody's wait is over before the last one has come.
        return timedelta(hours=1) if wait_after(failures) else timedelta()

    monkeypatch.setattr("services.users.service.wait_after", long_wait)
    await service.register(EMAIL, PASSWORD, "")
    results = await asyncio.gather(*(service.sign_in(EMAIL, "wrong") for _ in range(40)), return_exceptions=True)
    outcomes = Counter(type(result) for result in results)
    assert outcomes == {InvalidCredentials: FREE_ATTEMPTS, TooManyAttempts: 40 - FREE_ATTEMPTS}


async def test_a_password_changed_during_a_sign_in_ends_it(service: UserService, users_db: Database) -> None:
    """The old password was right when it was looked at, but no longer when the sign-in is written."""
    await service.register(EMAIL, PASSWORD, "")
    async with users_db.transaction() as tx:
        # Seen by the sign-in only after it has read the user and waits for this lock.
        await tx.execute(sql("UPDATE users SET password_hash = 'another'"))
        signing_in = asyncio.create_task(service.sign_in(EMAIL, PASSWORD))
        await eventually(lambda: _waits_for_a_lock(users_db))
    with pytest.raises(InvalidCredentials):
        await signing_in
    assert await count(users_db, "refresh_tokens") == 0


async def test_of_two_who_change_the_password_at_once_one_wins(service: UserService, users_db: Database) -> None:
    """Both know the old password; when the second one writes, it is another already."""
    user = await service.register(EMAIL, PASSWORD, "")
    passwords = ["the first new password", "the second new password"]
    async with users_db.transaction() as tx:
        # Both have verified the old password before either can write.
        await tx.execute(sql("SELECT 1 FROM users FOR UPDATE"))
        changes = [asyncio.create_task(service.change_password(user.id, PASSWORD, new)) for new in passwords]
        await eventually(lambda: _waits_for_a_lock(users_db, waiting=2))
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "WrongPassword"]
    winner = results.index(None)
    assert await service.sign_in(EMAIL, passwords[winner])
    with pytest.raises(InvalidCredentials):
        await service.sign_in(EMAIL, passwords[1 - winner])


async def _waits_for_a_lock(database: Database, waiting: int = 1) -> bool:
    async with database.autocommit() as connection:
        [row] = await connection.execute(
            sql("""SELECT count(*) AS waiting FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'""")
        )
    return bool(row["waiting"] == waiting)


async def test_when_too_many_passwords_wait_the_next_is_refused_and_not_counted(
    service: UserService, users_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.users.service.MAX_HASHING", 1)
    user = await service.register(EMAIL, PASSWORD, "")
    with service._hashing_slot():
        for refused in (
            service.register("ben@example.com", PASSWORD, ""),
            service.sign_in(EMAIL, PASSWORD),
            service.change_password(user.id, PASSWORD, "another good password"),
        ):
            with pytest.raises(ResourceExhausted):
                await refused
    assert [await count(users_db, table) for table in ("users", "attempts")] == [1, 0]
    assert await service.sign_in(EMAIL, PASSWORD)


async def test_who_signs_in_a_few_times_at_once_waits_for_nobody(service: UserService) -> None:
    await service.register(EMAIL, PASSWORD, "")
    assert len(await asyncio.gather(*(service.sign_in(EMAIL, PASSWORD) for _ in range(FREE_ATTEMPTS)))) == FREE_ATTEMPTS


async def test_unknown_emails_are_throttled_as_known_ones(service: UserService) -> None:
    results = await asyncio.gather(*(service.sign_in("no@example.com", "x") for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {InvalidCredentials, TooManyAttempts}


async def test_old_failures_are_forgotten(service: UserService, users_db: Database) -> None:
    await service.register(EMAIL, PASSWORD, "")
    with pytest.raises(InvalidCredentials):
        await service.sign_in(EMAIL, "wrong")
    await run(users_db, "UPDATE attempts SET failures = 1000, last_at = now() - interval '25 hours'")
    with pytest.raises(InvalidCredentials):
        await service.sign_in(EMAIL, "wrong")
    assert await service.sign_in(EMAIL, PASSWORD)
