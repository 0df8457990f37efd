"""A process whose methods do what methods should not: `python -m tests.kit.misbehaving HOST:PORT FOLDER`.

It serves the contract of Users through kit.rpc. While the file FOLDER/away exists it is not ready.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from gozon.users.v1 import users_pb2
from gozon.users.v1.users_pb2 import (
    ChangePasswordRequest,
    ChangePasswordResponse,
    GetJwksRequest,
    GetMeRequest,
    Jwks,
    RegisterRequest,
    RevokeTokenRequest,
    RevokeTokenResponse,
    TokenRequest,
    TokenResponse,
    UpdateMeRequest,
    User,
)
from kit import access, rpc, telemetry
from kit.auth import TokenVerifier
from kit.db import Database
from kit.errors import ResourceExhausted, Unavailable
from kit.rpc import Call
from kit.settings import ProcessSettings

RULES = {method.name: access.PUBLIC for method in users_pb2.DESCRIPTOR.services_by_name["UsersService"].methods}
RULES["GetMe"] = access.OWN


class MisbehavingApi:
    """gozon.users.v1.UsersService."""

    def __init__(self) -> None:
        self._nowhere = Database("postgresql://nobody:hunter2@127.0.0.1:1/nowhere")

    async def register(self, request: RegisterRequest, call: Call) -> User:
        """Fails in a way that nobody foresaw, with a secret in the error."""
        raise RuntimeError(f"hunter2 {request.email}")

    async def token(self, request: TokenRequest, call: Call) -> TokenResponse:
        """Takes for ever; says so first, if it is asked to."""
        if request.username:
            await asyncio.to_thread(Path(request.username).touch)
        await asyncio.sleep(float(request.password or 3600))
        return TokenResponse(access_token="late")

    async def get_jwks(self, request: GetJwksRequest, call: Call) -> Jwks:
        """Needs a database that is not there."""
        await self._nowhere.ping()
        return Jwks()

    async def revoke_token(self, request: RevokeTokenRequest, call: Call) -> RevokeTokenResponse:
        """Wants to be tried again later."""
        raise ResourceExhausted(retry_after=7)

    async def update_me(self, request: UpdateMeRequest, call: Call) -> User:
        """Is never called."""
        raise AssertionError(call)

    async def change_password(self, request: ChangePasswordRequest, call: Call) -> ChangePasswordResponse:
        """Is never called."""
        raise AssertionError(call)

    async def get_me(self, request: GetMeRequest, call: Call) -> User:
        """Is never reached: there are no keys, so no token is valid."""
        raise AssertionError(call)


async def main(listen: str, folder: Path) -> None:
    """Serves until SIGTERM."""

    async def ready() -> None:
        if (folder / "away").exists():
            raise Unavailable

    async def no_keys() -> list[dict[str, str]]:
        return []

    descriptor = users_pb2.DESCRIPTOR.services_by_name["UsersService"]
    service = rpc.Service(descriptor, MisbehavingApi(), RULES)
    await rpc.serve(listen, [service], TokenVerifier(no_keys), ready=ready)


if __name__ == "__main__":
    telemetry.configure("misbehaving", ProcessSettings())
    uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
