"""`gozon seed`: products, once."""

from concurrent.futures import ThreadPoolExecutor

from stack.home import ADMIN_EMAIL, Home
from tests.stack.conftest import OwnStack
from tests.support import Edge, RunningStack


async def test_seeding_adds_products_once_however_often_and_leaves_changes_alone(own_stack: OwnStack) -> None:
    # Two at once: neither finds what the other one adds.
    with ThreadPoolExecutor() as pool:
        both = [seeding.result()["products"] for seeding in [pool.submit(own_stack.json, "seed") for _ in range(2)]]
    first = both[0]
    assert [product["id"] for product in both[1]] == [product["id"] for product in first]
    told = {product["name"]: (product["type"], product["price"], product["currency"]) for product in first}
    assert told["Буст на день"] == ("CONSUMABLE", 100, "RUB")
    assert told["Премиум-статус"] == ("PERMANENT", 500, "RUB")
    assert sum(product["added"] for products in both for product in products) == len(first) > 2

    assert [bought["status"] for bought in own_stack.json("demo")["purchases"]] == ["COMPLETED"]

    stack = RunningStack.from_status(own_stack.json("status", "--secrets"))
    async with Edge(stack) as edge:
        user, admin = await edge.register(), await edge.sign_in(ADMIN_EMAIL, Home(own_stack.home).secrets().admin)
        url = f"/products/{first[0]['id']}"
        dearer = await edge.rest.patch(url, json={"price": "120", "is_active": False}, headers=admin.headers)
        assert dearer.status_code == 200, dearer.text
        shown = (await edge.rest.get("/products", params={"page_size": 100}, headers=user.headers)).json()["products"]
    # Other tests add products of their own.
    seeded = {product["id"]: product for product in shown if product["name"] in told}
    assert sorted(seeded) == sorted(product["id"] for product in first)
    boost = seeded[first[0]["id"]]
    assert (boost["name"], boost["price"], boost["is_active"]) == ("Буст на день", "120", False)

    first[0] |= {"price": 120, "is_active": False}
    assert own_stack.json("seed")["products"] == [{**product, "added": False} for product in first]


def test_a_wrong_password_says_whose(own_stack: OwnStack) -> None:
    result = own_stack.gozon("seed", "--password", "wrong horse battery")
    assert result.returncode == 1
    assert "admin@gozon.local" in result.stderr
