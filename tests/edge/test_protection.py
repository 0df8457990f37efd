"""What keeps the edge and the services alive when clients or instances misbehave."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gozon.orders.v1.orders_pb2 import Order
from tests.edge.conftest import Issuer, LoneEdge, edge_before, has_keys, lone_edge, ready
from tests.edge.expect import assert_error
from tests.edge.http2 import GOAWAY, Connection
from tests.edge.standin import Cable, Context, StandIn, never, refuses, says, standing_in
from tests.support import eventually

ORDER = Order(id="7").SerializeToString()
UNAVAILABLE = (503, 14, "UPSTREAM_UNAVAILABLE")


def cluster(edge: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in edge["static_resources"]["clusters"] if one["name"] == name)
    return found


def calls_of(standin: StandIn, name: str) -> int:
    return len([called for called, _ in standin.calls if called == name])


async def stats(lone: LoneEdge, name: str) -> int:
    """The sum of Envoy's statistics that end in a name."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{lone.admin_url}/stats", params={"usedonly": "", "filter": f"{name}$"})).text
    return sum(int(line.rpartition(": ")[2]) for line in text.splitlines())


# --- Clients


async def test_more_connections_than_allowed_are_closed(tmp_path: Path) -> None:
    def few(edge: dict[str, Any]) -> None:
        monitor = edge["overload_manager"]["resource_monitors"][0]["typed_config"]
        assert monitor["max_active_downstream_connections"] == 10_000
        monitor["max_active_downstream_connections"] = 5

    with lone_edge(tmp_path, {}, change=few) as lone:
        async with httpx.AsyncClient(base_url=lone.url) as client:

            async def answers() -> bool:
                with suppress(httpx.TransportError):
                    return (await client.get("/healthz")).status_code == 200
                return False

            await eventually(answers)
            host, _, port = lone.target.partition(":")
            connections = [await asyncio.open_connection(host, int(port)) for _ in range(8)]
            async with asyncio.timeout(10):
                ends = [asyncio.create_task(reader.read()) for reader, _ in connections]
                done: set[asyncio.Task[bytes]] = set()
                while len(done) < 3:
                    done, _ = await asyncio.wait(ends, timeout=0.1)
            # Who was there before is still served.
            assert (await client.get("/healthz")).status_code == 200
            for _, writer in connections:
                writer.close()
            await asyncio.gather(*ends, *(writer.wait_closed() for _, writer in connections), return_exceptions=True)


async def test_rapid_resets_end_the_connection(keys_only: LoneEdge) -> None:
    connection = await Connection.open(keys_only.target)
    # Envoy by itself would bear 500.
    for _ in range(300):
        connection.reset(connection.get("/users/me"))
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        async with asyncio.timeout(10):
            while (await connection.frame())[0] != GOAWAY:
                pass
    await connection.close()
    assert await stats(keys_only, "too_many_premature_resets") == 1


async def test_a_connection_has_a_limited_number_of_streams(standin: StandIn, tmp_path: Path, issuer: Issuer) -> None:
    standin.answers["GetOrder"] = never
    async with edge_before(standin.port, tmp_path) as lone:
        connection = await Connection.open(lone.target)
        for _ in range(300):
            connection.get("/orders/1", more=list(issuer.headers("7").items()))

        async def all_that_may() -> bool:
            return calls_of(standin, "GetOrder") >= 256

        await eventually(all_that_may)
        assert calls_of(standin, "GetOrder") == 256
        await connection.close()


# --- Services


async def test_requests_beyond_the_limit_of_a_service_are_refused_at_once_and_streams_have_their_own(
    standin: StandIn, tmp_path: Path, issuer: Issuer
) -> None:
    def few(edge: dict[str, Any]) -> None:
        limits = cluster(edge, "orders")["circuit_breakers"]["thresholds"]
        assert [one["priority"] for one in limits] == ["DEFAULT", "HIGH"]
        limits[0]["max_requests"] = 5
        limits[1]["max_requests"] = 3

    def counts(name: str, expected: int) -> Callable[[], Awaitable[bool]]:
        async def so_many() -> bool:
            assert calls_of(standin, name) <= expected
            return calls_of(standin, name) == expected

        return so_many

    standin.answers |= {"CreateOrder": never, "WatchOrder": never}
    async with edge_before(standin.port, tmp_path, few) as lone, httpx.AsyncClient(base_url=lone.url) as client:
        user = issuer.headers("7")
        watching = [asyncio.create_task(client.get("/orders/1:watch", headers=user)) for _ in range(4)]
        done, _ = await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
        assert_error(done.pop().result(), *UNAVAILABLE)
        await eventually(counts("WatchOrder", 3))
        waiting = [asyncio.create_task(client.post("/orders", json={}, headers=user)) for _ in range(6)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert_error(done.pop().result(), *UNAVAILABLE)
        await eventually(counts("CreateOrder", 5))
        for task in (*watching, *waiting):
            task.cancel()
        await asyncio.gather(*watching, *waiting, return_exceptions=True)


@pytest.mark.parametrize(
    ("rpc", "path", "key", "calls"),
    [
        ("GetOrder", "/orders/1", None, 3),
        ("GetAccount", "/accounts/1", None, 3),
        ("GetMe", "/users/me", None, 3),
        ("CreateOrder", "/orders", None, 1),
        ("CreateOrder", "/orders", "", 1),
        ("CreateOrder", "/orders", "key", 3),
        ("UpdateOrder", "/orders/1", "key", 1),
        ("CancelOrder", "/orders/1:cancel", "key", 1),
        ("RefundOrder", "/orders/1:refund", "key", 3),
        ("ListOrderHistory", "/orders/1/history", None, 3),
        ("Deposit", "/users/1/add-funds", "key", 3),
        ("CreateHold", "/accounts/1/hold", "key", 3),
        ("CaptureHold", "/accounts/1/capture", None, 3),
        ("ReleaseHold", "/accounts/1/release", None, 3),
        ("ListEntries", "/accounts/1/entries", None, 3),
        ("OpenAccount", "/accounts/1", "key", 1),
        ("Token", "/token", "key", 1),
        ("Register", "/register", "key", 1),
    ],
)
async def test_only_what_may_be_repeated_is(
    rest: httpx.AsyncClient, standin: StandIn, issuer: Issuer, rpc: str, path: str, key: str | None, calls: int
) -> None:
    standin.answers[rpc] = refuses(grpc.StatusCode.UNAVAILABLE, "Gone.")
    headers = issuer.headers("7") | ({} if key is None else {"idempotency-key": key})
    method = "GET" if rpc.startswith(("Get", "List")) else "PATCH" if rpc.startswith("Update") else "POST"

    assert_error(await rest.request(method, path, json=None if method == "GET" else {}, headers=headers), *UNAVAILABLE)
    assert calls_of(standin, rpc) == calls


async def test_a_write_that_broke_off_is_not_repeated(standin: StandIn, tmp_path: Path, issuer: Issuer) -> None:
    arrived = asyncio.Event()

    async def arrives(_request: bytes, context: Context) -> bytes:
        arrived.set()
        return await never(b"", context)

    standin.answers["CreateOrder"] = arrives
    async with (
        Cable(standin.port) as cable,
        edge_before(cable.port, tmp_path) as lone,
        httpx.AsyncClient(base_url=lone.url) as client,
    ):
        asked = asyncio.create_task(client.post("/orders", json={}, headers=issuer.headers("7")))
        await arrived.wait()
        cable.cut()
        # Its like is there again, for whoever would ask once more.
        async with cable:
            assert_error(await asked, *UNAVAILABLE)
    assert calls_of(standin, "CreateOrder") == 1


async def test_repetitions_have_a_budget(rest: httpx.AsyncClient, standin: StandIn, issuer: Issuer) -> None:
    at_once = 100
    everybody = asyncio.Event()

    async def fails_all_at_once(_request: bytes, context: Context) -> bytes:
        if calls_of(standin, "GetOrder") >= at_once:
            everybody.set()
        if calls_of(standin, "GetOrder") <= at_once:
            await everybody.wait()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Gone.")
        # A repetition: it stays as long as others might come.
        return await never(b"", context)

    standin.answers["GetOrder"] = fails_all_at_once
    asked = [
        asyncio.create_task(rest.get("/orders/1", headers=issuer.headers("7"), timeout=60)) for _ in range(at_once)
    ]

    async def all_are_refused_or_repeated() -> bool:
        refused = [one for one in asked if one.done()]
        return len(refused) + calls_of(standin, "GetOrder") - at_once == at_once

    await eventually(all_are_refused_or_repeated)
    # A fifth of what is active; without a budget three.
    assert 3 < calls_of(standin, "GetOrder") - at_once <= at_once // 4
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


async def test_an_instance_that_says_it_does_not_serve_is_not_asked(
    standin: StandIn, tmp_path: Path, issuer: Issuer
) -> None:
    async with standing_in() as other:
        standin.answers["GetOrder"] = other.answers["GetOrder"] = says(ORDER)
        ports = {"users": standin.port, "payments": standin.port, "orders": standin.port, "orders-2": other.port}
        with lone_edge(tmp_path, ports, {"orders": 2}) as lone:
            await has_keys(lone)
            await ready(lone)
            async with httpx.AsyncClient(base_url=lone.url) as client:

                async def asks_both() -> bool:
                    await client.get("/orders/1", headers=issuer.headers("7"))
                    return bool(calls_of(standin, "GetOrder") and calls_of(other, "GetOrder"))

                await eventually(asks_both)
                await other.says_not_serving()

                async def is_left_alone() -> bool:
                    before = calls_of(other, "GetOrder")
                    for _ in range(20):
                        assert (await client.get("/orders/1", headers=issuer.headers("7"))).status_code == 200
                    return calls_of(other, "GetOrder") == before

                await eventually(is_left_alone)


async def test_an_instance_that_fails_again_and_again_is_left_alone_for_a_while(
    standin: StandIn, tmp_path: Path, issuer: Issuer
) -> None:
    async with standing_in() as failing:
        standin.answers["CreateOrder"] = says(ORDER)
        # Its health check says that all is well.
        failing.answers["CreateOrder"] = refuses(grpc.StatusCode.UNAVAILABLE, "No database.")
        ports = {"users": standin.port, "payments": standin.port, "orders": standin.port, "orders-2": failing.port}
        with lone_edge(tmp_path, ports, {"orders": 2}) as lone:
            await has_keys(lone)
            await ready(lone)
            async with httpx.AsyncClient(base_url=lone.url) as client:

                async def ejected() -> bool:
                    await client.post("/orders", json={}, headers=issuer.headers("7"))
                    return await stats(lone, "cluster.orders.outlier_detection.ejections_active") == 1

                await eventually(ejected)


async def test_a_healthy_instance_is_asked_although_most_are_not(
    standin: StandIn, tmp_path: Path, issuer: Issuer
) -> None:
    """By itself Envoy would ask all again, once fewer than half are healthy."""
    standin.answers["CreateOrder"] = says(ORDER)
    ports = {"users": standin.port, "payments": standin.port, "orders": standin.port}
    with lone_edge(tmp_path, {**ports, "orders-2": 1, "orders-3": 2, "orders-4": 3}, {"orders": 4}) as lone:
        await has_keys(lone)
        await ready(lone)
        async with httpx.AsyncClient(base_url=lone.url) as client:
            for _ in range(20):
                assert (await client.post("/orders", json={}, headers=issuer.headers("7"))).status_code == 200
        assert await stats(lone, "cluster.orders.upstream_cx_connect_fail") <= 3
