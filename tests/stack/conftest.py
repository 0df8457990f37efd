"""A stack that tests of the stack may kill: the shared one is for everybody else."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.support import CHEAP_PASSWORDS, gozon

MAX_DEPOSIT = 5_000_000


@dataclass(frozen=True)
class OwnStack:
    """A home folder, and the `gozon` command on it."""

    home: Path

    def gozon(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return gozon(*arguments, "--home", str(self.home))

    def json(self, *arguments: str) -> dict[str, Any]:
        """Runs a command with --json and returns what it prints."""
        found: dict[str, Any] = json.loads(self.gozon(*arguments, "--json").stdout)
        return found

    def up(self) -> None:
        """Starts it on free ports with a setting of its own; fails the test when it does not come up."""
        own = ("--instances", "worker-orders=0,system=0", "--setting", f"payments.max_deposit={MAX_DEPOSIT}")
        result = self.gozon("up", "--free-ports", "--rate-limit-scale", "100", *own, *CHEAP_PASSWORDS)
        assert result.returncode == 0, result.stdout + result.stderr

    def process(self, name: str) -> dict[str, Any]:
        """What `gozon status` says of a process."""
        return next(process for process in self.json("status")["processes"] if process["name"] == name)

    def pids(self) -> dict[int, str]:
        """Everything that works in the home folder, PostgreSQL's own processes too, with its command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and (entry / "cwd").readlink().is_relative_to(self.home):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # ended while we looked, or another user's
        return found


@pytest.fixture(scope="package")
def new_home() -> Iterator[Callable[[], OwnStack]]:
    """Makes folders for stacks; at the end each is taken down and deleted."""
    made = []

    def make() -> OwnStack:
        made.append(OwnStack(support.new_home()))
        return made[-1]

    yield make
    for own in made:
        if own.home.exists():
            reset = own.gozon("reset", "--yes")
            assert reset.returncode == 0, reset.stdout + reset.stderr


@pytest.fixture(scope="package")
def own_stack(new_home: Callable[[], OwnStack]) -> OwnStack:
    """A running stack; a test that takes it down brings it up again."""
    own = new_home()
    own.up()
    return own
