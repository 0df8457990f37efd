"""Access tokens that nobody should believe."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

STRANGER = ec.generate_private_key(ec.SECP256R1())
STRANGER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HOUR = 3600


@dataclass(frozen=True)
class Forger:
    """Makes the tokens of FORGED, all in the name of one user, who is said to be an administrator."""

    key: ec.EllipticCurvePrivateKey
    jwk: dict[str, str]
    user_id: str
    refresh_token: str

    def claims(self, **changes: object) -> dict[str, Any]:
        """What a good token says, with changes; None leaves a claim out."""
        now = int(time.time())
        good = {"iss": "gozon", "aud": "gozon", "sub": self.user_id, "iat": now, "exp": now + HOUR,
                "jti": uuid.uuid4().hex, "roles": ["user", "admin"]}  # fmt: skip
        return {name: value for name, value in (good | changes).items() if value is not None}

    def header(self, **changes: object) -> dict[str, Any]:
        """What the header of a good token says, with changes; None leaves a member out."""
        good = {"alg": "ES256", "typ": "JWT", "kid": self.jwk["kid"]}
        return {name: value for name, value in (good | changes).items() if value is not None}

    def signed(self, header: object, claims: object, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        """A token with an ES256 signature, whatever its header says."""
        signing_input = f"{part(header)}.{part(claims)}"
        signature = jwt.get_algorithm_by_name("ES256").sign(signing_input.encode(), key or self.key)
        return f"{signing_input}.{_base64url(signature)}"

    def hs256(self, secret: bytes) -> str:
        """A token with an HMAC, as if the public key were a secret."""
        signing_input = f"{part(self.header(alg='HS256'))}.{part(self.claims())}"
        return f"{signing_input}.{_base64url(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"

    def with_signature(self, signature: bytes, **header: object) -> str:
        """A token with just these bytes as signature."""
        return f"{part(self.header(**header))}.{part(self.claims())}.{_base64url(signature)}"

    def public(self, encoding: Encoding) -> bytes:
        """The public key."""
        return self.key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def part(value: object) -> str:
    """A part of a token."""
    return _base64url(json.dumps(value).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _stranger_jwk() -> dict[str, str]:
    return json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(STRANGER.public_key()))  # type: ignore[no-any-return]


def _stranger(**header: object) -> Callable[[Forger], str]:
    """Signed by a stranger, with a header that says where to find the stranger's key."""
    return lambda f: f.signed(f.header(**header), f.claims(), STRANGER)


def _now(seconds: int) -> int:
    return int(time.time()) + seconds


DEEP = b'{"kid":' + b"[" * 8000 + b"]" * 8000 + b"}"
URL = "http://127.0.0.1:9/jwks.json"
FORGED: dict[str, Callable[[Forger], str]] = {
    # The algorithm.
    "alg none": lambda f: f"{part(f.header(alg='none'))}.{part(f.claims())}.",
    "alg nOnE": lambda f: f"{part(f.header(alg='nOnE'))}.{part(f.claims())}.",
    "alg none, signed": lambda f: f.signed(f.header(alg="none"), f.claims()),
    "no alg": lambda f: f.signed(f.header(alg=None), f.claims()),
    "alg a list": lambda f: f.signed(f.header(alg=["ES256"]), f.claims()),
    "no signature": lambda f: f"{part(f.header())}.{part(f.claims())}.",
    "two parts": lambda f: f"{part(f.header())}.{part(f.claims())}",
    "a signature of zeros": lambda f: f.with_signature(bytes(64)),
    "a signature in DER": lambda f: f.with_signature(f.key.sign(b"x", ec.ECDSA(hashes.SHA256()))),
    "the signature of another token": lambda f: (
        f"{part(f.header())}.{part(f.claims())}.{f.signed(f.header(), f.claims()).rpartition('.')[2]}"
    ),
    "HS256 with the public key as PEM": lambda f: f.hs256(f.public(Encoding.PEM)),
    "HS256 with the public key as DER": lambda f: f.hs256(f.public(Encoding.DER)),
    "HS256 with the public key as JWK": lambda f: f.hs256(json.dumps(f.jwk).encode()),
    "HS256 with x of the public key": lambda f: f.hs256(f.jwk["x"].encode()),
    "HS256 with nothing": lambda f: f.hs256(b""),
    "RS256": lambda f: jwt.encode(f.claims(), STRANGER_RSA, "RS256", headers={"kid": f.jwk["kid"]}),
    "ES384 in the header": lambda f: f.signed(f.header(alg="ES384"), f.claims()),
    "a stranger under our kid": _stranger(),
    # The key id, and other places that a key may be said to be at.
    "no kid": lambda f: f.signed(f.header(kid=None), f.claims()),
    "an unknown kid": _stranger(kid="unknown"),
    "a kid of 10,000 characters": _stranger(kid="k" * 10_000),
    "a kid that is a number": _stranger(kid=7),
    "a kid that is a list": _stranger(kid=["k"]),
    "a kid that is an object": _stranger(kid={"kid": "k"}),
    "a kid that is a path": _stranger(kid="../../../../../../dev/null"),
    "a kid that is a file": _stranger(kid="/proc/sys/kernel/random/boot_id"),
    "a kid that is SQL": _stranger(kid="x' UNION SELECT 'k' --"),
    "a kid that is a command": _stranger(kid="x|touch /tmp/pwned"),
    "a kid that is a URL": _stranger(kid=URL),
    "a kid with NUL": _stranger(kid="k\0"),
    "jku": _stranger(jku=URL),
    "x5u": _stranger(x5u=URL),
    "jwk": lambda f: f.signed(f.header(jwk=_stranger_jwk()), f.claims(), STRANGER),
    "jwk with our kid": lambda f: f.signed(f.header(jwk=_stranger_jwk() | {"kid": f.jwk["kid"]}), f.claims(), STRANGER),
    "x5c": _stranger(x5c=["MIIB"]),
    # The claims, with the real signature.
    "expired": lambda f: f.signed(f.header(), f.claims(iat=_now(-HOUR), exp=_now(-60))),
    "no exp": lambda f: f.signed(f.header(), f.claims(exp=None)),
    "exp a text": lambda f: f.signed(f.header(), f.claims(exp="never")),
    "exp negative": lambda f: f.signed(f.header(), f.claims(exp=-1)),
    "exp infinite": lambda f: f.signed(f.header(), f.claims(exp=float("inf"))),
    "exp beyond all numbers": lambda f: f.signed(f.header(), f.claims(exp=10**400)),
    "not valid yet": lambda f: f.signed(f.header(), f.claims(nbf=_now(HOUR))),
    "issued in the future": lambda f: f.signed(f.header(), f.claims(iat=_now(HOUR), exp=_now(2 * HOUR))),
    "no iat": lambda f: f.signed(f.header(), f.claims(iat=None)),
    "another issuer": lambda f: f.signed(f.header(), f.claims(iss="gozon.example")),
    "no issuer": lambda f: f.signed(f.header(), f.claims(iss=None)),
    "another audience": lambda f: f.signed(f.header(), f.claims(aud="gozon-refresh")),
    "no audience": lambda f: f.signed(f.header(), f.claims(aud=None)),
    "no subject": lambda f: f.signed(f.header(), f.claims(sub=None)),
    "no id": lambda f: f.signed(f.header(), f.claims(jti=None)),
    "claims that are a list": lambda f: f.signed(f.header(), [f.claims()]),
    "a header that is a list": lambda f: f.signed([f.header()], f.claims()),
    # No access token at all.
    "a refresh token": lambda f: f.refresh_token,
    "nothing": lambda _: "",
    "dots": lambda _: "..",
    "many dots": lambda _: "." * 3000,
    "no base64": lambda _: "{}.{}.{}",
    "7,000 characters": lambda _: "A" * 7000,
    "7,000 characters in parts": lambda _: f"{'A' * 3500}.{'A' * 3500}.A",
    "a deep header": lambda f: f"{_base64url(DEEP)}.{part(f.claims())}.{_base64url(bytes(64))}",
    "deep claims": lambda f: f"{part(f.header())}.{_base64url(DEEP)}.{_base64url(bytes(64))}",
    "a number beyond all in the header": lambda f: f.with_signature(bytes(64), x=10**4000),
}
"""What one tries, by name."""
