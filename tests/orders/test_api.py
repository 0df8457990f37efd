"""services.orders.api: pages, owners and headers."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from gozon.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    CreateOrderRequest,
    GetOrderRequest,
    ListOrderHistoryRequest,
    ListOrdersRequest,
    ListOrdersResponse,
    ListUserOrdersRequest,
    Order,
    OrderChange,
    RefundOrderRequest,
    UpdateOrderRequest,
)
from kit.access import ALL_USERS
from kit.auth import Identity
from kit.errors import IdempotencyKeyRequired, InvalidArgument, InvalidPageToken, PermissionDenied, StaleEtag
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


async def test_admins_list_the_orders_of_all_and_those_that_can_be_shipped(
    api: OrdersApi, service: OrderService, settlement: Settlement
) -> None:
    admin = call(OTHER, role="admin")
    orders = [(await create(service, user)).order for user in (USER, OTHER, USER)]
    await settlement.settle([paid(orders[0]), paid(orders[1]), declined(orders[2])])
    newest_first = [order.id for order in orders[::-1]]

    async def pages(status: Order.Status) -> list[list[str]]:
        return await all_pages(
            lambda token: api.list_user_orders(
                ListUserOrdersRequest(user_id=ALL_USERS, status=status, page_size=2, page_token=token), admin
            )
        )

    assert await pages(Order.STATUS_UNSPECIFIED) == [newest_first[:2], newest_first[2:]]
    assert await pages(Order.PAID) == [newest_first[1:]]
    assert await pages(Order.AUTHORIZED) == [[]]
    for status in (Order.PENDING, Order.SHIPPED, Order.CANCELED):
        with pytest.raises(InvalidArgument) as caught:
            await pages(status)
        assert "AUTHORIZED or PAID" in str(caught.value.violations)


@pytest.mark.parametrize("token", ["nonsense", "====", "ж", "MDE5Mg==", "/" * 48, "AAAA", " "])
async def test_a_page_token_that_is_none_is_refused(token: str, api: OrdersApi) -> None:
    with pytest.raises(InvalidPageToken):
        await api.list_orders(ListOrdersRequest(page_token=token), call())


async def test_an_order_comes_with_its_etag_over_rest_and_if_match_is_the_same_as_the_field(
    api: OrdersApi, settlement: Settlement
) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5), call())
    await settlement.settle([paid(order)])
    read = call(rest=True)
    assert (await api.get_order(GetOrderRequest(order_id=order.id), read)).etag == "2"
    assert read.response_headers == {"etag": '"2"'}
    stale = call(rest=True)
    stale.metadata["if-match"] = '"1"'
    for attempt in (
        api.cancel_order(CancelOrderRequest(order_id=order.id, etag="1"), call()),
        api.cancel_order(CancelOrderRequest(order_id=order.id), stale),
        api.update_order(UpdateOrderRequest(order_id=order.id, description="x"), stale),
    ):
        with pytest.raises(StaleEtag):
            await attempt
    fresh = call(rest=True)
    fresh.metadata["if-match"] = '"2"'
    await api.update_order(UpdateOrderRequest(order_id=order.id.upper(), description="x"), fresh)
    assert fresh.response_headers == {"etag": '"3"'}
    fresh.metadata["if-match"] = "3".zfill(65)
    with pytest.raises(InvalidArgument):
        await api.update_order(UpdateOrderRequest(order_id=order.id, description="x"), fresh)
    anyhow = call(rest=True)
    anyhow.metadata["if-match"] = "*"
    assert (await api.cancel_order(CancelOrderRequest(order_id=order.id.upper()), anyhow)).etag == "4"


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([], (Order.CANCELED, "new")),
        (["status", "description"], (Order.CANCELED, "new")),
        (["status"], (Order.CANCELED, "old")),
        (["description"], (Order.PENDING, "new")),
    ],
)
async def test_the_mask_says_what_is_changed(
    mask: list[str], expected: tuple[Order.Status, str], api: OrdersApi
) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5, description="old"), call())
    request = UpdateOrderRequest(
        order_id=order.id, status=Order.CANCELED, description="new", update_mask=FieldMask(paths=mask)
    )
    now = await api.update_order(request, call())
    assert (now.status, now.description) == expected


async def test_a_field_that_is_named_but_not_set_becomes_empty(api: OrdersApi) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5, description="old"), call())
    request = UpdateOrderRequest(order_id=order.id, update_mask=FieldMask(paths=["description"]))
    assert (await api.update_order(request, call())).description == ""
    assert (await api.update_order(UpdateOrderRequest(order_id=order.id), call())).etag == "2"


@pytest.mark.parametrize(
    ("mask", "field"), [(["status"], "status"), (["total_price"], "update_mask"), (["description", "*"], "update_mask")]
)
async def test_a_mask_that_makes_no_sense_is_refused(mask: list[str], field: str, api: OrdersApi) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5), call())
    request = UpdateOrderRequest(order_id=order.id, description="new", update_mask=FieldMask(paths=mask))
    with pytest.raises(InvalidArgument) as caught:
        await api.update_order(request, call())
    assert [name for name, _ in caught.value.violations] == [field]


async def test_only_an_admin_ships_though_anybody_may_name_the_status(api: OrdersApi, settlement: Settlement) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5), call())
    await settlement.settle([paid(order)])
    request = UpdateOrderRequest(order_id=order.id, status=Order.SHIPPED, update_mask=FieldMask(paths=["description"]))
    assert (await api.update_order(request, call())).status == Order.PAID
    request.ClearField("update_mask")
    for caller in (call(), call(OTHER)):
        with pytest.raises(PermissionDenied):
            await api.update_order(request, caller)
    assert (await api.update_order(request, call(OTHER, role="admin"))).status == Order.SHIPPED


async def test_a_refund_needs_a_key_and_is_replayed_under_it(api: OrdersApi, settlement: Settlement) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5), call())
    await settlement.settle([paid(order)])
    request = RefundOrderRequest(order_id=order.id.upper(), amount=2)
    with pytest.raises(IdempotencyKeyRequired):
        await api.refund_order(request, call(role="admin"))
    first, again = call(role="admin", key="k"), call(role="admin", key="k")
    assert await api.refund_order(request, first) == await api.refund_order(request, again)
    assert first.response_headers == {}
    assert again.response_headers == {"idempotency-replayed": "true"}


async def test_the_history_of_an_order_is_for_its_owner_and_admins(api: OrdersApi) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5), call())
    await api.cancel_order(CancelOrderRequest(order_id=order.id), call(OTHER, role="admin"))
    request = ListOrderHistoryRequest(order_id=order.id.upper())
    answer = await api.list_order_history(request, call())
    assert answer == await api.list_order_history(request, call(OTHER, role="admin"))
    assert [(c.status, c.cause, c.cancel_reason, c.actor_id) for c in answer.changes] == [
        (Order.PENDING, OrderChange.CREATED, Order.CANCEL_REASON_UNSPECIFIED, USER),
        (Order.CANCELED, OrderChange.ADMIN, Order.REQUESTED, OTHER),
    ]
    with pytest.raises(OrderNotFound):
        await api.list_order_history(request, call(OTHER))


@pytest.mark.parametrize(
    ("asked", "capture"),
    [(Order.CAPTURE_UNSPECIFIED, Order.AUTOMATIC), (Order.AUTOMATIC, Order.AUTOMATIC), (Order.MANUAL, Order.MANUAL)],
)
async def test_money_is_taken_when_the_client_says(
    asked: Order.Capture, capture: Order.Capture, api: OrdersApi
) -> None:
    order = await api.create_order(CreateOrderRequest(amount=5, capture=asked), call())
    assert order.capture == capture
    assert await api.get_order(GetOrderRequest(order_id=order.id), call()) == order
