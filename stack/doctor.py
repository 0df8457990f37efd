"""`gozon doctor`: is this machine fit to run Gozon, and is the home folder in order?"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stack import binaries
from stack.config import Config, port_is_free
from stack.home import Home

MIN_PYTHON = (3, 11)
# What the servers' wheels are built for.
MIN_GLIBC = (2, 28)
MIN_FREE_BYTES = 2 * 1024**3
RUN_SECONDS = 20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` says what to do when it is not `ok`."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def examine(home: Home) -> Iterator[Finding]:
    """Looks at everything, one finding after the other."""
    yield _python()
    yield _glibc()
    yield _disk(home)
    for name, command in _programs():
        yield _program(name, command)
    yield from _ports(home)
    if home.path.exists():
        yield _permissions(home)
        yield _leftovers(home)


def _python() -> Finding:
    ok = sys.version_info >= MIN_PYTHON
    return Finding("Python", ok, platform.python_version(), "install Python 3.11 or newer, delete .venv, make up")


def _glibc() -> Finding:
    library, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    advice = f"use a Linux with glibc {'.'.join(map(str, MIN_GLIBC))} or newer, not musl"
    return Finding("C library", library == "glibc" and numbers >= MIN_GLIBC, f"{library} {version}".strip(), advice)


def _disk(home: Home) -> Finding:
    folder = next(parent for parent in (home.path, *home.path.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    advice = f"make room for at least {MIN_FREE_BYTES / 1024**3:.0f} GiB, or choose another folder with --home"
    return Finding("free disk", free >= MIN_FREE_BYTES, f"{free / 1024**3:.1f} GiB in {folder}", advice)


def _programs() -> list[tuple[str, Callable[[], list[str]]]]:
    # Functions, because a program that is not installed is a finding too.
    return [
        (
            "PostgreSQL",
            lambda: [*binaries.as_postgres_user(), *_tied(), str(binaries.postgres("postgres")), "--version"],
        ),
        ("NATS", lambda: [*_tied(), str(binaries.nats_server()), "--version"]),
        ("Valkey", lambda: [*_tied(), str(binaries.valkey_server()), "--version"]),
        ("Caddy", lambda: [*_tied(), str(binaries.caddy()), "version"]),
        ("Envoy", lambda: [*_tied(), str(binaries.envoy()), "--version"]),
    ]


def _tied() -> list[str]:
    return binaries.dying_with_parent("KILL")


def _program(name: str, command: Callable[[], list[str]]) -> Finding:
    """Runs a program as the stack does, wrappers included."""
    advice = "delete .venv and run make up; setpriv and unshare come with util-linux"
    if os.geteuid() == 0 and name == "PostgreSQL":
        advice += "; as root this needs user namespaces: run Gozon as another user if they are forbidden here"
    try:
        run = subprocess.run(  # noqa: S603 - commands of stack/binaries.py
            command(), capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
    except (binaries.BinaryError, OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, False, str(error), advice)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
    return Finding(name, run.returncode == 0, lines[0].strip() if lines else "", advice)


def _ports(home: Home) -> Iterator[Finding]:
    if home.is_supervised():
        yield Finding("ports", True, "in use by the stack that runs here")
        return
    for name, port in (home.config() or Config()).ports.items():
        if not port_is_free(port):
            other = home.command("up", "--port", f"{name}=NUMBER")
            advice = f"stop what listens there (ss -ltnp), or choose another: {other}"
            yield Finding(f"port {name}", False, f"{port} is taken", advice)
            return
    yield Finding("ports", True, "all free")


def _permissions(home: Home) -> Finding:
    exposed = [path for path in _private(home) if path.exists() and path.stat().st_mode & 0o077]
    foreign = [path for path in _private(home) if path.exists() and path.stat().st_uid != os.geteuid()]
    if foreign:
        advice = f"run make as the user who owns {foreign[0]}, or choose another --home"
        return Finding("home", False, f"{foreign[0]} belongs to another user", advice)
    names = ", ".join(str(path) for path in exposed)
    return Finding(
        "home",
        not exposed,
        f"open to others: {names}" if exposed else f"{home.path}, closed to others",
        f"chmod go= {names}",
    )


def _private(home: Home) -> list[Path]:
    return [
        home.path,
        home.path / "secrets.json",
        *home.signing_keys.glob("*.pem"),
        home.nats_config(),
        home.valkey_config,
    ]


def _leftovers(home: Home) -> Finding:
    if home.is_supervised():
        return Finding("leftovers", True, "the stack runs")
    alive = [f"{name} ({pid})" for name, pid in home.living().items()]
    return Finding("leftovers", not alive, ", ".join(alive) or "none", f"{home.command('down')} ends them")
