"""The RPCs of Orders."""

from collections.abc import AsyncGenerator
from typing import Literal

from gozon.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    CreateOrderRequest,
    GetOrderRequest,
    ListOrderHistoryRequest,
    ListOrderHistoryResponse,
    ListOrdersRequest,
    ListOrdersResponse,
    ListUserOrdersRequest,
    MarkOrderProcessedRequest,
    Order,
    RefundOrderRequest,
    UpdateOrderRequest,
    WatchOrderRequest,
)
from kit import access, idempotency, pages
from kit.errors import IdempotencyKeyRequired, InvalidArgument, UserNotFound
from kit.ids import canonical
from kit.rpc import Call
from services.orders.service import Answered, OrderService, Update

RULES = {
    "CreateOrder": access.OWN,
    "GetOrder": access.BY_ROW,
    "ListOrders": access.OWN,
    "ListUserOrders": access.owner("user_id", UserNotFound),
    "UpdateOrder": access.BY_ROW,
    "CancelOrder": access.BY_ROW,
    "RefundOrder": access.ADMIN,
    "ListOrderHistory": access.BY_ROW,
    "MarkOrderProcessed": access.WORKER,
    "WatchOrder": access.BY_ROW,
}
DEFAULT_PAGE_SIZE = 20
UPDATED_FIELDS: frozenset[Literal["status", "description"]] = frozenset({"status", "description"})


class OrdersApi:
    """gozon.orders.v1.OrdersService."""

    def __init__(self, service: OrderService) -> None:
        self._service = service

    async def create_order(self, request: CreateOrderRequest, call: Call) -> Order:
        user_id = call.caller.user_id
        for item in request.items:
            if item.product_id:
                # In one form, for the same request may be written in several.
                item.product_id = canonical(item.product_id)
        key = None
        if call.idempotency_key:
            key = idempotency.key_of(user_id, "CreateOrder", call.idempotency_key, request)
        created = await self._service.create_order(request, user_id, key)
        call.created(f"/orders/{created.order.id}")
        return self._answer(created, call)

    async def get_order(self, request: GetOrderRequest, call: Call) -> Order:
        return self._order(await self._service.get_order(canonical(request.order_id), call.caller), call)

    async def list_orders(self, request: ListOrdersRequest, call: Call) -> ListOrdersResponse:
        return await self._page(call.caller.user_id, request.status, request.page_token, request.page_size)

    async def list_user_orders(self, request: ListUserOrdersRequest, call: Call) -> ListOrdersResponse:
        user_id = None if request.user_id == access.ALL_USERS else canonical(request.user_id)
        return await self._page(user_id, request.status, request.page_token, request.page_size)

    async def update_order(self, request: UpdateOrderRequest, call: Call) -> Order:
        paths = _paths(request)
        update = Update(
            status=Order.Status.Name(request.status) if "status" in paths else None,
            description=request.description if "description" in paths else None,
            etag=request.etag or call.if_match,
        )
        return self._order(await self._service.update_order(canonical(request.order_id), call.caller, update), call)

    async def cancel_order(self, request: CancelOrderRequest, call: Call) -> Order:
        etag = request.etag or call.if_match
        return self._order(await self._service.cancel_order(canonical(request.order_id), call.caller, etag), call)

    async def refund_order(self, request: RefundOrderRequest, call: Call) -> Order:
        request.order_id = canonical(request.order_id)
        if not call.idempotency_key:
            raise IdempotencyKeyRequired
        key = idempotency.key_of(call.caller.user_id, "RefundOrder", call.idempotency_key, request)
        return self._answer(await self._service.refund_order(request, call.caller, key), call)

    async def list_order_history(self, request: ListOrderHistoryRequest, call: Call) -> ListOrderHistoryResponse:
        changes = await self._service.list_history(canonical(request.order_id), call.caller)
        return ListOrderHistoryResponse(changes=changes)

    async def mark_order_processed(self, request: MarkOrderProcessedRequest, call: Call) -> Order:
        return await self._service.mark_order_processed(canonical(request.order_id))

    def watch_order(self, request: WatchOrderRequest, call: Call) -> AsyncGenerator[Order, None]:
        return self._service.watch_order(canonical(request.order_id), call.caller)

    def _answer(self, answered: Answered, call: Call) -> Order:
        if answered.replayed:
            call.replayed()
        return self._order(answered.order, call)

    def _order(self, order: Order, call: Call) -> Order:
        call.etag(order.etag)
        return order

    async def _page(
        self, user_id: str | None, status: Order.Status, page_token: str, page_size: int
    ) -> ListOrdersResponse:
        limit = page_size or DEFAULT_PAGE_SIZE
        name = Order.Status.Name(status) if status else ""
        found = await self._service.list_orders(user_id, name, pages.read_token(page_token), limit + 1)
        orders, next_page_token = pages.cut(found, limit)
        return ListOrdersResponse(orders=orders, next_page_token=next_page_token)


def _paths(request: UpdateOrderRequest) -> set[str]:
    """Returns the fields that a request changes. Errors: InvalidArgument."""
    paths = set(request.update_mask.paths)
    if not paths:
        return {name for name in UPDATED_FIELDS if request.HasField(name)}
    if not paths <= UPDATED_FIELDS:
        raise InvalidArgument(violations=(("update_mask", "may name status and description"),))
    if "status" in paths and not request.HasField("status"):
        raise InvalidArgument(violations=(("status", "must be set when update_mask names it"),))
    return paths
