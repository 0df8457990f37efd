"""What has expired goes, by itself and when somebody asks."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from kit.db import Database
from services.users import repository
from services.users.domain import InvalidCredentials
from services.users.service import UserService
from tests.support import count, eventually, scanned_whole
from tests.users.steps import EMAIL, PASSWORD, run


async def test_what_has_expired_is_deleted(service: UserService, users_db: Database) -> None:
    await service.register(EMAIL, PASSWORD, "")
    await service.sign_in(EMAIL, PASSWORD)
    kept = await service.sign_in(EMAIL, PASSWORD)
    with pytest.raises(InvalidCredentials):
        await service.sign_in("old@example.com", "wrong")
    with pytest.raises(InvalidCredentials):
        await service.sign_in(EMAIL, "wrong")
    old = datetime.now(UTC) - timedelta(days=2)
    for table, column in (("attempts", "last_at"), ("refresh_tokens", "expires_at")):
        await run(users_db, f"UPDATE {table} SET {column} = '{old}' WHERE ctid = (SELECT min(ctid) FROM {table})")
    cleaning = asyncio.create_task(service.clean_now_and_then())

    async def clean() -> bool:
        return (await count(users_db, "refresh_tokens"), await count(users_db, "attempts")) == (1, 1)

    await eventually(clean)
    cleaning.cancel()
    assert await service.refresh(kept.refresh_token)


async def test_who_asks_for_cleaning_is_told_how_much_it_was(service: UserService, users_db: Database) -> None:
    await service.register(EMAIL, PASSWORD, "")
    for _ in range(3):
        await service.sign_in(EMAIL, PASSWORD)
    await run(
        users_db,
        """INSERT INTO attempts
           SELECT decode(lpad(n::text, 64, '0'), 'hex'), 1, now() - make_interval(hours => n, mins => 1)
           FROM generate_series(1, 30) AS n""",
    )
    await run(
        users_db, "UPDATE refresh_tokens SET expires_at = now() WHERE ctid <> (SELECT min(ctid) FROM refresh_tokens)"
    )
    # By two at once, as two schedulers ask.
    both = await asyncio.gather(service.clean_up(), service.clean_up())
    assert {table: sum(of[table] for of in both) for table in both[0]} == {"refresh_tokens": 2, "attempts": 7}
    assert await count(users_db, "refresh_tokens") == 1


async def test_cleaning_does_not_walk_through_a_table(service: UserService, users_db: Database) -> None:
    user = await service.register(EMAIL, PASSWORD, "")
    await run(
        users_db,
        f"""INSERT INTO refresh_tokens SELECT decode(lpad(n::text, 64, '0'), 'hex'), '{user.id}', '{user.id}', now()
            FROM generate_series(1, 20000) AS n""",
    )
    await run(
        users_db,
        """INSERT INTO attempts SELECT decode(lpad(n::text, 64, '0'), 'hex'), 1, now()
           FROM generate_series(1, 20000) AS n""",
    )
    for old in (False, True):
        # When nothing is old, and when everything is.
        before = datetime.now(UTC) + timedelta(days=1 if old else -1)
        for table in ("refresh_tokens", "attempts"):
            await run(users_db, f"VACUUM ANALYZE {table}")
        async with users_db.autocommit() as connection:
            for statement in (repository._CLEAN_TOKENS, repository._CLEAN_ATTEMPTS):
                assert await scanned_whole(connection, statement, before=before, limit=1000) == set(), statement.text
