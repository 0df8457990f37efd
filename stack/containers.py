"""What docker-compose.yml runs before the rest: the secrets, and what each container gets of them.

The home folder is a volume. Each container sees its own folder in it, CONTAINER/, as /run/secrets, and nothing else.
On Kubernetes such a folder is a Secret of that name.
"""

import base64
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stack import edge, servers
from stack.config import LONE, PUSH, SERVICES, SYSTEM, WORKERS, Options, choose
from stack.home import CHECKOUT, Home, Stack
from stack.processes import process_env

METRICS_PORT = 9100
PROGRAMS = (*SERVICES, PUSH, SYSTEM, *LONE, *WORKERS)
HOSTS = {
    "edge": "envoy",
    "web": "web",
    "postgres": "postgres",
    "nats": "nats",
    "nats-monitor": "nats",
    "valkey": "valkey",
    "broker": "broker",
    "provider": "provider",
    **{name: name for name in (*SERVICES, PUSH, SYSTEM)},
}
"""Which container each part is in, by its name in docker-compose.yml."""
PORTS = {
    "edge": 8080,
    "envoy-admin": 9901,
    "envoy-jwks": 8081,
    "web": 8080,
    "postgres": 5432,
    "nats": 4222,
    "nats-monitor": 8222,
    "valkey": 6379,
    "broker": 6379,
    "provider": 8090,
    **dict.fromkeys((*SERVICES, SYSTEM), 50051),
    PUSH: 50052,
    **{f"{name}-metrics": METRICS_PORT for name in PROGRAMS},
}
SECRET = frozenset({
    "GOZON_BROKER_URL",
    "GOZON_DATABASE_URL",
    "GOZON_NATS_URL",
    "GOZON_ORDERS_DATABASE_URL",
    "GOZON_PAYMENTS_DATABASE_URL",
    "GOZON_PAYOUT_KEYS",
    "GOZON_PROVIDER_SECRET",
    "GOZON_REDIS_URL",
    "GOZON_WORKER_SECRET",
})  # fmt: skip
"""The settings that hold a secret; docker-compose.yml has the others."""


def prepare(home: Home, options: Options) -> None:
    """Makes the secrets that are missing and writes what each container reads. Again it changes nothing.

    Errors: ConfigError.
    """
    home.path.mkdir(parents=True, exist_ok=True)
    home.save_config(replace(choose(options, None), ports=PORTS, hosts=HOSTS))
    stack = Stack.load(home)
    for container, files in _files(stack).items():
        folder = home.path / container
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            _write(folder / name, text)
    shutil.copyfile(CHECKOUT / "edge" / "gozon.binpb", home.path / "envoy" / "gozon.binpb")


def secrets(home: Home) -> dict[str, Any]:
    """Returns the Secrets of deploy/k8s, one for each container. What is missing is made; the folder keeps it."""
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.save_config(replace(choose(Options(), None), ports=PORTS, hosts=HOSTS))
    stack = Stack.load(home)
    folders = _files(stack)
    # Those of the edge are no secret: a ConfigMap has them. There is no rate limit service.
    del folders["envoy"], folders["ratelimit"]
    folders["keys"] = {file.name: file.read_text() for file in home.signing_keys.glob("*.pem")}
    folders["home"] = {name: (home.path / name).read_text() for name in ("config.json", "secrets.json")}
    return {"apiVersion": "v1", "kind": "List", "items": [_secret(name, files) for name, files in folders.items()]}


def _secret(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    # Not stringData: from that, what is applied later without a key would not take it away.
    data = {file: base64.b64encode(text.encode()).decode() for file, text in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def _files(stack: Stack) -> dict[str, dict[str, str]]:
    own = stack.secrets
    return {
        # CloudNativePG asks for the name too.
        "postgres": {"username": "postgres", "password": own.postgres},
        "nats": {"nats.conf": servers.nats_config(stack, Path("/data"))},
        "valkey": {"valkey.conf": servers.valkey_config(stack, Path("/data"))},
        # KEDA counts its tasks.
        "broker": {"valkey.conf": servers.broker_config(stack, Path("/data")), "password": own.broker},
        "envoy": {"envoy.yaml": edge.text(stack.config)},
        "ratelimit": {"gozon.yaml": edge.limits_by_all(stack.config)},
        "provider": {"gozon_provider_secret": own.provider},
        **{name: _secrets(process_env(stack, name, name)) for name in PROGRAMS},
    }


def _secrets(env: Mapping[str, str]) -> dict[str, str]:
    """The secrets among the settings of a process, by the names of their files."""
    return {name.lower(): value for name, value in env.items() if name in SECRET}


def _write(path: Path, text: str) -> None:
    """Writes a file in one step. Whoever sees the folder may read it: servers have users of their own."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.chmod(0o444)
    temporary.replace(path)
