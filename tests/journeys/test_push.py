"""Users hear over a WebSocket what changes for them, and nobody else does."""

import asyncio
import re
import sys

import pytest

from kit.ids import new_id
from stack.home import CHECKOUT
from tests.conftest import NewUser
from tests.push.ear import Ear, listening
from tests.support import PATIENCE_SECONDS, Edge, RunningStack, User


@pytest.fixture(scope="module")
async def eve(edge: Edge, new_user: NewUser) -> User:
    """A user with money."""
    user = await new_user()
    await edge.deposit(user, 1_000_000)
    return user


@pytest.fixture(scope="module")
async def fred(edge: Edge, new_user: NewUser) -> User:
    """Somebody else with money."""
    user = await new_user()
    await edge.deposit(user, 1_000_000)
    return user


async def order(edge: Edge, user: User, amount: int = 100) -> str:
    """Creates an order and returns its id."""
    items = [{"name": "tea", "quantity": 2, "price": amount // 2}]
    created = await edge.rest.post("/orders", json={"items": items, "description": "hot"}, headers=user.headers)
    assert created.status_code == 201, created.text
    return str(created.json()["id"])


async def test_an_order_is_told_as_rest_shows_it_when_it_is_created_and_paid(
    edge: Edge, stack: RunningStack, eve: User
) -> None:
    async with listening(stack.edge_url, eve.token) as ear:
        assert ear.greeting["type"] == "hello"
        order_id = await order(edge, eve)
        created = await ear.hear_until("order.created", id=order_id)
        paid = await ear.hear_until("order.paid", id=order_id)
    shown = (await edge.rest.get(f"/orders/{order_id}", headers=eve.headers)).json()
    assert paid["data"] == shown
    assert created["data"]["status"] == "PENDING"
    # What its event does not say is left out, and all else is as REST shows it.
    assert created["data"].items() <= (shown | {"status": "PENDING", "etag": "1"}).items()


async def test_nobody_hears_of_somebody_else(edge: Edge, stack: RunningStack, eve: User, fred: User) -> None:
    async with listening(stack.edge_url, eve.token) as eves, listening(stack.edge_url, fred.token) as freds:
        await _pay(edge, eves, eve)
        fred_s = await _pay(edge, freds, fred)
        assert {message["data"].get("id", fred_s) for message in freds.heard} == {fred_s}


async def test_a_page_of_ours_may_use_the_cookie(edge: Edge, stack: RunningStack, eve: User) -> None:
    async with listening(stack.edge_url, cookie=eve.token, origin=stack.edge_url) as ear:
        await _pay(edge, ear, eve)


async def test_several_sockets_of_a_user_hear_the_same(edge: Edge, stack: RunningStack, eve: User) -> None:
    async with listening(stack.edge_url, eve.token) as one, listening(stack.edge_url, eve.token) as other:
        order_id = await _pay(edge, one, eve)
        await other.hear_until("order.paid", id=order_id)
        assert [m["id"] for m in one.heard] == [m["id"] for m in other.heard]


async def _pay(edge: Edge, ear: Ear, user: User) -> str:
    order_id = await order(edge, user)
    await ear.hear_until("order.paid", id=order_id)
    return order_id


async def test_money_goods_and_payouts_are_told_as_rest_shows_them(
    edge: Edge, stack: RunningStack, eve: User, admin: User
) -> None:
    new = {"name": "Boost", "type": "CONSUMABLE", "price": 100}
    product = (await edge.rest.post("/products", json=new, headers=admin.headers)).json()
    async with listening(stack.edge_url, eve.token) as ear:
        await _pay(edge, ear, eve)
        await edge.deposit(eve, 5)
        bought = await edge.rest.post(f"/products/{product['id']}/purchase", json={"quantity": 2}, headers=_keyed(eve))
        assert bought.status_code == 201, bought.text
        item = await ear.hear_until("inventory.changed", product_id=product["id"])
        recipient = {"type": "CARD", "card": {"number": "4111111111111111"}}
        payout = await edge.rest.post("/payouts", json={"amount": 7, "recipient": recipient}, headers=_keyed(eve))
        assert payout.status_code == 201, payout.text
        ended = await ear.hear_until("payout.changed", id=payout.json()["id"], status="COMPLETED")
        account = (await edge.rest.get(f"/accounts/{eve.id}", headers=eve.headers)).json()
        # It and the payout are told in either order.
        while account not in [message["data"] for message in ear.heard]:
            await ear.hear()
    inventory = (await edge.rest.get(f"/users/{eve.id}/inventory", headers=eve.headers)).json()
    assert item["data"] in inventory["items"]
    assert ended["data"] == (await edge.rest.get(f"/payouts/{payout.json()['id']}", headers=eve.headers)).json()
    assert "4111111111111111" not in str(ear.heard)
    balances = [message["data"] for message in ear.heard if message["type"] == "balance.changed"]
    # The order, the deposit, the purchase, the payout's hold and its end; updated_at tells which one is newer.
    assert len(balances) == 5
    assert balances == sorted(balances, key=lambda balance: balance["updated_at"])


def _keyed(user: User) -> dict[str, str]:
    return {**user.headers, "idempotency-key": new_id()}


async def test_the_client_in_the_documentation_hears_of_an_order(edge: Edge, stack: RunningStack, eve: User) -> None:
    file = CHECKOUT / "docs" / "examples" / "live.py"
    [shown] = re.findall(r"```py\n(.*?)```", (CHECKOUT / "docs" / "clients.md").read_text(), re.DOTALL)
    assert shown in file.read_text()
    url = stack.edge_url.replace("http", "ws", 1)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(file), url, eve.token, stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await process.stdout.readline()).startswith(b"hello")
            order_id = await order(edge, eve)
            while not (line := await process.stdout.readline()).startswith(b"order.paid"):
                assert line
        assert order_id in line.decode()
    finally:
        process.kill()
        await process.wait()
