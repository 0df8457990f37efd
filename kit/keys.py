"""The keys that sign access tokens: a folder of private keys, each named by the moment from which it signs.

`20261121T083000Z.pem` signs from 08:30 UTC on 21 November 2026 until the next one does. Everything follows from the
clock, on any number of instances, with nobody to coordinate them: a key is published as soon as it is there, signs
from its time on, and stays published until the last token signed with it has expired. So to rotate is to add a file
whose time lies far enough ahead for all verifiers to have fetched it: see PUBLISH_SECONDS.
"""

import base64
import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from kit.auth import ALGORITHM, LEEWAY_SECONDS

PUBLISH_SECONDS = 15
"""How long before its first signature a key is published: longer than edge/envoy.yaml caches keys, which is 10 s."""
NAME = "%Y%m%dT%H%M%SZ.pem"
_NAME = re.compile(r"\d{8}T\d{6}Z\.pem")
_COORDINATE_BYTES = 32


class BadKey(Exception):
    """A file is no signing key; the message says which and why, and nothing of what is in it."""


@dataclass(frozen=True)
class SigningKey:
    """An EC private key on the curve P-256."""

    file: Path
    signs_from: datetime
    private: ec.EllipticCurvePrivateKey
    jwk: dict[str, str]
    """The public half (RFC 7517), with the key id `kid`."""


@dataclass(frozen=True)
class KeyRing:
    """The keys of a folder, oldest first."""

    keys: tuple[SigningKey, ...]

    def signing(self, now: datetime) -> SigningKey:
        """Returns the key that signs now: the latest whose time has come."""
        return next((key for key in reversed(self.keys) if key.signs_from <= now), self.keys[0])

    def published(self, now: datetime, token_seconds: int) -> tuple[SigningKey, ...]:
        """Returns the keys that verifiers must know: those to come, the one that signs, and those of valid tokens.

        `token_seconds` is how long a token lives.
        """
        # Some instance's clock may be late, and a verifier gives tokens some leeway.
        since = now - timedelta(seconds=token_seconds + 2 * LEEWAY_SECONDS)
        return self.keys[self.keys.index(self.signing(since)) :]


def load(folder: Path) -> KeyRing:
    """Reads the keys of a folder; other files there are left alone. Errors: BadKey, when there is none too."""
    try:
        files = sorted(file for file in folder.iterdir() if _NAME.fullmatch(file.name))
    except OSError as error:
        raise BadKey(f"{folder}: {error.strerror}") from None
    if not files:
        raise BadKey(f"{folder}: no key: there must be a file named like 20261121T083000Z.pem")
    return KeyRing(tuple(map(_load, files)))


def add(folder: Path, signs_from: datetime) -> SigningKey:
    """Makes a new key that signs from then on (whole seconds), in a file that only its owner may read."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Whole or not at all: services read the folder at any moment.
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".new-key.")  # mkstemp makes it 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    final = folder / signs_from.astimezone(UTC).strftime(NAME)
    Path(temporary).rename(final)
    return _load(final)


def _load(file: Path) -> SigningKey:
    try:
        signs_from = datetime.strptime(file.name, NAME).replace(tzinfo=UTC)
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise BadKey(f"{file}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise BadKey(f"{file}: not a private key as PEM without a password, or no time in its name") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadKey(f"{file}: not an EC private key on the curve P-256")
    return SigningKey(file, signs_from, key, _public_jwk(key))


def _public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    thumbprinted = {"crv": "P-256", "kty": "EC", "x": _base64url(numbers.x), "y": _base64url(numbers.y)}
    # RFC 7638: the members in lexical order, without white space.
    digest = hashlib.sha256(json.dumps(thumbprinted, separators=(",", ":"), sort_keys=True).encode()).digest()
    kid = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return {**thumbprinted, "kid": kid, "use": "sig", "alg": ALGORITHM}


def _base64url(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(_COORDINATE_BYTES, "big")).rstrip(b"=").decode()
