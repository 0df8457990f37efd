"""workers.payouts with the real simulator of a provider: paid at most once, and ended as the provider says."""

import asyncio
from typing import Any

import grpc
import pytest
from celery.result import EagerResult

from gozon.payouts.v1.payouts_pb2 import (
    Card,
    FinishPayoutRequest,
    Payout,
    Recipient,
    StartPayoutRequest,
    StartPayoutResponse,
)
from kit.ids import new_id
from stack.provider import DECLINED_CARD
from tests.workers.fake import FakeServices, Refusal
from tests.workers.simulator import Simulator
from workers.payouts import MAX_RETRIES, pay_out

CARD = "4111111111111111"


class Books:
    """A payout as Payments keeps it, as far as a worker sees that."""

    def __init__(self, fake: FakeServices, status: Payout.Status = Payout.PENDING, card: str = CARD) -> None:
        self.payout = Payout(id=new_id(), user_id=new_id(), amount=700, currency="RUB", status=status)
        self.refusals: list[Refusal] = []
        """What FinishPayout is answered first."""
        self._card = card
        self._fake = fake
        fake.answer("PayoutsService.StartPayout", self._start)
        fake.answer("PayoutsService.FinishPayout", self._finish)

    def _start(self, _: StartPayoutRequest) -> StartPayoutResponse:
        begun_before = self.payout.status not in (Payout.PENDING, Payout.CANCELED)
        if self.payout.status == Payout.PENDING:
            self.payout.status = Payout.PROCESSING
        answer = StartPayoutResponse(payout=self.payout, begun_before=begun_before)
        if self.payout.status == Payout.PROCESSING:
            answer.recipient.CopyFrom(Recipient(type=Recipient.CARD, card=Card(number=self._card)))
        return answer

    def _finish(self, request: FinishPayoutRequest) -> Payout:
        if self.refusals:
            raise self.refusals.pop()
        self.payout.status = request.status
        return self.payout

    @property
    def finished(self) -> list[FinishPayoutRequest]:
        return [request for name, request in self._fake.asked if name == "FinishPayout"]


async def run(books: Books) -> "EagerResult[None]":
    """Runs the task as a worker does, with all its retries, but without the pauses between them."""
    return await asyncio.to_thread(lambda: pay_out.apply((books.payout.id, books.payout.user_id)))


async def test_a_payout_is_paid_and_ended_with_the_providers_reference(
    fake: FakeServices, simulator: Simulator
) -> None:
    books = Books(fake)
    assert (await run(books)).successful()
    assert fake.names() == ["StartPayout", "FinishPayout"]
    entry = (await simulator.book())[books.payout.id]
    assert (entry["status"], entry["amount"], entry["requests"]) == ("PAID", 700, 1)
    [finished] = books.finished
    assert (finished.status, finished.provider_reference) == (Payout.COMPLETED, entry["reference"])


async def test_a_declined_payout_fails_with_the_reason(fake: FakeServices, simulator: Simulator) -> None:
    books = Books(fake, card=DECLINED_CARD)
    assert (await run(books)).successful()
    [finished] = books.finished
    assert (finished.status, finished.provider_reference) == (Payout.FAILED, "")
    assert finished.failure_reason == (await simulator.book())[books.payout.id]["reason"]


@pytest.mark.parametrize(
    "behaviour",
    [
        {"pay": ["error_before"]},
        {"pay": ["error_after"]},
        {"pay": ["time_out_before"]},
        {"pay": ["time_out_after"]},
        {"pay": ["broken"]},
        {"pay": ["twice"]},
        {"pay": ["pend"], "pending_seconds": 0},
        {"pay": ["error_after"], "find": ["error_before", "time_out_before"]},
        {"pay": ["error_before", "time_out_before", "error_after"], "find": ["error_before"]},
    ],
    ids=lambda behaviour: "-".join([*behaviour["pay"], *behaviour.get("find", [])]),
)
async def test_whatever_the_provider_does_it_pays_once(
    behaviour: dict[str, Any], fake: FakeServices, simulator: Simulator
) -> None:
    books = Books(fake)
    await simulator.behave(**{"hold_seconds": 2, **behaviour})
    assert (await run(books)).successful()
    entry = (await simulator.book())[books.payout.id]
    assert entry["status"] == "PAID"
    [finished] = books.finished
    assert (finished.status, finished.provider_reference) == (Payout.COMPLETED, entry["reference"])
    # One that has paid is asked about that, and never to pay once more.
    if behaviour["pay"][0].endswith("_after"):
        assert entry["requests"] == 1


async def test_what_was_begun_before_is_asked_for_before_it_is_paid(fake: FakeServices, simulator: Simulator) -> None:
    """As after a worker that died with its payout paid, and one that died a moment earlier."""
    books = Books(fake)
    await simulator.behave(find=["error_before"])
    books.payout.status = Payout.PROCESSING
    assert (await run(books)).successful()
    assert (await simulator.book())[books.payout.id]["requests"] == 1
    # The first attempt could not ask, so it did nothing.
    assert fake.names() == ["StartPayout", "StartPayout", "FinishPayout"]
    # A second delivery ends at once.
    assert (await run(books)).successful()
    assert fake.names()[3:] == ["StartPayout"]
    # And so does one that does not know that yet.
    books.payout.status = Payout.PROCESSING
    assert (await run(books)).successful()
    assert books.finished[0] == books.finished[1]
    assert (await simulator.book())[books.payout.id]["requests"] == 1


async def test_two_at_once_pay_once(fake: FakeServices, simulator: Simulator) -> None:
    books = Books(fake)
    await simulator.behave(delay_seconds=0.1)
    assert [result.successful() for result in await asyncio.gather(run(books), run(books))] == [True, True]
    assert {request.provider_reference for request in books.finished} == {
        (await simulator.book())[books.payout.id]["reference"]
    }


@pytest.mark.parametrize("status", [Payout.CANCELED, Payout.COMPLETED, Payout.FAILED])
async def test_what_is_canceled_or_has_ended_is_not_paid(
    status: Payout.Status, fake: FakeServices, simulator: Simulator
) -> None:
    books = Books(fake, status)
    assert (await run(books)).successful()
    assert fake.names() == ["StartPayout"]
    assert books.payout.id not in await simulator.book()


async def test_when_the_provider_is_out_of_order_the_task_leaves_it_to_payments(
    fake: FakeServices, simulator: Simulator
) -> None:
    books = Books(fake)
    await simulator.behave(rates={"error_after": 1}, find=["error_before"] * MAX_RETRIES)
    assert (await run(books)).successful()
    assert fake.names() == ["StartPayout"] * (MAX_RETRIES + 1)
    # Payments asks again, and it ends.
    assert (await run(books)).successful()
    assert [request.status for request in books.finished] == [Payout.COMPLETED]
    assert (await simulator.book())[books.payout.id]["requests"] == 1


async def test_while_payments_is_away_a_paid_payout_waits(fake: FakeServices, simulator: Simulator) -> None:
    books = Books(fake)
    books.refusals = [Refusal(grpc.StatusCode.UNAVAILABLE), Refusal(grpc.StatusCode.DEADLINE_EXCEEDED)]
    assert (await run(books)).successful()
    assert books.payout.status == Payout.COMPLETED
    assert fake.names() == ["StartPayout", "FinishPayout"] * 3
    assert (await simulator.book())[books.payout.id]["requests"] == 1


async def test_an_outcome_that_payments_contradicts_fails_the_task_and_is_not_repeated(fake: FakeServices) -> None:
    books = Books(fake)
    books.refusals = [Refusal(grpc.StatusCode.FAILED_PRECONDITION, "TRANSITION_NOT_ALLOWED")]
    result = await run(books)
    assert result.failed()
    assert fake.names() == ["StartPayout", "FinishPayout"]
    assert CARD not in repr(result.result)
