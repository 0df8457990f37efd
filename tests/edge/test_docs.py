"""/docs: Swagger UI as it is served, and as a person uses it in a browser."""

import asyncio
import json
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.async_api import Locator, Page, async_playwright

from stack import binaries, config
from stack.home import CHECKOUT
from tests.browser import CHROMIUM, needs_chromium
from tests.edge.expect import assert_error
from tests.support import Edge, User, eventually, free_port
from tools import openapi

DOCUMENT = yaml.safe_load(openapi.RESULT.read_text())
# The body of an answer on the page.
ANSWER = ".live-responses-table .response-col_description pre code"
DESKTOP = {"width": 1280, "height": 900}


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/docs.js", "/docs/swagger-ui/swagger-ui-bundle.js"])
async def test_the_page_needs_no_token_and_takes_nothing_from_elsewhere(edge: Edge, path: str) -> None:
    answer = await edge.rest.get(path)

    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-encoding"] in ("zstd", "gzip")
    assert "server" not in answer.headers


@pytest.mark.parametrize("name", ["openapi.yaml", "asyncapi.yaml"])
async def test_a_document_is_served_as_it_is_and_only_once(edge: Edge, name: str) -> None:
    answer = await edge.rest.get(f"/{name}")
    again = await edge.rest.get(f"/{name}", headers={"if-none-match": answer.headers["etag"]})

    assert answer.text == openapi.RESULT.with_name(name).read_text()
    assert answer.headers["content-type"] == "application/yaml"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/docs/nothing"),
        ("GET", "/docs/swagger-ui/"),
        ("GET", "/docs/swagger-ui/..%2f..%2fconfig.json"),
        ("POST", "/docs"),
        ("DELETE", "/openapi.yaml"),
    ],
)
async def test_what_is_not_there_is_the_one_shape_of_errors(edge: Edge, method: str, path: str) -> None:
    answer = await edge.rest.request(method, path)

    if "%2f" in path:
        assert_error(answer, 400, 3, "INVALID_REQUEST")
    else:
        assert_error(answer, 404, 5, "ROUTE_NOT_FOUND")


async def test_a_page_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    web, port = CHECKOUT / "web", free_port()
    shutil.copy(web / "unbuilt.html", tmp_path)
    env = {"GOZON_WEB_PORT": f"{port}", "GOZON_WEB_HOST": "127.0.0.1", "GOZON_WEB_ROOT": f"{tmp_path}"}
    command = [*binaries.dying_with_parent("KILL"), str(binaries.caddy()), "run", "--adapter", "caddyfile"]
    server = await asyncio.create_subprocess_exec(
        *command, "--config", str(web / "Caddyfile"), env=os.environ | env | {"XDG_CONFIG_HOME": f"{tmp_path}"}
    )

    async def listens() -> bool:
        return not config.port_is_free(port)

    try:
        await eventually(listens)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            page, asset = await client.get("/"), await client.get("/assets/index.js")
    finally:
        server.kill()
        await server.wait()
    assert page.status_code == 503
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<pre>make web</pre>" in page.text
    assert_error(asset, 404, 5, "ROUTE_NOT_FOUND")


async def test_only_these_paths_are_free(edge: Edge) -> None:
    for path in ("/docsx", "/openapi.yaml/x", "/openapi.json", "/docs/../orders"):
        answer = await edge.rest.send(httpx.Request("GET", f"{edge.rest.base_url}".rstrip("/") + path))
        assert answer.status_code in (401, 404), path
        assert answer.headers["content-type"] == "application/json"


@pytest.fixture
async def page(edge: Edge) -> AsyncIterator[Page]:
    """/docs in a headless browser, where nothing may be wrong on the console."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        page = await browser.new_page(viewport=DESKTOP)  # type: ignore[arg-type]
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        await page.goto(f"{edge.rest.base_url}".rstrip("/") + "/docs")
        await page.wait_for_selector(".opblock")
        yield page
        await browser.close()
    assert not complaints


@needs_chromium
async def test_somebody_signs_in_orders_something_and_reads_it_back(page: Page, edge: Edge) -> None:
    user = await edge.register()
    await edge.deposit(user, 100_000)

    await _authorize(page, user)
    created = await _execute(page, "CreateOrder", {}, "201")
    order = json.loads(await created.locator(ANSWER).first.inner_text())
    await edge.settled(user, order["id"])
    read = await _execute(page, "GetOrder", {"order_id": order["id"]}, "200")

    found = json.loads(await read.locator(ANSWER).first.inner_text())
    paid = {"status": "PAID", "paid_price": order["total_price"]}
    # Where there are workers, it has been processed by now.
    changed = {name: found[name] for name in ("updated_at", "etag", "processed_at") if name in found}
    assert found == order | paid | changed


@pytest.fixture(scope="module")
async def examples(edge: Edge) -> tuple[User, dict[str, str]]:
    """A user, and what is put in place of the examples that only somebody else could mean."""
    user = await edge.register()
    await edge.deposit(user, 100_000)
    order = await edge.rest.post("/orders", json={"amount": 100}, headers=user.headers)
    values = {"user_id": user.id, "order_id": order.json()["id"], "Idempotency-Key": uuid.uuid4().hex}
    return user, values | {"username": user.email, "password": user.password}


@needs_chromium
async def test_try_it_out_works_for_each_kind_of_input(page: Page, examples: tuple[User, dict[str, str]]) -> None:
    user, values = examples
    await _authorize(page, user)
    # A form; a query; a path and a body with a header that is required; a stream. What there is else, is above.
    names = {"Token", "ListOrders", "Deposit", "WatchOrder"}
    operations = {o["operationId"]: o for item in DOCUMENT["paths"].values() for o in item.values()}
    for name in names:
        await _execute(page, name, values, *operations[name]["responses"])


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for path, item in DOCUMENT["paths"].items() for method in item]
)
async def test_the_example_of_every_operation_is_answered_as_documented(
    method: str, path: str, edge: Edge, examples: tuple[User, dict[str, str]]
) -> None:
    user, values = examples
    operation = DOCUMENT["paths"][path][method]
    given: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    for parameter in operation.get("parameters", ()):
        known = _resolved(parameter)
        if value := values.get(known["name"], known.get("example")):
            given[known["in"]][known["name"]] = value
    url, headers = path.format(**given["path"]), user.headers | given["header"]
    body = _body(operation, values)
    async with edge.rest.stream(method, url, params=given["query"], headers=headers, **body) as answer:
        # Those of a stream would not end.
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
        assert str(answer.status_code) in operation["responses"], answer.text


def _resolved(parameter: dict[str, Any]) -> dict[str, Any]:
    shared: dict[str, Any] = DOCUMENT["components"]["parameters"]
    return shared[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter


def _body(operation: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """Returns the body of an operation's example, as an argument of httpx."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        example = content.get("example", {})
        return {"json": example} if kind == "application/json" else {"data": {**example, **_of(example, values)}}
    return {}


def _of(example: dict[str, Any], values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name in example}


async def _authorize(page: Page, user: User) -> None:
    """Signs in with the button Authorize: email and password."""
    await page.locator(".auth-wrapper .btn.authorize").first.click()
    password = page.locator(".modal-ux .auth-container", has_text="Flow: password")
    await password.locator("input#oauth_username").fill(user.email)
    await password.locator("input#oauth_password").fill(user.password)
    await password.locator("button.authorize").click()
    await password.get_by_role("button", name="Remove authorization").wait_for()
    await page.locator(".modal-ux .close-modal").click()


async def _execute(page: Page, name: str, values: dict[str, str], *statuses: str) -> Locator:
    """Tries an operation out with these values and the examples, and expects one of these statuses."""
    operation = page.locator(f"[id$='-{name}'].opblock")
    await operation.locator(".opblock-summary-control").click()
    await operation.locator(".try-out__btn").click()
    for row in await operation.locator("tr[data-param-name], tr[data-property-name]").all():
        parameter = await row.get_attribute("data-param-name") or await row.get_attribute("data-property-name") or ""
        if parameter in values:
            await row.locator("input").first.fill(values[parameter])
    await operation.locator(".btn.execute").click()
    status = operation.locator(".live-responses-table .response .response-col_status")
    await status.wait_for()
    assert (await status.inner_text()).split()[0] in statuses, name
    return operation
