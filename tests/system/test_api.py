"""The system as it is, through the edge."""

from typing import Any

import grpc
from google.protobuf.message import Message

from gozon.maintenance.v1 import maintenance_pb2 as maintenance
from gozon.maintenance.v1.maintenance_pb2_grpc import MaintenanceServiceStub
from gozon.system.v1.system_pb2 import (
    DropDeadLetterRequest,
    GetSystemRequest,
    ListDeadLettersRequest,
    ReplayDeadLetterRequest,
)
from tests.support import Edge, RunningStack, User, eventually, refused


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


async def test_it_is_for_administrators(edge: Edge, stack: RunningStack, alice: User) -> None:
    for verb, path in (
        ("GET", "/system"),
        ("GET", "/dead-letters"),
        ("POST", "/dead-letters/x:replay"),
        ("DELETE", "/dead-letters/x"),
    ):
        answer = await edge.rest.request(verb, path, headers=alice.headers)
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "ADMIN_ONLY"), path

    key = maintenance.DeadLetterKey(consumer="x", event_id="x")
    key.died_at.GetCurrentTime()
    async with grpc.aio.insecure_channel(stack.targets["orders"]) as channel:
        orders = MaintenanceServiceStub(channel)
        calls: list[tuple[Any, Message]] = [
            (edge.system.GetSystem, GetSystemRequest()),
            (edge.system.ListDeadLetters, ListDeadLettersRequest()),
            (edge.system.ReplayDeadLetter, ReplayDeadLetterRequest(dead_letter_id="x")),
            (edge.system.DropDeadLetter, DropDeadLetterRequest(dead_letter_id="x")),
            (orders.ListDeadLetters, maintenance.ListDeadLettersRequest(limit=1)),
            (orders.ReplayDeadLetter, maintenance.ReplayDeadLetterRequest(key=key)),
            (orders.DropDeadLetter, maintenance.DropDeadLetterRequest(key=key)),
        ]
        for call, request in calls:
            with refused(grpc.StatusCode.PERMISSION_DENIED, "ADMIN_ONLY"):
                await call(request, metadata=alice.metadata())
