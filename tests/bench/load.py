"""The load generator, a process of its own: `python -m tests.bench.load grpc|rest HOST:PORT --tokens FILE`.

Creates orders in a closed loop for some seconds: every client waits for its answer before it sends again.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import uvloop

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, OrderItem
from tests.bench.grpc_load import GrpcConnection, message
from tests.bench.rest_load import RestConnection
from tests.bench.tally import Result, Tally

RPC = "/gozon.orders.v1.OrdersService/CreateOrder"
ITEMS = (("tea", 2, 30), ("cup", 1, 40))
"""Name, quantity, price."""
TOTAL_PRICE = sum(quantity * price for _, quantity, price in ITEMS)
"""Of each order, in minor units."""
LAST_ANSWER_SECONDS = 20.0
"""Longer than any call may take."""
PROTO = CreateOrderRequest(items=[OrderItem(name=n, quantity=q, price=p) for n, q, p in ITEMS]).SerializeToString()
ITEMS_JSON = json.dumps([{"name": n, "quantity": q, "price": p} for n, q, p in ITEMS])
JSON = f'{{"items": {ITEMS_JSON}}}'.encode()


async def create_orders(
    protocol: str, target: str, tokens: list[str], *, seconds: float, clients: int, connections: int
) -> Result:
    """Creates orders with `clients` requests in flight; gRPC puts them on `connections`, REST each on its own.

    Errors: OSError when the target can't be reached; TimeoutError when an answer takes too long.
    """
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    tally = Tally(seconds)

    def connection(number: int) -> GrpcConnection | RestConnection:
        # Every connection begins with another user.
        own = tokens[number % len(tokens) :] + tokens[: number % len(tokens)]
        if protocol == "rest":
            return RestConnection(tally, "/orders", target, own, JSON)
        streams = clients // connections + (number < clients % connections)
        return GrpcConnection(tally, RPC, target, own, message(PROTO), streams)

    async def one(number: int) -> None:
        transport, protocol = await loop.create_connection(lambda: connection(number), host, int(port))
        await protocol.done.wait()
        transport.close()

    async with asyncio.timeout(seconds + LAST_ANSWER_SECONDS):
        await asyncio.gather(*map(one, range(clients if protocol == "rest" else min(connections, clients))))
    return tally.result()


def main() -> None:
    """Runs one load; exits 1 unless every request was accepted."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("protocol", choices=("grpc", "rest"))
    parser.add_argument("target", metavar="HOST:PORT")
    parser.add_argument("--tokens", type=Path, required=True, help="file with an access token a line")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--clients", type=int, default=32, help="requests in flight (default 32)")
    parser.add_argument("--connections", type=int, default=8, help="connections the gRPC clients share (default 8)")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    given = parser.parse_args()
    result = uvloop.run(
        create_orders(
            given.protocol,
            given.target,
            given.tokens.read_text().split(),
            seconds=given.seconds,
            clients=given.clients,
            connections=given.connections,
        )
    )
    if given.json:
        print(json.dumps(result.to_json()), flush=True)
    else:
        own = result.cpu_seconds / result.seconds
        print(
            f"{result.accepted} accepted in {result.seconds:.2f} s: {result.rate:.0f}/s, "
            f"median {result.median_ms:.2f} ms, p99 {result.p99_ms:.2f} ms; the generator used {own:.0%} of one core, "
            f"{result.cpu_seconds / max(result.accepted, 1) * 1e6:.0f} µs an order"
        )
        for kind, count in result.failed.items():
            print(f"{count} failed: {kind}")
    sys.exit(1 if result.failed or not result.accepted else 0)


if __name__ == "__main__":
    main()
