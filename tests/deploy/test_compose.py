"""docker-compose.yml without Docker: what it says fits the programs, .env.example, and itself."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack import containers
from stack.config import Options
from stack.home import CHECKOUT, Home
from tests.deploy.programs import SETTINGS, started

Service = dict[str, Any]

TEXT = (CHECKOUT / "docker-compose.yml").read_text()
EXAMPLE = (CHECKOUT / ".env.example").read_text()
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
COMPOSE: dict[str, Any] = yaml.safe_load(VARIABLE.sub(r"\2", TEXT))
SERVICES: dict[str, Service] = COMPOSE["services"]
OF_COMPOSE = {"COMPOSE_PROFILES"}
"""Variables that docker compose reads by itself."""
ONCE = {"prepare", "migrate", "gozon"}
"""They come to their end."""
WITHOUT_A_SHELL = {"collector", "ratelimit", "tempo"}
"""There is nothing in their images that could ask whether they are well."""
PUBLIC = {
    "envoy": ["127.0.0.1:8080:8080"],
    "grafana": ["127.0.0.1:3000:3000"],
    # For everybody: that is what it is for.
    "caddy": ["80:80", "443:443", "443:443/udp"],
}
"""What is published."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volume `secrets`."""
    folder = tmp_path_factory.mktemp("secrets")
    containers.prepare(Home(folder), Options())
    return folder


def test_every_program_starts_with_the_settings_it_is_given(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {name for name, service in SERVICES.items() if "GOZON_LOG_LEVEL" in service.get("environment", {})}
    assert own == SETTINGS.keys()
    for name in sorted(own):
        env = {
            variable: "" if value is None else str(value) for variable, value in SERVICES[name]["environment"].items()
        }
        settings = started(name, env, home / name, monkeypatch)
        assert settings.metrics_port == containers.METRICS_PORT


def test_what_can_be_chosen_is_explained_with_its_default_and_nothing_else() -> None:
    asked = dict(VARIABLE.findall(TEXT))
    explained = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE))

    assert TEXT.count("${") == len(VARIABLE.findall(TEXT)), "a variable without a default"
    assert {(name, default) for name, default in VARIABLE.findall(TEXT)} == set(asked.items()), "two defaults"
    assert {name: value for name, value in explained.items() if name not in OF_COMPOSE} == asked
    assert explained.keys() >= OF_COMPOSE


def test_only_what_is_for_people_is_published_and_on_loopback_but_for_tls() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == PUBLIC
    assert not any(service.get("network_mode") == "host" for service in SERVICES.values())
    assert not any("privileged" in service or "pid" in service for service in SERVICES.values())


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_watched_limited_and_of_a_known_version(name: str) -> None:
    service = SERVICES[name]
    image, _, tag = service["image"].partition(":")

    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert ("healthcheck" in service) == (name not in ONCE | WITHOUT_A_SHELL)
    if image.startswith("gozon"):
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert "build" in service or service["pull_policy"] == "never"
    else:
        assert re.match(r"v?\d", tag), "the newest is another one each time"


def test_what_is_mounted_is_there(home: Path) -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            if isinstance(volume, dict):
                assert volume["source"] in COMPOSE["volumes"]
                assert (home / volume["volume"]["subpath"]).is_dir(), name
                assert volume["read_only"], name
            else:
                source = volume.split(":")[0]
                assert source in COMPOSE["volumes"] or (CHECKOUT / source).exists(), f"{name}: {source}"
