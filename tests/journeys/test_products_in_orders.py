"""Orders that name products of the shop, over REST and gRPC: priced once, paid as priced, refused for clear reasons."""

from typing import Any

import grpc
import httpx
import pytest

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, OrderItem
from gozon.shop.v1.shop_pb2 import UpdateProductRequest
from kit.ids import new_id
from tests.conftest import NewUser
from tests.edge.expect import assert_error
from tests.journeys.test_shop import add, available
from tests.support import Edge, User, eventually, refused

Json = dict[str, Any]

MONEY = 10_000


@pytest.fixture
async def pat(edge: Edge, new_user: NewUser) -> User:
    """A user with money."""
    user = await new_user()
    await edge.deposit(user, MONEY)
    return user


async def post(edge: Edge, user: User, *items: Json, key: str = "", **fields: Any) -> httpx.Response:
    headers = {**user.headers, "idempotency-key": key} if key else user.headers
    return await edge.rest.post("/orders", json={"items": list(items), **fields}, headers=headers)


async def is_refused_for(edge: Edge, user: User, product_id: str, reason: str) -> None:
    """Waits until an order of a product, which asks for a wrong total and so is never accepted, is refused for this."""

    async def is_so() -> bool:
        answer = await post(edge, user, {"product_id": product_id, "quantity": 1}, total_price=-1)
        assert not answer.is_success
        return bool(answer.json()["details"][0]["reason"] == reason)

    await eventually(is_so)


async def test_over_rest_an_order_takes_name_and_price_from_the_shop_and_keeps_them(
    edge: Edge, admin: User, pat: User
) -> None:
    boost = await add(edge, admin, 100)
    await is_refused_for(edge, pat, boost["id"], "TOTAL_MISMATCH")
    lines = [{"product_id": boost["id"].upper(), "quantity": 3}, {"name": "cup", "quantity": 1, "price": 700}]
    created = await post(edge, pat, *lines, total_price=1000, key="k")
    assert created.status_code == 201, created.text
    first = created.json()
    told = [
        {"name": boost["name"], "quantity": 3, "price": "100", "product_id": boost["id"]},
        {"name": "cup", "quantity": 1, "price": "700", "product_id": ""},
    ]
    assert (first["items"], first["total_price"], first["currency"]) == (told, "1000", "RUB")
    assert (await edge.settled(pat, first["id"]))["status"] == "PAID"
    assert await available(edge, pat) == MONEY - 1000

    dearer = {"price": 150, "name": "Bigger boost"}
    changed = await edge.rest.patch(f"/products/{boost['id']}", json=dearer, headers=admin.headers)
    assert changed.status_code == 200, changed.text
    # Who says what it is to cost never pays more: once the news is there, it is the new price.
    wanted = [{"product_id": boost["id"], "quantity": 2}]

    async def costs_more() -> Json | None:
        answer = await post(edge, pat, *wanted, total_price=300)
        if answer.status_code == 201:
            return answer.json()  # type: ignore[no-any-return]
        assert_error(answer, 400, 3, "TOTAL_MISMATCH")
        return None

    second = await eventually(costs_more)
    assert second is not None
    assert (second["items"][0]["name"], second["items"][0]["price"]) == ("Bigger boost", "150")
    assert (await edge.settled(pat, second["id"]))["status"] == "PAID"
    assert await available(edge, pat) == MONEY - 1300
    assert (await edge.settled(pat, first["id"]))["items"] == told

    gone = await edge.rest.patch(f"/products/{boost['id']}", json={"is_active": False}, headers=admin.headers)
    assert gone.status_code == 200, gone.text
    await is_refused_for(edge, pat, boost["id"], "PRODUCT_INACTIVE")
    again = await post(edge, pat, *lines, total_price=1000, key="k")
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first, "true")
    reused = await post(edge, pat, *lines, total_price=1001, key="k")
    assert_error(reused, 409, 6, "IDEMPOTENCY_KEY_REUSED")
    assert await available(edge, pat) == MONEY - 1300
    # Ordering gives nothing to own.
    inventory = await edge.rest.get(f"/users/{pat.id}/inventory", headers=pat.headers)
    assert inventory.json()["items"] == []


async def test_over_grpc_an_order_names_a_product(edge: Edge, admin: User, pat: User) -> None:
    boost = await add(edge, admin, 250)
    await is_refused_for(edge, pat, boost["id"], "TOTAL_MISMATCH")
    request = CreateOrderRequest(items=[OrderItem(product_id=boost["id"], quantity=2)])
    order = await edge.orders.CreateOrder(request, metadata=pat.metadata("k"))
    [line] = order.items
    assert (line.product_id, line.name, line.price, order.total_price) == (boost["id"], boost["name"], 250, 500)
    assert (await edge.settled(pat, order.id))["status"] == "PAID"
    assert await available(edge, pat) == MONEY - 500
    change = UpdateProductRequest(product_id=boost["id"], is_active=False)
    await edge.shop.UpdateProduct(change, metadata=admin.metadata())
    await is_refused_for(edge, pat, boost["id"], "PRODUCT_INACTIVE")
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "PRODUCT_INACTIVE"):
        await edge.orders.CreateOrder(request, metadata=pat.metadata("other"))
    assert await edge.orders.CreateOrder(request, metadata=pat.metadata("k")) == order
    both = CreateOrderRequest(items=[OrderItem(product_id=boost["id"], quantity=1, name="x", price=1)])
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
        await edge.orders.CreateOrder(both, metadata=pat.metadata())


async def test_what_can_not_be_ordered_is_refused_with_a_reason(edge: Edge, admin: User, pat: User) -> None:
    boost, dollars = await add(edge, admin, 100), await add(edge, admin, 5, currency="USD")
    dear, off_sale = await add(edge, admin, 10**12), await add(edge, admin, 100, is_active=False)
    for product in (boost, dollars, dear):
        await is_refused_for(edge, pat, product["id"], "TOTAL_MISMATCH")
    await is_refused_for(edge, pat, off_sale["id"], "PRODUCT_INACTIVE")

    def of(product: Json, quantity: int = 1) -> Json:
        return {"product_id": product["id"], "quantity": quantity}

    unknown = await post(edge, pat, of(boost), {"product_id": new_id(), "quantity": 1})
    assert_error(unknown, 404, 5, "PRODUCT_NOT_FOUND")
    assert unknown.json()["details"][1]["field_violations"][0]["field"] == "items[1].product_id"
    assert_error(await post(edge, pat, of(off_sale)), 400, 9, "PRODUCT_INACTIVE")
    assert_error(await post(edge, pat, of(boost), of(dollars)), 400, 3, "CURRENCY_MISMATCH")
    assert_error(await post(edge, pat, of(boost), currency="USD"), 400, 3, "CURRENCY_MISMATCH")
    assert_error(await post(edge, pat, of(dear, 2)), 400, 3, "TOTAL_TOO_LARGE")
    assert_error(await post(edge, pat, *[of(dear, 10_000)] * 100), 400, 3, "TOTAL_TOO_LARGE")
    assert_error(await post(edge, pat, *[of(boost)] * 101), 400, 3, "INVALID_REQUEST")
    both = await post(edge, pat, {**of(boost), "name": "tea", "price": 100})
    assert_error(both, 400, 3, "INVALID_REQUEST")
    assert both.json()["details"][1]["field_violations"][0]["field"] == "items[0]"
    assert (await edge.rest.get("/orders", headers=pat.headers)).json()["orders"] == []
    # Priced in dollars, which this account has not: as any other order.
    order = (await post(edge, pat, of(dollars))).json()
    settled = await edge.settled(pat, order["id"])
    assert (settled["status"], settled["cancel_reason"]) == ("CANCELED", "CURRENCY_MISMATCH")
    assert await available(edge, pat) == MONEY
