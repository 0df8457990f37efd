"""Who calls: access tokens (JWT, ES256), verified by every service itself, once per token and not once per call."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import structlog
from jwt import PyJWK

from kit.errors import InvalidToken, Unauthenticated, Unavailable

ALGORITHM = "ES256"
ISSUER = "gozon"
AUDIENCE = "gozon"
"""Of every token; edge/envoy.yaml demands the same."""
ACCESS_TOKEN_SECONDS = 900
"""How long an access token is valid, unless Users is told otherwise."""
REFRESH_SECONDS = 10.0
"""So often the keys are fetched: a removed key ends the tokens that were signed with it after so long at most."""
UNKNOWN_KEY_SECONDS = 1.0
"""A token with an unknown key id makes the keys be fetched anew, at most this often."""
LEEWAY_SECONDS = 5
"""How far the clocks of Users and of this machine may differ."""
CACHED_TOKENS = 20_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever a valid token was issued to."""

    user_id: str
    roles: frozenset[str]
    expires_at: float
    """Unix time, in seconds."""

    @property
    def is_admin(self) -> bool:
        """Whether the user may do everything to everybody's things."""
        return "admin" in self.roles

    @property
    def is_worker(self) -> bool:
        """Whether this is a background worker of ours, which is nobody's user."""
        return "worker" in self.roles

    def may_act_for(self, user_id: str) -> bool:
        """Whether the caller is that user, or an admin."""
        return user_id == self.user_id or self.is_admin


class TokenVerifier:
    """Verifies access tokens with the keys that `fetch_keys` returns (JWKs as dicts)."""

    def __init__(self, fetch_keys: Callable[[], Awaitable[Sequence[dict[str, str]]]]) -> None:
        self._fetch_keys = fetch_keys
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = float("-inf")
        self._failed_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._identities: dict[str, Identity] = {}

    async def verify(self, authorization: str) -> Identity:
        """Returns the identity behind an `authorization` header.

        Errors: Unauthenticated without a header; InvalidToken for anything but a valid token; Unavailable while the
        keys can't be fetched.
        """
        if not authorization:
            raise Unauthenticated
        now = time.time()
        identity = self._identities.get(authorization)
        if identity is None:
            identity = await self._verify(authorization)
            if len(self._identities) >= CACHED_TOKENS:
                self._identities.clear()
            self._identities[authorization] = identity
        if identity.expires_at <= now:
            self._identities.pop(authorization, None)
            raise InvalidToken
        return identity

    async def refresh_now_and_then(self) -> None:
        """Fetches the keys every REFRESH_SECONDS, for ever."""
        while True:
            try:
                await self._refresh(REFRESH_SECONDS / 2)
            except Unavailable:
                await asyncio.sleep(1)
            else:
                await asyncio.sleep(REFRESH_SECONDS)

    async def _verify(self, authorization: str) -> Identity:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidToken
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
            if key_id not in self._keys:
                await self._refresh(UNKNOWN_KEY_SECONDS)
            claims: dict[str, Any] = jwt.decode(
                token,
                self._keys[key_id],
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]},
            )
            return Identity(claims["sub"], frozenset(claims.get("roles", ())), float(claims["exp"]))
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise InvalidToken from error

    async def _refresh(self, at_most_every: float) -> None:
        async with self._fetching:
            if time.monotonic() - self._fetched_at < at_most_every:
                return
            if time.monotonic() - self._failed_at < UNKNOWN_KEY_SECONDS:
                # Those who waited for the same failure need not each wait for one of their own.
                raise Unavailable
            try:
                keys = {key["kid"]: PyJWK(key) for key in await self._fetch_keys()}
            except Exception as error:
                self._failed_at = time.monotonic()
                log.warning("keys_unavailable", error=type(error).__name__)
                raise Unavailable from error
            if keys.keys() != self._keys.keys():
                self._identities.clear()
            self._keys = keys
            self._fetched_at = time.monotonic()
