"""The list of processes: how each is started, how one knows that it is ready, how it is stopped."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path

from stack import binaries, probes
from stack.config import LONE, LOOPBACK, NATS, PUSH, SCALED, SERVICES, SYSTEM, WORKERS
from stack.home import ADMIN_EMAIL, CHECKOUT, Stack

DRAIN_SECONDS = 3
"""How long an Envoy that is drained tells clients to go before it takes no new ones."""


class Stage(IntEnum):
    """Started in this order, each stage when the one before is ready; stopped in the opposite order."""

    SERVERS = 0
    SERVICES = 1
    # Both at the same time, because they don't need each other.
    WORKERS = 2
    EDGE = 3


@dataclass(frozen=True)
class Process:
    """One process that is kept running."""

    name: str
    stage: Stage
    argv: list[str]
    port: int
    probe: probes.Probe
    env: Mapping[str, str] = field(default_factory=dict)
    # What asks it to stop gracefully, and how many seconds it has before it is killed.
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15
    # Port of its metrics or monitor page, 0 for none.
    metrics_port: int = 0


def processes(stack: Stack) -> list[Process]:
    """Everything one stack runs, in the order of starting."""
    services = [
        _service(stack, program, name)
        for program in (*SERVICES, PUSH, SYSTEM)
        for name in stack.config.instance_names(program)
    ]
    servers = [
        *([] if stack.config.postgres else [_postgres(stack)]),
        *(_nats(stack, name) for name in stack.config.instance_names(NATS)),
        _valkey(stack, "valkey", stack.home.valkey_config, stack.secrets.valkey),
        _valkey(stack, "broker", stack.home.broker_config, stack.secrets.broker),
        _provider(stack),
    ]
    workers = [_worker(stack, kind, name) for kind in WORKERS for name in stack.config.instance_names(kind)]
    background = [
        _background(stack, "dispatcher", "dispatcher", "dispatch"),
        _background(stack, "beat", "beat", "beat"),
        *workers,
    ]
    return [*servers, *services, *background, _web(stack), _envoy(stack)]


def _postgres(stack: Stack) -> Process:
    port = stack.config.ports["postgres"]
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "shared_buffers": "256MB",
        "max_connections": 200,
        "max_wal_size": "4GB",
        "wal_compression": "on",
    }
    return Process(
        name="postgres",
        stage=Stage.SERVERS,
        argv=[
            *binaries.as_postgres_user(),
            # QUIT: the postmaster takes its backends with it, which KILL would leave behind.
            *binaries.dying_with_parent("QUIT"),
            str(binaries.postgres("postgres")),
            "-D",
            str(stack.home.postgres_data),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ],
        port=port,
        probe=probes.postgres(stack.superuser_url()),
        stop_signal=signal.SIGINT,  # "fast shutdown": ends sessions, then a checkpoint
        stop_seconds=60,
    )


def _nats(stack: Stack, name: str) -> Process:
    port, monitor = stack.config.ports[name], stack.config.ports[f"{name}-monitor"]
    return Process(
        name=name,
        stage=Stage.SERVERS,
        argv=[
            *binaries.dying_with_parent("KILL"),
            str(binaries.nats_server()),
            "-c",
            str(stack.home.nats_config(name)),
        ],
        port=port,
        probe=probes.http(monitor, "/healthz"),
        metrics_port=monitor,
    )


def _valkey(stack: Stack, name: str, config: Path, password: str) -> Process:
    port = stack.config.ports[name]
    return Process(
        name=name,
        stage=Stage.SERVERS,
        argv=[*binaries.dying_with_parent("KILL"), str(binaries.valkey_server()), str(config)],
        port=port,
        probe=probes.valkey(port, password),
    )


def _provider(stack: Stack) -> Process:
    port = stack.config.ports["provider"]
    return Process(
        name="provider",
        stage=Stage.SERVERS,
        argv=[
            *binaries.dying_with_parent("KILL"),
            *binaries.provider(),
            f"{LOOPBACK}:{port}",
            str(stack.home.provider_book),
        ],
        port=port,
        probe=probes.http(port, "/healthz"),
        env={"GOZON_PROVIDER_SECRET": stack.secrets.provider},
    )


def _web(stack: Stack) -> Process:
    port = stack.config.ports["web"]
    return Process(
        name="web",
        stage=Stage.EDGE,
        argv=[
            *binaries.dying_with_parent("KILL"),
            str(binaries.caddy()),
            "run",
            "--adapter",
            "caddyfile",
            "--config",
            str(CHECKOUT / "web" / "Caddyfile"),
        ],
        port=port,
        probe=probes.http(port, "/openapi.yaml"),
        env={
            "GOZON_WEB_HOST": "127.0.0.1",
            "GOZON_WEB_PORT": str(port),
            "GOZON_WEB_ROOT": str(CHECKOUT / "web"),
            "GOZON_WEB_OPENAPI": str(CHECKOUT / "edge"),
            "GOZON_WEB_SWAGGER_UI": str(binaries.swagger_ui()),
            # It asks for a folder of its own, although it has nothing to keep.
            "XDG_DATA_HOME": str(stack.home.path / "web"),
            "XDG_CONFIG_HOME": str(stack.home.path / "web"),
        },
    )


def _service(stack: Stack, program: str, name: str) -> Process:
    ports = stack.config.ports
    port = ports[name]
    return Process(
        name=name,
        stage=Stage.SERVICES,
        argv=[*binaries.dying_with_parent("KILL"), *binaries.service(program)],
        port=port,
        probe=probes.http(port, "/healthz") if program == PUSH else probes.grpc_health(port),
        env=process_env(stack, program, name),
        metrics_port=ports[f"{name}-metrics"],
    )


def service_env(stack: Stack, service: str, name: str) -> dict[str, str]:
    """Settings of one instance of a service, exactly those it knows: it refuses others."""
    ports = stack.config.ports
    env = {
        "GOZON_DATABASE_URL": stack.database_url(service),
        "GOZON_LISTEN": f"127.0.0.1:{ports[name]}",
        **_common_env(stack, ports[f"{name}-metrics"]),
    }
    if service == "users":
        env["GOZON_SIGNING_KEYS"] = str(stack.home.signing_keys)
        env["GOZON_WORKER_SECRET"] = stack.secrets.worker
    else:
        env |= stack.bus_env
        env["GOZON_USERS_TARGET"] = _target(stack, "users")
        env["GOZON_REDIS_URL"] = stack.redis_url
    if service == "payments":
        env["GOZON_PAYOUT_KEYS"] = stack.secrets.payout_keys
    return env | _settings(stack, service)


def _push_env(stack: Stack, name: str) -> dict[str, str]:
    ports = stack.config.ports
    return {
        **stack.bus_env,
        "GOZON_USERS_TARGET": _target(stack, "users"),
        "GOZON_LISTEN": f"127.0.0.1:{ports[name]}",
        # To a browser these two names of the edge are two hosts.
        "GOZON_ORIGINS": f"http://localhost:{ports['edge']},http://127.0.0.1:{ports['edge']}",
        **_common_env(stack, ports[f"{name}-metrics"]),
        **_settings(stack, PUSH),
    }


def _system_env(stack: Stack, name: str) -> dict[str, str]:
    ports = stack.config.ports
    processes_of = {kind: stack.config.instance_names(kind) for kind in SCALED} | {name: [name] for name in LONE}
    metrics = []
    for kind, names in processes_of.items():
        addresses = [f"127.0.0.1:{ports[f'{each}-metrics']}" for each in names]
        metrics += [f"{kind}={','.join(addresses)}"] if addresses else []
    return {
        "GOZON_LISTEN": f"127.0.0.1:{ports[name]}",
        "GOZON_USERS_TARGET": _target(stack, "users"),
        "GOZON_METRICS": ";".join(metrics),
        "GOZON_ORDERS_TARGET": _target(stack, "orders"),
        "GOZON_PAYMENTS_TARGET": _target(stack, "payments"),
        "GOZON_ORDERS_DATABASE_URL": stack.auditor_url("orders"),
        "GOZON_PAYMENTS_DATABASE_URL": stack.auditor_url("payments"),
        **_common_env(stack, ports[f"{name}-metrics"]),
        **_settings(stack, SYSTEM),
    }


def process_env(stack: Stack, program: str, name: str) -> dict[str, str]:
    """Settings of one instance of one of our own programs."""
    if program in SERVICES:
        return service_env(stack, program, name)
    if program == PUSH:
        return _push_env(stack, name)
    if program == SYSTEM:
        return _system_env(stack, name)
    if program in WORKERS:
        return worker_env(stack, stack.config.ports[f"{name}-metrics"])
    return _background_env(stack, name)


def migration(stack: Stack, service: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment that bring a service's database up to date, beside a running instance too."""
    command, env = service_command(stack, service, "migrate")
    if service == "users":
        env |= {"GOZON_ADMIN_EMAIL": ADMIN_EMAIL, "GOZON_ADMIN_PASSWORD": stack.secrets.admin}
    return [*binaries.dying_with_parent("KILL"), *command], env


def service_command(stack: Stack, service: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a command of a service, beside a running instance."""
    # Without a metrics port, which the instance has.
    env = service_env(stack, service, service) | {"GOZON_METRICS_PORT": "0", "GOZON_LOG_LEVEL": "warning"}
    return [*binaries.service(service), *words], environment(env)


def _target(stack: Stack, service: str) -> str:
    """The gRPC target of a service, all its instances: any of them will do."""
    if stack.config.hosts:
        return f"dns:///{stack.config.address(service)}"
    addresses = [f"127.0.0.1:{stack.config.ports[name]}" for name in stack.config.instance_names(service)]
    return addresses[0] if len(addresses) == 1 else f"ipv4:{','.join(addresses)}"


def _settings(stack: Stack, whose: str) -> dict[str, str]:
    """What was chosen with --setting for one kind of process."""
    chosen = {name.partition("."): value for name, value in stack.config.settings.items()}
    return {f"GOZON_{field.upper()}": str(value) for (of, _, field), value in chosen.items() if of == whose}


def _worker(stack: Stack, kind: str, name: str) -> Process:
    process = _background(stack, kind, name, "work", kind.removeprefix("worker-"))
    # Killing a task costs nothing but time: what it was about to do is done by another one.
    return replace(process, stop_seconds=30)


def _background(stack: Stack, program: str, name: str, *words: str) -> Process:
    port = stack.config.ports[f"{name}-metrics"]
    return Process(
        name=name,
        stage=Stage.WORKERS,
        argv=[*binaries.dying_with_parent("KILL"), *binaries.workers(*words)],
        port=port,
        probe=probes.http(port, "/metrics"),
        env=process_env(stack, program, name),
        metrics_port=port,
    )


def worker_env(stack: Stack, metrics_port: int) -> dict[str, str]:
    """Settings of a worker; `metrics_port` may be 0 for none."""
    return {
        **_broker_env(stack, metrics_port),
        **{f"GOZON_{service.upper()}_TARGET": _target(stack, service) for service in SERVICES},
        "GOZON_WORKER_SECRET": stack.secrets.worker,
        "GOZON_PROVIDER_URL": stack.provider_url,
        "GOZON_PROVIDER_SECRET": stack.secrets.provider,
        **_settings(stack, "worker"),
    }


def _background_env(stack: Stack, name: str) -> dict[str, str]:
    env = _broker_env(stack, stack.config.ports[f"{name}-metrics"]) | _settings(stack, name)
    if name == "dispatcher":
        env |= stack.bus_env
    if name == "beat":
        env["GOZON_BEAT_FILE"] = str(stack.home.beat_file)
    return env


def _broker_env(stack: Stack, metrics_port: int) -> dict[str, str]:
    return {
        "GOZON_BROKER_URL": stack.broker_url,
        **_common_env(stack, metrics_port),
    }


def _common_env(stack: Stack, metrics_port: int) -> dict[str, str]:
    return {
        "GOZON_METRICS_HOST": LOOPBACK,
        "GOZON_METRICS_PORT": str(metrics_port),
        "GOZON_LOG_LEVEL": stack.config.log_level,
        "GOZON_LOG_FORMAT": "console",
        "GOZON_OTLP_ENDPOINT": stack.config.otlp_endpoint,
        "GOZON_TRACE_PERCENT": str(stack.config.trace_percent),
    }


def _envoy(stack: Stack) -> Process:
    ports = stack.config.ports
    return Process(
        name="envoy",
        stage=Stage.EDGE,
        argv=[
            *binaries.dying_with_parent("KILL"),
            str(binaries.envoy()),
            "-c",
            str(stack.home.envoy_config),
            "--concurrency",
            str(stack.config.edge_concurrency),
            # Hot restart would let several stacks collide, and changes which parent's death ends Envoy.
            "--disable-hot-restart",
            "--drain-time-s",
            str(DRAIN_SECONDS),
            "--drain-strategy",
            "immediate",
            "--file-flush-interval-msec",
            "1000",
            "--log-level",
            "warning",
        ],
        port=ports["edge"],
        probe=probes.edge(ports["edge"], ports["envoy-admin"]),
        metrics_port=ports["envoy-admin"],
    )


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """A process's environment: its own, and ours less what is meant for `gozon` or would lead it astray."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("GOZON_", "PG"))} | dict(extra)
