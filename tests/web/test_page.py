"""The page as people use it: through the edge, in a browser, with the whole system behind it."""

import gzip
import re
import uuid
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route

from stack.home import CHECKOUT
from tests.browser import needs_chromium
from tests.support import Edge, User
from tests.web.conftest import OpenPage

APP = CHECKOUT / "web" / "app"
MAX_BYTES = 100_000
AXE = APP / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = ("wallet", "shop", "inventory", "orders", "payouts")


async def test_the_page_is_small_and_its_files_are_kept_for_ever(edge: Edge) -> None:
    index = await edge.rest.get("/")
    names = re.findall(r'(?:src|href)="(/assets/[^"]+)"', index.text)
    assets = [await edge.rest.get(name) for name in names]

    assert len(names) >= 2
    assert index.headers["cache-control"] == "no-cache"
    assert {asset.headers["cache-control"] for asset in assets} == {"public, max-age=31536000, immutable"}
    assert sum(len(gzip.compress(answer.content)) for answer in (index, *assets)) < MAX_BYTES
    policy = index.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe" not in policy


async def test_what_is_not_there_is_not_kept(edge: Edge) -> None:
    answer = await edge.rest.get("/assets/nothing.js")

    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-cache")


@needs_chromium
async def test_somebody_signs_up_orders_and_is_told_and_nobody_else(open_page: OpenPage, bob: User) -> None:
    other = await open_page(bob)
    page = await open_page()

    await page.get_by_role("button", name="I am new here").click()
    await page.get_by_label("Email").fill(f"{uuid.uuid4().hex}@example.com")
    await page.get_by_label("Password").fill("correct horse battery staple")
    await page.get_by_role("button", name="Sign up").click()
    await page.get_by_label("Amount").fill("1000")
    await page.get_by_role("button", name="Add funds").click()
    await _has(page.get_by_test_id("available"), "₽1,000.00")
    await _order(page, "Tea", "2", "199,50")

    await _toast(page, "Order for ₽399.00 is paid").wait_for()
    await _has(page.get_by_test_id("status"), "Paid")
    await page.get_by_role("link", name="Wallet").click()
    await _has(page.get_by_test_id("available"), "₽601.00")
    assert await other.locator(".toast").count() == 0


@needs_chromium
async def test_an_answer_that_is_lost_loses_no_order_and_makes_no_second_one(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    page = await open_page(user, "orders")
    lost: list[Any] = []

    async def lose_the_first(route: Route) -> None:
        if route.request.method == "POST" and not lost:
            lost.append((await route.fetch()).status)
            await route.abort()
        else:
            await route.continue_()

    await page.route("**/orders", lose_the_first)
    await _order(page, "Tea", "1", "10", wait=False)
    await page.get_by_text("No answer yet").wait_for()
    # Whoever reloads now finds it under way.
    await page.reload()

    await _toast(page, "Order accepted").wait_for()
    assert lost == [201]
    assert len(await _orders(edge, user)) == 1


@needs_chromium
async def test_who_was_offline_goes_on_where_he_was(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    page = await open_page(user, "orders")

    await page.context.set_offline(True)
    await page.get_by_text("Offline", exact=True).wait_for()
    created = await edge.rest.post("/orders", json={"amount": 700}, headers=user.headers)
    await edge.settled(user, created.json()["id"])
    await _order(page, "Tea", "1", "10", wait=False)
    await page.get_by_text("No answer yet").wait_for()
    await page.context.set_offline(False)

    await _toast(page, "Order for ₽7.00 is paid").wait_for()
    await _toast(page, "Order for ₽10.00 is paid").wait_for()
    assert len(await _orders(edge, user)) == 2


@needs_chromium
async def test_a_token_that_has_expired_is_refreshed_once_for_all_who_ask(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    page = await open_page(user)
    refreshed: list[str] = []
    page.on("request", lambda request: refreshed.append(request.url) if request.url.endswith("/token") else None)

    await page.evaluate(
        """() => {
            const session = JSON.parse(localStorage.getItem("gozon.session"));
            localStorage.setItem("gozon.session", JSON.stringify({...session, until: 0}));
        }"""
    )
    await page.reload()

    await page.get_by_text("Live", exact=True).wait_for()
    await page.get_by_text("Nothing yet").wait_for()
    assert len(refreshed) == 1


@needs_chromium
async def test_an_admin_ships_and_the_customer_sees_it(open_page: OpenPage, edge: Edge, admin: User) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    created = await edge.rest.post("/orders", json={"amount": 2500, "capture": "MANUAL"}, headers=user.headers)
    order_id = created.json()["id"]
    await edge.settled(user, order_id)
    customer = await open_page(user, f"orders/{order_id}")
    office = await open_page(admin, "admin")

    await office.get_by_label("Id of an order or a user").fill(order_id)
    await office.get_by_role("button", name="Find").click()
    await office.get_by_role("button", name="Ship").click()

    await _toast(customer, "Order for ₽25.00 is on its way").wait_for()
    await _has(customer.get_by_test_id("status"), "Shipped")


@needs_chromium
async def test_what_is_bought_is_in_the_inventory_and_can_be_used(open_page: OpenPage, edge: Edge, admin: User) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    name = f"Boost {uuid.uuid4().hex}"
    product = {"name": name, "price": 250, "type": "CONSUMABLE"}
    assert (await edge.rest.post("/products", json=product, headers=admin.headers)).status_code == 201
    page = await open_page(user, "shop")
    inventory = await open_page(user, "inventory")

    offer = page.get_by_role("listitem").filter(has_text=name)
    await offer.get_by_role("button", name="+").click()
    await offer.get_by_role("button", name="Buy").click()

    await _toast(page, f"Bought: {name}").wait_for()
    await page.get_by_text("Available: ₽995.00").wait_for()
    # Another window of his hears of it.
    await inventory.get_by_text("\N{MULTIPLICATION SIGN} 2").wait_for()
    await inventory.get_by_role("button", name=f"Use one: {name}").click()
    await inventory.get_by_text("\N{MULTIPLICATION SIGN} 1").wait_for()
    await page.get_by_text("You have 1").wait_for()


@needs_chromium
async def test_a_payout_arrives_and_a_mistyped_card_is_named(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    page = await open_page(user, "payouts")

    await page.get_by_label("Amount").fill("100")
    await page.get_by_label("Card number").fill("4111 1111 1111 1112")
    await page.get_by_role("button", name="Pay out").click()
    await page.get_by_text("This is no card number.").wait_for()
    await page.get_by_label("Card number").fill("4111 1111 1111 1111")
    await page.get_by_role("button", name="Pay out").click()

    await _toast(page, "Payout of ₽100.00 has arrived").wait_for()
    await _has(page.get_by_test_id("balance"), "₽900.00")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en", "ru"])
async def test_every_view_can_be_used_by_everybody(open_page: OpenPage, edge: Edge, locale: str, scheme: str) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    order = await edge.rest.post("/orders", json={"amount": 700}, headers=user.headers)
    await edge.settled(user, order.json()["id"])
    phone = {"width": 360, "height": 740}
    page = await open_page(user, locale=locale, color_scheme=scheme, reduced_motion="reduce", viewport=phone)

    for view in (*VIEWS, f"orders/{order.json()['id']}"):
        await page.evaluate("view => location.hash = `/${view}`", view)
        await page.locator("main h1").wait_for()
        await page.locator(".skeleton").first.wait_for(state="detached")
        assert await _violations(page) == [], view
        assert await page.evaluate("document.documentElement.scrollWidth") == phone["width"], view


async def _order(page: Page, name: str, quantity: str, price: str, *, wait: bool = True) -> None:
    await page.evaluate("location.hash = '/orders'")
    await page.get_by_label("What").fill(name)
    await page.get_by_label("Quantity").fill(quantity)
    await page.get_by_label("Price").fill(price)
    await page.get_by_role("button", name="Order for").click()
    if wait:
        await _toast(page, "Order accepted").wait_for()


async def _orders(edge: Edge, user: User) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await edge.rest.get("/orders", headers=user.headers)).json()["orders"]
    return found


async def _has(place: Locator, text: str) -> None:
    """Waits until a place says something."""
    await place.filter(has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


def _toast(page: Page, text: str) -> Locator:
    return page.locator(".toast", has_text=text)


async def _violations(page: Page) -> list[str]:
    """Returns what axe finds."""
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]} {one['nodes'][0]['failureSummary']}"
        for one in found["violations"]
    ]
