"""The system page, as an administrator looks at it."""

import re

from kit.db import Database, sql
from kit.dead_letters import DeadLetter, bury
from kit.events import Event
from kit.ids import new_id
from services.topology import ORDERS_CATALOG
from tests.browser import needs_chromium
from tests.support import Edge, RunningStack, User
from tests.web.conftest import OpenPage
from tests.web.steps import has, toast

SOMETHING = re.compile(r"\d")


@needs_chromium
async def test_an_order_moves_the_charts_and_a_dead_letter_is_replayed(
    open_page: OpenPage, edge: Edge, stack: RunningStack, admin: User
) -> None:
    user = await edge.register()
    await edge.deposit(user, 1000)
    # Nobody needs what is in it.
    event = Event(new_id(), "shop.nothing", b"", "")
    orders = Database(stack.database_urls["orders"])
    await bury(orders, DeadLetter(ORDERS_CATALOG.name, event, ValueError("a bug"), 7, 108.0, 9))
    page = await open_page(admin, "system", reduced_motion="reduce")
    assert not SOMETHING.search(await page.get_by_test_id("p50").inner_text())

    order = await edge.rest.post("/orders", json={"amount": 5}, headers=user.headers)
    await edge.settled(user, order.json()["id"])
    await page.get_by_test_id("p50").filter(has_text=SOMETHING).wait_for()
    letter = page.get_by_role("listitem").filter(has_text=event.id)
    await letter.get_by_role("button", name="Replay").click()

    await toast(page, "Published again").wait_for()
    await letter.wait_for(state="detached")
    await has(page.get_by_test_id("process-orders").get_by_role("heading"), "orders")
    assert await page.get_by_test_id("NOTHING_LOST").count() == 1
    async with orders.autocommit() as connection:
        assert await connection.execute(sql("SELECT FROM dead_letters WHERE event_id = :id::text"), id=event.id) == []
    await orders.close()
