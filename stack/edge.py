"""Adapts edge/envoy.yaml: addresses, ports, paths, the limits' scale, who gets traces, who counts for all.

The file is written with service names as hosts, which is right as it is where each part has a container: there only
the rest is set. Nothing else is touched, so what runs here is what runs there.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from stack.config import LOOPBACK, PUSH, SERVICES, SYSTEM, Config
from stack.home import CHECKOUT, Stack, write_private
from stack.probes import http_request

SOURCE = CHECKOUT / "edge" / "envoy.yaml"
DESCRIPTORS = CHECKOUT / "edge" / "gozon.binpb"
# Which of our ports each listener of the file has.
LISTENER_PORTS = {"public": "edge", "jwks": "envoy-jwks"}
# The port of each cluster that is no service of ours.
OTHER_CLUSTERS = {"jwks": "envoy-jwks", "web": "web"}
COLLECTOR = "collector"
RATE_LIMIT_SERVICE = "ratelimit"
# Those of the rate limit service, which knows no file but this.
LIMITS_BY_ALL = CHECKOUT / "edge" / "ratelimit.yaml"
UINT32_MAX = 2**32 - 1


class EdgeError(Exception):
    """edge/envoy.yaml holds a listener, cluster or address that this module does not know."""


def write(stack: Stack, file: Path) -> None:
    """Writes the stack's configuration of Envoy. Raises EdgeError, naming what is unknown."""
    write_private(file, text(stack.config))


def text(config: Config) -> str:
    """The file as a stack needs it. Raises EdgeError."""
    source = yaml.load(SOURCE.read_text(), Loader=yaml.CSafeLoader)
    return yaml.dump(adapted(source, config), Dumper=yaml.CSafeDumper, sort_keys=False, width=120)


def limits_by_all(config: Config) -> str:
    """edge/ratelimit.yaml with a stack's scale."""
    limits = yaml.load(LIMITS_BY_ALL.read_text(), Loader=yaml.CSafeLoader)
    for part in _dictionaries(limits):
        _scale(part, config.rate_limit_scale)
    return yaml.dump(limits, Dumper=yaml.CSafeDumper, sort_keys=False, width=120)


def adapted(source: dict[str, Any], config: Config) -> dict[str, Any]:
    """Returns a parsed edge/envoy.yaml with this stack's addresses and limits. Raises EdgeError."""
    # Through JSON, because YAML's anchors make parts share one object, which would be changed twice.
    edge: dict[str, Any] = json.loads(json.dumps(source))
    _set_tracing(edge["static_resources"], config)
    _set_rate_limit_service(edge["static_resources"], config)
    for part in _dictionaries(edge):
        if part.get("use_remote_address"):
            part["xff_num_trusted_hops"] = config.trusted_proxies
    if not config.hosts:
        _set_addresses(edge, config)
    for part in _dictionaries(edge):
        if "token_bucket" in part:
            _scale(part["token_bucket"], config.rate_limit_scale)
    return edge


def _set_tracing(resources: dict[str, Any], config: Config) -> None:
    """Has the edge begin and send traces as the services do, or not at all."""
    if not config.otlp_endpoint:
        for part in _dictionaries(resources):
            part.pop("tracing", None)
    for part in _dictionaries(resources):
        if "sampling_percentage" in part:
            part["sampling_percentage"]["numerator"] = config.trace_percent
    _set_outsider(resources, COLLECTOR, config.otlp_endpoint)


def _set_rate_limit_service(resources: dict[str, Any], config: Config) -> None:
    """Has the edge ask a service whether all Envoys together have let too much through, or not."""
    for part in _dictionaries(resources):
        filters = part.get("http_filters", [])
        for one in [one for one in filters if one["name"] == "rate_limit_by_all"]:
            if config.rate_limit_service:
                one["typed_config"]["filter_enabled"]["default_value"]["numerator"] = 100
            else:
                filters.remove(one)
    _set_outsider(resources, RATE_LIMIT_SERVICE, config.rate_limit_service and f"//{config.rate_limit_service}")


def _set_outsider(resources: dict[str, Any], name: str, url: str) -> None:
    """Says where a cluster is that is no part of a stack, or takes it away."""
    [cluster] = [one for one in resources["clusters"] if one["name"] == name]
    if not url:
        resources["clusters"].remove(cluster)
        return
    [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    parts = urlsplit(url)
    endpoint["endpoint"]["address"]["socket_address"].update(address=parts.hostname, port_value=parts.port)


def _set_addresses(edge: dict[str, Any], config: Config) -> None:
    ports = config.ports
    _set_address(edge["admin"]["address"], ports["envoy-admin"])
    for listener in edge["static_resources"]["listeners"]:
        if listener["name"] not in LISTENER_PORTS:
            raise EdgeError(f"{SOURCE}: unknown listener {listener['name']}: add it to stack/edge.py")
        _set_address(listener["address"], ports[LISTENER_PORTS[listener["name"]]])
    for cluster in edge["static_resources"]["clusters"]:
        if cluster["name"] in (COLLECTOR, RATE_LIMIT_SERVICE):
            continue
        _set_endpoints(cluster, _cluster_ports(cluster["name"], config))
    for part in _dictionaries(edge):
        if "proto_descriptor" in part:
            part["proto_descriptor"] = str(DESCRIPTORS)


async def active_requests(admin_port: int) -> int:
    """Requests that an Envoy is serving, those to its admin page (this one) apart."""
    _, body = await http_request("GET", admin_port, "/stats?filter=downstream_rq_active")
    lines = (line.partition(": ") for line in body.splitlines() if not line.startswith("http.admin."))
    return sum(int(value) for _, _, value in lines if value.isdecimal())


def _cluster_ports(name: str, config: Config) -> list[int]:
    if name in (*SERVICES, PUSH, SYSTEM):
        return [config.ports[instance] for instance in config.instance_names(name)]
    if name in OTHER_CLUSTERS:
        return [config.ports[OTHER_CLUSTERS[name]]]
    raise EdgeError(f"{SOURCE}: unknown cluster {name}: add it to stack/edge.py")


def _set_endpoints(cluster: dict[str, Any], ports: list[int]) -> None:
    """Gives a cluster one endpoint a port, each like the first one of the file."""
    locality = cluster["load_assignment"]["endpoints"][0]
    model = locality["lb_endpoints"][0]
    locality["lb_endpoints"] = [copy.deepcopy(model) for _ in ports]
    for endpoint, port in zip(locality["lb_endpoints"], ports, strict=True):
        _set_address(endpoint["endpoint"]["address"], port)


def _set_address(address: dict[str, Any], port: int) -> None:
    address["socket_address"].update(address=LOOPBACK, port_value=port)


def _scale(bucket: dict[str, Any], factor: int) -> None:
    for name in ("max_tokens", "tokens_per_fill", "requests_per_unit"):
        if name in bucket:
            bucket[name] = min(bucket[name] * factor, UINT32_MAX)


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary inside a parsed YAML file."""
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from _dictionaries(child)
