"""services.users.tokens: what a token says, and what a key file must be."""

import base64
import hashlib
import json
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kit.ids import new_id
from services.users.tokens import TokenIssuer

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def key_file(folder: Path, key: Key) -> Path:
    file = folder / f"{new_id()}.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def issuer_of(file: Path) -> TokenIssuer:
    return TokenIssuer(file, 900)


def test_a_token_says_who_for_whom_and_how_long(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = issuer_of(key_file(tmp_path, key))
    user_id = new_id()
    token, another = issuer.issue(user_id, ["user"]), issuer.issue(user_id, ["user"])
    claims = jwt.decode(token, key.public_key(), ["ES256"], audience="gozon", issuer="gozon")
    assert claims.keys() == {"iss", "aud", "sub", "iat", "exp", "jti", "roles"}
    assert (claims["sub"], claims["roles"], claims["exp"] - claims["iat"]) == (user_id, ["user"], 900)
    assert claims["iat"] <= time.time()
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "JWT", "kid": issuer.jwk["kid"]}
    assert token != another


def test_the_published_key_is_the_public_half_and_its_id_is_its_thumbprint(tmp_path: Path) -> None:
    for _ in range(20):
        # Some keys have coordinates that begin with a zero byte.
        issuer = issuer_of(key_file(tmp_path, ec.generate_private_key(ec.SECP256R1())))
        jwk = issuer.jwk
        assert jwk.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        assert len(jwk["x"]) == len(jwk["y"]) == 43
        assert jwt.decode(issuer.issue("ann", []), jwt.PyJWK(jwk), ["ES256"], audience="gozon")["sub"] == "ann"
        members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        thumbprint = base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).decode().rstrip("=")
        assert jwk["kid"] == thumbprint


def test_a_key_file_that_is_none_ends_the_process(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    other_curve = key_file(tmp_path, ec.generate_private_key(ec.SECP384R1()))
    other_kind = key_file(tmp_path, rsa.generate_private_key(65537, 2048))
    for file in (tmp_path / "missing.pem", tmp_path, nonsense, other_curve, other_kind):
        with pytest.raises(SystemExit, match="GOZON_SIGNING_KEY_FILE: "):
            issuer_of(file)
