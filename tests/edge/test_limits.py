"""Rate limits, with the numbers that people get."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gozon.users.v1.users_pb2 import TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from tests.edge.conftest import Issuer, LoneEdge, edge_before, edge_with_keys, manager
from tests.edge.expect import assert_error
from tests.edge.standin import StandIn, says
from tests.support import reason_of, unique

LIMITED = (429, 8, "RATE_LIMITED")
SIGN_IN_BURST = 20
USER_BURST = 500
MONEY_BURST = 60
HANDSHAKE_BURST = 100


def without_refill(edge: Any) -> None:
    """How much the buckets gain during a test depends on how fast this machine is; here they gain nothing."""
    for key, value in edge.items() if isinstance(edge, dict) else enumerate(edge):
        if key == "token_bucket":
            assert value["fill_interval"] == "1s"
            value["fill_interval"] = "3600s"
        elif isinstance(value, dict | list):
            without_refill(value)


@pytest.fixture
async def keys_only(tmp_path: Path, issuer: Issuer) -> AsyncIterator[LoneEdge]:
    """The edge of that name, with buckets that are not filled again."""
    async with edge_with_keys(issuer, tmp_path, without_refill) as lone:
        yield lone


async def until_limited(client: httpx.AsyncClient, method: str, path: str, burst: int, **request: Any) -> int:
    """Repeats a request, many at once, until it is refused; returns how often it was not."""
    passed = 0
    while passed <= burst:
        answers = await asyncio.gather(*(client.request(method, path, **request) for _ in range(50)))
        refused = [answer for answer in answers if answer.status_code == 429]
        passed += len(answers) - len(refused)
        if refused:
            assert_error(refused[0], *LIMITED)
            assert int(refused[0].headers["retry-after"]) >= 1
            assert refused[0].headers["x-ratelimit-remaining"] == "0"
            return passed
    pytest.fail(f"{path} was not limited after {passed} requests")


@pytest.mark.parametrize("path", ["/token", "/register"])
async def test_one_address_may_not_guess_on(keys_only: LoneEdge, path: str) -> None:
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        passed = await until_limited(client, "POST", path, SIGN_IN_BURST, json={})
        assert passed == SIGN_IN_BURST

        # Neither by pretending to be somebody else nor by changing the protocol; other paths are free.
        spoofed = await client.post(path, json={}, headers={"x-forwarded-for": "192.0.2.7", "x-real-ip": "192.0.2.7"})
        assert_error(spoofed, *LIMITED)
        assert (await client.get("/.well-known/jwks.json")).status_code == 200


async def test_one_address_may_not_open_sockets_for_ever(keys_only: LoneEdge) -> None:
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        assert await until_limited(client, "GET", "/ws", HANDSHAKE_BURST) == HANDSHAKE_BURST
        assert (await client.get("/.well-known/jwks.json")).status_code == 200


async def test_an_address_of_ipv6_is_all_of_its_network(standin: StandIn, tmp_path: Path) -> None:
    def behind_a_load_balancer(edge: dict[str, Any]) -> None:
        without_refill(edge)
        manager(edge)["xff_num_trusted_hops"] = 1

    standin.answers["Token"] = says()
    async with (
        edge_before(standin.port, tmp_path, behind_a_load_balancer) as lone,
        httpx.AsyncClient(base_url=lone.url) as client,
    ):

        async def status(address: str) -> int:
            return (await client.post("/token", data={}, headers={"x-forwarded-for": address})).status_code

        neighbours = [await status(f"2001:db8::{n:x}") for n in range(SIGN_IN_BURST + 1)]
        assert neighbours == [*[200] * SIGN_IN_BURST, 429]
        assert await status("2001:db8:0:1::1") == 200
        assert [await status(f"192.0.2.{n}") for n in range(SIGN_IN_BURST + 20)] == [200] * (SIGN_IN_BURST + 20)


@pytest.mark.parametrize(
    ("rpc", "burst"), [("RevokeToken", SIGN_IN_BURST), ("ChangePassword", SIGN_IN_BURST), ("Token", SIGN_IN_BURST)]
)
async def test_one_address_may_not_guess_on_over_grpc(
    keys_only: LoneEdge, issuer: Issuer, rpc: str, burst: int
) -> None:
    """Each of another user, which does not help."""
    async with grpc.aio.insecure_channel(keys_only.target) as channel:
        call = channel.unary_unary(f"/gozon.users.v1.UsersService/{rpc}", bytes, bytes)

        async def limited() -> bool:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", metadata=tuple(issuer.headers(unique()).items()))
            return caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

        assert [await limited() for _ in range(burst + 1)] == [*[False] * burst, True]


async def test_revoking_needs_no_access_token_and_changing_a_password_does(keys_only: LoneEdge) -> None:
    async with grpc.aio.insecure_channel(keys_only.target) as channel:
        codes = {}
        for rpc in ("RevokeToken", "ChangePassword", "UpdateMe"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/gozon.users.v1.UsersService/{rpc}", bytes, bytes)(b"")
            codes[rpc] = caught.value.code()
    unknown, nobody = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED
    assert codes == {"RevokeToken": unknown, "ChangePassword": nobody, "UpdateMe": nobody}


@pytest.mark.parametrize(
    ("path", "alike"),
    [
        ("/accounts/1/deposit", ["/users/1/add-funds", "/accounts/1/hold", "/accounts/1/capture"]),
        ("/accounts/1/release", ["/accounts/1/deposit"]),
        ("/orders/1:refund", ["/orders/2:refund"]),
    ],
)
async def test_what_moves_money_is_limited_by_itself_for_each_user(
    keys_only: LoneEdge, issuer: Issuer, path: str, alike: list[str]
) -> None:
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        greedy, modest = issuer.headers("greedy"), issuer.headers("modest")
        passed = await until_limited(client, "POST", path, MONEY_BURST, json={}, headers=greedy)
        assert passed == MONEY_BURST

        # It is one limit for all that is alike; other methods and users are free.
        for other in alike:
            assert_error(await client.post(other, json={}, headers=greedy), *LIMITED)
        for other in ("/accounts/1", "/accounts/1/entries", "/orders/1/history"):
            assert (await client.get(other, headers=greedy)).status_code == 503
        assert (await client.post("/orders/1:cancel", json={}, headers=greedy)).status_code == 503
        free = await client.post(path, json={}, headers=modest)
        assert (free.status_code, free.headers["x-ratelimit-limit"]) == (503, str(MONEY_BURST))


async def test_grpc_is_limited_as_grpc(keys_only: LoneEdge) -> None:
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        await until_limited(client, "POST", "/token", SIGN_IN_BURST, json={})
    async with grpc.aio.insecure_channel(keys_only.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UsersServiceStub(channel).Token(TokenRequest())

    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert "retry-after" in dict(caught.value.initial_metadata() or ()) | dict(caught.value.trailing_metadata() or ())


async def test_one_user_does_not_use_up_the_limit_of_another(keys_only: LoneEdge, issuer: Issuer) -> None:
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        greedy, modest = issuer.headers("greedy"), issuer.headers("modest")
        passed = await until_limited(client, "GET", "/orders", USER_BURST, headers=greedy)
        assert passed == USER_BURST

        assert (await client.get("/orders", headers=modest)).headers["x-ratelimit-limit"] == str(USER_BURST)
        # Another token of the same user is the same user.
        await until_limited(client, "GET", "/orders", USER_BURST, headers=issuer.headers("greedy"))
