"""Rate limits, with the numbers that people get."""

import asyncio
from typing import Any

import grpc
import httpx
import pytest

from gozon.users.v1.users_pb2 import TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from tests.edge.conftest import Issuer, LoneEdge
from tests.edge.expect import assert_error

LIMITED = (429, 8, "RATE_LIMITED")
SIGN_IN_BURST = 20
USER_BURST = 500


async def until_limited(client: httpx.AsyncClient, method: str, path: str, burst: int, **request: Any) -> int:
    """Repeats a request, many at once, until it is refused; returns how often it was not."""
    passed = 0
    # Meanwhile the bucket refills, so it takes more than a burst, but not ten times as many.
    while passed < 10 * burst:
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
        assert passed >= SIGN_IN_BURST

        # Neither by pretending to be somebody else nor by changing the protocol; other paths are free.
        spoofed = await client.post(path, json={}, headers={"x-forwarded-for": "192.0.2.7", "x-real-ip": "192.0.2.7"})
        assert_error(spoofed, *LIMITED)
        assert (await client.get("/.well-known/jwks.json")).status_code == 200


async def test_grpc_is_limited_as_grpc(keys_only: LoneEdge) -> None:
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        await until_limited(client, "POST", "/token", SIGN_IN_BURST, json={})
    async with grpc.aio.insecure_channel(keys_only.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UsersServiceStub(channel).Token(TokenRequest())

    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "retry-after" in dict(caught.value.initial_metadata() or ()) | dict(caught.value.trailing_metadata() or ())


async def test_one_user_does_not_use_up_the_limit_of_another(keys_only: LoneEdge, issuer: Issuer) -> None:
    async with httpx.AsyncClient(base_url=keys_only.url) as client:
        greedy, modest = issuer.headers("greedy"), issuer.headers("modest")
        passed = await until_limited(client, "GET", "/orders", USER_BURST, headers=greedy)
        assert passed >= USER_BURST

        assert (await client.get("/orders", headers=modest)).headers["x-ratelimit-limit"] == str(USER_BURST)
        # Another token of the same user is the same user.
        await until_limited(client, "GET", "/orders", USER_BURST, headers=issuer.headers("greedy"))
