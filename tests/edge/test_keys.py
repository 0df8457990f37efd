"""Keys: new ones are noticed, removed ones end, and the known ones are used while Users is away."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from stack import edge
from tests.edge.conftest import Issuer, LoneEdge, edge_before, manager
from tests.edge.expect import assert_error
from tests.edge.standin import StandIn, says
from tests.support import eventually

KEY_SECONDS = 10
"""A new key must be published for longer than this before it signs (gozon keys rotate)."""


def remote_keys(edge: dict[str, Any]) -> dict[str, Any]:
    filters = {one["name"]: one["typed_config"] for one in manager(edge)["http_filters"]}
    found: dict[str, Any] = filters["envoy.filters.http.jwt_authn"]["providers"]["gozon"]["remote_jwks"]
    return found


def hasty(edge: dict[str, Any]) -> None:
    remote_keys(edge)["cache_duration"] = "1s"


def test_keys_are_fetched_as_often_as_rotation_expects() -> None:
    assert remote_keys(yaml.safe_load(edge.SOURCE.read_text()))["cache_duration"] == f"{KEY_SECONDS}s"


def more_fetches(lone: LoneEdge, result: str, count: int) -> Callable[[], Awaitable[bool]]:
    """A condition: keys were fetched, or not got, so many times since it was first asked."""
    first: list[int] = []

    async def so_many() -> bool:
        async with httpx.AsyncClient() as client:
            stats = (await client.get(f"{lone.admin_url}/stats", params={"filter": f"jwks_fetch_{result}$"})).text
        now = int(stats.rpartition(": ")[2])
        first.append(now)
        return now >= first[0] + count

    return so_many


async def test_a_new_key_is_noticed_and_an_old_one_goes(standin: StandIn, tmp_path: Path, issuer: Issuer) -> None:
    standin.answers["GetMe"] = says()
    newer = Issuer()
    async with edge_before(standin.port, tmp_path, hasty) as lone, httpx.AsyncClient(base_url=lone.url) as client:
        assert (await client.get("/users/me", headers=issuer.headers("u"))).status_code == 200
        assert_error(await client.get("/users/me", headers=newer.headers("u")), 401, 16, "INVALID_TOKEN")

        standin.keys.append(newer.jwk)

        async def noticed() -> bool:
            # Both are good meanwhile.
            assert (await client.get("/users/me", headers=issuer.headers("u"))).status_code == 200
            return (await client.get("/users/me", headers=newer.headers("u"))).status_code == 200

        await eventually(noticed)
        standin.keys.remove(issuer.jwk)

        async def gone() -> bool:
            assert (await client.get("/users/me", headers=newer.headers("u"))).status_code == 200
            return (await client.get("/users/me", headers=issuer.headers("u"))).status_code == 401

        await eventually(gone)


async def test_known_keys_are_used_while_users_is_away_and_new_ones_when_it_is_back(
    standin: StandIn, tmp_path: Path, issuer: Issuer
) -> None:
    newer = Issuer()
    async with edge_before(standin.port, tmp_path, hasty) as lone, httpx.AsyncClient(base_url=lone.url) as client:
        # Keys that a request waited for, because it came before they did, would live for one second only.
        await eventually(more_fetches(lone, "success", 2))
        await standin.server.stop(None)
        await eventually(more_fetches(lone, "failed", 10))
        # A good token gets as far as the service; a bad one does not.
        good = await client.get("/orders", headers=issuer.headers("u"))
        assert "This part of the system" in assert_error(good, 503, 14, "UPSTREAM_UNAVAILABLE")
        assert_error(await client.get("/orders", headers=newer.headers("u")), 401, 16, "INVALID_TOKEN")

        standin.keys.append(newer.jwk)
        standin.answers["ListOrders"] = says()
        await standin.start()

        async def back() -> bool:
            answers = [await client.get("/orders", headers=one.headers("u")) for one in (issuer, newer)]
            return [answer.status_code for answer in answers] == [200, 200]

        await eventually(back)
