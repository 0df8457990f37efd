"""Signing in: what guessers learn, how long they may guess, and what refresh tokens are worth."""

import asyncio
import hashlib
from collections import Counter

import argon2
import asyncpg
import grpc
import httpx
import pytest

from gozon.users.v1.users_pb2 import ChangePasswordRequest, RevokeTokenRequest, TokenRequest, TokenResponse
from kit.db import Database
from services.users.domain import FREE_ATTEMPTS, InvalidCredentials
from services.users.service import UserService
from tests.conftest import NewUser
from tests.edge.security.conftest import new_owner
from tests.edge.security.rows import all_rows
from tests.edge.security.rpcs import Owner
from tests.support import Edge, RunningStack, User, count, reason_of, refused

OWN_TO_EACH_ANSWER = {"date", "x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"}
NOBODY = "nobody.ever@example.com"


async def sign_in(edge: Edge, email: str, password: str) -> httpx.Response:
    form = {"grant_type": "password", "username": email, "password": password}
    return await edge.rest.post("/token", data=form)


async def refresh(edge: Edge, token: str) -> httpx.Response:
    return await edge.rest.post("/token", data={"grant_type": "refresh_token", "refresh_token": token})


def reason(answer: httpx.Response) -> str:
    return str(answer.json()["details"][0]["reason"])


# --- Who exists


async def test_answers_to_a_wrong_password_and_an_unknown_email_are_the_same(edge: Edge, new_user: NewUser) -> None:
    user = await new_user()
    known, unknown = await sign_in(edge, user.email, "a wrong password"), await sign_in(edge, NOBODY, user.password)
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    assert [(n, v) for n, v in known.headers.items() if n not in OWN_TO_EACH_ANSWER] == [
        (n, v) for n, v in unknown.headers.items() if n not in OWN_TO_EACH_ANSWER
    ]
    told = []
    for request in (
        TokenRequest(grant_type="password", username=user.email, password="a wrong password"),
        TokenRequest(grant_type="password", username=NOBODY, password=user.password),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await edge.users.Token(request)
        trailers = dict(caught.value.trailing_metadata() or ())
        told.append((caught.value.code(), caught.value.details(), trailers["grpc-status-details-bin"]))
    assert told[0] == told[1]


async def test_both_cost_the_same_work(users_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the clock, which is noise, but what it would measure: one hash with the same cost, one counted attempt."""
    service = UserService(users_db)
    await service.register("ann@example.com", "correct horse battery staple", "")
    verified: list[argon2.Parameters] = []
    verify = argon2.PasswordHasher.verify

    def counted(hasher: argon2.PasswordHasher, password_hash: str, password: str) -> bool:
        verified.append(argon2.extract_parameters(password_hash))
        return bool(verify(hasher, password_hash, password))

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    for attempts, email in enumerate(("ann@example.com", NOBODY, "", "x" * 254), start=1):
        with pytest.raises(InvalidCredentials):
            await service.sign_in(email, "a wrong password")
        assert len(verified) == attempts
        assert await count(users_db, "attempts WHERE failures = 1") == attempts
    assert len({str(parameters) for parameters in verified}) == 1
    assert verified[0] == argon2.profiles.RFC_9106_LOW_MEMORY


async def test_only_registering_tells_that_an_email_is_taken(edge: Edge, victim: Owner) -> None:
    """It must: without sending emails there is no other way. The edge lets an address ask 20 times, then once a second.

    Nothing else of the answer depends on the account.
    """
    taken = await edge.rest.post("/register", json={"email": victim.user.email, "password": "another good password"})
    assert (taken.status_code, reason(taken)) == (409, "EMAIL_TAKEN")
    assert victim.user.id not in taken.text


async def test_a_stolen_access_token_does_not_change_the_password(edge: Edge, victim: Owner) -> None:
    with refused(grpc.StatusCode.PERMISSION_DENIED, "WRONG_PASSWORD"):
        await edge.users.ChangePassword(
            ChangePasswordRequest(current_password="a wrong password", new_password="another good password"),
            metadata=victim.user.metadata(),
        )


# --- Guessing


async def test_a_hundred_guesses_are_not_answered(edge: Edge, stack: RunningStack, admin: User) -> None:
    owner, bystander = await new_owner(edge, admin), await new_owner(edge, admin)
    user = owner.user
    guesses: list[httpx.Response] = []
    # All at once would be too much for a slow machine, and some answered DEADLINE_EXCEEDED.
    for first in range(0, 100, 20):
        some = (sign_in(edge, user.email, f"guess number {n}") for n in range(first, first + 20))
        guesses += await asyncio.gather(*some)
    told = Counter(map(reason, guesses))
    assert told.keys() == {"INVALID_CREDENTIALS", "TOO_MANY_ATTEMPTS"}
    # The first waits are seconds: on a slow machine a few more get through.
    assert FREE_ATTEMPTS <= told["INVALID_CREDENTIALS"] <= FREE_ATTEMPTS + 5
    for answer in guesses:
        if reason(answer) == "TOO_MANY_ATTEMPTS":
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1

    # As if they had gone on, so that the test need not hurry.
    connection = await asyncpg.connect(stack.database_urls["users"])
    email_hash = hashlib.sha256(user.email.encode()).digest()
    await connection.execute("UPDATE attempts SET failures = 60, last_at = now() WHERE email_hash = $1", email_hash)
    await connection.close()
    for email in (user.email, user.email.upper(), f" {user.email} "):
        late = await sign_in(edge, email, user.password)
        assert (late.status_code, reason(late)) == (429, "TOO_MANY_ATTEMPTS"), "the right password too"
        assert 0 < int(late.headers["retry-after"]) <= 900
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ATTEMPTS"):
        await edge.users.Token(TokenRequest(grant_type="password", username=user.email, password=user.password))
    body = {"current_password": user.password, "new_password": "another good password"}
    elsewhere = await edge.rest.post("/users/me/password", json=body, headers=user.headers)
    assert (elsewhere.status_code, reason(elsewhere)) == (429, "TOO_MANY_ATTEMPTS"), "no other place to guess at"

    assert (await sign_in(edge, bystander.user.email, bystander.user.password)).status_code == 200
    assert (await edge.rest.get("/users/me", headers=user.headers)).status_code == 200
    assert (await refresh(edge, owner.refresh_token)).status_code == 200, "the owner stays signed in"


# --- Refresh tokens


async def test_a_token_that_is_used_twice_ends_its_sign_in_over_rest(edge: Edge, bob: User) -> None:
    first = (await sign_in(edge, bob.email, bob.password)).json()["refresh_token"]
    other = (await sign_in(edge, bob.email, bob.password)).json()["refresh_token"]
    second = (await refresh(edge, first)).json()["refresh_token"]
    third = (await refresh(edge, second)).json()["refresh_token"]
    for token in (first, third):
        again = await refresh(edge, token)
        assert reason(again) == "INVALID_REFRESH_TOKEN"
        assert "access_token" not in again.text
    assert (await refresh(edge, other)).status_code == 200


async def test_a_token_that_is_used_twice_ends_its_sign_in_over_grpc(edge: Edge, bob: User) -> None:
    def with_token(token: str) -> TokenRequest:
        return TokenRequest(grant_type="refresh_token", refresh_token=token)

    password = TokenRequest(grant_type="password", username=bob.email, password=bob.password)
    first: TokenResponse = await edge.users.Token(password)
    second = await edge.users.Token(with_token(first.refresh_token))
    # Over the other protocol, it is the same token.
    third = (await refresh(edge, second.refresh_token)).json()["refresh_token"]
    fourth = await edge.users.Token(with_token(third))
    for token in (second.refresh_token, fourth.refresh_token):
        with refused(grpc.StatusCode.UNAUTHENTICATED, "INVALID_REFRESH_TOKEN"):
            await edge.users.Token(with_token(token))


async def test_of_many_uses_at_once_two_that_go_on_end_the_sign_in(edge: Edge, bob: User) -> None:
    token = (await sign_in(edge, bob.email, bob.password)).json()["refresh_token"]
    answers = await asyncio.gather(*(refresh(edge, token) for _ in range(20)))
    bought = {answer.json()["refresh_token"] for answer in answers}
    assert len(bought) == 20
    # One of them is good for whoever comes first with it, and none after another has come.
    again = [await refresh(edge, one) for one in bought]
    assert sum(answer.status_code == 200 for answer in again) <= 1
    assert {reason(await refresh(edge, one)) for one in (*bought, token)} == {"INVALID_REFRESH_TOKEN"}


async def test_signing_out_ends_the_sign_in_and_may_be_repeated(edge: Edge, bob: User) -> None:
    first = (await sign_in(edge, bob.email, bob.password)).json()["refresh_token"]
    second = (await refresh(edge, first)).json()["refresh_token"]
    # With somebody else's access token or none: it is the refresh token that counts.
    for token in (first, first, second, "never issued", "x" * 128):
        answer = await edge.rest.post("/token/revoke", data={"token": token})
        assert (answer.status_code, answer.json()) == (200, {})
        await edge.users.RevokeToken(RevokeTokenRequest(token=token))
    assert reason(await refresh(edge, second)) == "INVALID_REFRESH_TOKEN"


async def test_the_token_of_one_user_buys_nothing_for_another(edge: Edge, bob: User, mallory: Owner) -> None:
    token = (await sign_in(edge, bob.email, bob.password)).json()["refresh_token"]
    bought = await edge.rest.post(
        "/token",
        data={"grant_type": "refresh_token", "refresh_token": token, "username": mallory.user.email, "scope": "admin"},
        headers=mallory.user.headers,
    )
    headers = {"authorization": f"Bearer {bought.json()['access_token']}"}
    me = await edge.rest.get("/users/me", headers=headers)
    assert (me.json()["id"], me.json()["roles"]) == (bob.id, ["user"])


@pytest.mark.parametrize(
    "token", ["", "x", "x" * 128, "x" * 129, "x" * 10_000, "\0", "' OR 1=1 --", "é" * 64, "null", "a.b.c"]
)
async def test_what_is_no_refresh_token_is_refused(token: str, edge: Edge, stack: RunningStack) -> None:
    before = {row for row in await all_rows(stack) if "refresh_tokens" in row}
    answer = await refresh(edge, token)
    assert answer.status_code in (400, 401), answer.text
    assert reason(answer) in ("INVALID_REFRESH_TOKEN", "INVALID_REQUEST")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.users.Token(TokenRequest(grant_type="refresh_token", refresh_token=token))
    assert reason_of(caught.value) in ("INVALID_REFRESH_TOKEN", "INVALID_REQUEST")
    revoked = await edge.rest.post("/token/revoke", data={"token": token})
    assert revoked.status_code in (200, 400), revoked.text
    assert {row for row in await all_rows(stack) if "refresh_tokens" in row} == before


async def test_an_access_token_is_no_refresh_token(edge: Edge, bob: User) -> None:
    assert reason(await refresh(edge, bob.token)) in ("INVALID_REFRESH_TOKEN", "INVALID_REQUEST")
    assert reason(await refresh(edge, bob.token[:128])) == "INVALID_REFRESH_TOKEN"
