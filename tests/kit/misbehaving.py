"""A process whose methods do what methods should not: `python -m tests.kit.misbehaving HOST:PORT FOLDER`.

It serves the contract of Users through kit.rpc. While the file FOLDER/away exists it is not ready.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from gozon.users.v1 import users_pb2
from gozon.users.v1.users_pb2 import (
    GetJwksRequest,
    GetMeRequest,
    Jwks,
    RegisterRequest,
    TokenRequest,
    TokenResponse,
    User,
)
from kit import rpc, telemetry
from kit.auth import TokenVerifier
from kit.db import Database
from kit.errors import Unavailable
from kit.rpc import Call


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
    service = rpc.Service(descriptor, MisbehavingApi(), frozenset({"Register", "Token", "GetJwks"}))
    await rpc.serve(listen, [service], TokenVerifier(no_keys), ready=ready)


if __name__ == "__main__":
    telemetry.configure("misbehaving", "info", "json", 0)
    uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
