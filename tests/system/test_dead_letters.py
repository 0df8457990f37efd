"""Dead letters through the edge: listed, replayed, dropped."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from gozon.orders.v1.events_pb2 import OrderCreated
from gozon.payments.v1.events_pb2 import PaymentFailed
from gozon.system.v1.system_pb2 import ListDeadLettersRequest, ReplayDeadLetterRequest
from kit.db import Database, sql
from kit.dead_letters import DeadLetter, bury
from kit.events import Event
from kit.ids import new_id
from kit.rpc import Call
from services.system.dead_letters import DeadLetters
from services.topology import ORDER_CREATED, ORDERS_SETTLE, PAYMENT_FAILED, PAYMENTS_CHARGE
from tests.support import Edge, RunningStack, User, count, eventually, free_port, refused

GARBAGE = ("x", "orders.", "orders.!!", "orders.CgA", "nobody.CgA", "orders.GgwI____________8B", "orders.\u00e9")


@dataclass
class Office:
    """An administrator at work on dead letters."""

    edge: Edge
    admin: User
    databases: dict[str, Database]
    order: dict[str, Any]
    """One that was settled: to ask again about it changes nothing."""

    async def list(self, **query: Any) -> dict[str, Any]:
        """Lists them."""
        answer = await self.edge.rest.get("/dead-letters", params=query, headers=self.admin.headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def replay(self, letter: dict[str, Any]) -> int:
        """Replays one and returns the status of the answer."""
        url = f"/dead-letters/{letter['id']}:replay"
        return (await self.edge.rest.post(url, json={}, headers=self.admin.headers)).status_code

    async def drop(self, letter: dict[str, Any]) -> int:
        """Drops one and returns the status of the answer."""
        return (await self.edge.rest.delete(f"/dead-letters/{letter['id']}", headers=self.admin.headers)).status_code

    def question(self) -> Event:
        """Asks Payments about the order once more."""
        event = OrderCreated(order_id=self.order["id"], user_id=self.order["user_id"], total_price=5, currency="RUB")
        return Event(new_id(), ORDER_CREATED, event.SerializeToString(), f"00-{'a' * 32}-{'b' * 16}-01")

    async def bury(self, event: Event) -> None:
        """Makes a dead letter as the consumer of the event does."""
        is_answer = event.subject == PAYMENT_FAILED
        consumer, service = (ORDERS_SETTLE, "orders") if is_answer else (PAYMENTS_CHARGE, "payments")
        await bury(self.databases[service], DeadLetter(consumer.name, event, ValueError("a bug"), 7, 108.0, 9))

    async def was_handled(self, event: Event) -> bool:
        """Says whether Payments has the event in its inbox."""
        async with self.databases["payments"].autocommit() as connection:
            return bool(await connection.execute(sql("SELECT 1 FROM inbox WHERE event_id = :id::uuid"), id=event.id))


@pytest.fixture
async def office(stack: RunningStack, edge: Edge, admin: User, alice: User) -> AsyncIterator[Office]:
    databases = {service: Database(stack.database_urls[service]) for service in ("orders", "payments")}
    order = await edge.rest.post("/orders", json={"amount": 5}, headers=alice.headers)
    yield Office(edge, admin, databases, await edge.settled(alice, order.json()["id"]))
    for database in databases.values():
        async with database.autocommit() as connection:
            await connection.execute(sql("DELETE FROM dead_letters"))
        await database.close()


def answer() -> Event:
    """Tells Orders of an order that nobody knows."""
    event = PaymentFailed(order_id=new_id(), user_id=str(uuid.uuid4()), reason=PaymentFailed.NO_ACCOUNT)
    # What can't be read has no UUID for an id.
    return Event("f" * 64, PAYMENT_FAILED, event.SerializeToString(), "")


async def test_those_of_all_services_are_listed_page_by_page_the_latest_first(office: Office) -> None:
    events = [office.question(), answer(), office.question()]
    for event in events:
        await office.bury(event)

    token, pages = "", list[Any]()
    while (not pages or token) and len(pages) <= len(events):
        page = await office.list(page_size=1, page_token=token)
        pages.append(page["dead_letters"])
        token = page["next_page_token"]

    assert [[letter["event_id"] for letter in page] for page in pages] == [[event.id] for event in reversed(events)]
    [latest], [second], _ = pages
    shown = {name: latest[name] for name in ("service", "consumer", "subject", "error", "failures", "trace_id")}
    assert shown == {
        "service": "payments",
        "consumer": "payments-charge",
        "subject": "orders.created",
        "error": "ValueError('a bug')",
        "failures": 7,
        "trace_id": "a" * 32,
    }
    assert (second["service"], second["trace_id"]) == ("orders", "")


async def test_what_is_replayed_is_handled_and_gone_and_what_is_dropped_is_gone(office: Office) -> None:
    replayed, dropped = office.question(), office.question()
    await office.bury(replayed)
    await office.bury(dropped)
    second, first = (await office.list())["dead_letters"]

    assert await office.replay(first) == 204
    await eventually(lambda: office.was_handled(replayed))
    assert await office.drop(second) == 204
    assert (await office.list())["dead_letters"] == []
    assert [await office.replay(each) for each in (first, second)] == [404, 404]
    assert [await office.drop(each) for each in (first, second)] == [404, 404]
    assert not await office.was_handled(dropped)


async def test_what_died_again_meanwhile_is_another_one(office: Office) -> None:
    event = office.question()
    await office.bury(event)
    [seen] = (await office.list())["dead_letters"]
    await office.bury(event)

    assert (await office.drop(seen), await office.replay(seen)) == (404, 404)
    assert await count(office.databases["payments"], "dead_letters") == 1


async def test_garbage_for_an_id_or_a_token_is_refused(office: Office) -> None:
    system, metadata = office.edge.system, office.admin.metadata()
    for text in GARBAGE:
        with refused(grpc.StatusCode.NOT_FOUND, "DEAD_LETTER_NOT_FOUND"):
            await system.ReplayDeadLetter(ReplayDeadLetterRequest(dead_letter_id=text), metadata=metadata)
        # The name of the service is of no matter there.
        if not text.startswith("nobody"):
            with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"):
                await system.ListDeadLetters(ListDeadLettersRequest(page_token=text), metadata=metadata)


async def test_a_service_that_does_not_answer_is_named(office: Office, stack: RunningStack) -> None:
    event = answer()
    await office.bury(event)
    targets = {"orders": stack.targets["orders"], "payments": f"127.0.0.1:{free_port()}"}

    found, silent = await DeadLetters(targets).page("", 10, _call(office.admin))

    assert _ids(found) == [event.id]
    assert silent == ["payments"]


def _ids(letters: Sequence[Any]) -> list[str]:
    return [letter.event_id for letter in letters]


def _call(user: User) -> Call:
    return Call(None, user.headers, "")
