"""The process of Users: `python -m services.users` serves, `… migrate` brings the database up to date."""

import sys
from pathlib import Path

import uvloop

from gozon.users.v1 import users_pb2
from kit import migrations, rpc, telemetry
from kit.auth import TokenVerifier
from kit.db import Database
from kit.settings import Settings
from services.users.api import WITHOUT_TOKEN, UsersApi
from services.users.service import UserService
from services.users.tokens import TokenIssuer


class UsersSettings(Settings):
    """Settings of Users."""

    signing_key_file: Path
    """EC private key on P-256, PEM."""
    access_token_seconds: int = 900


async def serve(settings: UsersSettings) -> None:
    """Serves until told to stop."""
    issuer = TokenIssuer(
        settings.signing_key_file,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        lifetime=settings.access_token_seconds,
    )

    async def own_keys() -> list[dict[str, str]]:
        return [issuer.jwk]

    database = Database(settings.database_url)
    service = rpc.Service(
        users_pb2.DESCRIPTOR.services_by_name["UsersService"], UsersApi(UserService(database), issuer), WITHOUT_TOKEN
    )
    verifier = TokenVerifier(own_keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience)
    await rpc.serve(settings.listen, [service], verifier, ready=database.ping, drain=[database.close])


def main() -> None:
    """Runs the process."""
    settings = UsersSettings.load()
    telemetry.configure("users", settings.log_level, settings.log_format, settings.metrics_port)
    if sys.argv[1:] == ["migrate"]:
        migrations.upgrade(settings.database_url, __file__)
    else:
        uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
