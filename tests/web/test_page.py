"""The page as people use it: through the edge, in a browser, with the whole system behind it."""

import gzip
import re
import uuid

from tests.browser import needs_chromium
from tests.support import Edge, User
from tests.web.conftest import OpenPage
from tests.web.steps import EXPIRE, has, look_at, order, tab_to, toast, violations

MAX_BYTES = 100_000
NOTE_NOTIFICATIONS = """() => {
    window.notified = [];
    window.Notification = function (title, {body}) { window.notified.push([title, body]); };
}"""
PHONE = {"width": 360, "height": 740}
VIEWS = ("wallet", "shop", "inventory", "orders", "payouts", "account")


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
    await has(page.get_by_test_id("available"), "₽1,000.00")
    await order(page, "Tea", "2", "199,50")

    await toast(page, "Order for ₽399.00 is paid").wait_for()
    await has(page.get_by_test_id("status"), "Paid")
    await page.get_by_role("link", name="Wallet").click()
    await has(page.get_by_test_id("available"), "₽601.00")
    assert await other.locator(".toast").count() == 0


@needs_chromium
async def test_who_has_no_mouse_signs_in_and_orders(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    page = await open_page()

    for label, text in (("Email", user.email), ("Password", user.password)):
        await tab_to(page, label)
        await page.keyboard.type(text)
    await page.keyboard.press("Enter")
    await page.get_by_text("Live", exact=True).wait_for()
    await tab_to(page, "Orders")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="New order").wait_for()
    for label, text in (("What", "Tea"), ("Quantity", ""), ("Price, RUB", "10")):
        await tab_to(page, label)
        await page.keyboard.type(text)
    await page.keyboard.press("Enter")

    await toast(page, "Order for ₽10.00 is paid").wait_for()


@needs_chromium
async def test_who_looks_at_another_window_is_notified_by_the_browser(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    page = await open_page(user, permissions=["notifications"])
    await page.evaluate(NOTE_NOTIFICATIONS)

    for hidden in (False, True):
        await page.evaluate(
            "hidden => Object.defineProperty(document, 'hidden', {value: hidden, writable: true})", hidden
        )
        await edge.rest.post("/orders", json={"amount": 800 + hidden}, headers=user.headers)
        await toast(page, f"Order for ₽8.0{int(hidden)} is paid").wait_for()

    assert await page.evaluate("notified") == [["Gozon", "Order for ₽8.01 is paid"]]


@needs_chromium
async def test_orders_are_shown_by_status_though_others_are_told_of(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, 1_000)
    page = await open_page(user, "orders")
    await page.get_by_label("Status").select_option("Canceled")
    await page.get_by_text("No order has this status.").wait_for()

    for amount in (700, 900):
        await edge.rest.post("/orders", json={"amount": amount}, headers=user.headers)
        await toast(page, f"₽{amount // 100}.00").wait_for()

    assert await page.get_by_role("main").get_by_role("listitem").count() == 1


@needs_chromium
async def test_an_admin_changes_a_product_and_is_told_when_another_was_faster(
    open_page: OpenPage, edge: Edge, admin: User
) -> None:
    name = uuid.uuid4().hex
    made = await edge.rest.post(
        "/products", json={"name": name, "price": 250, "type": "CONSUMABLE"}, headers=admin.headers
    )
    page = await open_page(admin, "admin")
    line = page.get_by_role("listitem").filter(has_text=name)
    await line.get_by_role("button", name="Edit").click()
    path = f"/products/{made.json()['id']}"
    await edge.rest.patch(path, json={"price": 300}, headers=admin.headers)

    await line.get_by_label("Price").fill("9")
    await line.get_by_label("On sale").uncheck()
    await line.get_by_role("button", name="Save").click()
    await line.get_by_text("It has just changed. Look again.").wait_for()
    await line.get_by_text("₽3.00").wait_for()
    await line.get_by_role("button", name="Save").click()

    await toast(page, f"Saved: {name}").wait_for()
    found = (await edge.rest.get(path, headers=admin.headers)).json()
    assert (found["price"], found["is_active"]) == ("900", False)


@needs_chromium
async def test_a_new_name_and_password_are_kept_and_the_page_stays_signed_in(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    page = await open_page(user, "account")

    await page.get_by_label("Name").fill("Ann")
    await page.get_by_role("button", name="Save").click()
    await page.locator("summary", has_text="Ann").wait_for()
    await page.get_by_label("Current password").fill("not mine")
    await page.get_by_label("New password").fill("another good password")
    await page.get_by_role("button", name="Change the password").click()
    await page.get_by_text("The current password is wrong.").wait_for()
    await page.get_by_label("Current password").fill(user.password)
    await page.get_by_role("button", name="Change the password").click()
    await toast(page, "The password is changed").wait_for()

    await page.evaluate(EXPIRE)
    await page.reload()
    await page.get_by_text("Live", exact=True).wait_for()
    assert await edge.sign_in(user.email, "another good password")


@needs_chromium
async def test_an_admin_is_shown_what_is_to_be_shipped_ships_it_and_the_customer_sees_it(
    open_page: OpenPage, edge: Edge, admin: User
) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    office = await open_page(admin, "admin")
    await office.get_by_label("Status").select_option("Held")
    name = uuid.uuid4().hex
    order = {"amount": 2500, "capture": "MANUAL", "description": name}
    created = await edge.rest.post("/orders", json=order, headers=user.headers)
    customer = await open_page(user, f"orders/{created.json()['id']}")

    ship = office.get_by_role("button", name=f"Ship: {name}")
    await ship.click()

    await toast(customer, "Order for ₽25.00 is on its way").wait_for()
    await has(customer.get_by_test_id("status"), "Shipped")
    await ship.wait_for(state="detached")


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

    await toast(page, f"Bought: {name}").wait_for()
    await page.get_by_text("Available: ₽995.00").wait_for()
    # Another window of his hears of it.
    await inventory.get_by_text("\N{MULTIPLICATION SIGN} 2", exact=True).wait_for()
    await inventory.get_by_text(f"{name} \N{MULTIPLICATION SIGN} 2").wait_for()
    await inventory.get_by_role("button", name=f"Use one: {name}").click()
    await inventory.get_by_text("\N{MULTIPLICATION SIGN} 1", exact=True).wait_for()
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

    await toast(page, "Payout of ₽100.00 has arrived").wait_for()
    await has(page.get_by_test_id("balance"), "₽900.00")


@needs_chromium
async def test_every_view_can_be_used_by_everybody(open_page: OpenPage, edge: Edge, admin: User) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    created = await edge.rest.post("/orders", json={"amount": 700}, headers=user.headers)
    await edge.settled(user, created.json()["id"])
    for who, views in (
        (user, (*VIEWS, f"orders/{created.json()['id']}")),
        (admin, ("admin", "system")),
        (None, ("sign-in",)),
    ):
        page = await open_page(who, reduced_motion="reduce", viewport=PHONE)
        for view in views:
            await look_at(page, view)
            assert await violations(page) == [], view
            await page.emulate_media(color_scheme="dark")
            assert await violations(page, "color-contrast") == [], view
            await page.emulate_media(color_scheme="light")


@needs_chromium
async def test_no_view_is_wider_than_a_phone_with_longer_words(
    open_page: OpenPage, edge: Edge, alice: User, admin: User
) -> None:
    product = {"name": "w" * 200, "description": "w" * 2000, "type": "CONSUMABLE", "price": 1}
    (await edge.rest.post("/products", json=product, headers=admin.headers)).raise_for_status()
    ordered = {"items": [{"name": "w" * 200, "quantity": 1, "price": 1}], "description": "w" * 500}
    answer = await edge.rest.post("/orders", json=ordered, headers=alice.headers)
    order_id = answer.json()["id"]
    for who, views in ((alice, (*VIEWS, f"orders/{order_id}")), (admin, ("admin", "system")), (None, ("sign-in",))):
        page = await open_page(who, locale="ru", viewport=PHONE)
        for view in views:
            await look_at(page, view)
            assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], view
