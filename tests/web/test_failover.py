"""The page while instances of push die."""

import asyncio

from stack.home import Home, Stack
from tests.bench.stack import processes
from tests.browser import needs_chromium
from tests.chaos.killer import Killer
from tests.support import Edge, RunningStack
from tests.web.conftest import OpenPage


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
        await page.locator(".toast", has_text=f"Order for ₽7.0{number} is paid").wait_for()
        await asyncio.gather(*back)
    await page.locator(".connection.live").wait_for()
