"""The databases on a server that has other roles than ours, such as those of an operator."""

import asyncpg

from stack import servers
from stack.home import Home, Stack
from tests.support import RunningStack, unique


async def test_roles_of_others_keep_their_way_in_and_get_none_into_ours(stack: RunningStack) -> None:
    other = unique("standby")
    connection = await asyncpg.connect(stack.superuser_url)
    try:
        await connection.execute(f"CREATE ROLE {other} LOGIN")
        await servers.create_databases(Stack.load(Home(stack.home)))
        may_enter = {
            (role, database): await connection.fetchval(
                "SELECT has_database_privilege($1, $2, 'CONNECT')", role, database
            )
            for role in (other, "orders")
            for database in ("postgres", "orders", "payments")
        }
    finally:
        await connection.execute(f"DROP OWNED BY {other}; DROP ROLE {other}")
        await connection.close()
    assert [pair for pair, may in may_enter.items() if may] == [(other, "postgres"), ("orders", "orders")]
