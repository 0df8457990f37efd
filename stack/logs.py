"""`gozon logs`: the end of the logs, and what is added to them."""

import time
from collections.abc import Iterator
from pathlib import Path

from stack.control import tail
from stack.home import Home

POLL_SECONDS = 0.2


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
