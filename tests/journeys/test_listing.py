"""Reading one's orders page by page."""

import json
from typing import Any

import pytest

from gozon.orders.v1.orders_pb2 import ListOrdersRequest, Order
from tests.conftest import NewUser
from tests.support import Edge, User


@pytest.fixture(scope="module")
async def erna(edge: Edge, new_user: NewUser) -> tuple[User, list[str]]:
    """A user with five orders, of which two are paid; and their ids, newest first."""
    user = await new_user()
    await edge.deposit(user, 20)
    orders = []
    for amount in (10, 100, 10, 100, 100):
        created = await edge.rest.post("/orders", json={"amount": amount}, headers=user.headers)
        orders.append(created.json()["id"])
        await edge.settled(user, orders[-1])
    return user, orders[::-1]


async def page(edge: Edge, user: User, path: str, **query: object) -> tuple[list[str], str]:
    answer = await edge.rest.get(path, params=query, headers=user.headers)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return [order["id"] for order in body["orders"]], body["next_page_token"]


@pytest.mark.parametrize("whose", ["/orders", "/orders/user/{user_id}"])
async def test_pages_follow_each_other_newest_first(whose: str, edge: Edge, erna: tuple[User, list[str]]) -> None:
    user, orders = erna
    path = whose.format(user_id=user.id)
    first, token = await page(edge, user, path, page_size=2)
    second, token = await page(edge, user, path, page_size=2, page_token=token)
    third, end = await page(edge, user, path, page_size=2, page_token=token)
    assert (first, second, third, end) == (orders[:2], orders[2:4], orders[4:], "")
    assert await page(edge, user, path) == (orders, "")


async def test_a_list_can_be_of_one_status(edge: Edge, erna: tuple[User, list[str]]) -> None:
    user, orders = erna
    assert await page(edge, user, "/orders", status="PAID") == ([orders[2], orders[4]], "")
    assert await page(edge, user, "/orders", status="CANCELED") == ([orders[0], orders[1], orders[3]], "")
    assert await page(edge, user, "/orders", status="PENDING") == ([], "")


async def test_over_grpc_the_list_is_the_same(edge: Edge, erna: tuple[User, list[str]]) -> None:
    user, orders = erna
    request = ListOrdersRequest(page_size=1, status=Order.PAID)
    answer = await edge.orders.ListOrders(request, metadata=user.metadata())
    assert [order.id for order in answer.orders] == [orders[2]]
    request.page_token = answer.next_page_token
    answer = await edge.orders.ListOrders(request, metadata=user.metadata())
    assert ([order.id for order in answer.orders], answer.next_page_token) == ([orders[4]], "")


async def test_nobody_finds_orders_of_others_in_a_list(edge: Edge, alice: User, erna: tuple[User, list[str]]) -> None:
    user, orders = erna
    assert not set((await page(edge, alice, "/orders", page_size=100))[0]) & set(orders)
    _, token = await page(edge, user, "/orders", page_size=2)
    assert not set((await page(edge, alice, "/orders", page_token=token))[0]) & set(orders)
    answer = await edge.rest.get(f"/orders/user/{user.id}", headers=alice.headers)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "USER_NOT_FOUND")


async def test_an_admin_finds_what_is_to_be_shipped_whoever_ordered_it(
    edge: Edge, alice: User, admin: User, erna: tuple[User, list[str]]
) -> None:
    _, orders = erna
    to_ship, _ = await page(edge, admin, "/orders/user/-", status="PAID", page_size=100)
    assert [order for order in to_ship if order in orders] == [orders[2], orders[4]]
    shipped = await edge.rest.get("/orders/user/-", params={"status": "SHIPPED"}, headers=admin.headers)
    assert (shipped.status_code, shipped.json()["details"][0]["reason"]) == (400, "INVALID_REQUEST")
    refused = await edge.rest.get("/orders/user/-", headers=alice.headers)
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (404, "USER_NOT_FOUND")


async def test_a_page_of_long_orders_holds_fewer(edge: Edge, new_user: NewUser) -> None:
    user = await new_user()
    # What takes four bytes in protobuf and twelve in Envoy's JSON.
    items = [{"name": "\U000e0001" * 200, "quantity": 1, "price": 1}] * 100
    headers = {**user.headers, "content-type": "application/json"}
    body = json.dumps({"items": items}, ensure_ascii=False).encode()
    made = [await edge.rest.post("/orders", content=body, headers=headers) for _ in range(16)]
    found, token = await page(edge, user, "/orders", page_size=100)
    while token:
        following, token = await page(edge, user, "/orders", page_size=100, page_token=token)
        found += following
    assert found == [order.json()["id"] for order in made][::-1]
