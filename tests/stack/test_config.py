"""Which ports and instances a stack gets."""

import socket
from collections.abc import Iterator

import pytest

from stack.config import DEFAULT_PORTS, FREE_PORTS, Config, ConfigError, Options, choose, parse_pairs, parse_range


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
    first = choose(Options(ports={"edge": 9000, "nats": 9001}, instances={"orders": 2}, rate_limit_scale=7), None)
    again = choose(Options(ports={"edge": 9002}, edge_concurrency=2), first)
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
        Options(log_level="loud"),  # type: ignore[arg-type]  # a file of an old version may say so
    ],
)
def test_what_makes_no_stack_is_refused(options: Options) -> None:
    with pytest.raises(ConfigError):
        choose(options, None)
