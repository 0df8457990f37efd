"""services.orders.api: pages, owners and headers."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gozon.orders.v1.orders_pb2 import (
    CreateOrderRequest,
    GetOrderRequest,
    ListOrdersRequest,
    ListOrdersResponse,
    ListUserOrdersRequest,
    Order,
)
from kit.auth import Identity
from kit.errors import InvalidPageToken
from kit.ids import new_id
from kit.rpc import Call
from services.orders.api import OrdersApi
from services.orders.domain import OrderNotFound
from services.orders.service import OrderService
from services.orders.settlement import Settlement
from tests.orders.steps import create, declined, paid

USER, OTHER = new_id(), new_id()


def call(user_id: str = USER, *, key: str = "", role: str = "user", rest: bool = False) -> Call:
    metadata = {"x-envoy-original-path": "/orders"} if rest else {}
    return Call(Identity(user_id, frozenset({role}), 0), metadata, key)


@pytest.fixture
def api(service: OrderService) -> OrdersApi:
    return OrdersApi(service)


async def test_creating_an_order_over_rest_tells_where_it_is(api: OrdersApi) -> None:
    own = call(rest=True)
    order = await api.create_order(CreateOrderRequest(amount=5), own)
    assert own.response_headers == {"x-http-code": "201", "location": f"/orders/{order.id}", "etag": '"1"'}
    assert await api.get_order(GetOrderRequest(order_id=order.id.upper()), call()) == order


async def test_a_replay_says_that_it_is_one(api: OrdersApi) -> None:
    first, again = call(key="k"), call(key="k", rest=True)
    assert await api.create_order(CreateOrderRequest(amount=5), first) == await api.create_order(
        CreateOrderRequest(amount=5), again
    )
    assert first.response_headers == {}
    assert again.response_headers["idempotency-replayed"] == "true"
    assert again.response_headers["x-http-code"] == "201"


async def test_the_order_of_somebody_else_is_not_there(api: OrdersApi) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5), call())
    for order_id in (order.id, new_id()):
        with pytest.raises(OrderNotFound):
            await api.get_order(GetOrderRequest(order_id=order_id), call(OTHER))
    assert await api.get_order(GetOrderRequest(order_id=order.id), call(OTHER, role="admin")) == order


async def all_pages(ask: Callable[[str], Awaitable[ListOrdersResponse]]) -> list[list[str]]:
    pages, token = [], ""
    while True:
        answer = await ask(token)
        pages.append([order.id for order in answer.orders])
        token = answer.next_page_token
        if not token:
            return pages


async def test_pages_are_full_newest_first_and_hold_each_order_once(api: OrdersApi, service: OrderService) -> None:
    created = [(await create(service, USER)).order.id for _ in range(25)]
    await asyncio.gather(*(create(service, OTHER) for _ in range(5)))
    newest_first = sorted(created, reverse=True)
    for size in (1, 7, 24, 25, 26, 100):
        pages = await all_pages(
            lambda token, size=size: api.list_orders(  # type: ignore[misc]
                ListOrdersRequest(page_size=size, page_token=token), call()
            )
        )
        assert [order for page in pages for order in page] == newest_first
        assert all(len(page) == size for page in pages[:-1])
        assert pages[-1]
    assert len((await api.list_orders(ListOrdersRequest(), call())).orders) == 20


async def test_a_page_goes_on_where_it_was_though_orders_are_added(api: OrdersApi, service: OrderService) -> None:
    created = [(await create(service, USER)).order.id for _ in range(4)]
    first = await api.list_orders(ListOrdersRequest(page_size=2), call())
    await create(service, USER)
    second = await api.list_orders(ListOrdersRequest(page_size=2, page_token=first.next_page_token), call())
    assert [order.id for order in (*first.orders, *second.orders)] == created[::-1]


async def test_a_list_can_be_of_one_status(api: OrdersApi, service: OrderService, settlement: Settlement) -> None:
    pending, settled, canceled = [(await create(service, USER)).order for _ in range(3)]
    await settlement.settle([paid(settled), declined(canceled)])
    for status, order in ((Order.PENDING, pending), (Order.PAID, settled), (Order.CANCELED, canceled)):
        answer = await api.list_orders(ListOrdersRequest(status=status), call())
        assert [one.id for one in answer.orders] == [order.id]


async def test_the_list_of_somebody_else_is_for_admins(api: OrdersApi, service: OrderService) -> None:
    await create(service, USER)
    request = ListUserOrdersRequest(user_id=USER)
    assert len((await api.list_user_orders(request, call())).orders) == 1
    assert len((await api.list_user_orders(request, call(OTHER, role="admin"))).orders) == 1


@pytest.mark.parametrize("token", ["nonsense", "====", "ж", "MDE5Mg==", "/" * 48, "AAAA", " "])
async def test_a_page_token_that_is_none_is_refused(token: str, api: OrdersApi) -> None:
    with pytest.raises(InvalidPageToken):
        await api.list_orders(ListOrdersRequest(page_token=token), call())
