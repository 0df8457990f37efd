"""Reading the logs: their end, and what is added to them."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from stack.home import Home

POLL_SECONDS = 0.2
# Escape sequences of a terminal, which logs may hold and files should not.
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def tail(home: Home, process: str, lines: int) -> list[str]:
    """The last lines of a process's log."""
    try:
        with home.log(process).open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - lines * 1000))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def last_lines(home: Home, names: list[str], lines: int) -> Iterator[tuple[str, str]]:
    """Yields (process, line) for the last lines of each log."""
    for name in names:
        for line in tail(home, name, lines):
            yield name, line


def follow(home: Home, names: list[str]) -> Iterator[tuple[str, str]]:
    """Yields (process, line) for each line that is written from now on, for ever."""
    positions = {name: _size(home.log(name)) for name in names}
    unfinished = dict.fromkeys(names, b"")
    while True:
        for name in names:
            log = home.log(name)
            # A log that was put aside starts anew.
            position = positions[name] if positions[name] <= _size(log) else 0
            if position == _size(log):
                continue
            with log.open("rb") as file:
                file.seek(position)
                added = file.read()
            positions[name] = position + len(added)
            *complete, unfinished[name] = (unfinished[name] + added).split(b"\n")
            for line in complete:
                yield name, line.decode(errors="replace")
        time.sleep(POLL_SECONDS)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
