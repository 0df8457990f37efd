"""Forged, foreign and spent tokens, at the edge and at each service itself."""

import asyncio
from collections.abc import Callable

import grpc
import pytest

from gozon.users.v1.users_pb2 import GetMeRequest
from tests.edge.expect import assert_error
from tests.edge.security.conftest import Channels
from tests.edge.security.forger import FORGED, Forger
from tests.edge.security.rpcs import Owner, Rpc, all_rpcs
from tests.support import Edge

INVALID = (401, 16, "INVALID_TOKEN")
ONE_OF_EACH_SERVICE = {
    rpc.service: rpc for rpc in all_rpcs() if rpc.rule.needs_token and rpc.method.name.startswith("Get")
}
"""An RPC that needs a token and changes nothing; the others are in test_rpcs.py."""


async def test_the_forger_could_sign_a_good_token(forger: Forger, doors: Channels, victim: Owner) -> None:
    """Else the tests below would say nothing."""
    headers = {"authorization": f"Bearer {forger.signed(forger.header(), forger.claims())}"}
    for door, channel in doors.items():
        for rpc in ONE_OF_EACH_SERVICE.values():
            if door in ("the edge", rpc.service):
                answer = await rpc.over_grpc(channel, rpc.request(victim), headers)
                assert answer.code == "OK", (door, rpc.path, answer)


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_token_opens_no_door(
    forge: Callable[[Forger], str], forger: Forger, edge: Edge, doors: Channels, victim: Owner
) -> None:
    headers = {"authorization": f"Bearer {forge(forger)}".strip()}

    async def refused_over_grpc(door: str, rpc: Rpc) -> None:
        answer = await rpc.over_grpc(doors[door], rpc.request(victim), headers)
        assert answer.code == "UNAUTHENTICATED", (door, rpc.path, answer)

    async def refused_over_rest(rpc: Rpc) -> None:
        answer = await rpc.over_rest(edge.rest, rpc.request(victim), headers)
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "INVALID_TOKEN"), (rpc.path, answer)

    # Twice: what is remembered of the first time must not help the second.
    for _ in range(2):
        for service, rpc in ONE_OF_EACH_SERVICE.items():
            await asyncio.gather(
                refused_over_rest(rpc), refused_over_grpc("the edge", rpc), refused_over_grpc(service, rpc)
            )


@pytest.mark.parametrize("length", [16_000, 40_000])
async def test_a_huge_token_is_refused_and_harms_nobody(
    length: int, edge: Edge, doors: Channels, mallory: Owner
) -> None:
    headers = {"authorization": f"Bearer {'A' * length}"}
    answer = await edge.rest.get("/users/me", headers=headers)
    assert_error(answer, *(INVALID if length < 32 * 1024 else (431, 3, "REQUEST_TOO_LARGE")))
    for door, channel in doors.items():
        rpc = ONE_OF_EACH_SERVICE["users" if door == "the edge" else door]
        assert (await rpc.over_grpc(channel, rpc.request(mallory), headers)).code != "OK"
        good = await rpc.over_grpc(channel, rpc.request(mallory), mallory.user.headers)
        assert good.code == ("PERMISSION_DENIED" if rpc.rule.admin_only else "OK")


async def test_of_two_tokens_at_once_none_passes_the_edge_and_a_service_believes_a_valid_one_only(
    edge: Edge, direct: Channels, mallory: Owner, forger: Forger
) -> None:
    own, forged = mallory.user.headers["authorization"], f"Bearer {FORGED['a stranger under our kid'](forger)}"
    for pair in ((own, own), (own, forged), (forged, own), (own, "Bearer"), ("Bearer", own)):
        headers = [("authorization", one) for one in pair]
        assert_error(await edge.rest.get("/users/me", headers=headers), *INVALID)
        assert_error(await edge.rest.get("/users/me", headers={"authorization": ", ".join(pair)}), *INVALID)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await edge.users.GetMe(GetMeRequest(), metadata=tuple(headers))
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        answer = await ONE_OF_EACH_SERVICE["users"].over_grpc(direct["users"], {}, headers)
        assert answer.code == "UNAUTHENTICATED" or answer.body["id"] == mallory.user.id


@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "Bearer  ", "Bearer\t", "Token ", "JWT ", "x Bearer ", ""])
async def test_another_scheme_is_refused_or_is_the_same_person(scheme: str, edge: Edge, mallory: Owner) -> None:
    """RFC 9110 lets clients write the scheme in any letter case; Envoy does not, which is safe."""
    answer = await edge.rest.get("/users/me", headers={"authorization": f"{scheme}{mallory.user.token}"})
    if answer.status_code == 200:
        assert scheme.strip().lower() == "bearer"
        assert answer.json()["id"] == mallory.user.id
    else:
        assert_error(answer, *INVALID)


@pytest.mark.parametrize("place", ["access_token", "token", "authorization", "jwt", "bearer"])
async def test_a_token_is_not_looked_for_in_other_places(place: str, edge: Edge, mallory: Owner) -> None:
    token = mallory.user.token
    assert (await edge.rest.get(f"/users/me?{place}={token}")).status_code in (400, 401)
    for headers in ({"cookie": f"{place}={token}"}, {f"x-{place.replace('_', '-')}": token}):
        assert_error(await edge.rest.get("/users/me", headers=headers), 401, 16, "MISSING_TOKEN")
    in_body = await edge.rest.patch("/users/me", json={"username": "Mallory", place: token})
    assert_error(in_body, 401, 16, "MISSING_TOKEN")
    # The query of a native call, which no client makes by itself.
    for rpc in ONE_OF_EACH_SERVICE.values():
        kind = {"content-type": "application/grpc", "te": "trailers"}
        answer = await edge.rest.post(f"{rpc.path}?{place}={token}", content=bytes(5), headers=kind)
        # Envoy takes `access_token`, the service does not: it knows no method with a query.
        assert answer.headers["grpc-status"] in ("12", "16"), rpc.path
