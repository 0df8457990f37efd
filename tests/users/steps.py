"""What tests of Users do by the way."""

from kit.db import Database, sql

EMAIL, PASSWORD = "ann@example.com", "correct horse battery staple"


async def run(database: Database, statement: str) -> None:
    """Runs a statement on its own."""
    async with database.autocommit() as connection:
        await connection.execute(sql(statement))
