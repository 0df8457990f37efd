"""What one stack is made of: its ports, how many instances of each service, and how the edge is tuned."""

import random
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

SERVICES = ("users", "orders", "payments")
PUSH = "push"
SYSTEM = "system"
WORKERS = ("worker-orders", "worker-payouts")
SCALED = (*SERVICES, PUSH, SYSTEM, *WORKERS)
"""What there may be several instances of; of workers and of system also none. Only SERVICES have a database."""
NATS = "nats"
CLUSTERS = (1, 3)
"""How many servers of NATS there may be; three are a cluster, with each stream on all, and live while two do."""
LONE = ("dispatcher", "beat")
"""What there is one of."""
LOOPBACK = "127.0.0.1"
HOST_PORT = re.compile(r"[a-z0-9.-]+:[0-9]{1,5}")
OTLP_ENDPOINT = re.compile(r"http://[a-z0-9.-]+:[0-9]{1,5}")
POSTGRES_HOSTS = re.compile(r"[a-z0-9.-]+:[0-9]{1,5}(,[a-z0-9.-]+:[0-9]{1,5})*")
LogLevel = Literal["debug", "info", "warning", "error"]

DEFAULT_PORTS: Mapping[str, int] = {
    "edge": 8080,
    "envoy-admin": 19901,
    "envoy-jwks": 18081,
    "web": 18080,
    "postgres": 15432,
    "nats": 14222,
    "nats-monitor": 18222,
    "valkey": 16379,
    "broker": 16380,
    "provider": 18090,
    "users": 15051,
    "users-metrics": 19151,
    "orders": 15052,
    "orders-metrics": 19152,
    "payments": 15053,
    "payments-metrics": 19153,
    "push": 15054,
    "push-metrics": 19154,
    "system": 15055,
    "system-metrics": 19155,
    "dispatcher-metrics": 19241,
    "beat-metrics": 19242,
    "worker-orders-metrics": 19243,
    "worker-payouts-metrics": 19244,
}
# The servers of a cluster of NATS talk to each other there.
CLUSTER_PORT = 16222
# What `up --setting` may set: the fields of the processes' Settings that a stack does not set by itself. They are
# numbers; what range they may have, the process knows, which does not start with another.
SETTINGS = (
    "users.access_token_seconds",
    "users.password_hash_kib",
    "users.refresh_grace_seconds",
    "orders.cache_seconds",
    "orders.pending_seconds",
    "orders.processing_seconds",
    "payments.cache_seconds",
    "payments.hold_seconds",
    "payments.max_balance",
    "payments.max_deposit",
    "payments.max_payout",
    "push.max_sockets",
    "push.max_user_sockets",
    "push.memory_bytes",
    "system.audit_seconds",
    "worker.concurrency",
    "worker.process_order_seconds",
    "worker.provider_seconds",
    "worker.task_seconds",
    "worker.visibility_seconds",
    "dispatcher.max_queued",
    "beat.daily_hour",
    "beat.daily_minute",
    "beat.dead_letter_days",
)
# The nth instance of a service listens this much above the one before.
INSTANCE_STEP = 10
MAX_INSTANCES = 9
# Below the kernel's ephemeral ports, so that no outgoing connection can sit on a chosen port.
FREE_PORTS = range(20000, 32000)


class ConfigError(Exception):
    """The options given can't make a stack; the message says what to change."""


@dataclass(frozen=True)
class Config:
    """One stack's settings, complete: every process finds its ports here."""

    ports: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_PORTS))
    instances: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*SCALED, NATS), 1))
    # Multiplies every bucket of the edge's rate limits.
    rate_limit_scale: int = 1
    # Worker threads of Envoy.
    edge_concurrency: int = 1
    log_level: LogLevel = "info"
    # Those of SETTINGS that are not left to the service.
    settings: dict[str, int] = field(default_factory=dict)
    # http://host:port of the collector that traces are sent to, none if empty; and how many of those that begin here.
    otlp_endpoint: str = ""
    trace_percent: int = 100
    # A PostgreSQL that somebody else runs: HOST:PORT, several with commas, of which the primary is used. "": our own.
    postgres: str = ""
    # host:port of envoyproxy/ratelimit, which counts for all Envoys; none if empty.
    rate_limit_service: str = ""
    # How many proxies in front of the edge say whose a request is, by X-Forwarded-For.
    trusted_proxies: int = 0
    # Where each part listens that has a port, when that is not this machine's loopback: names of containers.
    hosts: dict[str, str] = field(default_factory=dict)

    def address(self, name: str) -> str:
        """host:port of a part."""
        return f"{self.hosts.get(name, LOOPBACK)}:{self.ports[name]}"

    @property
    def listen_host(self) -> str:
        """Where servers listen: on loopback, or on every address of their containers."""
        return "0.0.0.0" if self.hosts else LOOPBACK  # noqa: S104 - a container's network is its own

    def instance_names(self, service: str) -> list[str]:
        """Names of the processes of a service or kind of worker: `orders`, `orders-2`, …"""
        return [instance_name(service, number) for number in range(1, self.instances[service] + 1)]


@dataclass(frozen=True)
class Options:
    """What the user asked for; None means: as last time, else the default."""

    ports: dict[str, int] = field(default_factory=dict)
    free_ports: bool = False
    # Where those are looked for.
    free_range: range = FREE_PORTS
    instances: dict[str, int] = field(default_factory=dict)
    rate_limit_scale: int | None = None
    edge_concurrency: int | None = None
    log_level: LogLevel | None = None
    settings: dict[str, int] = field(default_factory=dict)
    otlp_endpoint: str | None = None
    trace_percent: int | None = None
    postgres: str | None = None
    rate_limit_service: str | None = None
    trusted_proxies: int | None = None


def instance_name(service: str, number: int) -> str:
    """Name of the nth process of a service, counted from 1."""
    return service if number == 1 else f"{service}-{number}"


def parse_pairs(texts: Iterable[str], what: str) -> dict[str, int]:
    """Reads `name=number` pairs, several in one text separated by commas.

    Raises ConfigError for anything else.
    """
    pairs: dict[str, int] = {}
    for pair in (part for text in texts for part in text.split(",") if part.strip()):
        name, _, number = pair.partition("=")
        if not number.strip().isdecimal():
            raise ConfigError(f"{what} {pair.strip()!r}: write it as name=number, for example {name.strip() or 'x'}=2")
        pairs[name.strip()] = int(number)
    return pairs


def parse_range(text: str) -> range:
    """Reads `first-last`, port numbers. Raises ConfigError for anything else."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535):
        raise ConfigError(f"a range of ports is written as first-last, for example 20000-31999, and not {text!r}")
    return range(int(first), int(last) + 1)


def choose(options: Options, previous: Config | None) -> Config:
    """Combines what was asked for with what was chosen last time and the defaults.

    Raises ConfigError for an unknown name or level, a number out of range, or two processes on one port.
    """
    base = previous or Config()
    _check_instances(options.instances)
    for name, value in (("rate limit scale", options.rate_limit_scale), ("edge concurrency", options.edge_concurrency)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}: at least 1, not {value}")
    log_level = options.log_level or base.log_level
    if log_level not in get_args(LogLevel):
        raise ConfigError(f"log level: one of {', '.join(get_args(LogLevel))}, not {log_level!r}")
    otlp_endpoint = base.otlp_endpoint if options.otlp_endpoint is None else options.otlp_endpoint
    trace_percent = base.trace_percent if options.trace_percent is None else options.trace_percent
    postgres = base.postgres if options.postgres is None else options.postgres
    service = base.rate_limit_service if options.rate_limit_service is None else options.rate_limit_service
    for what, text, form, pattern in (
        ("a collector", otlp_endpoint, "http://host:port", OTLP_ENDPOINT),
        ("a PostgreSQL", postgres, "host:port or host:port,host:port", POSTGRES_HOSTS),
        ("a rate limit service", service, "host:port", HOST_PORT),
    ):
        if text and not pattern.fullmatch(text):
            raise ConfigError(f"{what} is written as {form}, and not {text!r}")
    if not 0 <= trace_percent <= 100:
        raise ConfigError(f"trace percent: 0 to 100, not {trace_percent}")
    if unknown := options.settings.keys() - set(SETTINGS):
        raise ConfigError(f"no setting {', '.join(sorted(unknown))}: there are {', '.join(SETTINGS)}")
    instances = base.instances | options.instances
    # One that was remembered may be gone since an upgrade.
    settings = {name: value for name, value in (base.settings | options.settings).items() if name in SETTINGS}
    return Config(
        ports=_choose_ports(options, previous.ports if previous else {}, instances),
        instances=instances,
        rate_limit_scale=options.rate_limit_scale or base.rate_limit_scale,
        edge_concurrency=options.edge_concurrency or base.edge_concurrency,
        log_level=log_level,
        settings=settings,
        otlp_endpoint=otlp_endpoint,
        trace_percent=trace_percent,
        postgres=postgres,
        rate_limit_service=service,
        trusted_proxies=base.trusted_proxies if options.trusted_proxies is None else options.trusted_proxies,
    )


def _check_instances(instances: Mapping[str, int]) -> None:
    for service, count in instances.items():
        if service not in (*SCALED, NATS):
            raise ConfigError(f"no service {service!r}: there are {', '.join((*SCALED, NATS))}")
        if service == NATS and count not in CLUSTERS:
            raise ConfigError(f"instances of {NATS}: {' or '.join(map(str, CLUSTERS))}, not {count}")
        least = 0 if service in (*WORKERS, SYSTEM) else 1
        if not least <= count <= MAX_INSTANCES:
            raise ConfigError(f"instances of {service}: {least} to {MAX_INSTANCES}, not {count}")


def port_is_free(port: int) -> bool:
    """Says whether a server could listen on this loopback port now."""
    with socket.socket() as sock:
        # As servers do: connections of a dead server that linger in TIME_WAIT are no obstacle.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _default_ports(options: Options, instances: Mapping[str, int]) -> dict[str, int]:
    """The ports of all processes, where those of further instances follow those of the first one."""
    defaults = dict(DEFAULT_PORTS)
    if instances[NATS] > 1:
        defaults[f"{NATS}-cluster"] = CLUSTER_PORT
    for service in (*SCALED, NATS):
        suffixes = "-metrics" if service in WORKERS else " -monitor -cluster" if service == NATS else " -metrics"
        for number in range(2, instances[service] + 1):
            for suffix in suffixes.split(" "):
                first = options.ports.get(service + suffix, defaults[service + suffix])
                defaults[instance_name(service, number) + suffix] = first + INSTANCE_STEP * (number - 1)
    return defaults


def _choose_ports(options: Options, previous: Mapping[str, int], instances: Mapping[str, int]) -> dict[str, int]:
    defaults = _default_ports(options, instances)
    for name, port in options.ports.items():
        if name not in defaults:
            raise ConfigError(f"no port {name!r}: there are {', '.join(sorted(defaults))}")
        if not 1 <= port <= 65535:
            raise ConfigError(f"port {name}: 1 to 65535, not {port}")
    ports = {name: options.ports.get(name) or previous.get(name) or port for name, port in defaults.items()}
    if options.free_ports:
        _take_free_ports(ports, options.free_range, keep=set(options.ports), previous=previous)
    names: dict[int, str] = {}
    for name, port in ports.items():
        if port in names:
            raise ConfigError(f"{names[port]} and {name} can't both have port {port}: add --port {name}=NUMBER")
        names[port] = name
    return ports


def _take_free_ports(ports: dict[str, int], among: range, keep: set[str], previous: Mapping[str, int]) -> None:
    """Gives every port a free number, unless it was asked for, or chosen last time and still is free."""
    taken = {ports[name] for name in keep}
    for name in ports.keys() - keep:
        if not (name in previous and previous[name] not in taken and port_is_free(previous[name])):
            # At random, so that stacks which start at the same moment are unlikely to choose the same.
            candidates = (random.choice(among) for _ in range(10_000))
            ports[name] = next(port for port in candidates if port not in taken and port_is_free(port))
        taken.add(ports[name])
