"""What the edge makes of answers: statuses, entity tags, and errors of OAuth, asked for by headers no client sees."""

import asyncio
from collections.abc import Iterable

import grpc
import httpx
import pytest

from gozon.users.v1.users_pb2 import GetMeRequest, TokenRequest, User
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from tests.edge.conftest import Issuer, LoneEdge
from tests.edge.expect import assert_error
from tests.edge.http2 import Connection
from tests.edge.standin import StandIn, refuses, says

HIDDEN = ("x-http-code", "x-oauth-error", "x-reason")
USER = User(id="7", email="a@example.com").SerializeToString()


def assert_nothing_hidden(headers: Iterable[str]) -> None:
    assert not set(HIDDEN) & set(headers)


async def test_a_service_chooses_201(rest: httpx.AsyncClient, standin: StandIn, issuer: Issuer) -> None:
    standin.answers["GetMe"] = says(USER, x_http_code="201", location="/users/7")
    answer = await rest.get("/users/me", headers=issuer.headers("7"))

    assert (answer.status_code, answer.headers["location"], answer.json()["id"]) == (201, "/users/7", "7")
    assert_nothing_hidden(answer.headers)


@pytest.mark.parametrize("message", [b"", USER])
async def test_204_has_no_body_and_the_connection_goes_on(
    before_standin: LoneEdge, standin: StandIn, issuer: Issuer, message: bytes
) -> None:
    standin.answers["GetMe"] = says(message, x_http_code="204")
    standin.answers["GetAccount"] = says()
    token = issuer.issue("7")
    host, _, port = before_standin.target.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for path in ("/users/me", "/users/me", "/accounts/7"):
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n".encode())
    heads = [(await reader.readuntil(b"\r\n\r\n")).decode().lower() for _ in range(3)]
    writer.close()
    await writer.wait_closed()

    # Each head follows the one before at once, so nothing was between them.
    assert [head.split()[1] for head in heads] == ["204", "204", "200"]
    for head in heads[:2]:
        assert "content-" not in head
        assert "transfer-encoding" not in head
        assert not [name for name in HIDDEN if name in head]


async def test_204_over_http_2(before_standin: LoneEdge, standin: StandIn, issuer: Issuer) -> None:
    standin.answers["GetMe"] = says(USER, x_http_code="204")
    connection = await Connection.open(before_standin.target)
    for _ in range(2):
        answer = await connection.answer(connection.get("/users/me", more=list(issuer.headers("7").items())))
        assert (answer.headers[":status"], answer.body) == ("204", b"")
        assert not {"content-type", "content-length", *HIDDEN} & set(answer.headers)
    await connection.close()


async def test_an_etag_comes_back_and_if_match_arrives(
    rest: httpx.AsyncClient, standin: StandIn, issuer: Issuer
) -> None:
    standin.answers["GetMe"] = says(USER, etag='"5"')
    answer = await rest.get("/users/me", headers={**issuer.headers("7"), "if-match": '"4"'})

    assert answer.headers["etag"] == '"5"'
    assert standin.calls[-1][1]["if-match"] == '"4"'


async def test_a_stale_etag_is_a_conflict(rest: httpx.AsyncClient, standin: StandIn, issuer: Issuer) -> None:
    standin.answers["GetMe"] = refuses(grpc.StatusCode.ABORTED, "It was changed since; read it again.")
    answer = await rest.get("/users/me", headers=issuer.headers("7"))

    assert (answer.status_code, answer.json()["code"]) == (409, 10)


INTERNAL = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INTERNAL", "domain": "gozon", "metadata": {}
}  # fmt: skip
FORM = {"grant_type": "password", "username": "a", "password": "b"}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "invalid_grant"),
        (grpc.StatusCode.INVALID_ARGUMENT, "unsupported_grant_type"),
        (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request"),
        (grpc.StatusCode.UNAUTHENTICATED, "invalid_client"),
    ],
)
async def test_errors_of_oauth_have_its_members_and_ours(
    rest: httpx.AsyncClient, standin: StandIn, code: grpc.StatusCode, error: str
) -> None:
    message = 'Use "password" or \\ 100 % of ключ.'
    standin.answers["Token"] = refuses(code, message, x_oauth_error=error)
    for _ in range(2):
        answer = await rest.post("/token", data=FORM)

        assert answer.status_code == (401 if error == "invalid_client" else 400)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert_nothing_hidden(answer.headers)
        assert answer.json() == {
            "error": error,
            # In the characters that RFC 6749 allows.
            "error_description": "Use 'password' or ' 100 % of ?.",
            "code": code.value[0],
            "message": message,
            "details": [INTERNAL],
        }


async def test_other_errors_of_token_stay_as_they_are(rest: httpx.AsyncClient, standin: StandIn) -> None:
    standin.answers["Token"] = refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "Wait.", retry_after="7")
    answer = await rest.post("/token", data=FORM)

    assert_error(answer, 429, 8, "OVERLOADED")
    assert answer.headers["retry-after"] == "7"


async def test_what_is_meant_for_rest_does_not_reach_grpc(
    before_standin: LoneEdge, rest: httpx.AsyncClient, standin: StandIn, issuer: Issuer
) -> None:
    standin.answers["Token"] = refuses(grpc.StatusCode.UNAUTHENTICATED, "No.", x_oauth_error="invalid_grant")
    standin.answers["GetMe"] = says(USER, x_http_code="204")
    async with grpc.aio.insecure_channel(before_standin.target) as channel:
        users = UsersServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.Token(TokenRequest())
        call = users.GetMe(GetMeRequest(), metadata=(("authorization", f"Bearer {issuer.issue('7')}"),))
        assert (await call).id == "7"
        assert_nothing_hidden(name for name, _ in await call.initial_metadata())
    web = await rest.post(
        "/gozon.users.v1.UsersService/Token", content=b"\0" * 5, headers={"content-type": "application/grpc-web+proto"}
    )

    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert_nothing_hidden(dict(caught.value.initial_metadata() or ()) | dict(caught.value.trailing_metadata() or ()))
    assert_nothing_hidden(web.headers)
    assert b"x-oauth" not in web.content
