"""deploy/k8s as a cluster would get it, and what Kubernetes would make of it: who is selected, who may reach whom."""

import json
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from stack.home import CHECKOUT

Object = dict[str, Any]
KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
WORKLOADS = ("Deployment", "StatefulSet", "Job")
NAME = "app.kubernetes.io/name"


@cache
def build(name: str) -> list[Object]:
    """Returns the objects of a folder of deploy/k8s, in which nothing is outside of the checkout."""
    command = [str(KUBECTL), "kustomize", str(CHECKOUT / "deploy" / "k8s" / name)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert built.returncode == 0, built.stderr
    return list(yaml.load_all(built.stdout, Loader=yaml.CSafeLoader))


@dataclass(frozen=True)
class Workload:
    """A Deployment, StatefulSet or Job, whose pods have one container."""

    object: Object

    @property
    def name(self) -> str:
        """What it is called, as its pods are labelled."""
        return str(self.object["metadata"]["name"])

    @property
    def kind(self) -> str:
        """One of WORKLOADS."""
        return str(self.object["kind"])

    @property
    def labels(self) -> Mapping[str, str]:
        """Those of its pods."""
        labels: dict[str, str] = self.object["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def pod(self) -> Object:
        """The specification of its pods."""
        pod: Object = self.object["spec"]["template"]["spec"]
        return pod

    @property
    def container(self) -> Object:
        """The one container."""
        [container] = self.pod["containers"]
        return dict(container)

    @property
    def ports(self) -> dict[str, int]:
        """By name."""
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", [])}

    @property
    def env(self) -> dict[str, str]:
        """Variables with their values; those of Secrets and of the pod itself are left out."""
        return {entry["name"]: entry["value"] for entry in self.container.get("env", []) if "value" in entry}

    @property
    def secrets(self) -> set[str]:
        """Names of the Secrets it sees."""
        variables = (entry.get("valueFrom", {}).get("secretKeyRef", {}) for entry in self.container.get("env", []))
        volumes = (volume.get("secret", {}) for volume in self.pod.get("volumes", []))
        return {*(v["name"] for v in variables if v), *(v["secretName"] for v in volumes if v)}


@dataclass(frozen=True)
class Cluster:
    """What `kubectl apply -k` of a folder makes, and the migration."""

    objects: list[Object]

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    @cached_property
    def workloads(self) -> dict[str, Workload]:
        """By name."""
        return {one["metadata"]["name"]: Workload(one) for kind in WORKLOADS for one in self.of(kind)}

    def selected(self, selector: Object) -> list[Workload]:
        """The workloads whose pods a selector matches."""
        return [workload for workload in self.workloads.values() if matches(selector, workload.labels)]

    def serving(self, host: str, port: int) -> list[tuple[Mapping[str, str], int]]:
        """Labels and port of the pods behind the name and port of a Service."""
        found = []
        for service in self.of("Service"):
            if service["metadata"]["name"] == host:
                [target] = [one["targetPort"] for one in service["spec"]["ports"] if one["port"] == port]
                pods = self.selected({"matchLabels": service["spec"]["selector"]})
                found += [(pod.labels, pod.ports[target]) for pod in pods]
        for postgres in self.of("Cluster"):
            if any(name == host for name in _managed_services(postgres)) and port == 5432:
                found.append(({"cnpg.io/cluster": postgres["metadata"]["name"]}, 5432))
        return found

    def lets(self, source: Mapping[str, str], target: Mapping[str, str], port: int) -> bool:
        """Says whether pods with the labels `source` may open a connection to a port of those with `target`."""
        for policy in self.of("NetworkPolicy"):
            if not matches(policy["spec"]["podSelector"], target):
                continue
            for rule in policy["spec"].get("ingress", []):
                peers = [peer["podSelector"] for peer in rule.get("from", []) if "podSelector" in peer]
                is_from = "from" not in rule or any(matches(peer, source) for peer in peers)
                if is_from and port in [one["port"] for one in rule.get("ports", [])]:
                    return True
        return False


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Says whether a label selector (equality, and `In`) matches labels; an empty one matches all."""
    wanted = selector.get("matchLabels", {})
    among = {one["key"]: one["values"] for one in selector.get("matchExpressions", []) if one["operator"] == "In"}
    assert len(among) == len(selector.get("matchExpressions", [])), "an operator that is not known here"
    return wanted.items() <= labels.items() and all(labels.get(key) in values for key, values in among.items())


def _managed_services(postgres: Object) -> Iterator[str]:
    for service in postgres["spec"]["managed"]["services"]["additional"]:
        yield service["serviceTemplate"]["metadata"]["name"]


def strict(schema: Any) -> Any:
    """A schema of Kubernetes that refuses fields which it does not know; where anything goes, it says so."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if made.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


@cache
def custom_schema(kind: str) -> Any:
    """The schema of a kind that operators add."""
    return strict(json.loads((CHECKOUT / "third_party" / "crds" / f"{kind}.json").read_text()))
