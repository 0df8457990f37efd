"""The file itself."""

import re
import subprocess
from pathlib import Path

import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from stack import binaries, edge


def test_envoy_accepts_the_file_as_it_is_but_for_the_folder_of_the_descriptors(tmp_path: Path) -> None:
    file = tmp_path / "envoy.yaml"
    file.write_text(edge.SOURCE.read_text().replace("/etc/envoy/gozon.binpb", str(edge.DESCRIPTORS)))

    checked = subprocess.run(
        [binaries.envoy(), "--mode", "validate", "-c", file], capture_output=True, text=True, timeout=60, check=False
    )

    assert checked.returncode == 0, checked.stderr[-2000:]
    assert "deprecated" not in checked.stderr.lower()


WITHIN = "gozon.maintenance.v1.MaintenanceService"
"""Nobody outside has business with it."""
SERVED_BY = {"payouts": "payments", "shop": "payments"}


def test_every_service_of_the_contracts_is_transcoded_and_has_a_cluster_and_a_part_in_readyz() -> None:
    descriptors = FileDescriptorSet.FromString(edge.DESCRIPTORS.read_bytes())
    services = {f"{file.package}.{service.name}" for file in descriptors.file for service in file.service} - {WITHIN}
    source = yaml.safe_load(edge.SOURCE.read_text())
    public = next(one for one in source["static_resources"]["listeners"] if one["name"] == "public")
    filters = public["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    configs = {one["name"]: one["typed_config"] for one in filters}

    assert set(configs["envoy.filters.http.grpc_json_transcoder"]["services"]) == services
    names = {SERVED_BY.get(name, name) for name in (service.split(".")[1] for service in services)}
    # Without system all else goes on.
    assert set(configs["readyz"]["cluster_min_healthy_percentages"]) == names - {"system"}
    clusters = {one["name"] for one in source["static_resources"]["clusters"]}
    assert clusters == {*names, "collector", "jwks", "push", "ratelimit", "web"}


def test_every_method_that_the_file_names_exists() -> None:
    descriptors = FileDescriptorSet.FromString(edge.DESCRIPTORS.read_bytes())
    methods = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in descriptors.file
        for service in file.service
        for method in service.method
    }
    source = edge.SOURCE.read_text()
    named = set(re.findall(r"path: (/gozon[.\w]+/\w+)", source))
    groups = re.findall(r"regex: '(/gozon[.\w\\]+/)\(([\w|]+)\)'", source)
    named_together = {service.replace("\\", "") + name for service, names in groups for name in names.split("|")}

    assert named
    assert named_together
    assert named | named_together <= methods


def test_nothing_but_the_public_listener_leaves_the_machine() -> None:
    source = yaml.safe_load(edge.SOURCE.read_text())

    addresses = {one["name"]: one["address"] for one in source["static_resources"]["listeners"]}
    addresses["admin"] = source["admin"]["address"]
    del addresses["public"]

    assert {one["socket_address"]["address"] for one in addresses.values()} == {"127.0.0.1"}
