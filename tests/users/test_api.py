"""services.users.api: the form of POST /token, as RFC 6749 wants it."""

from pathlib import Path

import pytest
from google.api.httpbody_pb2 import HttpBody

from gozon.users.v1.users_pb2 import (
    ChangePasswordRequest,
    GetJwksRequest,
    GetMeRequest,
    RegisterRequest,
    RevokeTokenRequest,
    TokenRequest,
    UpdateMeRequest,
)
from kit.auth import Identity, TokenVerifier
from kit.db import Database
from kit.errors import Error, InvalidArgument, InvalidToken, StaleEtag
from kit.rpc import Call
from services.users.api import UsersApi
from services.users.domain import InvalidClient, InvalidRefreshToken
from services.users.service import UserService
from tests.users.test_tokens import issuer_of

CALL = Call(None, {}, "")
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def api(users_db: Database, tmp_path: Path) -> UsersApi:
    return UsersApi(UserService(users_db), issuer_of(tmp_path), "s" * 32)


def form(data: bytes, content_type: str = FORM) -> TokenRequest:
    return TokenRequest(form=HttpBody(content_type=content_type, data=data))


async def test_a_token_of_the_form_and_of_the_fields_opens_the_same_doors(api: UsersApi) -> None:
    user = await api.register(RegisterRequest(email="ann+tea@example.com", password="пароль & тайна"), CALL)

    async def keys() -> list[dict[str, str]]:
        jwks = await api.get_jwks(GetJwksRequest(), CALL)
        return [{field.name: value for field, value in key.ListFields()} for key in jwks.keys]

    verifier = TokenVerifier(keys)
    password = "%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C+%26+%D1%82%D0%B0%D0%B9%D0%BD%D0%B0"
    sent = f"grant_type=password&username=Ann%2Btea%40example.com&password={password}&scope=".encode()
    fields = TokenRequest(grant_type="password", username="ann+tea@example.com", password="пароль & тайна")
    for request in (form(sent), form(sent, f"{FORM}; charset=UTF-8"), fields):
        issued = await api.token(request, CALL)
        assert (issued.token_type, issued.expires_in) == ("Bearer", 900)
        identity = await verifier.verify(f"Bearer {issued.access_token}")
        assert identity.user_id == user.id
        assert await api.get_me(GetMeRequest(), Call(identity, {}, "")) == user


async def test_a_worker_gets_a_token_that_makes_it_a_worker_and_nothing_else(api: UsersApi) -> None:
    async def keys() -> list[dict[str, str]]:
        jwks = await api.get_jwks(GetJwksRequest(), CALL)
        return [{field.name: value for field, value in key.ListFields()} for key in jwks.keys]

    issued = await api.token(form(CLIENT + b"worker&client_secret=" + b"s" * 32), CALL)
    assert (issued.token_type, issued.expires_in, issued.refresh_token) == ("Bearer", 900, "")
    identity = await TokenVerifier(keys).verify(f"Bearer {issued.access_token}")
    assert (identity.is_worker, identity.is_admin) == (True, False)
    with pytest.raises(InvalidToken):
        await api.get_me(GetMeRequest(), Call(identity, {}, ""))


async def test_where_no_secret_is_set_there_is_no_worker(users_db: Database, tmp_path: Path) -> None:
    api = UsersApi(UserService(users_db), issuer_of(tmp_path))
    request = TokenRequest(grant_type="client_credentials", client_id="worker", client_secret="x")
    with pytest.raises(InvalidClient):
        await api.token(request, CALL)


CLIENT = b"grant_type=client_credentials&client_id="
BAD = {
    "an unknown user": (b"grant_type=password&username=a&password=b", FORM, "INVALID_CREDENTIALS"),
    "an unknown refresh token": (b"grant_type=refresh_token&refresh_token=x", FORM, "INVALID_REFRESH_TOKEN"),
    "a client with a wrong secret": (CLIENT + b"worker&client_secret=x", FORM, "INVALID_CLIENT"),
    "an unknown client": (CLIENT + b"admin&client_secret=" + b"s" * 32, FORM, "INVALID_CLIENT"),
    "no secret": (CLIENT + b"worker&client_secret=", FORM, "INVALID_REQUEST"),
    "another grant": (b"grant_type=implicit&username=a&password=b", FORM, "UNSUPPORTED_GRANT_TYPE"),
    "no grant": (b"username=a&password=b", FORM, "INVALID_REQUEST"),
    "no password": (b"grant_type=password&username=a", FORM, "INVALID_REQUEST"),
    "no refresh token": (b"grant_type=refresh_token", FORM, "INVALID_REQUEST"),
    "a password that is too long": (b"grant_type=password&username=a&password=" + b"x" * 129, FORM, "INVALID_REQUEST"),
    "a form that is too long": (b"grant_type=password&x=" + b"x" * 4096, FORM, "INVALID_REQUEST"),
    "nothing": (b"", FORM, "INVALID_REQUEST"),
    "no form": (b"nonsense", FORM, "INVALID_REQUEST"),
    "a parameter twice": (b"grant_type=password&username=a&username=b&password=c", FORM, "INVALID_REQUEST"),
    "another content type": (b"{}", "application/json", "INVALID_REQUEST"),
    "no content type": (b"grant_type=password", "", "INVALID_REQUEST"),
    "NUL": (b"grant_type=password&username=a%00b&password=c", FORM, "INVALID_REQUEST"),
    "no UTF-8": (b"grant_type=password&username=%FF&password=c", FORM, "INVALID_REQUEST"),
    "raw bytes": (b"grant_type=password&username=\xff&password=c", FORM, "INVALID_REQUEST"),
}


@pytest.mark.parametrize(("data", "content_type", "reason"), BAD.values(), ids=BAD.keys())
async def test_a_form_that_is_bad_is_refused(data: bytes, content_type: str, reason: str, api: UsersApi) -> None:
    with pytest.raises(Error) as caught:
        await api.token(form(data, content_type), CALL)
    assert caught.value.reason == reason
    oauth = {
        "INVALID_REQUEST": "invalid_request",
        "UNSUPPORTED_GRANT_TYPE": "unsupported_grant_type",
        "INVALID_CLIENT": "invalid_client",
    }
    assert caught.value.headers["x-oauth-error"] == oauth.get(reason, "invalid_grant")


async def test_a_refresh_token_works_as_form_and_as_field_and_ends_by_revocation(api: UsersApi) -> None:
    await api.register(RegisterRequest(email="ann@example.com", password="correct horse"), CALL)
    first = await api.token(form(b"grant_type=password&username=ann@example.com&password=correct+horse"), CALL)
    second = await api.token(form(f"grant_type=refresh_token&refresh_token={first.refresh_token}".encode()), CALL)
    third = await api.token(TokenRequest(grant_type="refresh_token", refresh_token=second.refresh_token), CALL)
    revocation = HttpBody(content_type=FORM, data=f"token={third.refresh_token}&token_type_hint=refresh_token".encode())
    await api.revoke_token(RevokeTokenRequest(form=revocation), CALL)
    with pytest.raises(InvalidRefreshToken):
        await api.token(TokenRequest(grant_type="refresh_token", refresh_token=third.refresh_token), CALL)
    with pytest.raises(InvalidArgument):
        await api.revoke_token(RevokeTokenRequest(), CALL)


async def test_an_etag_guards_against_lost_updates(api: UsersApi) -> None:
    user = await api.register(RegisterRequest(email="ann@example.com", password="correct horse"), CALL)

    def call(if_match: str = "") -> Call:
        metadata = {"x-envoy-original-path": "/users/me"} | ({"if-match": if_match} if if_match else {})
        return Call(Identity(user.id, frozenset(), 0), metadata, "")

    own = call()
    read = await api.get_me(GetMeRequest(), own)
    etag = own.response_headers["etag"]
    assert etag == f'"{read.etag}"'
    renamed = await api.update_me(UpdateMeRequest(username="Ann"), call(etag))
    assert (renamed.username, renamed.etag != read.etag) == ("Ann", True)
    for stale in (UpdateMeRequest(username="Bea", etag=read.etag), UpdateMeRequest(etag=read.etag)):
        with pytest.raises(StaleEtag):
            await api.update_me(stale, call())
    for nonsense in (etag, f"W/{etag}", "nonsense", '"9999999999999999999999"', '"-1"', '"²"'):
        with pytest.raises(StaleEtag):
            await api.update_me(UpdateMeRequest(username="Bea"), call(nonsense))
    assert (await api.update_me(UpdateMeRequest(), call(f'W/"{renamed.etag}"'))) == renamed
    assert (await api.update_me(UpdateMeRequest(username=""), call("*"))).username == ""


async def test_a_changed_password_is_no_content(api: UsersApi) -> None:
    user = await api.register(RegisterRequest(email="ann@example.com", password="correct horse"), CALL)
    own = Call(Identity(user.id, frozenset(), 0), {"x-envoy-original-path": "/users/me/password"}, "")
    request = ChangePasswordRequest(current_password="correct horse", new_password="battery staple")
    await api.change_password(request, own)
    assert own.response_headers == {"x-http-code": "204"}
