"""The folder a stack lives in: data, logs, secrets, what was chosen, and what is running."""

import base64
import fcntl
import json
import os
import secrets
import shlex
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from stack.config import DEFAULT_PORTS, NATS, SCALED, SERVICES, Config
from stack.proc import start_ticks

ADMIN_EMAIL = "admin@gozon.local"
"""Who the first administrator is."""
CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_HOME = CHECKOUT / ".gozon"


class HomeError(Exception):
    """The home folder can't be used; the message says why and what to do."""


@dataclass(frozen=True)
class Secrets:
    """Secrets of one stack. Passwords have 192 bits each, and are safe in URLs and in SQL literals."""

    postgres: str
    users: str
    orders: str
    payments: str
    auditor: str
    """Of the role that may read the databases of the others."""
    nats: str
    valkey: str
    broker: str
    worker: str
    """What workers show Users."""
    provider: str
    admin: str
    payout_keys: str
    """They seal who is paid by payouts (kit/sealing.py); without them no payout that waits can be paid."""


@dataclass(frozen=True)
class Home:
    """Paths inside the folder, and the files that are read and written whole."""

    path: Path

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.path / "logs"

    @property
    def postgres_data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.path / "postgres"

    @property
    def signing_keys(self) -> Path:
        """Folder of the private keys that sign access tokens (see kit/keys.py)."""
        return self.path / "keys"

    @property
    def envoy_config(self) -> Path:
        """edge/envoy.yaml with this stack's addresses."""
        return self.path / "envoy.yaml"

    @property
    def provider_book(self) -> Path:
        """What the payout provider has done, which is simulated."""
        return self.path / "provider" / "book.sqlite"

    def nats_config(self, name: str = NATS) -> Path:
        """Settings of a server of NATS, with its password."""
        return self.path / f"{name}.conf"

    @property
    def valkey_config(self) -> Path:
        """Valkey's settings, with its password."""
        return self.path / "valkey.conf"

    @property
    def broker_config(self) -> Path:
        """The settings of the workers' broker, with its password."""
        return self.path / "broker.conf"

    @property
    def beat_file(self) -> Path:
        """Where beat notes what it started when."""
        return self.path / "beat" / "schedule"

    def log(self, process: str) -> Path:
        """Where a process writes."""
        return self.logs / f"{process}.log"

    def create(self) -> None:
        """Makes the folder, closed to other users. Does nothing when it exists."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        servers = (self.path / name for name in ("nats", "valkey", "broker"))
        for folder in (self.logs, *servers, self.provider_book.parent, self.beat_file.parent):
            folder.mkdir(mode=0o700, exist_ok=True)

    def secrets(self) -> Secrets:
        """Reads the secrets, creating those that are missing, and the first signing key.

        All are missing the first time, that of a new service after an upgrade. Raises HomeError when data exists whose
        passwords are gone.
        """
        file = self.path / "secrets.json"
        stored = _read_json(file)
        if not stored and self.postgres_data.exists():
            raise HomeError(f"{file} is gone but its databases are there: put it back, or {self.command('reset')}")
        names = Secrets.__dataclass_fields__
        if missing := {name: _new_secret(name) for name in names if name not in stored}:
            stored |= missing
            write_private(file, json.dumps(stored, indent=2))
        if not self.signing_keys.exists():
            self._make_first_key()
        return Secrets(**{name: stored[name] for name in names})

    def _make_first_key(self) -> None:
        # Imported here, because it takes longer than all the rest and is needed once.
        from kit import keys  # noqa: PLC0415

        self.signing_keys.mkdir(mode=0o700)
        keys.add(self.signing_keys, datetime.now(UTC))

    def config(self) -> Config | None:
        """What the last `gozon up` chose; None before the first."""
        data = _read_json(self.path / "config.json")
        if not data:
            return None
        # It may be older than a service.
        ports = {**DEFAULT_PORTS, **data["ports"]}
        instances = dict.fromkeys((*SCALED, NATS), 1) | data["instances"]
        return Config(**data | {"ports": ports, "instances": instances})

    def save_config(self, config: Config) -> None:
        """Remembers what was chosen."""
        write_private(self.path / "config.json", json.dumps(asdict(config), indent=2))

    def is_ours(self) -> bool:
        """Says whether `gozon up` made this folder, so that another one is never deleted by mistake."""
        return (self.path / "gozon.lock").exists()

    def rotate_logs(self) -> None:
        """Puts the logs of the last run aside, as NAME.log.1, in place of those of the run before."""
        for log in self.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))

    def state(self) -> dict[str, Any]:
        """What the supervisor last wrote; empty when nothing ever ran. See stack/state.py."""
        return _read_json(self.path / "state.json")

    def save_state(self, state: dict[str, Any]) -> None:
        """Replaces the state in one step, so that readers never see half of it."""
        write_private(self.path / "state.json", json.dumps(state, indent=2))

    def lock(self) -> int | None:
        """Takes the lock of who starts or runs a stack here; None when another holds it.

        The kernel frees it however its holder ends. Returns the file descriptor to keep open.
        """
        descriptor = os.open(self.path / "gozon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_supervised(self) -> bool:
        """Says whether the supervisor that last wrote the state lives."""
        supervisor = self.state().get("supervisor")
        return supervisor is not None and start_ticks(supervisor["pid"]) == supervisor["started"]

    def living(self) -> dict[str, int]:
        """Pids by name of the processes in the state that live; without a supervisor they are leftovers."""
        return {
            name: facts["pid"]
            for name, facts in self.state().get("processes", {}).items()
            if facts.get("started") and start_ticks(facts["pid"]) == facts["started"]
        }

    def command(self, name: str, *arguments: str) -> str:
        """What to type for a command on this stack: through make, because .venv/bin is on nobody's PATH."""
        words = [*arguments] if self.path == DEFAULT_HOME else ["--home", str(self.path), *arguments]
        return f"make {name} ARGS={shlex.quote(shlex.join(words))}" if words else f"make {name}"


@dataclass(frozen=True)
class Stack:
    """Everything that processes are built from, and the addresses they are reached at."""

    home: Home
    config: Config
    secrets: Secrets

    @classmethod
    def load(cls, home: Home) -> Self:
        """What was chosen at the last `gozon up`, with its passwords. Raises HomeError when there was none."""
        config = home.config()
        if config is None:
            raise HomeError(f"there is no stack in {home.path}: {home.command('up')} first")
        return cls(home, config, home.secrets())

    @property
    def edge_url(self) -> str:
        """The public address, REST and gRPC."""
        return f"http://{self.config.address('edge')}"

    @property
    def nats_url(self) -> str:
        """NATS with user and password; several with commas between them."""
        addresses = [self.config.address(name) for name in self.config.instance_names(NATS)]
        return ",".join(f"nats://gozon:{self.secrets.nats}@{address}" for address in addresses)

    @property
    def bus_env(self) -> dict[str, str]:
        """What every process with a bus is told of NATS."""
        replicas = self.config.instances[NATS]
        return {"GOZON_NATS_URL": self.nats_url} | ({"GOZON_STREAM_REPLICAS": str(replicas)} if replicas > 1 else {})

    @property
    def redis_url(self) -> str:
        """Valkey with its password."""
        return f"redis://:{self.secrets.valkey}@{self.config.address('valkey')}/0"

    @property
    def broker_url(self) -> str:
        """The workers' broker with its password."""
        return f"redis://:{self.secrets.broker}@{self.config.address('broker')}/0"

    @property
    def provider_url(self) -> str:
        """The payout provider, which is simulated."""
        return f"http://{self.config.address('provider')}"

    def database_url(self, service: str) -> str:
        """The database of a service, as its own role."""
        return self._postgres_url(service, asdict(self.secrets)[service], service)

    def superuser_url(self, database: str = "postgres") -> str:
        """A database as the superuser: for setting up and checking, never for a service."""
        return self._postgres_url("postgres", self.secrets.postgres, database)

    def auditor_url(self, database: str) -> str:
        """A database as the role that may read all of it and change nothing."""
        return self._postgres_url("auditor", self.secrets.auditor, database)

    def _postgres_url(self, role: str, password: str, database: str) -> str:
        hosts = self.config.postgres or self.config.address("postgres")
        which = "?target_session_attrs=primary" if "," in hosts else ""
        return f"postgresql://{role}:{password}@{hosts}/{database}{which}"

    def urls(self) -> dict[str, str]:
        """The addresses that hold no secret."""
        return {
            "edge": self.edge_url,
            "docs": f"{self.edge_url}/docs",
            "envoy_admin": f"http://{self.config.address('envoy-admin')}",
            "nats_monitor": f"http://{self.config.address('nats-monitor')}",
        }

    def secret_urls(self) -> dict[str, str]:
        """The addresses with passwords in them, for tests and tools."""
        return {
            "nats": self.nats_url,
            "redis": self.redis_url,
            "broker": self.broker_url,
            "postgres": self.superuser_url(),
            **{f"{service}_database": self.database_url(service) for service in SERVICES},
        }


def _new_secret(name: str) -> str:
    if name == "payout_keys":
        return base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(24)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, in one step."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(temporary).replace(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return data
