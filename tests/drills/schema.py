"""An upgrade with migrations: old code on the new schema, old and new code beside each other, then new code alone.

With `code_first` the new code is put to work before the migrations, which is more than docs/operations.md promises:
only a migration that the new code can do without allows it.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack import control
from stack.config import SERVICES, WORKERS
from stack.home import CHECKOUT, DEFAULT_HOME, Home, Stack
from stack.restart import restart
from tests.bench.stack import RATE_LIMIT_SCALE
from tests.drills.load import Crowd, console, crowd, outcome

BESIDE_SECONDS = 5.0
"""For so long code runs on the other's schema."""
SPARED = "services/orders/migrations/versions/0007_orders_to_ship.py"
"""An index: the newest migration that the code can do without."""
INSTANCES = ",".join([*(f"{service}=2" for service in SERVICES), *(f"{kind}=0" for kind in WORKERS)])


async def schema(before: str, after: str, *, code_first: bool) -> list[str]:
    """Runs commit `before`, upgrades to commit `after` under load, and returns what is wrong."""
    # Of this checkout: in the other one HEAD is another commit.
    before, after = (_git("rev-parse", commit) for commit in (before, after))
    with _checkout(before) as folder:
        DEFAULT_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = Home(Path(tempfile.mkdtemp(prefix="drill-", dir=DEFAULT_HOME)))
        try:
            scale = ("--rate-limit-scale", str(RATE_LIMIT_SCALE))
            await _gozon(folder, home, "up", "--free-ports", "--instances", INSTANCES, *scale)
            stack = Stack.load(home)
            async with crowd(stack) as people:
                await asyncio.sleep(BESIDE_SECONDS)
                _git("-C", str(folder), "checkout", "--quiet", after)
                steps = (_migrate, _restart) if not code_first else (_restart, _migrate)
                for step in steps:
                    await step(folder, stack, people)
                    await asyncio.sleep(BESIDE_SECONDS)
            return await outcome(stack, people, may_fail=False)
        finally:
            control.down(home)
            shutil.rmtree(home.path, ignore_errors=True)


def newest_migration(*, code_first: bool) -> str:
    """Returns the commit that brought the newest migration, or the newest that code can do without."""
    files = [SPARED] if code_first else [f"services/{name}/migrations/versions" for name in SERVICES]
    return _git("log", "-1", "--no-merges", "--diff-filter=A", "--format=%h", "--", *files)


async def _migrate(folder: Path, stack: Stack, people: Crowd) -> None:
    people.tell("the migrations begin")
    await _gozon(folder, stack.home, "migrate")
    people.tell("the migrations are done")


async def _restart(_folder: Path, stack: Stack, people: Crowd) -> None:
    await restart(stack, [name for kind in SERVICES for name in stack.config.instance_names(kind)], people.tell)


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """Checks a commit out in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="gozon-drill-"))
    _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
    # Once, and not by each of its processes at the same time.
    subprocess.run((sys.executable, "-m", "compileall", "-q", folder), check=True, env=_environment(folder))
    console.print(f"Begins with {_git('log', '-1', '--format=%h %s', commit)}", markup=False)
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


async def _gozon(folder: Path, home: Home, *words: str) -> None:
    """Runs `gozon` with the code in a folder. Errors: RuntimeError when it fails."""
    command = (sys.executable, "-c", "from stack.cli import main; main()", *words, "--home", str(home.path))
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=_environment(folder), stdout=subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError(f"gozon {words[0]} failed")


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{folder}:{folder / 'gen'}"}


def _git(*words: str) -> str:
    done = subprocess.run(("git", "-C", CHECKOUT, *words), check=True, capture_output=True, text=True)
    return done.stdout.strip()
