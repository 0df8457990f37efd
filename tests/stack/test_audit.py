"""`gozon statement`, `gozon check --watch` and `gozon up --setting`, on a running stack."""

import csv
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.stack.conftest import MAX_DEPOSIT, OwnStack
from tests.support import Edge, RunningStack, User


@pytest.fixture
async def edge(own_stack: OwnStack) -> AsyncIterator[Edge]:
    async with Edge(running(own_stack)) as clients:
        yield clients


@pytest.fixture
async def ann(edge: Edge) -> User:
    """A user who put in money twice and paid for an order in between."""
    user = await edge.register()
    await edge.deposit(user, 1000)
    order = await edge.rest.post("/orders", json={"amount": 300}, headers=user.headers)
    assert (await edge.settled(user, order.json()["id"]))["status"] == "PAID"
    await edge.deposit(user, 50)
    return user


def running(own: OwnStack) -> RunningStack:
    return RunningStack.from_status(own.json("status", "--secrets"))


async def test_a_statement_says_what_the_api_says(own_stack: OwnStack, edge: Edge, ann: User) -> None:
    result = own_stack.gozon("statement", ann.id)
    assert result.returncode == 0, result.stderr
    lines = list(csv.DictReader(result.stdout.splitlines()))
    listed = (await edge.rest.get(f"/accounts/{ann.id}/entries", headers=ann.headers)).json()["entries"]
    columns = (
        "number",
        "kind",
        "order_id",
        "payout_id",
        "purchase_id",
        "amount",
        "held_amount",
        "balance",
        "held",
        "hash",
    )
    assert [[line[column] for column in columns] for line in lines] == [
        [entry[column] for column in columns] for entry in reversed(listed)
    ]
    assert [line["balance"] for line in lines] == ["1000", "700", "750"]
    assert {line["currency"] for line in lines} == {"RUB"}


def test_a_statement_of_a_time_is_those_lines(own_stack: OwnStack, ann: User, tmp_path: Path) -> None:
    lines = list(csv.DictReader(own_stack.gozon("statement", ann.email.upper()).stdout.splitlines()))
    second, third = lines[1]["time"], lines[2]["time"]
    assert datetime.fromisoformat(second).tzinfo
    file = tmp_path / "statement.csv"
    result = own_stack.gozon("statement", ann.email, "--from", second, "--to", third, "--output", str(file))
    assert result.returncode == 0, result.stderr
    with file.open(newline="") as written:
        assert list(csv.DictReader(written)) == [lines[1]]
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("who", ["nobody@example.com", "01a1fcd5-594e-77a6-8f64-936da9d46a30", "' OR 1=1 --", ""])
def test_a_statement_of_nobody_is_refused(own_stack: OwnStack, who: str, tmp_path: Path) -> None:
    result = own_stack.gozon("statement", who, "--output", str(tmp_path / "statement.csv"))
    assert result.returncode == 1
    assert who in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_statement_that_can_not_be_written_is_an_error(own_stack: OwnStack, ann: User, tmp_path: Path) -> None:
    result = own_stack.gozon("statement", ann.id, "--output", str(tmp_path / "none" / "statement.csv"))
    assert result.returncode == 1
    assert "can't be written" in result.stderr


@contextmanager
def watching(own: OwnStack, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """`gozon check --watch` at work."""
    command = [str(Path(sys.executable).with_name("gozon")), "check", "--watch", "--every", "0.1", *options]
    with subprocess.Popen([*command, "--home", str(own.home)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ended(process: "subprocess.Popen[str]") -> int:
    """Presses Ctrl-C and returns the exit code."""
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return process.returncode


def test_watching_tells_what_is_new(own_stack: OwnStack) -> None:
    with watching(own_stack) as process:
        assert " transactions" in next_line(process)
        while "nothing new" not in next_line(process):
            pass
        own_stack.gozon("demo", "--json")
        line = next_line(process)
        while "nothing new" in line:
            line = next_line(process)
        assert "(+" in line
        assert ended(process) == 0


async def test_watching_ends_as_the_last_round_was(own_stack: OwnStack, ann: User) -> None:
    payments = await asyncpg.connect(running(own_stack).database_urls["payments"])

    async def add(amount: int) -> None:
        await payments.execute("UPDATE accounts SET balance = balance + $1 WHERE user_id = $2", amount, ann.id)

    def round_that_is(process: "subprocess.Popen[str]", *, ok: bool) -> dict[str, Any]:
        while True:
            found: dict[str, Any] = json.loads(next_line(process))
            if found["ok"] == ok:
                return found

    rule = "a balance is the sum of its entries"
    try:
        with watching(own_stack, "--json") as process:
            round_that_is(process, ok=True)
            await add(1)
            broken = round_that_is(process, ok=False)
            assert f"✗ {rule}: 1 rows" in broken["news"]
            [lie] = (result for result in broken["report"]["results"] if result["rule"] == rule)
            assert [row["user_id"] for row in lie["rows"]] == [ann.id]
            await add(-1)
            assert f"✓ {rule}" in round_that_is(process, ok=True)["news"]
            await add(1)
            round_that_is(process, ok=False)
            assert ended(process) == 1
    finally:
        await payments.execute("UPDATE accounts SET balance = 750 WHERE user_id = $1", ann.id)
        await payments.close()


async def test_a_setting_is_the_service_s(own_stack: OwnStack, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, MAX_DEPOSIT)
    refused = await edge.rest.post(
        f"/accounts/{user.id}/deposit",
        json={"amount": MAX_DEPOSIT + 1},
        headers={**user.headers, "idempotency-key": uuid.uuid4().hex},
    )
    assert refused.json()["details"][0]["reason"] == "DEPOSIT_LIMIT", refused.text
    assert own_stack.json("status")["config"]["settings"]["payments.max_deposit"] == MAX_DEPOSIT
