"""The audit that System does by itself; what its rules find is the matter of tests/stack/test_check.py."""

import asyncpg
import pytest

from gozon.system.v1.system_pb2 import Audit, AuditRule
from kit.db import Database, sql
from services.system.auditor import Auditor
from stack.home import Home, Stack
from tests.support import RunningStack, free_port

SELF_MADE_MONEY = sql("""
    INSERT INTO accounts (user_id, currency, balance, held, number, hash, created_at, updated_at)
    VALUES (gen_random_uuid(), 'RUB', 5, 0, 0, '', now(), now())
""")


async def test_a_lie_is_found_and_a_database_that_is_away_is_no_lie(orders_db: Database, payments_db: Database) -> None:
    urls = {"orders": orders_db._url, "payments": payments_db._url}
    auditor = Auditor(urls, 60)
    assert auditor.found.state == Audit.UNKNOWN

    await auditor.look()
    assert auditor.found.state == Audit.HOLDS
    assert {rule.guarantee for rule in auditor.found.rules} == set(AuditRule.Guarantee.values()) - {0}

    async with payments_db.autocommit() as connection:
        await connection.execute(SELF_MADE_MONEY)
    await auditor.look()
    broken = {rule.rule: rule.broken for rule in auditor.found.rules if rule.broken}
    assert (auditor.found.state, broken["a balance is the sum of its entries"]) == (Audit.BROKEN, 1)

    finished_at = auditor.found.finished_at
    urls["orders"] = f"postgresql://orders@127.0.0.1:{free_port()}/orders"
    await auditor.look()
    assert (auditor.found.state, auditor.found.finished_at) == (Audit.UNKNOWN, finished_at)
    assert {rule.rule: rule.broken for rule in auditor.found.rules if rule.broken} == broken


async def test_its_role_reads_everything_that_it_needs_and_writes_nothing(stack: RunningStack) -> None:
    own = Stack.load(Home(stack.home))
    for database, table in (("orders", "orders"), ("payments", "transactions")):
        connection = await asyncpg.connect(own.auditor_url(database))
        try:
            await connection.fetch(f"SELECT * FROM {table} LIMIT 1")
            for statement in (f"DELETE FROM {table} WHERE false", "CREATE TABLE mine (id int)"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        finally:
            await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(own.auditor_url("users"))
