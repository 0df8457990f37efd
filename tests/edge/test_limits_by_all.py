"""The limit that several Envoys share: what a rate limit service is asked, and what its answers and its silence do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from stack import edge
from stack.config import SERVICES
from tests.edge.conftest import Issuer, LoneEdge, has_keys, lone_edge, ready, source
from tests.edge.expect import assert_error
from tests.edge.standin import Answer, Context, StandIn, never, refuses, says, standing_in
from tests.support import eventually, reason_of

OK = b"\x08\x01"
"""RateLimitResponse with overall_code OK."""
STATUS = b"\x08\x02" + b"\x12\x04" + b"\x08\x50\x10\x02" + b"\x22\x02" + b"\x08\x07"
"""Its DescriptorStatus: OVER_LIMIT of 80 a MINUTE, which ends in 7 s."""
OVER_LIMIT = b"\x08\x02" + b"\x12" + bytes([len(STATUS)]) + STATUS
LIMITED = (429, 8, "RATE_LIMITED")
BUCKETS = {
    "masked_remote_address": "by_ip",
    "user": "by_user",
    "sockets": "sockets_by_ip",
    "sign_in": "few_by_ip",
    "money": "money_by_user",
}
"""Which of Envoy's own limits each of the service's is for."""


@dataclass
class Counted:
    """An edge with a service that counts, and one stand-in for all others."""

    lone: LoneEdge
    rest: httpx.AsyncClient
    service: StandIn
    asked: list[bytes]
    """The last request of the service comes last."""

    def answers(self, answer: Answer) -> None:
        """Has the service answer so from now on."""

        async def noting(request: bytes, context: Context) -> bytes:
            self.asked.append(request)
            return await answer(request, context)

        self.service.answers["ShouldRateLimit"] = noting


@asynccontextmanager
async def counted(issuer: Issuer, folder: Path) -> AsyncIterator[Counted]:
    async with standing_in(issuer.jwk) as services, standing_in() as service:
        ports = dict.fromkeys(SERVICES, services.port)
        services.answers["Token"] = services.answers["GetMe"] = services.answers["Deposit"] = says()
        with lone_edge(folder, ports, rate_limit_service=f"127.0.0.1:{service.port}") as lone:
            async with httpx.AsyncClient(base_url=lone.url) as rest:
                one = Counted(lone, rest, service, [])
                one.answers(says(OK))
                await has_keys(lone)
                await ready(lone)

                async def is_asked() -> bool:
                    await rest.post("/token", data={})
                    return bool(one.asked)

                await eventually(is_asked)
                yield one


@pytest.fixture
async def one(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Counted]:
    async with counted(issuer, tmp_path) as edge_that_asks:
        yield edge_that_asks


async def test_who_is_over_the_limit_is_refused_as_by_our_own(one: Counted, issuer: Issuer) -> None:
    ann = issuer.headers("ann")

    assert (await one.rest.get("/users/me", headers=ann)).headers["x-ratelimit-limit"] == "500"
    one.answers(says(OVER_LIMIT))
    refused = await one.rest.get("/users/me", headers=ann)
    assert_error(refused, *LIMITED)
    assert (refused.headers["retry-after"], refused.headers["x-ratelimit-remaining"]) == ("7", "0")
    assert refused.headers["x-ratelimit-limit"] == "80, 80;w=60"
    assert b"user" in one.asked[-1]
    assert b"ann" in one.asked[-1]
    assert b"127.0.0.1/32" in one.asked[-1]

    async with grpc.aio.insecure_channel(one.lone.target) as channel:
        call = channel.unary_unary("/gozon.users.v1.UsersService/GetMe", bytes, bytes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", metadata=tuple(ann.items()))
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")


async def test_what_is_limited_strictly_is_counted_by_its_method_however_it_is_asked(
    one: Counted, issuer: Issuer
) -> None:
    await one.rest.post("/token", data={})
    sign_in = one.asked[-1]
    await one.rest.post("/accounts/1/deposit", json={"amount": 5}, headers=issuer.headers("ann"))
    money = one.asked[-1]
    async with grpc.aio.insecure_channel(one.lone.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
            await channel.unary_unary("/gozon.users.v1.UsersService/Token?x=1", bytes, bytes)(b"")

    assert one.asked[-1] == sign_in
    for word in (b"sign_in", b"/gozon.users.v1.UsersService/Token", b"127.0.0.1/32"):
        assert word in sign_in
    for word in (b"money", b"/gozon.payments.v1.PaymentsService/Deposit", b"ann"):
        assert word in money


@pytest.mark.parametrize(
    "silence", [never, refuses(grpc.StatusCode.UNAVAILABLE, "no Redis")], ids=["frozen", "without its Redis"]
)
async def test_while_nobody_counts_nobody_is_refused_but_by_our_own_limits(one: Counted, silence: Answer) -> None:
    one.answers(silence)
    answers = [await one.rest.post("/token", data={}) for _ in range(22)]

    assert answers[0].status_code == 200
    assert_error(answers[-1], *LIMITED)


def test_all_together_may_do_in_a_minute_what_one_lets_through_in_its_first() -> None:
    limits = yaml.safe_load(edge.LIMITS_BY_ALL.read_text())
    [asking] = [one for one in _parts(source()) if one.get("name") == "rate_limit_by_all"]
    buckets = {
        one["stat_prefix"]: next(part["token_bucket"] for part in one["descriptors"])
        for one in _parts(source())
        if "stat_prefix" in one and "descriptors" in one
    }

    assert limits["domain"] == asking["typed_config"]["domain"]
    assert [one["key"] for one in limits["descriptors"]] == list(BUCKETS)
    for limit in limits["descriptors"]:
        own = buckets[BUCKETS[limit["key"]]]
        [rate] = [part["rate_limit"] for part in _parts(limit) if "rate_limit" in part]
        first_minute = own["max_tokens"] + 60 * own["tokens_per_fill"]
        assert rate == {"unit": "minute", "requests_per_unit": first_minute}, limit["key"]


def test_what_limits_by_itself_does_so_for_all() -> None:
    strict = [one for one in _parts(source()) if {"rate_limit_by_ip", "rate_limit_by_user"} & one.keys()]

    assert len(strict) > 5
    assert all("rate_limit_by_all" in one for one in strict)


def _parts(value: Any) -> list[dict[str, Any]]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    below = [part for child in children for part in _parts(child)]
    return [value, *below] if isinstance(value, dict) else below
