"""`gozon check` finds each kind of lie, and none where there is none."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from stack.check import ORDERS_RULES, PAYMENTS_RULES, problem
from tests.stack.conftest import OwnStack

LONG_AGO = "now() - interval '1 hour'"
AGREEMENT = "an order and its charge agree"
PAID = {"status": "PAID", "cancel_reason": "", "amount": 5, "currency": "RUB"}
POOR = {"status": "CANCELED", "cancel_reason": "INSUFFICIENT_FUNDS", "amount": 5, "currency": "RUB"}
PENDING = {"status": "PENDING", "cancel_reason": "", "amount": 5, "currency": "RUB"}
TAKEN = {"status": "SUCCEEDED", "reason": "", "amount": 5, "currency": "RUB", "settled": True}
REFUSED = {"status": "FAILED", "reason": "INSUFFICIENT_FUNDS", "amount": 5, "currency": "RUB", "settled": True}
YOUNG = {"settled": False}


@pytest.mark.parametrize(
    ("order", "charge"),
    [(PAID, TAKEN), (POOR, REFUSED), (PENDING, None), (PENDING, TAKEN | YOUNG), (None, REFUSED | YOUNG)],
)
def test_an_order_and_its_charge_may_tell_the_same_story(order: dict[str, Any], charge: dict[str, Any]) -> None:
    assert problem(order, charge) is None


@pytest.mark.parametrize(
    ("order", "charge"),
    [
        (PAID, None),
        (POOR, None),
        (PAID, REFUSED),
        (PAID, TAKEN | {"amount": 6}),
        (PAID, TAKEN | {"currency": "USD"}),
        (PAID, TAKEN | YOUNG | {"amount": 6}),
        (POOR, TAKEN),
        (POOR, REFUSED | {"reason": "NO_ACCOUNT"}),
        (PENDING, TAKEN),
        (PENDING, REFUSED),
        (None, TAKEN),
        (None, REFUSED),
    ],
)
def test_an_order_and_its_charge_may_not_contradict_each_other(order: dict[str, Any], charge: dict[str, Any]) -> None:
    assert problem(order, charge)


# By rule: database and statements that break it; $user and $id stand for new ids.
LIES = {
    "an order becomes PAID or CANCELED": (
        "orders",
        f"""INSERT INTO orders (user_id, id, status, cancel_reason, items, description, total_price, currency,
                                created_at, updated_at, asked_at)
            VALUES ('$user', '$id', 'PENDING', '', '[]', '', 1, 'RUB', {LONG_AGO}, {LONG_AGO}, now())""",
    ),
    "an order without an answer, and no other, will be asked for again": (
        "orders",
        """INSERT INTO orders (user_id, id, status, cancel_reason, items, description, total_price, currency,
                               created_at, updated_at, asked_at)
           VALUES ('$user', '$id', 'PENDING', '', '[]', '', 1, 'RUB', now(), now(), NULL)""",
    ),
    AGREEMENT: (
        "orders",
        f"""INSERT INTO orders (user_id, id, status, cancel_reason, items, description, total_price, currency,
                                created_at, updated_at, asked_at)
            VALUES ('$user', '$id', 'PAID', '', '[]', '', 1, 'RUB', {LONG_AGO}, {LONG_AGO}, NULL)""",
    ),
    "a failed charge takes nothing": (
        "payments",
        f"""INSERT INTO charges VALUES ('$user', '$id', 'FAILED', 'NO_ACCOUNT', 1, 'RUB', {LONG_AGO});
            INSERT INTO entries VALUES ('$user', '$id', 'user', -1, 'RUB', now())""",
    ),
    "revenue comes from a charge that succeeded": (
        "payments",
        "INSERT INTO entries VALUES ('$user', '$id', 'revenue', 1, 'RUB', now())",
    ),
    "the entries of a transaction sum to zero": (
        "payments",
        (
            "INSERT INTO entries VALUES ('$user', '$id', 'user', 2, 'RUB', now()), "
            "('$user', '$id', 'funding', -1, 'RUB', now())"
        ),
    ),
    "a charge that succeeded is booked from the user to revenue": (
        "payments",
        f"INSERT INTO charges VALUES ('$user', '$id', 'SUCCEEDED', '', 1, 'RUB', {LONG_AGO})",
    ),
    "a balance is the sum of its entries": (
        "payments",
        "INSERT INTO accounts VALUES ('$user', 'RUB', 1, 0, now(), now())",
    ),
}
# The tables' own constraints, or a relay that publishes at once, leave no way to break these while it all runs.
GUARDED = {"0 <= held <= balance", "events of Orders are published", "events of Payments are published"}


@pytest.fixture
async def databases(own_stack: OwnStack) -> AsyncIterator[dict[str, "asyncpg.Connection[Any]"]]:
    urls = own_stack.json("status", "--secrets")["urls"]
    connections = {name: await asyncpg.connect(urls[f"{name}_database"]) for name in ("orders", "payments")}
    yield connections
    for connection in connections.values():
        await connection.close()


def test_every_rule_has_its_lie() -> None:
    rules = {rule.name for rule in (*ORDERS_RULES, *PAYMENTS_RULES)} | {AGREEMENT}
    assert set(LIES) | GUARDED == rules


@pytest.mark.parametrize("rule", LIES)
async def test_a_lie_is_found_and_shown(
    own_stack: OwnStack, databases: dict[str, "asyncpg.Connection[Any]"], rule: str
) -> None:
    user, other = str(uuid.uuid4()), str(uuid.uuid4())
    name, statements = LIES[rule]
    tables = {"orders": ["orders"], "payments": ["charges", "entries", "accounts"]}[name]
    assert own_stack.json("check")["ok"]
    try:
        await databases[name].execute(statements.replace("$user", user).replace("$id", other))
        report = own_stack.json("check")
    finally:
        for table in tables:
            await databases[name].execute(f"DELETE FROM {table} WHERE user_id = '{user}'")
    rows = next(result["rows"] for result in report["results"] if result["rule"] == rule)
    assert not report["ok"]
    assert [row["user_id"] for row in rows] == [user]


def test_the_demo_leaves_nothing_to_complain_about(own_stack: OwnStack) -> None:
    demo = own_stack.gozon("demo", "--json")
    assert demo.returncode == 0, demo.stdout
    check = own_stack.gozon("check")
    assert check.returncode == 0, check.stdout
