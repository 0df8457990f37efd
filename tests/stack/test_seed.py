"""`gozon seed`: products, once."""

from concurrent.futures import ThreadPoolExecutor

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

    stack = RunningStack.from_status(own_stack.json("status", "--secrets"))
    async with Edge(stack) as edge:
        user = await edge.register()
        shown = (await edge.rest.get("/products", params={"page_size": 100}, headers=user.headers)).json()["products"]
    ids = [product["id"] for product in first]
    assert sorted(product["id"] for product in shown) == sorted(ids)
    boost = next(product for product in shown if product["name"] == "Буст на день")
    assert (boost["price"], boost["is_active"], boost["id"]) == ("100", True, ids[0])

    again = own_stack.json("seed")["products"]
    assert again == [{**product, "added": False} for product in first]


def test_a_wrong_password_says_whose(own_stack: OwnStack) -> None:
    result = own_stack.gozon("seed", "--password", "wrong horse battery")
    assert result.returncode == 1
    assert "admin@gozon.local" in result.stderr
