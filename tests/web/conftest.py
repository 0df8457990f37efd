"""The page in a browser, for people who are signed in on it."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, async_playwright

from stack.home import CHECKOUT
from tests.browser import CHROMIUM
from tests.support import Edge, User

APP = CHECKOUT / "web" / "app"
AXE = APP / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP = {"width": 1280, "height": 860}
OpenPage = Callable[..., Coroutine[Any, Any, Page]]


@pytest.fixture(autouse=True)
def built() -> None:
    """There is a page to look at; `make test` goes on without one where npm's packages can't be had."""
    if not ((APP / "dist" / "index.html").exists() and AXE.exists()):
        pytest.skip("the page is not built: run make web, which says why")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A headless browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(browser: Browser, edge: Edge) -> AsyncIterator[OpenPage]:
    """Opens the page for somebody who is signed in, or nobody, each as in a browser of his own.

    Nothing may be wrong on the console; answers of the API that are no success are said there and are none of it.
    """
    complaints: list[str] = []
    async with AsyncExitStack() as exits:

        async def open_(user: User | None = None, path: str = "wallet", **options: Any) -> Page:
            # A certificate, if there is one, is of an authority that browsers don't know.
            usual: dict[str, Any] = {"viewport": DESKTOP, "locale": "en-GB", "ignore_https_errors": True}
            context = await browser.new_context(**(usual | options))
            exits.push_async_callback(context.close)
            page = await context.new_page()
            page.set_default_timeout(20_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if "Security" in said.text else None)
            url = str(edge.rest.base_url).rstrip("/")
            if user:
                await context.add_init_script(_kept(await _sign_in(edge, user)))
            await page.goto(f"{url}/#/{path}")
            if user:
                await page.locator(".connection.live").wait_for()
            return page

        yield open_
    assert not complaints


async def _sign_in(edge: Edge, user: User) -> dict[str, Any]:
    form = {"grant_type": "password", "username": user.email, "password": user.password}
    answer: httpx.Response = await edge.rest.post("/token", data=form)
    tokens: dict[str, Any] = answer.json()
    return tokens


def _kept(tokens: dict[str, Any]) -> str:
    """Returns the script that signs in as the page does, once in each browser."""
    session = json.dumps({"access": tokens["access_token"], "refresh": tokens["refresh_token"]})
    return f"""
        if (!localStorage.getItem("test.begun")) {{
          const until = Date.now() + {tokens["expires_in"] * 1000};
          localStorage.setItem("gozon.session", JSON.stringify({{...{session}, until}}));
          localStorage.setItem("test.begun", "yes");
        }}
    """
