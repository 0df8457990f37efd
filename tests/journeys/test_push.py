"""Users hear over a WebSocket what changes for them, and nobody else does."""

import pytest

from tests.conftest import NewUser
from tests.push.ear import Ear, listening
from tests.support import Edge, RunningStack, User


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
