"""Every RPC there is: without a token, with a forged one, with somebody else's things; and nothing else answers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from kit.access import BY_ROW
from kit.ids import new_id
from stack.edge import DESCRIPTORS
from tests.edge.security.conftest import Channels, fresh_key
from tests.edge.security.forger import FORGED, Forger
from tests.edge.security.rows import rows_about
from tests.edge.security.rpcs import Answer, Owner, Rpc, all_rpcs
from tests.support import Edge, RunningStack

RPCS = {f"{rpc.service}.{rpc.method.name}": rpc for rpc in all_rpcs()}
WITH_TOKEN = {name: rpc for name, rpc in RPCS.items() if rpc.rule.needs_token}

OF_AN_OWNER = {name: rpc for name, rpc in WITH_TOKEN.items() if rpc.rule.owner or rpc.rule is BY_ROW}


@pytest.fixture(autouse=True)
async def leaves_the_victim_alone(stack: RunningStack, victim: Owner) -> AsyncIterator[None]:
    """Every test here must leave each row about the victim as it was."""
    before = await rows_about(stack, victim)
    assert len(before) > 5
    yield
    assert await rows_about(stack, victim) == before


def test_these_are_all_the_rpcs_of_the_contracts() -> None:
    files = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file
    contracts = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in files
        for service in file.service
        for method in service.method
    }
    assert {rpc.path for rpc in RPCS.values()} == contracts


@pytest.mark.parametrize("rpc", WITH_TOKEN.values(), ids=WITH_TOKEN.keys())
async def test_without_a_good_token_no_door_opens(
    rpc: Rpc, edge: Edge, doors: Channels, forger: Forger, victim: Owner
) -> None:
    request = rpc.request(victim)
    stranger, nobody = FORGED["a stranger under our kid"](forger), FORGED["alg none"](forger)
    posing = dict.fromkeys(("x-user-id", "x-forwarded-user", "x-jwt-sub", "user-id", "sub"), victim.user.id)
    for headers, reason in (
        ({}, "MISSING_TOKEN"),
        (posing | {"x-roles": "admin"}, "MISSING_TOKEN"),
        ({"authorization": f"Bearer {stranger}"}, "INVALID_TOKEN"),
        ({"authorization": f"Bearer {nobody}"} | posing, "INVALID_TOKEN"),
    ):
        for channel in (edge.channel, doors[rpc.service]):
            answer = await rpc.over_grpc(channel, request, headers | fresh_key())
            assert answer.code == "UNAUTHENTICATED", answer
        for binding in rpc.bindings:
            answer = await rpc.over_rest(edge.rest, request, headers | fresh_key(), binding)
            assert (answer.code, answer.reason) == ("UNAUTHENTICATED", reason)


@pytest.mark.parametrize("rpc", WITH_TOKEN.values(), ids=WITH_TOKEN.keys())
async def test_somebody_elses_things_are_not_there(
    rpc: Rpc, edge: Edge, doors: Channels, mallory: Owner, victim: Owner
) -> None:
    request = rpc.request(victim)
    answers = [
        *[await rpc.over_grpc(door, request, _headers(mallory, victim)) for door in (edge.channel, doors[rpc.service])],
        *[await rpc.over_rest(edge.rest, request, _headers(mallory, victim), each) for each in rpc.bindings],
    ]
    for answer in answers:
        _assert_nothing_of(victim, answer)
        if rpc in OF_AN_OWNER.values():
            assert answer.code == "NOT_FOUND", answer
    if rpc.rule.not_yours:
        assert {answer.reason for answer in answers} == {rpc.rule.not_yours.reason}
    if rpc.rule.admin_only or rpc.rule.worker_only:
        # Maintenance is not routed by the edge.
        unknown = set() if rpc.bindings else {"UNIMPLEMENTED"}
        assert {answer.code for answer in answers} - unknown == {"PERMISSION_DENIED"}


@pytest.mark.parametrize("rpc", OF_AN_OWNER.values(), ids=OF_AN_OWNER.keys())
async def test_somebody_elses_things_look_like_things_that_do_not_exist(
    rpc: Rpc, edge: Edge, mallory: Owner, victim: Owner
) -> None:
    nowhere = Owner(replace(victim.user, id=new_id()), new_id(), new_id(), "", new_id())
    over_grpc = [
        await rpc.over_grpc(edge.channel, rpc.request(owner), mallory.user.headers | fresh_key())
        for owner in (victim, nowhere)
    ]
    over_rest = [
        await rpc.over_rest(edge.rest, rpc.request(owner), mallory.user.headers | fresh_key())
        for owner in (victim, nowhere)
    ]
    for theirs, nobodys in (over_grpc, over_rest):
        assert (theirs.code, theirs.body) == (nobodys.code, nobodys.body)
        assert {name for name, _ in theirs.headers} == {name for name, _ in nobodys.headers}


async def test_with_another_users_order_and_ones_own_token_nothing_is_cached_for_the_wrong_one(
    edge: Edge, mallory: Owner, victim: Owner
) -> None:
    """The owner's answer is in the cache by then; many at once would meet a check that comes after the cache."""
    get = RPCS["orders.GetOrder"]
    for _ in range(3):
        answers = await asyncio.gather(
            *(get.over_rest(edge.rest, get.request(victim), who.user.headers) for who in (victim, mallory) * 5)
        )
        assert [answer.code for answer in answers] == ["OK", "NOT_FOUND"] * 5


async def test_what_is_in_no_contract_answers_nobody(doors: Channels, mallory: Owner) -> None:
    for channel in doors.values():
        for path in (
            "/gozon.users.v1.UsersService/Nothing",
            "/gozon.nothing.v1.Nothing/Do",
            "/grpc.channelz.v1.Channelz/X",
        ):
            for metadata in ((), mallory.user.metadata()):
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(b"", metadata=metadata, timeout=10)
                assert caught.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED)


def test_this_is_public_on_purpose() -> None:
    public = {name for name, rpc in RPCS.items() if not rpc.rule.needs_token}
    assert public == {"users.Register", "users.Token", "users.RevokeToken", "users.GetJwks"}


def _headers(mallory: Owner, victim: Owner) -> dict[str, str]:
    """Mallory's token, and all that could make somebody believe that she is the victim."""
    return mallory.user.headers | {"x-user-id": victim.user.id, "grpc-metadata-x-user-id": victim.user.id} | fresh_key()


def _assert_nothing_of(victim: Owner, answer: Answer) -> None:
    for name in victim.names:
        assert name not in answer.text
