"""services.users.tokens: what a token says, and that a new key needs no restart."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from kit import keys
from kit.ids import new_id
from services.users.tokens import TokenIssuer


def issuer_of(folder: Path) -> TokenIssuer:
    """Returns an issuer with a key of its own in `folder`."""
    keys.add(folder, datetime.now(UTC) - timedelta(hours=1))
    return TokenIssuer(folder, 900)


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def test_a_token_says_who_for_whom_and_how_long(tmp_path: Path) -> None:
    issuer = issuer_of(tmp_path)
    [jwk] = issuer.jwks()
    user_id = new_id()
    token, another = issuer.issue(user_id, ["user"]), issuer.issue(user_id, ["user"])
    claims = jwt.decode(token, jwt.PyJWK(jwk), ["ES256"], audience="gozon", issuer="gozon")
    assert claims.keys() == {"iss", "aud", "sub", "iat", "exp", "jti", "roles"}
    assert (claims["sub"], claims["roles"], claims["exp"] - claims["iat"]) == (user_id, ["user"], 900)
    assert claims["iat"] <= time.time()
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "JWT", "kid": jwk["kid"]}
    assert token != another


def test_a_new_key_is_published_before_it_signs_and_the_old_one_after(tmp_path: Path) -> None:
    issuer = issuer_of(tmp_path)
    [old] = issuer.jwks()
    coming = keys.add(tmp_path, datetime.now(UTC) + timedelta(hours=1))
    assert issuer.jwks() == [old, coming.jwk]
    assert kid_of(issuer.issue("ann", [])) == old["kid"]
    signing = keys.add(tmp_path, datetime.now(UTC) - timedelta(seconds=1))
    assert kid_of(issuer.issue("ann", [])) == signing.jwk["kid"]
    assert issuer.jwks() == [old, signing.jwk, coming.jwk]


def test_a_removed_key_is_not_published_any_more(tmp_path: Path) -> None:
    issuer = issuer_of(tmp_path)
    [old] = keys.load(tmp_path).keys
    new = keys.add(tmp_path, datetime.now(UTC) - timedelta(seconds=1))
    old.file.unlink()
    assert issuer.jwks() == [new.jwk]


def test_what_was_read_goes_on_working_when_the_folder_breaks(tmp_path: Path) -> None:
    issuer = issuer_of(tmp_path)
    before = issuer.jwks()
    (tmp_path / "20260101T000000Z.pem").write_text("nonsense")
    assert issuer.jwks() == before
    (tmp_path / "20260101T000000Z.pem").unlink()
    new = keys.add(tmp_path, datetime.now(UTC))
    assert issuer.jwks() == [*before, new.jwk]


def test_without_a_key_the_process_ends_with_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SystemExit, match="GOZON_SIGNING_KEYS: "):
            TokenIssuer(folder, 900)
