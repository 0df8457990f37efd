"""`python -m tests.drills NAME`: what an operator does to a running system, under load; fails when anything is lost."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tests.drills.load import console
from tests.drills.restore import restore
from tests.drills.rolling import rolling

DRILLS: dict[str, Callable[[], Coroutine[Any, Any, list[str]]]] = {
    "rolling": rolling,
    "restore": restore,
}


def main() -> None:
    """Runs a drill; exits 1 and says what is wrong when anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("name", choices=DRILLS)
    given = parser.parse_args()
    try:
        found = asyncio.run(DRILLS[given.name]())
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; nothing is left running")
    for problem in found:
        console.print(f"✗ {problem}", style="red", markup=False)
    if found:
        sys.exit(1)
    console.print("✓ Nothing was lost, doubled or failed")


if __name__ == "__main__":
    main()
