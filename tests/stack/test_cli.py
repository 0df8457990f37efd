"""The `gozon` command, where nothing runs."""

import json
from pathlib import Path

import pytest

from tests.support import gozon


def test_help_names_every_command() -> None:
    commands = [
        "up",
        "down",
        "status",
        "logs",
        "demo",
        "seed",
        "check",
        "statement",
        "doctor",
        "reset",
        "migrate",
        "restart",
        "admin",
        "keys",
        "dlq",
    ]
    text = gozon("--help").stdout
    assert [command for command in commands if command not in text] == []


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "seed",
        "check",
        "check --watch",
        "statement ann@x",
        "migrate",
        "restart",
        "admin grant ann@x",
        "admin revoke ann@x",
        "dlq list",
        "dlq show x",
    ],
)
def test_what_needs_a_stack_says_so(command: str, tmp_path: Path) -> None:
    result = gozon(*command.split(), "--home", str(tmp_path / "none"))
    assert result.returncode == 1
    assert "make up ARGS=" in result.stderr


def test_what_can_not_be_chosen_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "none"
    assert gozon("up", "--log-level", "loud", "--home", str(home)).returncode == 2
    assert gozon("status", "--secrets", "--home", str(home)).returncode == 2
    assert gozon("statement", "ann@x", "--from", "yesterday", "--home", str(home)).returncode == 2
    assert not home.exists()


def test_an_unknown_setting_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    result = gozon("up", "--setting", "payments.hold_hours=1", "--home", str(tmp_path / "none"))
    assert result.returncode == 1
    assert "payments.hold_seconds" in result.stderr


def test_logs_say_that_there_are_none(tmp_path: Path) -> None:
    result = gozon("logs", "--home", str(tmp_path / "none"))
    assert result.returncode == 1
    assert "no logs" in result.stderr


def test_down_without_a_stack_is_no_error(tmp_path: Path) -> None:
    assert gozon("down", "--home", str(tmp_path / "none")).returncode == 0


def test_reset_leaves_a_foreign_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert gozon("reset", "--yes", "--home", str(tmp_path)).returncode == 1
    assert (tmp_path / "thesis.txt").exists()


def test_doctor_finds_every_program(tmp_path: Path) -> None:
    findings = json.loads(gozon("doctor", "--json", "--home", str(tmp_path / "none")).stdout)["findings"]
    ok = {finding["name"] for finding in findings if finding["ok"]}
    assert {"Python", "C library", "free disk", "PostgreSQL", "NATS", "Valkey", "Envoy"} <= ok
