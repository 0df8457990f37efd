"""`gozon dlq` on a running stack: what it lists, shows, replays and drops."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gozon.orders.v1.events_pb2 import OrderCreated
from gozon.payments.v1.events_pb2 import PaymentFailed
from kit.bus import Bus
from kit.db import Database, sql
from kit.dead_letters import DeadLetter, bury
from kit.events import Event
from kit.ids import new_id
from services.topology import CONSUMERS, ORDER_CREATED, ORDERS_SETTLE, PAYMENT_FAILED, PAYMENTS_CHARGE, STREAMS
from stack import dlq
from stack.home import Home, Stack
from tests.stack.conftest import OwnStack
from tests.support import Edge, RunningStack, count, eventually, gozon


@dataclass
class Post:
    """A stack with an order that was settled, and dead letters about it."""

    own: OwnStack
    order: dict[str, Any]
    databases: dict[str, Database]
    bus: Bus

    def question(self) -> Event:
        """Asks Payments about the order once more: the answer is the same and nothing changes."""
        event = OrderCreated(order_id=self.order["id"], user_id=self.order["user_id"], total_price=5, currency="RUB")
        return Event(new_id(), ORDER_CREATED, event.SerializeToString(), "")

    def answer(self) -> Event:
        """Tells Orders once more what Payments has decided."""
        event = PaymentFailed(
            order_id=self.order["id"], user_id=self.order["user_id"], reason=PaymentFailed.Reason.NO_ACCOUNT
        )
        return Event(new_id(), PAYMENT_FAILED, event.SerializeToString(), "")

    async def bury(self, event: Event, reason: Exception | None = None) -> None:
        """Makes a dead letter as the consumer of the event does."""
        service, consumer = {PAYMENT_FAILED: ("orders", ORDERS_SETTLE)}.get(
            event.subject, ("payments", PAYMENTS_CHARGE)
        )
        letter = DeadLetter(consumer.name, event, reason or ValueError("a bug"), 7, 108.0, 9)
        await bury(self.databases[service], letter)

    async def was_handled(self, event: Event) -> bool:
        """Says whether Payments has the event in its inbox."""
        async with self.databases["payments"].autocommit() as connection:
            return bool(await connection.execute(sql("SELECT 1 FROM inbox WHERE event_id = :id::uuid"), id=event.id))

    async def gozon(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `gozon dlq`."""
        return await asyncio.to_thread(self.own.gozon, "dlq", *arguments)

    async def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """What `gozon dlq list` prints."""
        found: list[dict[str, Any]] = json.loads((await self.gozon("list", "--json", *arguments)).stdout)
        return found

    async def replayed(self, *arguments: str) -> None:
        """Replays, without an error."""
        result = await self.gozon("replay", *arguments)
        assert result.returncode == 0, result.stderr


@pytest.fixture
async def post(own_stack: OwnStack) -> AsyncIterator[Post]:
    stack = RunningStack.from_status(own_stack.json("status", "--secrets"))
    databases = {service: Database(stack.database_urls[service]) for service in ("orders", "payments")}
    bus = Bus(stack.nats_url, STREAMS, CONSUMERS)
    await bus.connect()
    async with Edge(stack) as edge:
        user = await edge.register()
        created = await edge.rest.post("/orders", json={"amount": 5}, headers=user.headers)
        order = await edge.settled(user, created.json()["id"])
    yield Post(own_stack, order, databases, bus)
    await bus.close()
    for database in databases.values():
        async with database.autocommit() as connection:
            await connection.execute(sql("DELETE FROM dead_letters"))
        await database.close()


async def test_those_of_all_services_are_listed_the_latest_first(post: Post) -> None:
    assert await post.listed() == []
    assert "no dead letters" in (await post.gozon("list")).stdout
    question, answer = post.question(), post.answer()
    await post.bury(question)
    await post.bury(answer, KeyError("[bold]not markup"))
    latest, first = await post.listed()
    assert first.pop("died_at") < latest.pop("died_at")
    assert first == {
        "service": "payments",
        "consumer": "payments-charge",
        "event_id": question.id,
        "subject": "orders.created",
        "reason": "ValueError('a bug')",
        "deliveries": 9,
    }
    assert latest["consumer"] == "orders-settle"
    assert [letter["event_id"] for letter in await post.listed("--consumer", "payments-charge")] == [question.id]
    assert [letter["event_id"] for letter in await post.listed("--limit", "1")] == [answer.id]
    table = (await post.gozon("list")).stdout
    assert question.id in table
    assert answer.id in table


async def test_one_is_shown_with_what_its_event_says(post: Post) -> None:
    question = post.question()
    await post.bury(question)
    [shown] = json.loads((await post.gozon("show", question.id)).stdout)
    assert shown["message_type"] == "gozon.orders.v1.OrderCreated"
    assert shown["event"] == {
        "order_id": post.order["id"],
        "user_id": post.order["user_id"],
        "total_price": "5",
        "currency": "RUB",
    }
    assert bytes.fromhex(shown["payload"]) == question.payload
    assert (shown["failures"], shown["deliveries"], shown["reason"]) == (7, 9, "ValueError('a bug')")
    assert shown["first_failed_at"] < shown["died_at"]


async def test_what_can_not_be_read_is_shown_as_bytes(post: Post) -> None:
    await post.bury(Event("no envelope", ORDER_CREATED, b"\xff\xff", ""))
    [shown] = json.loads((await post.gozon("show", "no envelope")).stdout)
    assert (shown["event"], shown["payload"]) == (None, "ffff")


async def test_a_replay_within_the_window_of_deduplication_is_handled(post: Post) -> None:
    question = post.question()
    assert await post.bus.publish([question]) == {question.id}
    await eventually(lambda: post.was_handled(question))
    # As if it had died instead: JetStream knows its id, the inbox does not.
    async with post.databases["payments"].autocommit() as connection:
        await connection.execute(sql("DELETE FROM inbox WHERE event_id = :id::uuid"), id=question.id)
    await post.bury(question)
    await post.replayed(question.id)
    await eventually(lambda: post.was_handled(question))
    assert await post.listed() == []


async def test_what_is_replayed_again_after_a_crash_changes_nothing(post: Post) -> None:
    question = post.question()
    await post.bury(question)
    await post.replayed(question.id)
    await eventually(lambda: post.was_handled(question))
    # The crash: it was published, and its row is still there.
    await post.bury(question)
    last = post.question()
    await post.bury(last)
    await post.replayed("--all")
    await eventually(lambda: post.was_handled(last))
    check = await asyncio.to_thread(post.own.gozon, "check")
    assert check.returncode == 0, check.stdout
    assert await post.listed() == []


async def test_all_of_one_consumer_are_replayed_and_the_others_stay(post: Post) -> None:
    questions, answer = [post.question() for _ in range(3)], post.answer()
    for event in (*questions, answer):
        await post.bury(event)
    await post.replayed("--all", "--consumer", "payments-charge")
    assert [letter["event_id"] for letter in await post.listed()] == [answer.id]
    for question in questions:
        await eventually(lambda question=question: post.was_handled(question))  # type: ignore[misc]


async def test_what_nats_does_not_take_stays(post: Post) -> None:
    nowhere = Event(new_id(), "nowhere.made", b"", "")
    await post.bury(nowhere)
    result = await post.gozon("replay", nowhere.id)
    assert result.returncode == 1
    assert nowhere.id in result.stderr
    assert "Traceback" not in result.stderr
    assert [letter["event_id"] for letter in await post.listed()] == [nowhere.id]


async def test_one_that_dies_again_while_it_is_replayed_stays(post: Post) -> None:
    """Between publishing and deleting the consumer may have given it up once more: that row is another one."""
    question = post.question()
    await post.bury(question)
    [letter] = await dlq.find(_stack(post), dlq.Choice([question.id]))
    await post.bury(question)
    await dlq.drop(_stack(post), [letter])
    assert [letter["event_id"] for letter in await post.listed()] == [question.id]


async def test_dropping_asks_first(post: Post) -> None:
    dropped, kept = post.question(), post.question()
    await post.bury(dropped)
    await post.bury(kept)
    assert (await post.gozon("drop", dropped.id)).returncode == 1
    assert await count(post.databases["payments"], "dead_letters") == 2
    result = await post.gozon("drop", dropped.id, "--yes")
    assert result.returncode == 0, result.stderr
    assert [letter["event_id"] for letter in await post.listed()] == [kept.id]
    assert not await post.was_handled(dropped)


@pytest.mark.parametrize("command", [("show",), ("replay",), ("drop", "--yes")])
async def test_an_unknown_id_is_an_error_and_nothing_happens(command: tuple[str, ...], post: Post) -> None:
    question, unknown = post.question(), new_id()
    await post.bury(question)
    known = [question.id] if command != ("show",) else []
    result = await post.gozon(*command, *known, unknown)
    assert result.returncode == 1
    assert unknown in result.stderr
    assert question.id not in result.stderr
    assert [letter["event_id"] for letter in await post.listed()] == [question.id]


def test_ids_or_all_have_to_be_chosen(tmp_path: Path) -> None:
    for arguments in ((), ("some", "--all")):
        result = gozon("dlq", "replay", *arguments, "--home", str(tmp_path))
        assert result.returncode == 2, result.stdout


def test_every_event_of_the_contract_is_known_by_the_subject_that_its_comment_names() -> None:
    written = {}
    for file in Path("protos/gozon").glob("*/v*/events.proto"):
        text = file.read_text()
        package = re.search(r"^package (\S+);", text, re.MULTILINE)
        assert package
        for subject, message in re.findall(r"^// Subject `([^`]+)`.*\n(?://.*\n)*message (\w+) ", text, re.MULTILINE):
            written[subject] = f"{package[1]}.{message}"
        assert text.count("\nmessage ") == sum(name.startswith(package[1]) for name in written.values())
    assert {subject: kind.DESCRIPTOR.full_name for subject, kind in dlq.message_types().items()} == written


def _stack(post: Post) -> Stack:
    return Stack.load(Home(post.own.home))
