"""What is kept in a home folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from stack.config import NATS, SCALED, Config
from stack.home import DEFAULT_HOME, Home, HomeError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


def test_secrets_are_made_once(home: Home) -> None:
    assert home.secrets() == home.secrets()
    assert len(set(asdict(home.secrets()).values())) == len(asdict(home.secrets()))


def test_a_service_that_came_later_gets_its_password_and_the_others_keep_theirs(home: Home) -> None:
    before = asdict(home.secrets())
    _change(home.path / "secrets.json", lambda data: data.pop("orders"))
    after = asdict(home.secrets())
    assert after.pop("orders") not in before.values()
    assert after.items() <= before.items()
    assert home.secrets().orders == home.secrets().orders


def test_a_service_that_came_later_gets_its_ports_and_an_instance(home: Home) -> None:
    home.save_config(Config(instances={"users": 1, "orders": 2, "payments": 1}))
    _change(home.path / "config.json", lambda data: (data["instances"].pop("payments"), data["ports"].pop("payments")))
    assert home.config() == Config(instances=dict.fromkeys((*SCALED, NATS), 1) | {"orders": 2})


def test_lost_passwords_of_existing_databases_are_not_replaced(home: Home) -> None:
    home.postgres_data.mkdir()
    with pytest.raises(HomeError, match="make reset"):
        home.secrets()


def test_commands_name_the_home_unless_it_is_the_default() -> None:
    assert Home(DEFAULT_HOME).command("demo") == "make demo"
    assert Home(DEFAULT_HOME).command("logs", "-f") == "make logs ARGS=-f"
    assert Home(Path("/a b")).command("demo") == """make demo ARGS='--home '"'"'/a b'"'"''"""


def _change(file: Path, change: Any) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
