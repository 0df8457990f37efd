"""Nobody becomes an administrator by asking."""

from dataclasses import replace
from typing import Any

import grpc

from gozon.users.v1.users_pb2 import RegisterRequest, UpdateMeRequest
from gozon.users.v1.users_pb2 import User as UserMessage
from kit.ids import new_id
from tests.conftest import NewUser
from tests.edge.security.conftest import Channels, fresh_key, new_owner
from tests.edge.security.rpcs import Owner, all_rpcs
from tests.support import Edge, RunningStack, User, gozon

WISHES: dict[str, Any] = {
    "roles": ["user", "admin"],
    "role": "admin",
    "is_admin": True,
    "isAdmin": True,
    "admin": True,
    "id": "",
    "user_id": "",
    "email_verified": True,
    "version": 99,
    "created_at": "2001-01-01T00:00:00Z",
    "password_hash": "$argon2id$v=19$m=65536,t=3,p=4$AAAA$AAAA",
    "__proto__": {"roles": ["admin"]},
    "user": {"roles": ["admin"]},
}
RPCS = {rpc.method.name: rpc for rpc in all_rpcs() if rpc.bindings}
REFUSED = {"NOT_FOUND", "PERMISSION_DENIED"}
READING = {"GetOrder", "ListUserOrders", "ListOrderHistory", "WatchOrder", "GetAccount", "ListEntries"}
READING |= {"GetInventory", "ListPurchases"}


async def me(edge: Edge, headers: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = (await edge.rest.get("/users/me", headers=headers)).json()
    return found


async def test_fields_that_nobody_asked_for_change_nothing(edge: Edge, victim: Owner, mallory: Owner) -> None:
    """The transcoder drops unknown fields of JSON without a word; what counts is that they are without effect."""
    wishes = WISHES | {"id": victim.user.id, "user_id": victim.user.id}
    body = {"email": f"{new_id()}@example.com", "password": "correct horse battery staple"}
    registered = (await edge.rest.post("/register", json=body | wishes)).json()
    assert (registered["roles"], registered["etag"]) == (["user"], "1")
    assert registered["id"] != victim.user.id
    assert not registered["created_at"].startswith("2001")

    before, theirs = await me(edge, mallory.user.headers), await me(edge, victim.user.headers)
    wishes |= {"email": victim.user.email, "password": "another good password"}
    updated = await edge.rest.patch("/users/me", json={"username": "Mallory", **wishes}, headers=mallory.user.headers)
    assert updated.status_code == 200, updated.text
    changed = {"username": "Mallory", "etag": updated.json()["etag"]}
    assert await me(edge, mallory.user.headers) == before | changed
    assert await me(edge, victim.user.headers) == theirs


async def test_fields_that_the_contract_does_not_have_change_nothing_over_grpc(edge: Edge, mallory: Owner) -> None:
    wish = UserMessage(id=new_id(), roles=["user", "admin"], etag="99").SerializeToString()
    # Whatever numbers the fields may have some day.
    unknown = b"".join(bytes([number << 3 | 2, len(wish)]) + wish for number in (7, 9, 15))
    roles = b"".join(bytes([number << 3 | 2, 5]) + b"admin" for number in (4, 5, 6, 8, 10, 11, 12, 13, 14))

    async def answer(name: str, request: bytes) -> UserMessage:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = edge.channel.unary_unary(RPCS[name].path)
        return UserMessage.FromString(await call(request + unknown + roles, metadata=mallory.user.metadata()))

    before = await me(edge, mallory.user.headers)
    updated = await answer("UpdateMe", UpdateMeRequest(username="Mallory").SerializeToString())
    assert (updated.id, list(updated.roles), updated.email) == (before["id"], ["user"], before["email"])
    request = RegisterRequest(email=f"{new_id()}@example.com", password="correct horse battery staple")
    registered = await answer("Register", request.SerializeToString())
    assert (list(registered.roles), registered.etag) == (["user"], "1")


async def test_the_first_administrators_email_can_not_be_taken(edge: Edge) -> None:
    for email in ("admin@gozon.local", "ADMIN@gozon.local", " admin@gozon.local", "admin@gozon.local\n"):
        answer = await edge.rest.post("/register", json={"email": email, "password": "correct horse battery staple"})
        assert answer.status_code in (400, 409), answer.text


async def test_rights_come_and_go_with_the_next_token(
    edge: Edge, direct: Channels, stack: RunningStack, new_user: NewUser, admin: User
) -> None:
    user, other = await new_user(), await new_owner(edge, admin)
    password = {"grant_type": "password", "username": user.email, "password": user.password}
    refresh_token = (await edge.rest.post("/token", data=password)).json()["refresh_token"]

    async def next_tokens() -> list[User]:
        """By password and by refresh."""
        nonlocal refresh_token
        forms = (password, {"grant_type": "refresh_token", "refresh_token": refresh_token})
        answers = [(await edge.rest.post("/token", data=form)).json() for form in forms]
        refresh_token = answers[1]["refresh_token"]
        return [replace(user, token=answer["access_token"]) for answer in answers]

    async def codes(caller: User) -> set[str]:
        """Of the answers to whatever only an administrator may do, or read beside its owner."""
        found = set()
        for rpc in RPCS.values():
            if rpc.method.name in READING or rpc.rule.admin_only:
                request = rpc.request(other)
                answers = [
                    *[
                        await rpc.over_grpc(channel, request, caller.headers | fresh_key())
                        for channel in (edge.channel, direct[rpc.service])
                    ],
                    await rpc.over_rest(edge.rest, request, caller.headers | fresh_key()),
                ]
                # What can't be done, such as giving the same money back twice, is refused to nobody in particular.
                allowed = rpc.rule.admin_only and {answer.reason for answer in answers}.isdisjoint({"ADMIN_ONLY"})
                found |= {"OK"} if allowed else {answer.code for answer in answers}
        return found

    home = ("--home", str(stack.home))
    granted = gozon("admin", "grant", user.email.upper(), *home)
    assert granted.returncode == 0, granted.stderr
    assert await codes(user) <= REFUSED, "the token that there is stays what it is"
    for promoted in await next_tokens():
        assert (await me(edge, promoted.headers))["roles"] == ["user", "admin"]
        assert await codes(promoted) == {"OK"}

    revoked = gozon("admin", "revoke", user.email, *home)
    assert revoked.returncode == 0, revoked.stderr
    for demoted in await next_tokens():
        assert (await me(edge, demoted.headers))["roles"] == ["user"]
        assert await codes(demoted) <= REFUSED
