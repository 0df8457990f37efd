"""A backup taken under load, and all of its log since, become a second stack as of a moment: point-in-time recovery."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from stack import binaries, control
from stack.config import SYSTEM, Options
from stack.home import DEFAULT_HOME, Home, Stack
from tests.bench.stack import RATE_LIMIT_SCALE, own_stack
from tests.chaos.verify import settle
from tests.drills.load import QUICK_WORKERS, broken_rules, console, crowd

LOAD_SECONDS = 5.0
ARCHIVED_SECONDS = 30.0


async def restore() -> list[str]:
    """Backs up under load, restores to a moment after that, and returns what is wrong with the second stack."""
    async with own_stack("drill", log_level="info", settings=QUICK_WORKERS) as stack:
        base, archive = stack.home.path / "backup" / "base", stack.home.path / "backup" / "wal"
        archive.mkdir(parents=True)
        async with _receiving(stack, archive), crowd(stack) as people:
            await asyncio.sleep(LOAD_SECONDS)
            people.tell("the base backup begins")
            await _run(stack, "pg_basebackup", f"--pgdata={base}", "--checkpoint=fast")
            people.tell(f"the base backup has {_megabytes(base)} MB")
            await asyncio.sleep(LOAD_SECONDS)
            before = people.accepted
            moment = str(await _postgres(stack, "postgres", "SELECT now()"))
            people.tell(f"{len(before)} orders were accepted until {moment}, the moment to restore")
            await asyncio.sleep(LOAD_SECONDS)
            await _postgres(stack, "payments", "UPDATE accounts SET balance = held")
            people.tell("an accident: nobody has money; that is in the archive too")
            if not await broken_rules(stack):
                return ["gozon check does not notice the accident"]
            await _archive_all(stack, archive)
        console.print(f"The archive has {_megabytes(archive)} MB; {len(people.accepted)} orders were accepted in all")
        after = await _orders(stack, f"WHERE created_at > '{moment}'")
        second = _second_home(stack, base, archive, moment)
        try:
            return await _judge(second, before, after)
        finally:
            control.down(second)
            shutil.rmtree(second.path)


def _second_home(stack: Stack, base: Path, archive: Path, moment: str) -> Home:
    """Makes a home of the backup, with the secrets of the first one; PostgreSQL will recover to the moment."""
    home = Home(Path(tempfile.mkdtemp(prefix="drill-restored-", dir=DEFAULT_HOME)))
    shutil.copy2(stack.home.path / "secrets.json", home.path)
    shutil.copytree(stack.home.signing_keys, home.signing_keys)
    base.rename(home.postgres_data)
    with (home.postgres_data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f'restore_command = \'cp "{archive}/%f" "%p"\'\n')
        settings.write(f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n")
    (home.postgres_data / "recovery.signal").touch()
    return home


async def _judge(home: Home, before: set[str], after: set[str]) -> list[str]:
    """Starts what was restored, and returns what it lacks, has too much, or has wrong."""
    began = time.monotonic()
    options = Options(free_ports=True, instances={SYSTEM: 0}, rate_limit_scale=RATE_LIMIT_SCALE, settings=QUICK_WORKERS)
    await asyncio.to_thread(control.up, home, options, lambda _: None)
    stack = Stack.load(home)
    console.print(f"The second stack is up after {time.monotonic() - began:.1f} s")
    has = await _orders(stack)
    found = [f"the order {order_id}, accepted before, is lost" for order_id in before - has]
    found += [f"the order {order_id} was made after" for order_id in after & has]
    unanswered = await _postgres(stack, "orders", "SELECT count(*) FROM orders WHERE asked_at IS NOT NULL")
    console.print(f"It has {len(has)} orders, {unanswered} of them not paid yet, and none of {len(after)} made after")
    console.print(f"They are settled after another {await settle(stack):.1f} s")
    found += await broken_rules(stack)
    async with crowd(stack) as people:
        await asyncio.sleep(LOAD_SECONDS)
    people.report()
    found += [*people.refused, *(problem for book in (*people.books, people.visitor) for problem in book.problems)]
    await settle(stack)
    return found + await broken_rules(stack)


@asynccontextmanager
async def _receiving(stack: Stack, archive: Path) -> AsyncIterator[None]:
    """Archives the log as it is written; the slot keeps on the server what the archive has not got yet."""
    slot = "--slot=archive"
    await _run(stack, "pg_receivewal", slot, "--create-slot", "--if-not-exists")
    receiver = await _start(stack, "pg_receivewal", slot, f"--directory={archive}")
    try:
        yield
    finally:
        receiver.terminate()
        await receiver.wait()


async def _archive_all(stack: Stack, archive: Path) -> None:
    """Ends the present file of the log, and waits until it is archived."""
    name = await _postgres(stack, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")
    await _postgres(stack, "postgres", "SELECT pg_switch_wal()")
    async with asyncio.timeout(ARCHIVED_SECONDS):
        while not (archive / str(name)).exists():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


async def _run(stack: Stack, program: str, *words: str) -> None:
    process = await _start(stack, program, *words)
    if await process.wait():
        raise RuntimeError(f"{program} failed")


async def _start(stack: Stack, program: str, *words: str) -> asyncio.subprocess.Process:
    port = str(stack.config.ports["postgres"])
    # Not on the command line, which everybody sees.
    login = {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "postgres", "PGPASSWORD": stack.secrets.postgres}
    command = [*binaries.dying_with_parent("TERM"), str(binaries.postgres(program)), *words]
    return await asyncio.create_subprocess_exec(*command, env={**os.environ, **login})


async def _postgres(stack: Stack, database: str, statement: str) -> object:
    """Runs a statement as the superuser, and returns the one value it gives."""
    connection = await asyncpg.connect(stack.superuser_url(database))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def _orders(stack: Stack, where: str = "") -> set[str]:
    connection = await asyncpg.connect(stack.superuser_url("orders"))
    try:
        return {str(row["id"]) for row in await connection.fetch(f"SELECT id FROM orders {where}")}
    finally:
        await connection.close()


def _megabytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // 1_000_000
