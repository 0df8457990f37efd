"""The system as it is, through the edge."""

from typing import Any

from tests.support import Edge, User, eventually


async def _system(edge: Edge, admin: User) -> dict[str, Any]:
    answer = await edge.rest.get("/system", headers=admin.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _counts(system: dict[str, Any]) -> dict[str, int]:
    [orders] = (process["orders"] for process in system["processes"] if process["name"] == "orders")
    within = max(int(each["orders"]) for each in orders["timed_within"])
    return {name: int(orders[name]) for name in ("created", "paid", "timed")} | {"within": within}


async def test_numbers_move_after_an_order(edge: Edge, admin: User) -> None:
    user = await edge.register()
    await edge.deposit(user, 1000)
    before = await _system(edge, admin)
    order = await edge.rest.post("/orders", json={"amount": 5}, headers=user.headers)
    await edge.settled(user, order.json()["id"])
    wanted = {name: count + 1 for name, count in _counts(before).items()}

    async def moved() -> bool:
        # Others may order too.
        return all(count >= wanted[name] for name, count in _counts(await _system(edge, admin)).items())

    await eventually(moved)
    assert {process["state"] for process in before["processes"]} == {"UP"}
    names = {process["name"] for process in before["processes"]}
    assert names >= {"users", "orders", "payments", "push", "system", "worker-payouts", "dispatcher", "beat"}
    assert {each["service"] for each in before["backlogs"]} == {"orders", "payments"}
    assert {each["name"] for each in before["consumers"]} >= {"payments-charge", "orders-settle", "workers-orders"}
    assert before["audit"]["state"] in ("UNKNOWN", "HOLDS", "BROKEN")
