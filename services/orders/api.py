"""The RPCs of Orders."""

import base64
from collections.abc import AsyncGenerator

from gozon.orders.v1.orders_pb2 import (
    CreateOrderRequest,
    GetOrderRequest,
    ListOrdersRequest,
    ListOrdersResponse,
    ListUserOrdersRequest,
    Order,
    WatchOrderRequest,
)
from kit import access, idempotency
from kit.errors import InvalidPageToken, UserNotFound
from kit.ids import canonical
from kit.rpc import Call
from services.orders.service import OrderService

RULES = {
    "CreateOrder": access.OWN,
    "GetOrder": access.BY_ROW,
    "ListOrders": access.OWN,
    "ListUserOrders": access.owner("user_id", UserNotFound),
    "WatchOrder": access.BY_ROW,
}
DEFAULT_PAGE_SIZE = 20
NEWEST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class OrdersApi:
    """gozon.orders.v1.OrdersService."""

    def __init__(self, service: OrderService) -> None:
        self._service = service

    async def create_order(self, request: CreateOrderRequest, call: Call) -> Order:
        user_id = call.caller.user_id
        key = None
        if call.idempotency_key:
            key = idempotency.key_of(user_id, "CreateOrder", call.idempotency_key, request)
        created = await self._service.create_order(request, user_id, key)
        call.created(f"/orders/{created.order.id}")
        if created.replayed:
            call.replayed()
        return created.order

    async def get_order(self, request: GetOrderRequest, call: Call) -> Order:
        return await self._service.get_order(canonical(request.order_id), call.caller)

    async def list_orders(self, request: ListOrdersRequest, call: Call) -> ListOrdersResponse:
        return await self._page(call.caller.user_id, request.status, request.page_token, request.page_size)

    async def list_user_orders(self, request: ListUserOrdersRequest, call: Call) -> ListOrdersResponse:
        user_id = canonical(request.user_id)
        return await self._page(user_id, request.status, request.page_token, request.page_size)

    def watch_order(self, request: WatchOrderRequest, call: Call) -> AsyncGenerator[Order, None]:
        return self._service.watch_order(canonical(request.order_id), call.caller)

    async def _page(self, user_id: str, status: Order.Status, page_token: str, page_size: int) -> ListOrdersResponse:
        limit = page_size or DEFAULT_PAGE_SIZE
        name = Order.Status.Name(status) if status else ""
        # One more than asked for tells whether there is a next page.
        orders = await self._service.list_orders(user_id, name, _read_page_token(page_token), limit + 1)
        next_page_token = _page_token(orders[limit - 1].id) if len(orders) > limit else ""
        return ListOrdersResponse(orders=orders[:limit], next_page_token=next_page_token)


def _page_token(last_id: str) -> str:
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def _read_page_token(page_token: str) -> str:
    if not page_token:
        return NEWEST
    try:
        return canonical(base64.urlsafe_b64decode(page_token.encode()).decode())
    except ValueError:
        raise InvalidPageToken from None
