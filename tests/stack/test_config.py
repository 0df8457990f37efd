"""Which ports, instances and settings a stack gets."""

import importlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.settings import ProcessSettings, Settings
from services.push.__main__ import PushSettings
from services.system.__main__ import SystemSettings
from stack.config import (
    DEFAULT_PORTS,
    FREE_PORTS,
    SERVICES,
    SETTINGS,
    Config,
    ConfigError,
    Options,
    choose,
    parse_pairs,
    parse_range,
)
from stack.home import Home, Secrets, Stack
from stack.processes import processes, service_env
from workers.daily import BeatSettings
from workers.settings import DispatcherSettings, WorkerSettings


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def test_pairs_may_be_repeated_or_joined_by_commas() -> None:
    assert parse_pairs(["orders=2,payments=3", "users = 4"], "--instances") == {"orders": 2, "payments": 3, "users": 4}


@pytest.mark.parametrize("text", ["orders", "orders=", "orders=two", "orders=-1", "=", "orders=1.5"])
def test_a_pair_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="name=number"):
        parse_pairs([text], "--instances")


def test_without_options_the_ports_are_the_defaults() -> None:
    assert choose(Options(), None) == Config(ports=dict(DEFAULT_PORTS))


def test_further_instances_listen_ten_ports_higher() -> None:
    config = choose(Options(ports={"orders": 25000}, instances={"orders": 3}), None)
    assert config.instance_names("orders") == ["orders", "orders-2", "orders-3"]
    assert [config.ports[name] for name in config.instance_names("orders")] == [25000, 25010, 25020]
    assert config.ports["orders-3-metrics"] == DEFAULT_PORTS["orders-metrics"] + 20


def test_what_was_chosen_is_used_again_unless_something_else_is_asked_for() -> None:
    chosen = {"payments.hold_seconds": 60, "orders.pending_seconds": 90}
    first = choose(
        Options(ports={"edge": 9000, "nats": 9001}, instances={"orders": 2}, rate_limit_scale=7, settings=chosen), None
    )
    again = choose(Options(ports={"edge": 9002}, edge_concurrency=2, settings={"orders.pending_seconds": 120}), first)
    assert again.settings == {"payments.hold_seconds": 60, "orders.pending_seconds": 120}
    assert again.ports == first.ports | {"edge": 9002}
    assert (again.instances["orders"], again.rate_limit_scale, again.edge_concurrency) == (2, 7, 2)


def test_free_ports_are_all_different_and_leave_given_ones_alone() -> None:
    config = choose(Options(ports={"edge": 9000}, free_ports=True, instances={"users": 2}), None)
    others = [port for name, port in config.ports.items() if name != "edge"]
    assert config.ports["edge"] == 9000
    assert len(set(others)) == len(others)
    assert all(port in FREE_PORTS for port in others)


def test_free_ports_are_chosen_where_one_says() -> None:
    config = choose(Options(free_ports=True, free_range=parse_range("20100-20199")), None)
    assert set(config.ports.values()) < set(range(20100, 20200))


@pytest.mark.parametrize("text", ["", "20000", "20000-", "20100-20000", "0-9", "20000-65536", "a-b"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="first-last"):
        parse_range(text)


def test_free_ports_of_last_time_are_kept_while_they_are_free(taken_port: int) -> None:
    first = choose(Options(free_ports=True), None)
    blocked = Config(ports=first.ports | {"nats": taken_port})
    again = choose(Options(free_ports=True), blocked)
    assert again.ports["nats"] not in {taken_port, *blocked.ports.values()}
    assert again.ports | {"nats": 0} == first.ports | {"nats": 0}


def test_a_setting_that_an_older_version_knew_is_forgotten() -> None:
    assert choose(Options(), Config(settings={"payments.colour": 1})).settings == {}


def test_what_can_be_set_are_the_settings_that_a_stack_does_not_set_by_itself() -> None:
    stack = Stack(Home(Path("home")), Config(), Secrets(*[""] * len(Secrets.__dataclass_fields__)))
    found = set()
    for service in SERVICES:
        [settings] = (
            kind
            for kind in vars(importlib.import_module(f"services.{service}.__main__")).values()
            if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings
        )
        ours = {*service_env(stack, service, service), "GOZON_ADMIN_EMAIL", "GOZON_ADMIN_PASSWORD"}
        found |= {f"{service}.{name}" for name in settings.model_fields if f"GOZON_{name.upper()}" not in ours}
    env = {process.name: process.env for process in processes(stack)}
    others: list[tuple[str, str, type[ProcessSettings]]] = [
        ("push", "push", PushSettings),
        ("system", "system", SystemSettings),
        ("worker", "worker-payouts", WorkerSettings),
        ("dispatcher", "dispatcher", DispatcherSettings),
        ("beat", "beat", BeatSettings),
    ]
    for whose, process, of in others:
        found |= {f"{whose}.{name}" for name in of.model_fields if f"GOZON_{name.upper()}" not in env[process]}
    # The instances of NATS say it.
    assert {name for name in found if not name.endswith(".stream_replicas")} == set(SETTINGS)


@pytest.mark.parametrize(
    "options",
    [
        Options(ports={"carrots": 1}),
        Options(ports={"orders-2": 9000}),
        Options(ports={"edge": 65536}),
        Options(ports={"edge": DEFAULT_PORTS["nats"]}),
        Options(instances={"envoy": 2}),
        Options(instances={"orders": 0}),
        Options(instances={"orders": 10}),
        Options(rate_limit_scale=0),
        Options(edge_concurrency=0),
        Options(instances={"nats": 2}),
        Options(otlp_endpoint="collector:4317"),
        Options(postgres="10.0.0.1"),
        Options(trace_percent=101),
        Options(rate_limit_service="http://ratelimit:8081"),
        Options(settings={"payments.hold_hours": 1}),
        Options(settings={"hold_seconds": 1}),
        Options(log_level="loud"),  # type: ignore[arg-type]  # a file of an old version may say so
    ],
)
def test_what_makes_no_stack_is_refused(options: Options) -> None:
    with pytest.raises(ConfigError):
        choose(options, None)
