"""`python -m tests.drills NAME`: what an operator does to a running system, under load; fails when anything is lost."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tests.drills.load import console
from tests.drills.nats import cluster
from tests.drills.postgres import postgres
from tests.drills.restore import restore
from tests.drills.rolling import rolling
from tests.drills.schema import newest_migration, schema

DRILLS: dict[str, Callable[[], Coroutine[Any, Any, list[str]]]] = {
    "rolling": rolling,
    "restore": restore,
    "nats": cluster,
    "postgres": postgres,
}


def main() -> None:
    """Runs a drill; exits 1 and says what is wrong when anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("name", choices=[*DRILLS, "schema"])
    upgrade = parser.add_argument_group("schema")
    upgrade.add_argument("--before", metavar="COMMIT", help="what runs at first (default: before the newest migration)")
    upgrade.add_argument("--after", metavar="COMMIT", help="what it becomes (default: HEAD)")
    upgrade.add_argument(
        "--code-first",
        action="store_true",
        help="new code on the old schema, then the migrations (default: those of the newest that code can do without)",
    )
    given = parser.parse_args()
    if given.name == "schema":
        migration = newest_migration(code_first=given.code_first)
        after = given.after or (migration if given.code_first else "HEAD")
        drill = schema(given.before or f"{migration}^", after, code_first=given.code_first)
    else:
        drill = DRILLS[given.name]()
    try:
        found = asyncio.run(drill)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")
    for problem in found:
        console.print(f"✗ {problem}", style="red", markup=False)
    if found:
        sys.exit(1)
    console.print("✓ Nothing was lost, doubled or failed")


if __name__ == "__main__":
    main()
