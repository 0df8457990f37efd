"""`gozon seed`: products to begin with, added by the administrator through the public edge."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import httpx

from stack.home import ADMIN_EMAIL, HomeError

SECONDS = 15.0
PAGE_SIZE = 100
CURRENCY = "RUB"


def _product(name: str, kind: str, price: int, description: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "price": price, "currency": CURRENCY, "description": description}


PRODUCTS = (
    _product("Буст на день", "CONSUMABLE", 100, "Объявление выше других на один день."),
    _product("Премиум-статус", "PERMANENT", 500, "Навсегда: отметка в профиле и никакой рекламы."),
    _product("Буст на неделю", "CONSUMABLE", 600, "Объявление выше других на семь дней."),
    _product("Выделение цветом", "CONSUMABLE", 50, "Объявление заметно в списке до конца дня."),
    _product("Тёмная тема", "PERMANENT", 150, "Оформление для тех, кто работает ночью."),
)
"""Prices are in minor units."""


@dataclass(frozen=True)
class Seeded:
    """A product of PRODUCTS in the shop; as it is there, which an administrator may have changed."""

    id: str
    name: str
    type: str
    price: int
    currency: str
    is_active: bool
    added: bool
    """Whether it was not there before."""


def run(url: str, password: str) -> list[Seeded]:
    """Adds those of PRODUCTS to the shop at an edge that it does not have, by their names, and returns all of them.

    Any number of times, and at once. Errors: HomeError.
    """
    try:
        with httpx.Client(base_url=url, timeout=SECONDS, trust_env=False) as client:
            form = {"grant_type": "password", "username": ADMIN_EMAIL, "password": password}
            token = _answer(client.post("/token", data=form))["access_token"]
            client.headers["authorization"] = f"Bearer {token}"
            there = _names(client)
            return [there.get(product["name"]) or _add(client, product) for product in PRODUCTS]
    except httpx.HTTPError as error:
        raise HomeError(f"the edge does not answer ({error})") from error


def _names(client: httpx.Client) -> dict[str, Seeded]:
    """Returns what the shop has, by name; of several of one name the oldest."""
    found: dict[str, Seeded] = {}
    token = ""
    while True:
        page = _answer(client.get("/products", params={"page_size": PAGE_SIZE, "page_token": token}))
        found |= {product["name"]: _seeded(product, added=False) for product in page["products"]}
        token = page["next_page_token"]
        if not token:
            return found


def _add(client: httpx.Client, product: dict[str, Any]) -> Seeded:
    body = json.dumps(product, ensure_ascii=False).encode()
    # Whoever seeds at the same moment has the same key: one of us adds it.
    key = f"seed-{hashlib.sha256(body).hexdigest()}"
    headers = {"content-type": "application/json", "idempotency-key": key}
    response = client.post("/products", content=body, headers=headers)
    return _seeded(_answer(response), added="idempotency-replayed" not in response.headers)


def _seeded(product: dict[str, Any], *, added: bool) -> Seeded:
    return Seeded(
        product["id"],
        product["name"],
        product["type"],
        int(product["price"]),
        product["currency"],
        product["is_active"],
        added,
    )


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        request = response.request
        hint = f": is the password of {ADMIN_EMAIL} another one now?" if request.url.path == "/token" else ""
        raise HomeError(f"{request.method} {request.url.path} answered {response.status_code}{hint} {response.text}")
    answer: dict[str, Any] = response.json()
    return answer
