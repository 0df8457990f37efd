"""kit.auth, with real keys: which tokens are let in, and for how long."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kit import keys as key_files
from kit.auth import Identity, TokenVerifier
from kit.errors import InvalidToken, Unauthenticated, Unavailable
from kit.ids import new_id
from services.users.tokens import TokenIssuer
from tests.support import eventually


class Keys:
    """Keys that a verifier fetches; some tests change them."""

    def __init__(self, *jwks: dict[str, str]) -> None:
        self.published = list(jwks)
        self.fetched = 0
        self.away = False

    async def fetch(self) -> list[dict[str, str]]:
        self.fetched += 1
        await asyncio.sleep(0)
        if self.away:
            raise ConnectionError("no route to Users")
        return self.published


class Signer:
    """An issuer whose private key the test has too, to sign what no honest issuer would."""

    def __init__(self, folder: Path, *, lifetime: int = 900) -> None:
        folder = folder / new_id()
        folder.mkdir()
        self.key = key_files.add(folder, datetime.now(UTC)).private
        self.issuer = TokenIssuer(folder, lifetime)
        [self.jwk] = self.issuer.jwks()
        self.kid = self.jwk["kid"]

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": "gozon", "aud": "gozon", "sub": new_id(), "iat": now, "exp": now + 900, "jti": new_id()}
        return {name: value for name, value in (claims | {"roles": ["user"]} | changes).items() if value is not None}

    def bearer(self, **changes: Any) -> str:
        return "Bearer " + jwt.encode(self.claims(**changes), self.key, "ES256", headers={"kid": self.kid})


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


@pytest.fixture
def keys(signer: Signer) -> Keys:
    return Keys(signer.jwk)


@pytest.fixture
def verifier(keys: Keys) -> TokenVerifier:
    return TokenVerifier(keys.fetch)


async def test_an_issued_token_tells_who_its_bearer_is(signer: Signer, verifier: TokenVerifier) -> None:
    user_id = new_id()
    identity = await verifier.verify(f"Bearer {signer.issuer.issue(user_id, ['user', 'admin'])}")
    assert (identity.user_id, sorted(identity.roles), identity.is_admin) == (user_id, ["admin", "user"], True)


def test_users_act_for_themselves_and_admins_for_everybody() -> None:
    user = Identity("u1", frozenset({"user"}), 0)
    assert (user.may_act_for("u1"), user.may_act_for("u2")) == (True, False)
    assert Identity("u1", frozenset({"admin"}), 0).may_act_for("u2")


async def test_no_header_and_a_bad_one_are_told_apart(verifier: TokenVerifier) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify("")
    assert caught.value.reason == "MISSING_TOKEN"


def _segment(data: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def _none(signer: Signer) -> str:
    return f"Bearer {_segment({'alg': 'none', 'typ': 'JWT', 'kid': signer.kid})}.{_segment(signer.claims())}."


def _hs256_with_the_public_key(signer: Signer) -> str:
    # By hand: PyJWT itself refuses to sign with a public key.
    public = signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_segment({'alg': 'HS256', 'typ': 'JWT', 'kid': signer.kid})}.{_segment(signer.claims())}"
    signature = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
    return f"Bearer {signed}.{signature}"


def _other_signature(signer: Signer) -> str:
    head, claims, _ = signer.bearer().split(".")
    return f"{head}.{claims}.{signer.bearer().split('.')[2]}"


FORGED = {
    "expired": lambda s: s.bearer(exp=int(time.time()) - 1),
    "not valid yet": lambda s: s.bearer(nbf=int(time.time()) + 900),
    "alg none": _none,
    "HS256 signed with the public key": _hs256_with_the_public_key,
    "the signature of another token": _other_signature,
    "without a signature": lambda s: s.bearer().rpartition(".")[0] + ".",
    "another issuer": lambda s: s.bearer(iss="nozog"),
    "another audience": lambda s: s.bearer(aud="nozog"),
    "no kid": lambda s: "Bearer " + jwt.encode(s.claims(), s.key, "ES256"),
    "an unknown kid": lambda s: "Bearer " + jwt.encode(s.claims(), s.key, "ES256", headers={"kid": "unknown"}),
    "a number as subject": lambda s: (
        "Bearer " + f"{_segment({'alg': 'ES256', 'kid': s.kid})}.{_segment(s.claims(sub=7))}.AA"
    ),
    "roles that are no list": lambda s: s.bearer(roles=7),
    "another scheme": lambda s: s.bearer().replace("Bearer", "Basic"),
    "no scheme": lambda s: s.bearer().removeprefix("Bearer "),
    "no JWT": lambda _: "Bearer abc.def",
    "not even ASCII": lambda _: "Bearer жетон.жетон.жетон",
    "nothing after Bearer": lambda _: "Bearer ",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_nobody_gets_in_with_anything_but_a_valid_token(
    forge: Any, signer: Signer, verifier: TokenVerifier
) -> None:
    assert await verifier.verify(signer.bearer())
    for _ in range(2):
        with pytest.raises(InvalidToken):
            await verifier.verify(forge(signer))


@pytest.mark.parametrize("claim", ["exp", "iat", "iss", "aud", "sub", "jti"])
async def test_a_token_without_a_claim_is_invalid(claim: str, signer: Signer, verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken):
        await verifier.verify(signer.bearer(**{claim: None}))


async def test_a_token_signed_with_a_foreign_key_under_our_key_id_is_invalid(
    signer: Signer, verifier: TokenVerifier, tmp_path: Path
) -> None:
    stranger = Signer(tmp_path)
    stranger.kid = signer.kid
    with pytest.raises(InvalidToken):
        await verifier.verify(stranger.bearer())


async def test_a_cached_token_ends_when_it_expires(signer: Signer, verifier: TokenVerifier) -> None:
    token = signer.bearer(exp=int(time.time()) + 2)
    assert await verifier.verify(token)

    async def ended() -> bool:
        try:
            await verifier.verify(token)
        except InvalidToken:
            return True
        return False

    await eventually(ended)


async def test_keys_are_fetched_once_for_many_tokens(signer: Signer, keys: Keys, verifier: TokenVerifier) -> None:
    await asyncio.gather(*(verifier.verify(signer.bearer()) for _ in range(50)))
    assert keys.fetched == 1


async def test_unknown_key_ids_do_not_make_us_ask_for_keys_each_time(
    signer: Signer, keys: Keys, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.auth.UNKNOWN_KEY_SECONDS", 3600)
    await verifier.verify(signer.bearer())
    signer.kid = "unknown"
    for _ in range(20):
        with pytest.raises(InvalidToken):
            await verifier.verify(signer.bearer())
    assert keys.fetched == 1


async def test_a_new_key_is_found_and_a_removed_one_ends_its_cached_tokens(
    signer: Signer, keys: Keys, verifier: TokenVerifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.auth.UNKNOWN_KEY_SECONDS", 0)
    old = signer.bearer()
    assert await verifier.verify(old)
    successor = Signer(tmp_path)
    keys.published = [signer.jwk, successor.jwk]
    assert await verifier.verify(successor.bearer())
    assert await verifier.verify(old)
    keys.published = [successor.jwk]
    signer.kid = "makes the keys be fetched"
    with pytest.raises(InvalidToken):
        await verifier.verify(signer.bearer())
    with pytest.raises(InvalidToken):
        await verifier.verify(old)


async def test_while_keys_cannot_be_fetched_new_tokens_have_to_wait_and_known_ones_go_on(
    signer: Signer, keys: Keys, verifier: TokenVerifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.auth.UNKNOWN_KEY_SECONDS", 0)
    keys.away = True
    token = signer.bearer()
    with pytest.raises(Unavailable):
        await verifier.verify(token)
    keys.away = False
    assert await verifier.verify(token)
    keys.away = True
    assert await verifier.verify(token)
    with pytest.raises(Unavailable):
        await verifier.verify(Signer(tmp_path).bearer())


async def test_keys_are_refreshed_in_the_background(
    signer: Signer, keys: Keys, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.auth.REFRESH_SECONDS", 0.01)
    refreshing = asyncio.create_task(verifier.refresh_now_and_then())
    token = signer.bearer()
    assert await verifier.verify(token)
    keys.published = []

    async def ended() -> bool:
        try:
            await verifier.verify(token)
        except InvalidToken:
            return True
        return False

    await eventually(ended)
    refreshing.cancel()
    await asyncio.wait([refreshing])
