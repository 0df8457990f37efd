"""The stack survives the death of its parts, and leaves nothing behind at its own."""

import os
import signal
import socket
from collections.abc import Callable

import pytest

from tests.stack.conftest import OwnStack
from tests.support import eventually

PROCESSES = ["postgres", "nats", "valkey", "provider", "users", "orders", "payments", "web", "envoy"]


@pytest.mark.parametrize("name", PROCESSES)
async def test_a_killed_process_comes_back(own_stack: OwnStack, name: str) -> None:
    before = own_stack.process(name)
    os.kill(before["pid"], signal.SIGKILL)

    async def again() -> bool:
        now = own_stack.process(name)
        return bool(now["pid"] != before["pid"] and now["restarts"] == before["restarts"] + 1)

    async def all_ready() -> bool:
        return bool(own_stack.json("status")["ok"])

    # For a second or two the edge may send nothing to those who just missed it: they answered that they were not well.
    async def all_work() -> bool:
        return own_stack.gozon("demo", "--json").returncode == 0

    await eventually(again)
    await eventually(all_ready)
    await eventually(all_work)


def test_up_on_a_running_stack_changes_nothing(own_stack: OwnStack) -> None:
    before = own_stack.pids()
    assert own_stack.gozon("up").returncode == 0
    assert own_stack.pids().keys() == before.keys()  # what PostgreSQL's processes do is in their command lines


def test_restart_replaces_a_process_and_waits_until_it_is_ready(own_stack: OwnStack) -> None:
    before = own_stack.json("status")
    restart = own_stack.gozon("restart", "payments")
    assert restart.returncode == 0, restart.stderr
    after = own_stack.json("status")
    assert after["ok"]
    pids = {each["name"]: each["pid"] for each in before["processes"]}
    assert [each["name"] for each in after["processes"] if each["pid"] != pids[each["name"]]] == ["payments"]


def test_restart_of_what_there_is_not_restarts_nothing(own_stack: OwnStack) -> None:
    before = own_stack.pids()
    restart = own_stack.gozon("restart", "users", "shipping")
    assert restart.returncode == 1
    assert "no process shipping" in restart.stderr
    assert own_stack.pids().keys() == before.keys()  # what PostgreSQL's processes do is in their command lines


async def test_a_killed_supervisor_takes_everything_with_it(own_stack: OwnStack) -> None:
    os.kill(own_stack.json("status")["supervisor"]["pid"], signal.SIGKILL)

    async def nothing() -> bool:
        return not own_stack.pids()

    await eventually(nothing)
    assert own_stack.json("status") == {"ok": False, "home": str(own_stack.home), "phase": "stopped"}
    own_stack.up()
    assert own_stack.json("status")["ok"]
    assert own_stack.json("check")["ok"]


def test_down_leaves_nothing_behind_and_up_finds_the_data_again(own_stack: OwnStack) -> None:
    orders = own_stack.json("check")["orders"]
    assert own_stack.gozon("down").returncode == 0
    assert own_stack.pids() == {}
    own_stack.up()
    assert own_stack.json("check")["orders"] == orders


def test_what_can_not_start_is_shown_and_nothing_runs(new_home: Callable[[], OwnStack]) -> None:
    own = new_home()
    own.home.mkdir()
    (own.home / "keys").mkdir()
    (own.home / "keys" / "20260101T000000Z.pem").write_text("not a key")
    up = own.gozon("up", "--free-ports")
    assert up.returncode == 1
    assert "users" in up.stderr
    assert "20260101T000000Z.pem" in up.stderr.replace("\n", "")
    assert own.pids() == {}


def test_a_taken_port_is_named_with_the_way_out(new_home: Callable[[], OwnStack]) -> None:
    own = new_home()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        up = own.gozon("up", "--free-ports", "--edge-port", str(port))
    assert up.returncode == 1
    assert f"{port} (edge)" in up.stderr
    assert "--port edge=" in up.stderr
    assert own.pids() == {}


def test_secrets_are_closed_to_others(own_stack: OwnStack) -> None:
    assert own_stack.home.stat().st_mode & 0o777 == 0o700
    [key] = (own_stack.home / "keys").iterdir()
    assert (own_stack.home / "keys").stat().st_mode & 0o777 == 0o700
    files = ["secrets.json", f"keys/{key.name}", "nats.conf", "valkey.conf", "envoy.yaml", "config.json", "state.json"]
    assert {name: (own_stack.home / name).stat().st_mode & 0o077 for name in files} == dict.fromkeys(files, 0)


def test_status_tells_no_secret_unless_asked(own_stack: OwnStack) -> None:
    password = own_stack.json("status", "--secrets")["urls"]["redis"].split(":")[2].split("@")[0]
    assert password not in own_stack.gozon("status", "--json").stdout
