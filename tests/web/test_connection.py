"""The page while answers are lost, the network is away, tokens expire and instances of push die."""

import asyncio
from typing import Any

from playwright.async_api import Route

from stack.home import Home, Stack
from tests.bench.stack import processes
from tests.browser import needs_chromium
from tests.chaos.killer import Killer
from tests.support import Edge, RunningStack
from tests.web.conftest import OpenPage
from tests.web.steps import EXPIRE, order, orders, toast


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
    await order(page, "Tea", "1", "10", wait=False)
    await page.get_by_text("No answer yet").wait_for()
    # Whoever reloads now finds it under way.
    await page.reload()

    await toast(page, "Order accepted").wait_for()
    assert lost == [201]
    assert len(await orders(edge, user)) == 1


@needs_chromium
async def test_who_was_offline_goes_on_where_he_was(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)
    page = await open_page(user, "orders")

    await page.context.set_offline(True)
    await page.get_by_text("Offline", exact=True).wait_for()
    created = await edge.rest.post("/orders", json={"amount": 700}, headers=user.headers)
    await edge.settled(user, created.json()["id"])
    await order(page, "Tea", "1", "10", wait=False)
    await page.get_by_text("No answer yet").wait_for()
    await page.context.set_offline(False)

    await toast(page, "Order for ₽7.00 is paid").wait_for()
    await toast(page, "Order for ₽10.00 is paid").wait_for()
    assert len(await orders(edge, user)) == 2


@needs_chromium
async def test_a_token_that_has_expired_is_refreshed_once_for_all_who_ask(open_page: OpenPage, edge: Edge) -> None:
    user = await edge.register()
    page = await open_page(user)
    refreshed: list[str] = []
    page.on("request", lambda request: refreshed.append(request.url) if request.url.endswith("/token") else None)

    await page.evaluate(EXPIRE)
    await page.reload()

    await page.get_by_text("Live", exact=True).wait_for()
    await page.get_by_text("Nothing yet").wait_for()
    assert len(refreshed) == 1


@needs_chromium
async def test_a_refresh_whose_answer_is_lost_signs_nobody_out(open_page: OpenPage, edge: Edge) -> None:
    page = await open_page(await edge.register())
    lost: list[int] = []

    async def lose_the_first(route: Route) -> None:
        if lost:
            await route.continue_()
        else:
            lost.append((await route.fetch()).status)
            await route.abort()

    await page.route("**/token", lose_the_first)
    await page.evaluate(EXPIRE)
    await page.reload()

    await page.get_by_text("Nothing yet").wait_for()
    assert lost == [200]


@needs_chromium
async def test_who_is_shown_a_page_is_told_although_the_instance_in_use_dies(
    stack: RunningStack, edge: Edge, open_page: OpenPage
) -> None:
    mortal = Stack.load(Home(stack.home))
    killer = Killer(mortal, 0, print)
    user = await edge.register()
    await edge.deposit(user, 100_000)
    page = await open_page(user, "orders")
    # One of them is the one in use.
    for number, victim in enumerate(sorted(name for name in processes(mortal) if name.startswith("push"))):
        back = await killer.kill(victim)
        await edge.rest.post("/orders", json={"amount": 700 + number}, headers=user.headers)
        await toast(page, f"Order for ₽7.0{number} is paid").wait_for()
        await asyncio.gather(*back)
    await page.locator(".connection.live").wait_for()
