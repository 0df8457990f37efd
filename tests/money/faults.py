"""Crashes between any two statements: the processes of a test die where it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from kit.db import Connection, Row, Statement, Transaction

AFTER_COMMIT = -1


class Crash(Exception):
    """The process died here."""


@contextmanager
def crash(at: int) -> Iterator[None]:
    """Dies once in the block: before statement number `at`, counted from 0, or right after a commit for AFTER_COMMIT.

    When fewer statements are made, nobody dies. What was made before is rolled back with its transaction, as PostgreSQL
    does when its client is gone.
    """
    execute, committed = Connection.execute, Transaction.committed
    left = at

    async def execute_or_die(self: Connection, statement: Statement, **parameters: Any) -> list[Row]:
        nonlocal left
        left -= 1
        # Once: what is repeated, by a consumer or a client, is a process that was started again.
        if at != AFTER_COMMIT and left == -1:
            raise Crash
        return await execute(self, statement, **parameters)

    def commit_and_die(self: Transaction) -> None:
        nonlocal left
        if at == AFTER_COMMIT and left == AFTER_COMMIT:
            left -= 1
            raise Crash
        committed(self)

    with patch.object(Connection, "execute", execute_or_die), patch.object(Transaction, "committed", commit_and_die):
        yield
