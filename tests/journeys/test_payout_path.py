"""Payouts through everything: the edge, Payments, NATS, the dispatcher, Redis, a worker and the provider, and back."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stack.provider import DECLINED_CARD, PENDING_CARD
from tests.conftest import NewUser
from tests.support import Edge, RunningStack, User, eventually
from tests.workers.simulator import Provider

Json = dict[str, Any]

CARD = "4111111111111111"
MONEY = 100_000


@pytest.fixture
async def provider(stack: RunningStack) -> AsyncIterator[Provider]:
    """The provider of the stack, which behaves again when the test is over."""
    provider = Provider(stack.provider_url, json.loads((stack.home / "secrets.json").read_text())["provider"])
    yield provider
    await provider.behave()
    await provider.client.aclose()


@pytest.fixture
async def pam(edge: Edge, new_user: NewUser) -> User:
    """A user with money."""
    user = await new_user()
    await edge.deposit(user, MONEY)
    return user


async def create(edge: Edge, user: User, amount: int, card: str = CARD) -> Json:
    answer = await edge.rest.post(
        "/payouts",
        json={"amount": amount, "recipient": {"type": "CARD", "card": {"number": card}}},
        headers={**user.headers, "idempotency-key": uuid.uuid4().hex},
    )
    assert answer.status_code == 201, answer.text
    payout: Json = answer.json()
    return payout


async def ended(edge: Edge, user: User, payout: Json) -> Json:
    """Waits until a payout has ended and returns it."""
    found: Json = {}

    async def has_ended() -> bool:
        nonlocal found
        answer = await edge.rest.get(f"/payouts/{payout['id']}", headers=user.headers)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return found["status"] in ("COMPLETED", "FAILED")

    await eventually(has_ended)
    return found


async def money(edge: Edge, user: User) -> tuple[int, int]:
    """Balance and what of it is held."""
    account = (await edge.rest.get(f"/accounts/{user.id}", headers=user.headers)).json()
    return int(account["balance"]), int(account["held"])


async def test_a_payout_is_completed_and_one_to_a_bad_card_fails_with_the_reason(
    edge: Edge, pam: User, provider: Provider
) -> None:
    good, bad = await create(edge, pam, 700), await create(edge, pam, 900, DECLINED_CARD)
    assert (good["status"], bad["status"]) == ("PENDING", "PENDING")
    completed, failed = await ended(edge, pam, good), await ended(edge, pam, bad)
    book = await provider.book()
    assert (completed["status"], completed["provider_reference"]) == ("COMPLETED", book[good["id"]]["reference"])
    assert (failed["status"], failed["failure_reason"]) == ("FAILED", book[bad["id"]]["reason"])
    assert await money(edge, pam) == (MONEY - 700, 0)
    assert {book[each["id"]]["requests"] for each in (good, bad)} == {1}


async def test_whatever_the_provider_does_each_payout_ends_right_and_is_paid_at_most_once(
    edge: Edge, pam: User, provider: Provider
) -> None:
    words = ["error_before", "error_after", "time_out_before", "time_out_after", "broken", "twice", "decline", "pend"]
    await provider.behave(pay=words, find=["error_before", "time_out_before"], hold_seconds=0.1, pending_seconds=0.1)
    cards = [CARD] * len(words) + [PENDING_CARD]
    payouts = [await create(edge, pam, 100 + number, card) for number, card in enumerate(cards)]
    outcomes = await asyncio.gather(*(ended(edge, pam, payout) for payout in payouts))
    # Each word was for one request to pay, and there were as many.
    behaviour = (await provider.client.get("/behaviour")).json()
    assert (behaviour["pay"], behaviour["find"]) == ([], [])
    book = await provider.book()
    for payout in outcomes:
        entry = book[payout["id"]]
        assert (payout["status"] == "COMPLETED") == (entry["status"] == "PAID")
        assert int(payout["amount"]) == entry["amount"]
        assert (payout["provider_reference"], payout["failure_reason"]) == (entry["reference"], entry["reason"])
    assert [payout["status"] for payout in outcomes].count("FAILED") == 1
    paid = sum(int(payout["amount"]) for payout in outcomes if payout["status"] == "COMPLETED")
    assert await money(edge, pam) == (MONEY - paid, 0)


async def test_what_is_deleted_before_a_worker_begins_it_is_never_paid(
    edge: Edge, pam: User, provider: Provider
) -> None:
    """Deleting and beginning race; whoever wins, the provider's book says the same as ours."""
    payouts = [await create(edge, pam, 10) for _ in range(5)]
    deleted = await asyncio.gather(
        *(edge.rest.delete(f"/payouts/{payout['id']}", headers=pam.headers) for payout in payouts)
    )
    begun = [payout for payout, answer in zip(payouts, deleted, strict=True) if answer.status_code == 400]
    assert {answer.status_code for answer in deleted} <= {204, 400}
    await asyncio.gather(*(ended(edge, pam, payout) for payout in begun))
    # One that comes after them has passed through the same queue: what is canceled has had its turn.
    await ended(edge, pam, await create(edge, pam, 10))
    book = await provider.book()
    assert {payout["id"] for payout in payouts if payout["id"] in book} == {payout["id"] for payout in begun}
    assert await money(edge, pam) == (MONEY - 10 * (len(begun) + 1), 0)
