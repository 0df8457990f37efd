"""What the load generator asks for: orders, purchases, inventories; each request over gRPC and over REST."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from math import lcm
from uuid import uuid4

import hpack

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, OrderItem
from gozon.shop.v1.shop_pb2 import GetInventoryRequest, PurchaseProductRequest

ITEMS = (("tea", 2, 30), ("cup", 1, 40))
"""Name, quantity, price."""
TOTAL_PRICE = sum(quantity * price for _, quantity, price in ITEMS)
"""Of each order, in minor units."""
PROTO = CreateOrderRequest(items=[OrderItem(name=n, quantity=q, price=p) for n, q, p in ITEMS]).SerializeToString()
ITEMS_JSON = json.dumps([{"name": n, "quantity": q, "price": p} for n, q, p in ITEMS])
JSON = f'{{"items": {ITEMS_JSON}}}'.encode()
KEY = "idempotency-key"
NEVER_INDEXED = b"\x10"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, in both languages."""

    rpc: str
    message: bytes
    """Of protobuf."""
    verb: str
    path: str
    json: bytes
    token: str
    keyed: bool = False
    """Whether it needs an idempotency key, another one each time."""


def create_order(token: str, _: str) -> Request:
    """Creates an order."""
    return Request("/gozon.orders.v1.OrdersService/CreateOrder", PROTO, "POST", "/orders", JSON, token)


def purchase(token: str, product_id: str) -> Request:
    """Buys one of a product."""
    message = PurchaseProductRequest(product_id=product_id, quantity=1).SerializeToString()
    path = f"/products/{product_id}/purchase"
    return Request(
        "/gozon.shop.v1.ShopService/PurchaseProduct", message, "POST", path, b'{"quantity": 1}', token, keyed=True
    )


def read_inventory(token: str, user_id: str) -> Request:
    """Reads what a user owns."""
    message = GetInventoryRequest(user_id=user_id).SerializeToString()
    path = f"/users/{user_id}/inventory"
    return Request("/gozon.shop.v1.ShopService/GetInventory", message, "GET", path, b"", token)


WORKS: dict[str, Callable[[str, str], Request]] = {
    "orders": create_order,
    "purchases": purchase,
    "inventory": read_inventory,
}
"""By name: what makes the request of a token, and of the id of what it is about."""


def requests(work: str, tokens: Sequence[str], ids: Sequence[str]) -> list[Request]:
    """Returns what is asked for in turn: the next token with the next id, until all begins anew."""
    ask = WORKS[work]
    return [ask(tokens[n % len(tokens)], ids[n % len(ids)]) for n in range(lcm(len(tokens), len(ids)))]


def grpc_calls(asked: Sequence[Request], authority: str) -> Iterator[tuple[bytes, bytes]]:
    """Returns header block and message with its prefix of each call, again and again."""
    kinds = {(request.rpc, request.token) for request in asked}
    blocks = {(rpc, token): _block(rpc, authority, token) for rpc, token in kinds}
    keys = _keys()
    for request in cycle(asked):
        block = blocks[request.rpc, request.token]
        if request.keyed:
            block += _literal(KEY) + _text(next(keys))
        yield block, b"\0" + len(request.message).to_bytes(4, "big") + request.message


def rest_requests(asked: Sequence[Request], authority: str) -> Iterator[bytes]:
    """Returns each request as HTTP/1.1, again and again."""
    keys = _keys()
    for request in cycle(asked):
        key = f"{KEY}: {next(keys)}\r\n" if request.keyed else ""
        head = (
            f"{request.verb} {request.path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {request.token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(request.json)}\r\n{key}\r\n"
        )
        yield head.encode() + request.json


def _keys() -> Iterator[str]:
    run = uuid4().hex
    return (f"{run}-{number}" for number in count())


def _block(rpc: str, authority: str, token: str) -> bytes:
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", rpc),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", f"Bearer {token}"),
    ]
    # Never indexed: every block must mean the same, whatever was sent before it.
    never_indexed = [hpack.NeverIndexedHeaderTuple(name, value) for name, value in headers]
    return hpack.Encoder().encode(never_indexed, huffman=False)


def _literal(name: str) -> bytes:
    return NEVER_INDEXED + _text(name)


def _text(text: str) -> bytes:
    """A string of HPACK, without Huffman's code; at most 126 bytes."""
    return bytes((len(text),)) + text.encode()
