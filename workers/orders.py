"""Processing of orders."""

import time

import structlog

from gozon.orders.v1.orders_pb2 import GetOrderRequest, MarkOrderProcessedRequest
from workers import calls
from workers.app import TaskName, app

log = structlog.get_logger()


@app.task(name=TaskName.PROCESS_ORDER)
def process_order(order_id: str, user_id: str) -> None:
    """Does what is to be done about a new order, which takes a while, and has Orders note that.

    Whatever became of the order in the meantime: it is processed beside being paid.
    """
    services = calls.services()
    order = services.call(services.orders.GetOrder, GetOrderRequest(order_id=order_id))
    if order.HasField("processed_at"):
        return
    time.sleep(calls.settings().process_order_seconds)
    services.call(services.orders.MarkOrderProcessed, MarkOrderProcessedRequest(order_id=order_id))
    log.info(f"Order {order_id} processed", user_id=user_id)  # noqa: G004 - structlog formats nothing
