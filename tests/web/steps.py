"""What people do on the page, and what can be asked of it."""

import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page

from tests.support import Edge, User
from tests.web.conftest import AXE

EXPIRE = """() => {
    const session = JSON.parse(localStorage.getItem("gozon.session"));
    localStorage.setItem("gozon.session", JSON.stringify({...session, until: 0}));
}"""
"""Makes the page take its access token for expired."""
FOCUSED = """() => {
    const {labels, ariaLabel, innerText} = document.activeElement;
    return labels?.length ? labels[0].innerText : ariaLabel || innerText;
}"""
"""Returns what is read aloud of what has the focus."""


async def order(page: Page, name: str, quantity: str, price: str, *, wait: bool = True) -> None:
    """Orders something, and waits until that is accepted."""
    await page.evaluate("location.hash = '/orders'")
    await page.get_by_label("What").fill(name)
    await page.get_by_label("Quantity").fill(quantity)
    await page.get_by_label("Price").fill(price)
    await page.get_by_role("button", name="Order for").click()
    if wait:
        await toast(page, "Order accepted").wait_for()


async def tab_to(page: Page, name: str) -> None:
    """Presses the tabulator until something is reached, whose focus can be seen."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        if (await page.evaluate(FOCUSED)).strip() == name:
            assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    pytest.fail(f"the tabulator does not reach {name}")


async def orders(edge: Edge, user: User) -> list[dict[str, Any]]:
    """Returns what a user has ordered."""
    found: list[dict[str, Any]] = (await edge.rest.get("/orders", headers=user.headers)).json()["orders"]
    return found


async def has(place: Locator, text: str) -> None:
    """Waits until a place says something."""
    await place.filter(has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


def toast(page: Page, text: str) -> Locator:
    """What the page tells in its corner."""
    return page.locator(".toast", has_text=text)


async def look_at(page: Page, view: str) -> None:
    """Goes to a view, and waits until it is there."""
    await page.evaluate("view => location.hash = `/${view}`", view)
    await page.locator("main h1").wait_for()
    await page.locator(".skeleton").first.wait_for(state="detached")


async def violations(page: Page, *rules: str) -> list[str]:
    """Returns what axe finds, by all of its rules or these."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = await page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]} {one['nodes'][0]['failureSummary']}"
        for one in found["violations"]
    ]
