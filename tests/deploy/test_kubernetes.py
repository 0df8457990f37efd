"""deploy/k8s without a cluster: what it says fits Kubernetes, the programs, and itself."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml

from kit.db import POOL_SIZE
from services import topology
from stack import containers, edge
from stack.config import SERVICES
from stack.home import Home
from tests.deploy.cluster import NAME, Cluster, Object, Workload, build, custom_schema
from tests.deploy.programs import SETTINGS, started
from workers.app import Queue

KUBERNETES = "1.37"
CUSTOM = ("Cluster", "ScaledObject", "TriggerAuthentication")
GENERATED = re.compile(r"-[a-z0-9]{10}$")
"""What kustomize adds to the name of a ConfigMap."""
SCRAPED = re.compile(r"[a-z-]+=([a-z-]+):(\d+)")
"""In GOZON_METRICS."""
URL = re.compile(r"[a-z]+://[^,]+")

Secrets = dict[str, dict[str, str]]


@pytest.fixture(scope="module", params=["small", "production"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster([*build(request.param), *build("migrate"), *build("check")])


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    made = containers.secrets(Home(tmp_path_factory.mktemp("secrets")))
    return {
        one["metadata"]["name"]: {name: base64.b64decode(value).decode() for name, value in one["data"].items()}
        for one in made["items"]
    }


def test_every_object_fits_its_schema(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    # It reads a megabyte of definitions for each.
    read: dict[str, Any] = {}
    contents = kubernetes_validate.utils.schema_contents
    monkeypatch.setattr(
        "kubernetes_validate.utils.schema_contents",
        lambda name, version: read[name] if name in read else read.setdefault(name, contents(name, version)),
    )
    for one in cluster.objects:
        try:
            if one["kind"] in CUSTOM:
                jsonschema.Draft7Validator(custom_schema(one["kind"])).validate(one)
            else:
                kubernetes_validate.validate(one, KUBERNETES, strict=True)
        except jsonschema.ValidationError as error:
            pytest.fail(f"{one['kind']} {one['metadata']['name']}: {list(error.path)}: {error.message}")
    assert {one["metadata"].get("namespace") for one in cluster.objects if one["kind"] != "Namespace"} == {"gozon"}


def test_every_pod_is_probed_limited_and_may_do_nothing(cluster: Cluster) -> None:
    for workload in cluster.workloads.values():
        pod, container = workload.pod, workload.container
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == wanted, workload.name
        assert pod["securityContext"]["runAsNonRoot"], workload.name
        assert pod["securityContext"]["runAsUser"] > 0, workload.name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, workload.name
        assert pod["automountServiceAccountToken"] is False, workload.name
        assert set(container["resources"]["limits"]) == set(container["resources"]["requests"]) == {"cpu", "memory"}
        if workload.kind != "Job":
            assert container.keys() >= {"startupProbe", "readinessProbe", "livenessProbe"}, workload.name
            named = {str(port) for port in _probed_ports(container)}
            assert named <= {*workload.ports, *map(str, workload.ports.values())}, workload.name
            assert cluster.selected(workload.object["spec"]["selector"]) == [workload]
            disruptions = [cluster.selected(one["spec"]["selector"]) for one in cluster.of("PodDisruptionBudget")]
            assert disruptions.count([workload]) == 1, workload.name


def test_every_program_starts_with_the_settings_it_is_given(
    cluster: Cluster, secrets: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {name: workload for name, workload in cluster.workloads.items() if workload.env.keys() & {"GOZON_LOG_LEVEL"}}
    assert own.keys() == SETTINGS.keys() == set(containers.PROGRAMS)
    for name, workload in own.items():
        folder = tmp_path / name
        folder.mkdir()
        for key, value in secrets[name].items():
            (folder / key).write_text(value)
        settings = started(name, workload.env, folder, monkeypatch)
        assert settings.metrics_port == workload.ports["metrics"]
        if listen := getattr(settings, "listen", ""):
            assert int(listen.rpartition(":")[2]) in workload.ports.values()


def test_every_secret_and_file_that_is_mounted_is_there(cluster: Cluster, secrets: Secrets) -> None:
    maps = {one["metadata"]["name"]: one for one in cluster.of("ConfigMap")}
    for workload in cluster.workloads.values():
        assert workload.secrets <= secrets.keys(), workload.name
        for volume in workload.pod["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, workload.name
        for mount in workload.container["volumeMounts"]:
            if "subPath" in mount:
                assert mount["subPath"] in secrets["home"], workload.name
        for word in (word for word in _words(workload) if word.startswith("/run/secrets/")):
            assert Path(word).name in secrets[workload.name], word
    [edge_files] = maps.values()
    assert GENERATED.sub("", edge_files["metadata"]["name"]) == "edge"
    assert edge_files["data"]["envoy.yaml"] == edge.SOURCE.read_text()
    for reference in _references(cluster):
        assert reference["key"] in secrets[reference["name"]], reference


def test_whoever_is_called_listens_and_lets_its_callers_in(cluster: Cluster, secrets: Secrets) -> None:
    calls = {
        (workload.name, *called) for workload in cluster.workloads.values() for called in _calls(workload, secrets)
    }
    source = yaml.load(edge.SOURCE.read_text(), Loader=yaml.CSafeLoader)
    for target in source["static_resources"]["clusters"]:
        address = target["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        # Its own listener, and what is there for who wants traces or a limit over all.
        if target["name"] not in ("jwks", edge.COLLECTOR, edge.RATE_LIMIT_SERVICE):
            calls.add(("envoy", address["address"], address["port_value"]))
    calls |= {("migrate", "postgres", 5432), ("check", "postgres", 5432)}
    assert {host for _, host, _ in calls} >= {"users", "orders", "payments", "push", "web", "nats", "valkey", "broker"}
    for caller, host, port in sorted(calls):
        serving = cluster.serving(host, port)
        assert serving, f"{caller} calls {host}:{port}, which nobody serves"
        for target, target_port in serving:
            assert cluster.lets(cluster.workloads[caller].labels, target, target_port), f"{caller} to {host}:{port}"
    for workload in cluster.workloads.values():
        assert not cluster.lets({NAME: "somebody"}, workload.labels, 5432)
    assert any(one["spec"]["podSelector"] == {} for one in cluster.of("NetworkPolicy"))


def test_what_grows_by_itself_grows_by_what_there_is_to_do(cluster: Cluster) -> None:
    scaled = [one["spec"]["scaleTargetRef"]["name"] for one in cluster.of("HorizontalPodAutoscaler")]
    scaled += [one["spec"]["scaleTargetRef"]["name"] for one in cluster.of("ScaledObject")]
    assert len(scaled) == len(set(scaled)), "two that scale one fight"
    for name in scaled:
        assert "replicas" not in cluster.workloads[name].object["spec"], f"{name}: each rollout would reset it"
    consumers = {(one.stream, one.name) for one in (*topology.CONSUMERS, *topology.DISPATCHER_CONSUMERS)}
    for one in cluster.of("Cluster"):
        most = sum(_most_pods(cluster, name) for name in SERVICES)
        assert most * POOL_SIZE < int(one["spec"]["postgresql"]["parameters"]["max_connections"]), (
            "with room for a rollout"
        )
    for one in cluster.of("ScaledObject"):
        for trigger in one["spec"]["triggers"]:
            about = trigger["metadata"]
            match trigger["type"]:
                case "nats-jetstream":
                    assert (about["stream"], about["consumer"]) in consumers
                    host, port = about["natsServerMonitoringEndpoint"].split(":")
                    assert cluster.serving(host.partition(".")[0], int(port))
                case "redis":
                    assert about["listName"] in set(Queue)
                    host, port = about["address"].split(":")
                    assert cluster.serving(host.partition(".")[0], int(port))
                case other:
                    assert other == "cpu"


def _most_pods(cluster: Cluster, name: str) -> int:
    [scaler] = (
        one["spec"]
        for one in (*cluster.of("HorizontalPodAutoscaler"), *cluster.of("ScaledObject"))
        if one["spec"]["scaleTargetRef"]["name"] == name
    )
    return int(scaler["maxReplicas"] if "maxReplicas" in scaler else scaler["maxReplicaCount"])


def _probed_ports(container: Object) -> Iterator[Any]:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        for how in ("grpc", "httpGet", "tcpSocket"):
            if how in container[probe]:
                yield container[probe][how]["port"]


def _words(workload: Workload) -> list[str]:
    return [*workload.container.get("command", []), *workload.container.get("args", []), *workload.env.values()]


def _calls(workload: Workload, secrets: Secrets) -> Iterator[tuple[str, int]]:
    """Host and port of whatever a program is told to call in the cluster, by variables and by its own Secret."""
    values = [*workload.env.values(), *(secrets[workload.name].values() if workload.name in SETTINGS else ())]
    for value in values:
        for host, port in SCRAPED.findall(value):
            yield host, int(port)
        for url in URL.findall(value):
            parts = urlsplit(url.replace("dns:///", "dns://"))
            # Names with dots are outside; a browser's origins call nobody.
            if parts.port and parts.hostname and "." not in parts.hostname and parts.hostname != "localhost":
                yield parts.hostname, parts.port


def _references(cluster: Cluster) -> Iterator[Object]:
    for one in cluster.of("TriggerAuthentication"):
        yield from one["spec"]["secretTargetRef"]
    for one in cluster.of("Cluster"):
        yield from ({"name": one["spec"]["superuserSecret"]["name"], "key": key} for key in ("username", "password"))
    for workload in cluster.workloads.values():
        for entry in workload.container.get("env", []):
            if "secretKeyRef" in entry.get("valueFrom", {}):
                yield entry["valueFrom"]["secretKeyRef"]
