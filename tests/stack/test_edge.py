"""The edge's configuration on this machine."""

import copy
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack import binaries, edge
from stack.config import Config, Options, choose
from stack.home import Home, Secrets, Stack

TRACED = Config(otlp_endpoint="http://tempo.example:4317", trace_percent=7)
CONFIG = choose(Options(free_ports=True, instances={"orders": 3}, rate_limit_scale=50), None)


@pytest.fixture(scope="module")
def source() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(edge.SOURCE.read_text())
    return parsed


def test_envoy_accepts_the_adapted_file(tmp_path: Path) -> None:
    secrets = Secrets(**dict.fromkeys(Secrets.__dataclass_fields__, "a"))
    stack = Stack(Home(tmp_path), CONFIG, secrets)
    edge.write(stack, stack.home.envoy_config)
    command = [str(binaries.envoy()), "--mode", "validate", "-c", str(stack.home.envoy_config)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


def test_nothing_listens_or_connects_beyond_loopback(source: dict[str, Any]) -> None:
    addresses = [part["socket_address"] for part in _parts(edge.adapted(source, CONFIG)) if "socket_address" in part]
    assert {address["address"] for address in addresses} == {"127.0.0.1"}
    assert {address["port_value"] for address in addresses} <= set(CONFIG.ports.values())


def test_every_instance_is_an_endpoint(source: dict[str, Any]) -> None:
    clusters = {cluster["name"]: cluster for cluster in edge.adapted(source, CONFIG)["static_resources"]["clusters"]}
    endpoints = clusters["orders"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    ports = [endpoint["endpoint"]["address"]["socket_address"]["port_value"] for endpoint in endpoints]
    assert ports == [CONFIG.ports[name] for name in ("orders", "orders-2", "orders-3")]


def test_buckets_are_scaled_once_each(source: dict[str, Any]) -> None:
    before = [part["token_bucket"]["max_tokens"] for part in _parts(source) if "token_bucket" in part]
    after = [
        part["token_bucket"]["max_tokens"] for part in _parts(edge.adapted(source, CONFIG)) if "token_bucket" in part
    ]
    assert before
    assert after == [tokens * 50 for tokens in before]


def test_nothing_else_is_changed(source: dict[str, Any]) -> None:
    """Apart from addresses and the path of the contract, the adapted file is the file."""
    untouched = copy.deepcopy(source)
    adapted = edge.adapted(source, replace(TRACED, trace_percent=0, rate_limit_service="counter.example:8081"))
    asking = _asking(adapted)
    assert asking["filter_enabled"]["default_value"].pop("numerator") == 100
    asking["filter_enabled"]["default_value"]["numerator"] = 0
    assert source == untouched
    assert _without_places(adapted) == _without_places(source)


def test_traces_are_sent_where_one_says_or_nowhere(source: dict[str, Any]) -> None:
    traced, silent = (json.dumps(edge.adapted(source, config)) for config in (TRACED, Config()))
    assert '"address": "tempo.example", "port_value": 4317' in traced
    assert '"sampling_percentage": {"numerator": 7,' in traced
    assert "collector" not in silent


def test_a_rate_limit_service_is_asked_where_one_says_and_scaled(source: dict[str, Any]) -> None:
    counted, alone = (
        edge.adapted(source, config) for config in (Config(rate_limit_service="counter.example:8081"), Config())
    )
    assert '"address": "counter.example", "port_value": 8081' in json.dumps(counted)
    assert _asking(counted)["filter_enabled"]["default_value"]["numerator"] == 100
    assert '"ratelimit"' not in json.dumps(alone)
    limits = yaml.safe_load(edge.limits_by_all(CONFIG))
    assert limits["descriptors"][0]["rate_limit"]["requests_per_unit"] == 50 * 32000


def test_proxies_in_front_are_believed_as_many_as_there_are(source: dict[str, Any]) -> None:
    for count in (0, 2):
        parts = _parts(edge.adapted(source, Config(trusted_proxies=count)))
        assert [part["xff_num_trusted_hops"] for part in parts if "xff_num_trusted_hops" in part] == [count]


def test_an_unknown_cluster_or_listener_is_an_error(source: dict[str, Any]) -> None:
    for kind in ("clusters", "listeners"):
        changed = json.loads(json.dumps(source))
        changed["static_resources"][kind][0]["name"] = "carrots"
        with pytest.raises(edge.EdgeError, match="carrots"):
            edge.adapted(changed, CONFIG)


def _asking(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the filter that asks a rate limit service."""
    [found] = [part["typed_config"] for part in _parts(config) if part.get("name") == "rate_limit_by_all"]
    return dict(found)


def _parts(value: Any) -> list[dict[str, Any]]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    below = [part for child in children for part in _parts(child)]
    return [value, *below] if isinstance(value, dict) else below


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(config))
    for part in _parts(plain):
        if "socket_address" in part:
            part["socket_address"] = None
        if "proto_descriptor" in part:
            part["proto_descriptor"] = None
    return plain
