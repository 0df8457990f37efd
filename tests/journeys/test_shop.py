"""The shop on the whole system, over REST and gRPC: buying, using, refusals, bad input, and 500 purchases at once."""

import asyncio
import random
from collections import Counter
from typing import Any

import grpc
import httpx
import pytest

from gozon.shop.v1.shop_pb2 import (
    CreateProductRequest,
    GetInventoryRequest,
    ListPopularProductsRequest,
    ListProductsRequest,
    ListPurchasesRequest,
    Product,
    Purchase,
    PurchaseProductRequest,
    UpdateProductRequest,
    UseProductRequest,
)
from kit.ids import new_id
from services.system.audit.check import check_databases
from services.system.audit.shop import SHOP
from tests.conftest import NewUser
from tests.edge.expect import assert_error
from tests.support import Edge, RunningStack, User, reason_of, refused

Json = dict[str, Any]

MONEY = 1000
BUYERS, PURCHASES = 20, 500
OF_THE_SHOP = {rule.name for scan in SHOP for rule in scan.rules}
NOT_NOW = {503, 504}
"""A purchase that was answered so is repeated with its key, as the error says."""


@pytest.fixture
async def pat(edge: Edge, new_user: NewUser) -> User:
    """A user with money."""
    user = await new_user()
    await edge.deposit(user, MONEY)
    return user


async def add(edge: Edge, admin: User, price: int = 100, **fields: Any) -> Json:
    """An admin adds a product."""
    body = {"name": "Boost for a day", "price": price, "type": "CONSUMABLE", **fields}
    answer = await edge.rest.post("/products", json=body, headers=admin.headers)
    assert answer.status_code == 201, answer.text
    product: Json = answer.json()
    return product


async def post(edge: Edge, user: User, product_id: str, what: str, /, key: str = "", **body: Any) -> httpx.Response:
    """Buys or uses under a key, a new one if none is given."""
    headers = {**user.headers, "idempotency-key": key or new_id()}
    return await edge.rest.post(f"/products/{product_id}/{what}", json=body, headers=headers)


async def purchases_of(edge: Edge, user: User) -> list[Json]:
    """All of them, page by page."""
    found: list[Json] = []
    token = ""
    while True:
        url = f"/users/{user.id}/purchases?page_size=10&page_token={token}"
        page = (await edge.rest.get(url, headers=user.headers)).json()
        found += page["purchases"]
        if not (token := page["next_page_token"]):
            return found


async def available(edge: Edge, user: User) -> int:
    return int((await edge.rest.get(f"/accounts/{user.id}", headers=user.headers)).json()["available"])


async def goods_of(edge: Edge, user: User) -> dict[str, int]:
    answer = await edge.rest.get(f"/users/{user.id}/inventory", headers=user.headers)
    assert answer.status_code == 200, answer.text
    return {item["product_id"]: int(item["quantity"]) for item in answer.json()["items"]}


async def buy_over_rest(edge: Edge, user: User, product: Json, quantity: int) -> str:
    """Buys, and returns how it ended: COMPLETED, or the reason why not."""
    key = new_id()
    while (answer := await post(edge, user, product["id"], "purchase", key, quantity=quantity)).status_code in NOT_NOW:
        pass
    body = answer.json()
    if answer.status_code == 201:
        return str(body["status"])
    assert answer.status_code in (400, 409), answer.text
    return str(body["details"][0]["reason"])


async def buy_over_grpc(edge: Edge, user: User, product: Json, quantity: int) -> str:
    """Does the same over gRPC; a status that no purchase may end with has no reason that the test knows."""
    request, key = PurchaseProductRequest(product_id=product["id"], quantity=quantity), new_id()
    while True:
        try:
            purchase = await edge.shop.PurchaseProduct(request, metadata=user.metadata(key))
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return reason_of(error)
        else:
            return Purchase.Status.Name(purchase.status)


async def ends_of_a_buyer(edge: Edge, user: User, money: int, products: list[Json]) -> Counter[str]:
    """Counts how the purchases of somebody ended; fails unless money and goods agree with them to the last unit."""
    by_id = {product["id"]: product for product in products}
    ends, bought, spent = Counter[str](), Counter[str](), 0
    for purchase in await purchases_of(edge, user):
        ends[purchase["failure_reason"] or purchase["status"]] += 1
        product, quantity = by_id[purchase["product_id"]], int(purchase["quantity"])
        assert int(purchase["total_price"]) == int(product["price"]) * quantity
        if purchase["status"] == "COMPLETED":
            spent += int(purchase["total_price"])
            bought[product["id"]] += quantity
    assert await available(edge, user) == money - spent >= 0
    assert await goods_of(edge, user) == bought
    assert all(bought[product["id"]] <= 1 for product in products if product["type"] == "PERMANENT")
    return ends


async def test_over_rest_a_product_is_added_bought_used_and_taken_off_sale(edge: Edge, admin: User, pat: User) -> None:
    added = await edge.rest.post(
        "/products",
        json={"name": "Буст на день", "description": "x2", "price": "100", "type": "CONSUMABLE"},
        headers=admin.headers,
    )
    product = added.json()
    assert (added.status_code, added.headers["etag"]) == (201, '"1"'), added.text
    assert added.headers["location"] == f"/products/{product['id']}"
    assert (product["name"], product["price"], product["currency"]) == ("Буст на день", "100", "RUB")
    assert (product["type"], product["is_active"]) == ("CONSUMABLE", True)
    read = await edge.rest.get(f"/products/{product['id']}", headers=pat.headers)
    assert (read.json(), read.headers["etag"]) == (product, '"1"')
    listed = await edge.rest.get("/products?type=CONSUMABLE&is_active=true&page_size=1", headers=pat.headers)
    assert listed.json()["products"] == [product]

    key = new_id()
    bought = await post(edge, pat, product["id"], "purchase", key, quantity=3)
    assert bought.status_code == 201, bought.text
    purchase = bought.json()
    assert (purchase["status"], purchase["total_price"], purchase["quantity"]) == ("COMPLETED", "300", "3")
    again = await post(edge, pat, product["id"], "purchase", key, quantity=3)
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, purchase, "true")
    other = await post(edge, pat, product["id"], "purchase", key, quantity=4)
    assert_error(other, 409, 6, "IDEMPOTENCY_KEY_REUSED")
    used = await post(edge, pat, product["id"], "use")
    assert (used.status_code, used.json()["quantity"]) == (200, "2"), used.text
    assert await goods_of(edge, pat) == {product["id"]: 2}
    assert await available(edge, pat) == MONEY - 300
    [entry, _] = (await edge.rest.get(f"/accounts/{pat.id}/entries", headers=pat.headers)).json()["entries"]
    assert (entry["kind"], entry["amount"], entry["purchase_id"]) == ("PURCHASE", "-300", purchase["id"])

    path, stale = f"/products/{product['id']}", {**admin.headers, "if-match": '"7"'}
    assert_error(await edge.rest.patch(path, json={"price": 1}, headers=stale), 409, 10, "STALE_ETAG")
    changed = await edge.rest.patch(path, json={"is_active": False}, headers={**admin.headers, "if-match": '"1"'})
    assert (changed.status_code, changed.json()["is_active"], changed.headers["etag"]) == (200, False, '"2"')
    off_sale = await post(edge, pat, product["id"], "purchase")
    assert_error(off_sale, 400, 9, "PRODUCT_INACTIVE")
    assert (await post(edge, pat, product["id"], "use")).json()["quantity"] == "1"
    shown = [(p["status"], p["failure_reason"]) for p in await purchases_of(edge, pat)]
    assert shown == [("FAILED", "PRODUCT_INACTIVE"), ("COMPLETED", "")]
    popular = (await edge.rest.get("/analytics/popular-products", headers=pat.headers)).json()["products"]
    assert 1 <= len(popular) <= 5
    assert [one["purchases"] for one in popular] == sorted((one["purchases"] for one in popular), key=int)[::-1]


async def test_over_grpc_the_same(edge: Edge, admin: User, pat: User) -> None:
    request = CreateProductRequest(name="Премиум-статус", price=500, type=Product.PERMANENT)
    key = new_id()
    product = await edge.shop.CreateProduct(request, metadata=admin.metadata(key))
    assert await edge.shop.CreateProduct(request, metadata=admin.metadata(key)) == product
    buy = PurchaseProductRequest(product_id=product.id)
    purchase = await edge.shop.PurchaseProduct(buy, metadata=pat.metadata(new_id()))
    assert (purchase.status, purchase.total_price) == (Purchase.COMPLETED, 500)
    with refused(grpc.StatusCode.ALREADY_EXISTS, "ALREADY_OWNED"):
        await edge.shop.PurchaseProduct(buy, metadata=pat.metadata(new_id()))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "PERMANENT_PRODUCT"):
        await edge.shop.UseProduct(UseProductRequest(product_id=product.id), metadata=pat.metadata(new_id()))
    inventory = await edge.shop.GetInventory(GetInventoryRequest(user_id=pat.id), metadata=pat.metadata())
    assert [(item.product_id, item.name, item.quantity) for item in inventory.items] == [
        (product.id, "Премиум-статус", 1)
    ]
    failed = ListPurchasesRequest(user_id=pat.id, status=Purchase.FAILED)
    listed = await edge.shop.ListPurchases(failed, metadata=pat.metadata())
    assert [one.failure_reason for one in listed.purchases] == ["ALREADY_OWNED"]
    newest = await edge.shop.ListProducts(ListProductsRequest(page_size=1), metadata=pat.metadata())
    assert list(newest.products) == [product]
    await edge.shop.ListPopularProducts(ListPopularProductsRequest(), metadata=pat.metadata())
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ADMIN_ONLY"):
        await edge.shop.CreateProduct(request, metadata=pat.metadata())
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ADMIN_ONLY"):
        await edge.shop.UpdateProduct(UpdateProductRequest(product_id=product.id, price=1), metadata=pat.metadata())
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REQUIRED"):
        await edge.shop.PurchaseProduct(buy, metadata=pat.metadata())
    assert await available(edge, pat) == MONEY - 500


TEA: Json = {"name": "tea", "price": 1, "type": "CONSUMABLE"}
BAD_PRODUCTS: list[Json] = [
    {},
    {"name": ""},
    {"name": "x" * 201},
    {"name": "x\0"},
    {"name": 5},
    {"description": "x" * 2001},
    {"price": 0},
    {"price": -1},
    {"price": 10**12 + 1},
    {"price": 2**63},
    {"price": 1.5},
    {"price": "a hundred"},
    {"type": "RENTED"},
    {"type": 7},
    {"type": None},
    {"currency": "rubles"},
    {"is_active": "maybe"},
]


async def test_bad_input_gets_a_clear_error_and_changes_nothing(
    edge: Edge, admin: User, alice: User, pat: User
) -> None:
    product, premium = await add(edge, admin), await add(edge, admin, type="PERMANENT")
    foreign = await add(edge, admin, 1, currency="EUR")
    for bad in BAD_PRODUCTS:
        body = {**TEA, **bad} if bad else {}
        assert_error(await edge.rest.post("/products", json=body, headers=admin.headers), 400, 3, "INVALID_REQUEST")
    for patch in ({"price": 0}, {"name": ""}, {"update_mask": "type"}, {"update_mask": "price"}, {"price": "x"}):
        patched = await edge.rest.patch(f"/products/{product['id']}", json=patch, headers=admin.headers)
        assert_error(patched, 400, 3, "INVALID_REQUEST")
    assert (await edge.rest.get(f"/products/{product['id']}", headers=pat.headers)).json() == product

    for what in ("purchase", "use"):
        for quantity in (0, -1, 1001, 2**63, -(2**63) - 1, 1.5, "many", True, [1]):
            answer = await post(edge, pat, product["id"], what, quantity=quantity)
            assert_error(answer, 400, 3, "INVALID_REQUEST")
        for product_id in ("x", new_id()[:-1], "%00", "..%2f" + new_id()):
            assert (await post(edge, pat, product_id, what)).status_code in (400, 404), product_id
        assert_error(await post(edge, pat, new_id(), what), 404, 5, "PRODUCT_NOT_FOUND")
        keyless = await edge.rest.post(f"/products/{product['id']}/{what}", json={}, headers=pat.headers)
        assert_error(keyless, 400, 3, "IDEMPOTENCY_KEY_REQUIRED")
        assert (await edge.rest.post(f"/products/{product['id']}/{what}", json={})).status_code == 401
        twice = await post(edge, pat, product["id"], what, product_id=new_id())
        assert_error(twice, 400, 3, "INVALID_REQUEST")
        long_key = await post(edge, pat, product["id"], what, key="x" * 129)
        assert long_key.status_code == 400, long_key.text
    assert_error(await post(edge, pat, premium["id"], "purchase", quantity=2), 400, 3, "INVALID_REQUEST")
    assert await purchases_of(edge, pat) == []

    for asked, status, code, reason in (
        (post(edge, pat, product["id"], "purchase", quantity=11), 400, 9, "INSUFFICIENT_FUNDS"),
        (post(edge, pat, foreign["id"], "purchase"), 400, 3, "CURRENCY_MISMATCH"),
        (post(edge, pat, product["id"], "use"), 404, 5, "NOT_OWNED"),
        (post(edge, pat, premium["id"], "use"), 400, 9, "PERMANENT_PRODUCT"),
        (post(edge, alice, product["id"], "purchase"), 404, 5, "ACCOUNT_NOT_FOUND"),
        (edge.rest.get(f"/users/{admin.id}/inventory", headers=pat.headers), 404, 5, "USER_NOT_FOUND"),
        (edge.rest.get(f"/users/{admin.id}/purchases", headers=pat.headers), 404, 5, "USER_NOT_FOUND"),
        (edge.rest.get("/products?page_token=x", headers=pat.headers), 400, 3, "INVALID_PAGE_TOKEN"),
        (edge.rest.get("/products?page_size=101", headers=pat.headers), 400, 3, "INVALID_REQUEST"),
        (edge.rest.get(f"/users/{pat.id}/purchases?page_token=x", headers=pat.headers), 400, 3, "INVALID_PAGE_TOKEN"),
        (edge.rest.post("/products", json=TEA, headers=pat.headers), 403, 7, "ADMIN_ONLY"),
        (edge.rest.patch(f"/products/{product['id']}", json={}, headers=pat.headers), 403, 7, "ADMIN_ONLY"),
    ):
        assert_error(await asked, status, code, reason)
    assert await available(edge, pat) == MONEY
    assert await goods_of(edge, pat) == {}
    assert [p["failure_reason"] for p in await purchases_of(edge, pat)] == ["CURRENCY_MISMATCH", "INSUFFICIENT_FUNDS"]
    everybodys = await edge.rest.get(f"/users/{pat.id}/purchases", headers=admin.headers)
    assert len(everybodys.json()["purchases"]) == 2


async def test_500_purchases_at_once_by_20_users_whose_money_suffices_for_some(
    edge: Edge, admin: User, stack: RunningStack
) -> None:
    users = [await edge.register() for _ in range(BUYERS)]
    money = {user.id: 150 * number for number, user in enumerate(users, 1)}
    await asyncio.gather(*(edge.deposit(user, money[user.id]) for user in users))
    types = ("CONSUMABLE", "PERMANENT", "CONSUMABLE", "PERMANENT", "CONSUMABLE")
    products = [await add(edge, admin, 20 + 30 * n, type=kind) for n, kind in enumerate(types)]
    asked = []
    for number in range(PURCHASES):
        product = products[number % len(products)]
        quantity = 1 if product["type"] == "PERMANENT" else 1 + number % 3
        buy = buy_over_rest if number % 2 else buy_over_grpc
        asked.append(buy(edge, users[number % BUYERS], product, quantity))
    random.shuffle(asked)
    ends = Counter(await asyncio.gather(*asked))
    assert ends.keys() == {"COMPLETED", "INSUFFICIENT_FUNDS", "ALREADY_OWNED"}, ends

    recorded = [await ends_of_a_buyer(edge, user, money[user.id], products) for user in users]
    assert sum(recorded, Counter[str]()) == ends
    assert ends.total() == PURCHASES
    report = await check_databases(stack.database_urls, 60)
    # What other tests do to this stack is theirs to check.
    assert not [rule for rule in report.broken() if rule.rule in OF_THE_SHOP or rule.guarantee == "books balance"]
