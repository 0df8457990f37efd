"""The process of Users: `python -m services.users` serves, `… migrate` brings the database up to date."""

from pathlib import Path

from pydantic import Field

from gozon.users.v1 import users_pb2
from kit import process, rpc
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
    access_token_seconds: int = Field(default=900, gt=0, le=24 * 3600)
    """How long an access token is valid."""


async def serve(settings: UsersSettings) -> None:
    """Serves until told to stop."""
    issuer = TokenIssuer(settings.signing_key_file, settings.access_token_seconds)

    async def own_keys() -> list[dict[str, str]]:
        return [issuer.jwk]

    database = Database(settings.database_url)
    service = rpc.Service(
        users_pb2.DESCRIPTOR.services_by_name["UsersService"], UsersApi(UserService(database), issuer), WITHOUT_TOKEN
    )
    verifier = TokenVerifier(own_keys)
    await rpc.serve(settings.listen, [service], verifier, ready=database.ping, drain=[database.close])


if __name__ == "__main__":
    process.run("users", UsersSettings, serve, Path(__file__).parent)
