"""The load generator, a process of its own: `python -m tests.bench.load grpc|rest HOST:PORT --tokens FILE`.

Creates orders, or does other `--work`, in a closed loop for some seconds: every client waits for its answer before it
sends again.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.bench.asked import WORKS, grpc_calls, requests, rest_requests
from tests.bench.grpc_load import GrpcConnection
from tests.bench.rest_load import RestConnection
from tests.bench.tally import Result, Tally

LAST_ANSWER_SECONDS = 20.0
"""Longer than any call may take."""


async def ask(
    protocol: str,
    target: str,
    work: str,
    tokens: Sequence[str],
    ids: Sequence[str] = ("",),
    *,
    seconds: float,
    clients: int,
    connections: int,
) -> Result:
    """Asks for a work of WORKS, `clients` requests in flight; gRPC puts them on `connections`, REST each on its own.

    Errors: OSError when the target can't be reached; TimeoutError when an answer takes too long.
    """
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    asked = requests(work, tokens, ids)
    calls, texts = grpc_calls(asked, target), rest_requests(asked, target)
    tally = Tally(seconds)

    def connection(number: int) -> GrpcConnection | RestConnection:
        # One sequence for all, so that no two purchases in flight want the same account, and no two reads the same row.
        # Orders don't wait for each other: there every connection begins with another user.
        own = asked[number % len(asked) :] + asked[: number % len(asked)] if work == "orders" else None
        if protocol == "rest":
            return RestConnection(tally, rest_requests(own, target) if own else texts)
        streams = clients // connections + (number < clients % connections)
        return GrpcConnection(tally, grpc_calls(own, target) if own else calls, streams)

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
    parser.add_argument("--work", choices=WORKS, default="orders", help="what is asked for (default orders)")
    parser.add_argument("--ids", type=Path, help="file with an id a line: products to buy, or whose inventory to read")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--clients", type=int, default=32, help="requests in flight (default 32)")
    parser.add_argument("--connections", type=int, default=8, help="connections the gRPC clients share (default 8)")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    given = parser.parse_args()
    result = uvloop.run(
        ask(
            given.protocol,
            given.target,
            given.work,
            given.tokens.read_text().split(),
            given.ids.read_text().split() if given.ids else [""],
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
            f"{result.cpu_seconds / max(result.accepted, 1) * 1e6:.0f} µs a request"
        )
        for kind, count in result.failed.items():
            print(f"{count} failed: {kind}")
    sys.exit(1 if result.failed or not result.accepted else 0)


if __name__ == "__main__":
    main()
