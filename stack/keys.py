"""The signing keys of a stack: what there is, and putting a new one in place of the old."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kit import keys
from kit.auth import ACCESS_TOKEN_SECONDS
from stack.home import Home, HomeError


@dataclass(frozen=True)
class Key:
    """A key as it is shown: nothing secret."""

    kid: str
    signs_from: datetime
    # "next", "signs", "verifies" (old, but tokens of it are valid), or "retired".
    state: str


def list_keys(home: Home) -> list[Key]:
    """Returns the keys, oldest first. Raises HomeError when there is none."""
    ring, now = _load(home), datetime.now(UTC)
    signing, published = ring.signing(now), ring.published(now, ACCESS_TOKEN_SECONDS)

    def state(key: keys.SigningKey) -> str:
        if key == signing:
            return "signs"
        if key not in published:
            return "retired"
        return "next" if key.signs_from > now else "verifies"

    return [Key(key.jwk["kid"], key.signs_from, state(key)) for key in ring.keys]


def rotate(home: Home, *, at_once: bool, after: int = keys.PUBLISH_SECONDS) -> tuple[Key, list[str]]:
    """Adds a key that signs in `after` seconds and removes those that are retired; at once: now, and all others.

    Returns the new key and the ids of the removed ones. Raises HomeError when one is on its way already.
    """
    ring, now = _load(home), datetime.now(UTC)
    if at_once:
        new = keys.add(home.signing_keys, now)
        old = list(ring.keys)
    else:
        if ring.keys[-1].signs_from > now:
            raise HomeError(f"a new key is on its way already, it signs from {ring.keys[-1].signs_from:%H:%M:%S} UTC")
        new = keys.add(home.signing_keys, now + timedelta(seconds=max(after, keys.PUBLISH_SECONDS)))
        published = ring.published(now, ACCESS_TOKEN_SECONDS)
        old = [key for key in ring.keys if key not in published]
    for key in old:
        # Files are named by the second: a key of this very second was replaced by the new one.
        if key.file != new.file:
            key.file.unlink()
    return Key(new.jwk["kid"], new.signs_from, "next"), [key.jwk["kid"] for key in old]


def _load(home: Home) -> keys.KeyRing:
    try:
        return keys.load(home.signing_keys)
    except keys.BadKey as error:
        raise HomeError(str(error)) from None
