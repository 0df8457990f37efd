"""`gozon demo`: orders paid and declined, goods, money that comes back and that leaves, through the public edge."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from stack.provider import DECLINED_CARD, DECLINED_REASON

POLL_SECONDS = 0.02
SETTLE_SECONDS = 30.0
DEPOSIT = 150_000
TEA = {"items": [{"name": "Tea", "quantity": 2, "price": 45_000}], "description": "Tea for two", "currency": "RUB"}
TELESCOPE = {"amount": 9_900_000, "description": "A telescope, too dear", "currency": "RUB"}
PAID_OUT = 50_000
ON_SALE = "/products?type=CONSUMABLE&is_active=true&page_size=100"
CARD = "4111111111111111"


class DemoError(Exception):
    """A step was answered otherwise than it should be."""


@dataclass(frozen=True)
class Step:
    """One request and its answer."""

    title: str
    curl: str
    status: int
    milliseconds: float
    location: str | None
    response: Any


@dataclass
class Result:
    """What the demo did, as `gozon demo --json` prints it."""

    ok: bool = False
    error: str | None = None
    # The two orders as they were settled, each with `settled_ms`: from the request's sending until its end was seen.
    orders: list[dict[str, Any]] = field(default_factory=list)
    # What was bought, if the shop sells something that the demo can pay.
    purchases: list[dict[str, Any]] = field(default_factory=list)
    # The two payouts, as the orders.
    payouts: list[dict[str, Any]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


Show = Callable[[Step], None] | None


def run(url: str, show: Show) -> Result:
    """Walks through the demo at an edge, calling `show` after each step.

    The result says whether the first order was PAID and the second CANCELED for INSUFFICIENT_FUNDS, the first payout
    COMPLETED and the second FAILED with a reason, and the account has what it should.
    """
    result = Result()
    try:
        with httpx.Client(base_url=url, timeout=15, trust_env=False) as client:
            _walk(_Visitor(client, result, show))
    except (DemoError, httpx.HTTPError) as error:
        result.error = str(error)
        return result
    ends = [(order["status"], order["cancel_reason"]) for order in result.orders]
    ends += [(payout["status"], payout["failure_reason"]) for payout in result.payouts]
    result.ok = ends == [
        ("PAID", "CANCEL_REASON_UNSPECIFIED"),
        ("CANCELED", "INSUFFICIENT_FUNDS"),
        ("COMPLETED", ""),
        ("FAILED", DECLINED_REASON),
    ]
    if not result.ok:
        result.error = f"orders or payouts ended otherwise than they should: {ends}"
    return result


def _walk(visitor: _Visitor) -> None:
    email = f"demo-{secrets.token_hex(6)}@example.com"
    password = secrets.token_urlsafe(12)
    user = visitor.post("Register", "/register", {"email": email, "password": password, "username": "Demo"})
    visitor.sign_in(email, password)
    account = f"/accounts/{user['id']}"
    visitor.post("Open an account", account, {"currency": "RUB"})
    visitor.post(f"Put {DEPOSIT / 100:,.2f} RUB on it", f"{account}/deposit", {"amount": DEPOSIT}, idempotent=True)
    tea = visitor.order("Order tea for 900.00 RUB", TEA)
    visitor.order("Order a telescope for 99,000.00 RUB: more than there is", TELESCOPE)
    visitor.get("What is left", account)
    visitor.cancel("Cancel the tea", tea)
    spent = visitor.shop(user["id"], DEPOSIT - 2 * PAID_OUT)
    visitor.payout(f"Pay out {PAID_OUT / 100:,.2f} RUB to a card", CARD)
    visitor.payout(f"The same to a card whose bank says no, ending in {DECLINED_CARD[-4:]}", DECLINED_CARD)
    statement = visitor.get("Everything that moved the money", f"{account}/entries")
    if (left := statement["entries"][0]["balance"]) != str(DEPOSIT - PAID_OUT - spent):
        raise DemoError(f"the balance is {left}, although only {PAID_OUT} were paid out and {spent} spent")


class _Visitor:
    """Somebody with curl."""

    def __init__(self, client: httpx.Client, result: Result, show: Show) -> None:
        self._client = client
        self._result = result
        self._show = show
        self._token = ""

    def post(self, title: str, path: str, body: dict[str, Any], *, idempotent: bool = False) -> dict[str, Any]:
        """Sends JSON and returns the answer's."""
        headers = {"content-type": "application/json"}
        if idempotent:
            headers["idempotency-key"] = secrets.token_hex(8)
        return self._request(title, "POST", path, headers, json.dumps(body))

    def get(self, title: str, path: str) -> dict[str, Any]:
        """Reads a resource."""
        return self._request(title, "GET", path, {}, None)

    def sign_in(self, email: str, password: str) -> None:
        """Takes a token, which all that follows carries."""
        form = httpx.QueryParams(grant_type="password", username=email, password=password)
        headers = {"content-type": "application/x-www-form-urlencoded"}
        self._token = self._request("Get a token", "POST", "/token", headers, str(form))["access_token"]

    def order(self, title: str, body: dict[str, Any]) -> str:
        """Creates an order, waits until it is paid or canceled, and returns its path."""
        sent = time.perf_counter()
        path = f"/orders/{self.post(title, '/orders', body, idempotent=True)['id']}"
        order, settled = self._wait(path, lambda now: now["status"] != "PENDING", sent)
        self.get(f"Its end, {settled:.0f} ms after the request", path)
        self._result.orders.append(order | {"settled_ms": settled})
        return path

    def cancel(self, title: str, path: str) -> None:
        """Cancels an order and waits until what was paid for it is back."""
        sent = time.perf_counter()
        self.post(title, f"{path}:cancel", {})
        _, back = self._wait(path, lambda now: now["refunded_price"] == now["paid_price"], sent)
        self.get(f"Its money is back, {back:.0f} ms after the request", path)

    def shop(self, user_id: str, money: int) -> int:
        """Buys two of the first product that this money suffices for, uses one, and returns what they cost."""
        products = self.get("What the shop sells that is used up (make seed adds some)", ON_SALE)["products"]
        product = next((p for p in products if p["currency"] == "RUB" and int(p["price"]) * 2 <= money), None)
        if product is None:
            return 0
        path = f"/products/{product['id']}"
        bought = self.post(f"Buy two of it: {product['name']}", f"{path}/purchase", {"quantity": 2}, idempotent=True)
        self.post("Use one of them", f"{path}/use", {"quantity": 1}, idempotent=True)
        self.get("What is left of them", f"/users/{user_id}/inventory")
        self._result.purchases.append(bought)
        return int(bought["total_price"])

    def payout(self, title: str, card: str) -> None:
        """Creates a payout to a card and waits until its provider has said yes or no."""
        sent = time.perf_counter()
        body = {"amount": PAID_OUT, "recipient": {"type": "CARD", "card": {"number": card}}}
        path = f"/payouts/{self.post(title, '/payouts', body, idempotent=True)['id']}"
        payout, settled = self._wait(path, lambda now: now["status"] not in ("PENDING", "PROCESSING"), sent)
        self.get(f"Its end, {settled:.0f} ms after the request", path)
        self._result.payouts.append(payout | {"settled_ms": settled})

    def _wait(self, path: str, so: Callable[[dict[str, Any]], bool], since: float) -> tuple[dict[str, Any], float]:
        """Reads an order or payout until it is so; returns it, and the milliseconds that passed since a moment."""
        while not so(now := self._read(path)):
            if time.perf_counter() - since > SETTLE_SECONDS:
                raise DemoError(f"{path} is {now['status']} after {SETTLE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        return now, round((time.perf_counter() - since) * 1000, 1)

    def _read(self, path: str) -> dict[str, Any]:
        response = self._client.get(path, headers=self._authorization())
        if response.status_code != 200:
            raise DemoError(f"GET {path} answered {response.status_code}: {response.text}")
        resource: dict[str, Any] = response.json()
        return resource

    def _authorization(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def _request(self, title: str, method: str, path: str, headers: dict[str, str], body: str | None) -> dict[str, Any]:
        begun = time.perf_counter()
        response = self._client.request(method, path, headers=headers | self._authorization(), content=body)
        step = Step(
            title,
            self._curl(method, path, headers, body),
            response.status_code,
            round((time.perf_counter() - begun) * 1000, 1),
            response.headers.get("location"),
            _parsed(response),
        )
        self._result.steps.append(step)
        if self._show:
            self._show(step)
        if response.is_error or not isinstance(step.response, dict):
            raise DemoError(f"{method} {path} answered {response.status_code}: {response.text}")
        return step.response

    def _curl(self, method: str, path: str, headers: dict[str, str], body: str | None) -> str:
        # curl makes a POST of what has a body.
        words = ["-X", method] if method != "GET" and body is None else []
        line = shlex.join(["curl", *words, str(self._client.base_url).rstrip("/") + path])
        line += "".join(f" \\\n  -H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
        if self._token:
            line += ' \\\n  -H "authorization: Bearer $TOKEN"'
        return line + (f" \\\n  -d {shlex.quote(body)}" if body is not None else "")


def _parsed(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text
