"""Configuration files of NATS and Valkey: they hold passwords, which a command line would show to everybody."""

import json

from stack.home import Stack, write_private


def write_configs(stack: Stack) -> None:
    """Writes both files, readable by the owner only."""
    write_private(stack.home.nats_config, _nats(stack))
    write_private(stack.home.valkey_config, _valkey(stack))


def _nats(stack: Stack) -> str:
    ports = stack.config.ports
    settings = {
        "listen": f"127.0.0.1:{ports['nats']}",
        "http": f"127.0.0.1:{ports['nats-monitor']}",
        "jetstream": {"store_dir": str(stack.home.path / "nats")},
        "authorization": {"users": [{"user": "gozon", "password": stack.secrets.nats}]},
    }
    return json.dumps(settings, indent=2)  # NATS reads JSON too


def _valkey(stack: Stack) -> str:
    # A cache: nothing is written to disk, and what was not used for longest makes room.
    return f"""bind 127.0.0.1
port {stack.config.ports["valkey"]}
requirepass {stack.secrets.valkey}
dir "{stack.home.path / "valkey"}"
save ""
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
"""
