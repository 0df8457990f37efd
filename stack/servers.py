"""Sets the servers up: PostgreSQL's data, roles and databases, and the configuration files of NATS and Valkey."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import asyncpg

from stack import binaries
from stack.config import LOOPBACK, NATS, SERVICES
from stack.home import Stack, write_private


def initdb_command(data: Path, password_file: Path) -> list[str]:
    """The command that makes a data directory where only passwords open a connection."""
    return [
        *binaries.as_postgres_user(),
        *binaries.dying_with_parent("KILL"),
        str(binaries.postgres("initdb")),
        f"--pgdata={data}",
        "--username=postgres",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # The same order of strings on every machine, whatever its C library.
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        "--no-instructions",
    ]


class NewCluster:
    """A data directory in the making: it gets its name only when it is whole, so that a crash leaves no half."""

    def __init__(self, stack: Stack) -> None:
        self._final = stack.home.postgres_data
        self._folder = Path(tempfile.mkdtemp(prefix=".initdb.", dir=stack.home.path))
        password_file = self._folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(stack.secrets.postgres)
        self.command = initdb_command(self._folder / "data", password_file)

    def finish(self) -> None:
        """Puts the directory in its place."""
        (self._folder / "data").replace(self._final)
        self.discard()

    def discard(self) -> None:
        """Removes what is left."""
        shutil.rmtree(self._folder, ignore_errors=True)


async def create_databases(stack: Stack) -> None:
    """Creates what is missing: one role a service, and a database that no other role can enter but the auditor."""
    connection = await asyncpg.connect(stack.superuser_url())
    try:
        # DDL takes no parameters: the names are ours and a password has only letters, digits, - and _.
        # Whoever is there already and is none of ours keeps the way in: a standby of CloudNativePG that rewinds, and
        # its metrics, go through `postgres`.
        others = await connection.fetch(
            "SELECT quote_ident(rolname) AS name FROM pg_roles "
            "WHERE rolcanlogin AND NOT rolsuper AND rolname <> ALL($1)",
            [*SERVICES, "auditor"],
        )
        for other in others:
            await connection.execute(f"GRANT CONNECT ON DATABASE postgres TO {other['name']}")
        await connection.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
        for service in SERVICES:
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", service):
                password = getattr(stack.secrets, service)
                await connection.execute(f"CREATE ROLE {service} LOGIN PASSWORD '{password}'")
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", service):
                await connection.execute(f"CREATE DATABASE {service} OWNER {service}")
            await connection.execute(f"REVOKE CONNECT ON DATABASE {service} FROM PUBLIC")
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = 'auditor'"):
            await connection.execute(f"CREATE ROLE auditor LOGIN PASSWORD '{stack.secrets.auditor}'")
            await connection.execute("GRANT pg_read_all_data TO auditor")
        await connection.execute("GRANT CONNECT ON DATABASE orders, payments TO auditor")
    finally:
        await connection.close()


def write_configs(stack: Stack) -> None:
    """Writes the files of NATS and of both Valkeys: they hold passwords, which command lines show to everybody."""
    folder = stack.home.path
    servers = stack.config.instance_names(NATS)
    for name in servers:
        # Not that of a lone server, whose streams a cluster does not know.
        store = folder / "nats" if len(servers) == 1 else folder / "nats-cluster" / name
        write_private(stack.home.nats_config(name), nats_config(stack, store, name))
    write_private(stack.home.valkey_config, valkey_config(stack, folder / "valkey"))
    write_private(stack.home.broker_config, broker_config(stack, folder / "broker"))


def nats_config(stack: Stack, store: Path, name: str = NATS) -> str:
    """The file of a server of NATS, which keeps its streams in a folder."""
    host, ports, login = stack.config.listen_host, stack.config.ports, {"user": "gozon", "password": stack.secrets.nats}
    settings: dict[str, Any] = {
        "listen": f"{host}:{ports[name]}",
        "http": f"{host}:{ports[f'{name}-monitor']}",
        "jetstream": {"store_dir": str(store)},
        "authorization": {"users": [login]},
    }
    if len(names := stack.config.instance_names(NATS)) > 1:
        settings["server_name"] = name
        settings["cluster"] = {
            "name": "gozon",
            "listen": f"{LOOPBACK}:{ports[f'{name}-cluster']}",
            "authorization": login,
            "routes": [f"nats://gozon:{stack.secrets.nats}@{LOOPBACK}:{ports[f'{each}-cluster']}" for each in names],
            # Clients know all of them, with the password.
            "no_advertise": True,
        }
    return json.dumps(settings, indent=2)  # NATS reads JSON too


def valkey_config(stack: Stack, folder: Path) -> str:
    """The file of the cache, whose folder stays empty."""
    # A cache: nothing is written to disk, and what was not used for longest makes room.
    return f"""bind {stack.config.listen_host}
port {stack.config.ports["valkey"]}
requirepass {stack.secrets.valkey}
dir "{folder}"
save ""
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
"""


def broker_config(stack: Stack, folder: Path) -> str:
    """The file of the workers' broker, which keeps its tasks in a folder."""
    # Tasks: what does not fit is refused instead of forgotten, and what there is survives a restart, but for the last
    # second; who knows what was not done asks again.
    return f"""bind {stack.config.listen_host}
port {stack.config.ports["broker"]}
requirepass {stack.secrets.broker}
dir "{folder}"
save ""
appendonly yes
appendfsync everysec
maxmemory 128mb
maxmemory-policy noeviction
"""
