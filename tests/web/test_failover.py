"""The page while instances of push die."""

import asyncio

from tests.browser import needs_chromium
from tests.chaos.killer import Killer
from tests.conftest import running
from tests.journeys.conftest import Mortal
from tests.support import Edge
from tests.web.conftest import OpenPage


@needs_chromium
async def test_who_is_shown_a_page_is_told_although_the_instance_in_use_dies(
    mortal: Mortal, open_page: OpenPage
) -> None:
    stack = mortal("--instances", "push=2")
    killer = Killer(stack, 0, print)
    async with Edge(running(stack.home.path)) as edge:
        user = await edge.register()
        await edge.deposit(user, 100_000)
        page = await open_page(user, "orders", at=edge)
        # One of them is the one in use.
        for victim, amount, text in (("push", 700, "₽7.00"), ("push-2", 800, "₽8.00")):
            back = await killer.kill(victim)
            await edge.rest.post("/orders", json={"amount": amount}, headers=user.headers)
            await page.locator(".toast", has_text=f"Order for {text} is paid").wait_for()
            await asyncio.gather(*back)
        await page.locator(".connection.live").wait_for()
