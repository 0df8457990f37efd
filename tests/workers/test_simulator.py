"""stack/provider.py: the payout provider to test with does what its page says, and at most once for each key."""

import asyncio
from typing import Any

import httpx
import pytest

from kit.ids import new_id
from stack.provider import DECLINED_CARD, PENDING_CARD
from tests.workers.simulator import Simulator

CARD = "4111111111111111"


def request(card: str = CARD, amount: int = 500) -> dict[str, Any]:
    return {"amount": amount, "currency": "RUB", "recipient": {"type": "CARD", "card": {"number": card}}}


async def pay(simulator: Simulator, key: str, **of: Any) -> httpx.Response:
    return await simulator.client.post("/payouts", json=request(**of), headers={"idempotency-key": key})


async def test_a_key_is_paid_once_and_always_answered_alike(simulator: Simulator) -> None:
    key = new_id()
    answers = await asyncio.gather(*(pay(simulator, key) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["status"] == "PAID"
    assert (await simulator.client.get(f"/payouts/{key}")).json() == answers[0].json()
    entry = (await simulator.book())[key]
    assert (entry["amount"], entry["currency"], entry["requests"]) == (500, "RUB", 20)
    # Another request with this key is no repetition.
    assert (await pay(simulator, key, amount=501)).status_code == 409
    assert (await simulator.book())[key]["amount"] == 500


async def test_what_it_did_survives_kill_and_so_does_how_it_behaves(simulator: Simulator) -> None:
    key = new_id()
    await simulator.behave(pay=["error_after", "error_before"], rates={"decline": 1})
    assert (await pay(simulator, key)).status_code == 500
    simulator.kill()
    await simulator.start()
    assert (await simulator.client.get(f"/payouts/{key}")).json()["status"] == "PAID"
    behaviour = (await simulator.client.get("/behaviour")).json()
    assert (behaviour["pay"], behaviour["rates"]) == (["error_before"], {"decline": 1})
    other = new_id()
    assert (await pay(simulator, other)).status_code == 500
    assert other not in await simulator.book()
    assert (await pay(simulator, other)).json()["status"] == "DECLINED"


async def test_some_cards_are_known_to_it(simulator: Simulator) -> None:
    declined = (await pay(simulator, new_id(), card=DECLINED_CARD)).json()
    assert (declined["status"], declined["reference"]) == ("DECLINED", "")
    assert "declined" in declined["reason"]
    await simulator.behave(pending_seconds=600)
    pending = (await pay(simulator, new_id(), card=f"{PENDING_CARD[:4]} {PENDING_CARD[4:]}")).json()
    assert pending["status"] == "PENDING"


async def test_its_file_tells_nobody_who_was_paid(simulator: Simulator) -> None:
    await pay(simulator, new_id())
    files = list(simulator.folder.iterdir())
    assert files
    for file in files:
        assert CARD.encode() not in file.read_bytes()


async def test_bad_requests_are_refused_and_leave_nothing(simulator: Simulator) -> None:
    before = await simulator.book()
    client = simulator.client
    good, key = request(), {"idempotency-key": new_id()}
    refusals = {
        "no secret": await client.post("/payouts", json=good, headers=key | {"authorization": ""}),
        "wrong secret": await client.get("/book", headers={"authorization": "Bearer x"}),
        "no key": await client.post("/payouts", json=good),
        "long key": await client.post("/payouts", json=good, headers={"idempotency-key": "x" * 129}),
        "no JSON": await client.post("/payouts", content=b"{", headers=key),
        "deep JSON": await client.post("/payouts", content=b"[" * 8000, headers=key),
        "list": await client.post("/payouts", json=[], headers=key),
        "nothing to pay": await client.post("/payouts", json=good | {"amount": 0}, headers=key),
        "true": await client.post("/payouts", json=good | {"amount": True}, headers=key),
        "nobody": await client.post("/payouts", json=good | {"recipient": {}}, headers=key),
        "odd card": await client.post("/payouts", json=good | {"recipient": {"type": "CARD", "card": 1}}, headers=key),
        "too long": await client.post("/payouts", json=good | {"recipient": {"type": "x" * 20_000}}, headers=key),
        "unknown page": await client.get("/elsewhere"),
        "unknown word": await client.put("/behaviour", json={"pay": ["dance"]}),
        "unknown field": await client.put("/behaviour", json={"mood": "bad"}),
        "wrong type": await client.put("/behaviour", json={"rates": 1}),
        "too sure": await client.put("/behaviour", json={"rates": {"decline": 0.6, "twice": 0.6}}),
        "unknown key": await client.get(f"/payouts/{new_id()}"),
    }
    wrong = {what: answer for what, answer in refusals.items() if not 400 <= answer.status_code < 500}
    assert not wrong
    # Whose body was not read, and who must therefore not go on with this connection, is told so.
    assert refusals["no secret"].headers["connection"] == "close"
    assert all("error" in answer.json() for answer in refusals.values())
    assert await simulator.book() == before


@pytest.mark.parametrize("word", ["time_out_before", "time_out_after"])
async def test_it_may_say_nothing(word: str, simulator: Simulator) -> None:
    key = new_id()
    await simulator.behave(pay=[word], find=["time_out_before"], hold_seconds=0.01)
    with pytest.raises(httpx.RemoteProtocolError):
        await pay(simulator, key)
    with pytest.raises(httpx.RemoteProtocolError):
        await simulator.client.get(f"/payouts/{key}")
    assert (key in await simulator.book()) == (word == "time_out_after")
