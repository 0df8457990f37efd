"""Access tokens: signed here with a private key, verified everywhere with its public half."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import jwt
import structlog

from kit import keys
from kit.auth import ALGORITHM, AUDIENCE, ISSUER
from kit.ids import new_id

log = structlog.get_logger()


class TokenIssuer:
    """Signs tokens that are valid for `lifetime` seconds, with the keys of a folder (see kit/keys.py)."""

    def __init__(self, folder: Path, lifetime: int) -> None:
        """Errors: SystemExit when there is no key in the folder, or a bad one."""
        self.lifetime = lifetime
        self._folder = folder
        try:
            self._read_at = folder.stat().st_mtime_ns
            self._ring = keys.load(folder)
        except (OSError, keys.BadKey) as error:
            raise SystemExit(f"GOZON_SIGNING_KEYS: {error}") from None

    def issue(self, user_id: str, roles: Sequence[str]) -> str:
        """Returns a new token for a user."""
        key = self._keys().signing(datetime.now(UTC))
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
        return jwt.encode(claims, key.private, ALGORITHM, headers={"kid": key.jwk["kid"]})

    def jwks(self) -> list[dict[str, str]]:
        """Returns the public keys that a valid token may be signed with, now or soon."""
        return [key.jwk for key in self._keys().published(datetime.now(UTC), self.lifetime)]

    def _keys(self) -> keys.KeyRing:
        """The keys, read again when the folder has changed: a rotation needs no restart."""
        try:
            changed_at = self._folder.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._ring = keys.load(self._folder)
                self._read_at = changed_at
                log.info("keys_read", kids=[key.jwk["kid"] for key in self._ring.keys])
        except (OSError, keys.BadKey) as error:
            # What was read before goes on working.
            log.error("keys_unreadable", error=str(error))
        return self._ring
