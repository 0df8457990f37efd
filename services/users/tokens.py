"""Access tokens: signed here with the private key, verified everywhere with the public one."""

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kit.auth import ALGORITHM, AUDIENCE, ISSUER
from kit.ids import new_id

COORDINATE_BYTES = 32


class TokenIssuer:
    """Signs tokens that are valid for `lifetime` seconds."""

    def __init__(self, key_file: Path, lifetime: int) -> None:
        """`key_file` holds an EC private key on P-256 as PEM. Errors: SystemExit when it doesn't."""
        try:
            key = load_pem_private_key(key_file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise SystemExit(f"GOZON_SIGNING_KEY_FILE: {key_file}: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SystemExit(f"GOZON_SIGNING_KEY_FILE: {key_file}: not an EC private key on the curve P-256")
        self._key = key
        self.lifetime = lifetime
        self.jwk = _public_jwk(key)

    def issue(self, user_id: str, roles: Sequence[str]) -> str:
        """Returns a new token for a user."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "iat": now,
            "exp": now + self.lifetime,
            "jti": new_id(),
            "roles": list(roles),
        }
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self.jwk["kid"]})


def _public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    thumbprinted = {"crv": "P-256", "kty": "EC", "x": _base64url(numbers.x), "y": _base64url(numbers.y)}
    # RFC 7638: the members in lexical order, without white space.
    digest = hashlib.sha256(json.dumps(thumbprinted, separators=(",", ":"), sort_keys=True).encode()).digest()
    kid = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return {**thumbprinted, "kid": kid, "use": "sig", "alg": ALGORITHM}


def _base64url(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(COORDINATE_BYTES, "big")).rstrip(b"=").decode()
