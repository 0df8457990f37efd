"""workers.provider against the real simulator: an outcome is what the provider clearly says, all else is unknown."""

import pytest

from gozon.payouts.v1.payouts_pb2 import Card, Payout, Recipient
from kit.ids import new_id
from tests.workers.simulator import SECRET, Simulator
from workers.provider import HttpProvider, Outcome, OutcomeUnknown, Status

SECONDS = 5.0
RECIPIENT = Recipient(type=Recipient.CARD, card=Card(number="4111111111111111"))


def new_payout() -> Payout:
    return Payout(id=new_id(), user_id=new_id(), amount=12_300, currency="RUB", status=Payout.PROCESSING)


@pytest.fixture
def provider(simulator: Simulator) -> HttpProvider:
    return HttpProvider(simulator.url, SECRET, SECONDS)


async def test_a_payout_is_paid_and_found_again(provider: HttpProvider, simulator: Simulator) -> None:
    payout = new_payout()
    assert provider.find(payout.id) is None
    outcome = provider.pay(payout, RECIPIENT)
    assert (outcome.status, outcome.reason) == (Status.PAID, "")
    assert outcome.reference
    assert provider.find(payout.id) == provider.pay(payout, RECIPIENT) == outcome
    entry = (await simulator.book())[payout.id]
    assert (entry["amount"], entry["currency"], entry["reference"]) == (12_300, "RUB", outcome.reference)


async def test_it_says_why_it_declines(provider: HttpProvider, simulator: Simulator) -> None:
    await simulator.behave(pay=["decline"])
    outcome = provider.pay(new_payout(), RECIPIENT)
    assert (outcome.status, outcome.reference) == (Status.DECLINED, "")
    assert "declined" in outcome.reason


async def test_what_it_will_pay_later_is_pending_until_it_has(provider: HttpProvider, simulator: Simulator) -> None:
    payout = new_payout()
    await simulator.behave(pay=["pend"], pending_seconds=600)
    assert provider.pay(payout, RECIPIENT) == Outcome(Status.PENDING)
    assert provider.find(payout.id) == Outcome(Status.PENDING)
    other = new_payout()
    await simulator.behave(pay=["pend"], pending_seconds=0)
    provider.pay(other, RECIPIENT)
    found = provider.find(other.id)
    assert found
    assert found.status == Status.PAID


@pytest.mark.parametrize(
    ("word", "paid"),
    [
        ("error_before", False),
        ("error_after", True),
        ("time_out_before", False),
        ("time_out_after", True),
        ("broken", True),
    ],
)
async def test_without_a_clear_answer_the_outcome_is_unknown_and_can_be_asked_for(
    word: str, paid: bool, simulator: Simulator
) -> None:
    payout, impatient = new_payout(), HttpProvider(simulator.url, SECRET, 0.3 if "time_out" in word else SECONDS)
    await simulator.behave(pay=[word], hold_seconds=10)
    with pytest.raises(OutcomeUnknown) as caught:
        impatient.pay(payout, RECIPIENT)
    assert RECIPIENT.card.number not in repr(caught.value)
    provider = HttpProvider(simulator.url, SECRET, SECONDS)
    found = provider.find(payout.id)
    assert bool(found) == paid
    # Once more with the same key is safe whatever happened.
    again = provider.pay(payout, RECIPIENT)
    assert again.status == Status.PAID
    assert found in (None, again)


async def test_an_answer_that_comes_twice_is_not_taken_for_the_next_one(
    provider: HttpProvider, simulator: Simulator
) -> None:
    first, second = new_payout(), new_payout()
    await simulator.behave(pay=["twice", "decline"])
    assert provider.pay(first, RECIPIENT).status == Status.PAID
    assert provider.pay(second, RECIPIENT).status == Status.DECLINED


@pytest.mark.parametrize("word", ["error_before", "time_out_before"])
async def test_who_can_not_be_asked_has_not_said_no(word: str, simulator: Simulator) -> None:
    await simulator.behave(find=[word], hold_seconds=0.01)
    with pytest.raises(OutcomeUnknown):
        HttpProvider(simulator.url, SECRET, SECONDS).find(new_id())


async def test_a_wrong_secret_a_wrong_address_and_nobody_there_are_unknown_too(simulator: Simulator) -> None:
    for provider in (
        HttpProvider(simulator.url, "wrong", SECONDS),
        HttpProvider(f"{simulator.url}/elsewhere", SECRET, SECONDS),
        HttpProvider("http://127.0.0.1:1", SECRET, SECONDS),
        HttpProvider("not a url", SECRET, SECONDS),
    ):
        with pytest.raises(OutcomeUnknown):
            provider.pay(new_payout(), RECIPIENT)
        with pytest.raises(OutcomeUnknown):
            provider.find(new_id())
