"""services.users.api: the form of POST /token, as RFC 6749 wants it."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.api.httpbody_pb2 import HttpBody

from gozon.users.v1.users_pb2 import GetJwksRequest, GetMeRequest, RegisterRequest, TokenRequest
from kit.auth import TokenVerifier
from kit.db import Database
from kit.errors import Error
from kit.rpc import Call
from services.users.api import UsersApi
from services.users.service import UserService
from tests.users.test_tokens import issuer_of, key_file

CALL = Call(None, {}, "")
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def api(users_db: Database, tmp_path: Path) -> UsersApi:
    key = ec.generate_private_key(ec.SECP256R1())
    return UsersApi(UserService(users_db), issuer_of(key_file(tmp_path, key)))


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


BAD = {
    "an unknown user": (b"grant_type=password&username=a&password=b", FORM, "INVALID_CREDENTIALS"),
    "another grant": (b"grant_type=implicit&username=a&password=b", FORM, "UNSUPPORTED_GRANT_TYPE"),
    "no grant": (b"username=a&password=b", FORM, "UNSUPPORTED_GRANT_TYPE"),
    "nothing": (b"", FORM, "UNSUPPORTED_GRANT_TYPE"),
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
