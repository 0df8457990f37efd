"""kit.keys: which key signs when, and which are published."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kit import keys
from kit.keys import BadKey, KeyRing

T = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
TOKEN_SECONDS = 900


def ring(folder: Path, *starts: int) -> KeyRing:
    """Returns a ring of keys that sign from so many seconds after T."""
    for start in starts:
        keys.add(folder, T + timedelta(seconds=start))
    return keys.load(folder)


def at(seconds: float) -> datetime:
    return T + timedelta(seconds=seconds)


def test_a_key_signs_until_the_next_ones_time_has_come(tmp_path: Path) -> None:
    three = ring(tmp_path, 200, 0, 100)
    first, second, third = three.keys
    signing = [three.signing(at(seconds)) for seconds in (-1, 0, 99.9, 100, 199, 200, 10**6)]
    assert signing == [first, first, first, second, second, third, third]


def test_a_key_is_published_from_the_first_moment_to_the_end_of_its_last_token(tmp_path: Path) -> None:
    three = ring(tmp_path, 0, 100, 10_000)
    first, second, third = three.keys
    assert three.published(at(-50), TOKEN_SECONDS) == (first, second, third)
    assert three.published(at(100 + TOKEN_SECONDS), TOKEN_SECONDS) == (first, second, third)
    assert three.published(at(100 + TOKEN_SECONDS + 10), TOKEN_SECONDS) == (second, third)
    assert three.published(at(10_000 + TOKEN_SECONDS + 10), TOKEN_SECONDS) == (third,)


def test_a_new_key_is_closed_to_others_and_named_by_its_time(tmp_path: Path) -> None:
    key = keys.add(tmp_path, T)
    assert [file.name for file in tmp_path.iterdir()] == ["20261121T083000Z.pem"]
    assert key.file.stat().st_mode & 0o777 == 0o600
    assert keys.load(tmp_path).keys[0].jwk == key.jwk


def test_the_public_half_verifies_and_its_id_is_its_thumbprint(tmp_path: Path) -> None:
    # Some of so many have coordinates that begin with a zero byte.
    for key in ring(tmp_path, *range(20)).keys:
        assert key.jwk.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        assert len(key.jwk["x"]) == len(key.jwk["y"]) == 43
        token = jwt.encode({"sub": "ann"}, key.private, "ES256")
        assert jwt.decode(token, jwt.PyJWK(key.jwk), ["ES256"])["sub"] == "ann"
        members = json.dumps({name: key.jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        digest = hashlib.sha256(members.encode()).digest()
        assert key.jwk["kid"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("hello")
    (tmp_path / ".new-key.x").write_text("half a key")
    key = keys.add(tmp_path, T)
    assert [each.jwk for each in keys.load(tmp_path).keys] == [key.jwk]


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


BAD = {
    "nonsense": b"nonsense",
    "empty": b"",
    "another curve": pem(ec.generate_private_key(ec.SECP384R1())),
    "another kind": pem(rsa.generate_private_key(65537, 2048)),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_file_that_is_no_key_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "20261121T083000Z.pem").write_bytes(content)
    with pytest.raises(BadKey, match=r"20261121T083000Z\.pem"):
        keys.load(tmp_path)


def test_no_time_no_key_and_no_folder_are_bad(tmp_path: Path) -> None:
    with pytest.raises(BadKey, match="no key"):
        keys.load(tmp_path)
    with pytest.raises(BadKey, match="missing"):
        keys.load(tmp_path / "missing")
    (tmp_path / "20261399T083000Z.pem").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(BadKey, match="no time"):
        keys.load(tmp_path)
