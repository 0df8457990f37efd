"""The process of Users: `python -m services.users` serves, `… migrate` brings the database up to date."""

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

from pydantic import Field, SecretStr

from gozon.users.v1 import users_pb2
from kit import maintenance, process, rpc
from kit.auth import ACCESS_TOKEN_SECONDS, TokenVerifier
from kit.db import Database
from kit.settings import Settings
from services.users.api import RULES, UsersApi
from services.users.domain import REFRESH_GRACE
from services.users.service import HASH_KIB, UserService
from services.users.tokens import TokenIssuer


class UsersSettings(Settings):
    """Settings of Users."""

    signing_keys: Path
    """Folder of the private keys that sign access tokens; see kit/keys.py."""
    access_token_seconds: int = Field(default=ACCESS_TOKEN_SECONDS, gt=0, le=24 * 3600)
    """How long an access token is valid."""
    password_hash_kib: int = Field(default=HASH_KIB, ge=1024, le=1024 * 1024)
    """Memory of the hash of each password that is set from now on, in KiB: what it costs to guess, and to sign in."""
    refresh_grace_seconds: int = Field(default=int(REFRESH_GRACE.total_seconds()), ge=0, le=600)
    """So long after its use a refresh token whose answer was lost may be used again; 0: never."""
    admin_email: str = ""
    """Whom `migrate` makes the first administrator when there is none; empty: nobody."""
    admin_password: SecretStr = SecretStr("")
    """The password of the first administrator."""
    worker_secret: SecretStr = SecretStr("")
    """By what background workers get their tokens; empty: they get none."""


async def serve(settings: UsersSettings) -> None:
    """Serves until told to stop."""
    issuer = TokenIssuer(settings.signing_keys, settings.access_token_seconds)

    async def own_keys() -> list[dict[str, str]]:
        return issuer.jwks()

    database = Database(settings.database_url)
    grace = timedelta(seconds=settings.refresh_grace_seconds)
    service = UserService(database, settings.password_hash_kib, grace)
    api = UsersApi(service, issuer, settings.worker_secret.get_secret_value())
    await rpc.serve(
        settings.listen,
        [
            rpc.Service(users_pb2.DESCRIPTOR.services_by_name["UsersService"], api, RULES),
            # Users has no dead letters: it consumes no events.
            maintenance.service(lambda _days: service.clean_up()),
        ],
        TokenVerifier(own_keys),
        ready=database.ping,
        background=[service.clean_now_and_then],
        drain=[database.close],
    )


async def migrated(settings: UsersSettings) -> None:
    """Makes the first administrator."""
    if settings.admin_email:
        database = Database(settings.database_url)
        service = UserService(database, settings.password_hash_kib)
        await service.create_first_admin(settings.admin_email, settings.admin_password.get_secret_value())
        await database.close()


async def set_admin(settings: UsersSettings, email: str, *, admin: bool) -> None:
    """Makes a user an administrator, or an ordinary user again."""
    database = Database(settings.database_url)
    known = await UserService(database).set_admin(email, admin=admin)
    await database.close()
    if not known:
        sys.exit(f"nobody has registered as {email}")


if __name__ == "__main__":
    process.run(
        "users",
        UsersSettings,
        serve,
        Path(__file__).parent,
        migrated=migrated,
        commands={
            "grant-admin": partial(set_admin, admin=True),
            "revoke-admin": partial(set_admin, admin=False),
        },
    )
