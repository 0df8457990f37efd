"""The keys of Users, for the services that verify its tokens."""

from collections.abc import Awaitable, Callable

from gozon.users.v1.users_pb2 import GetJwksRequest, Jwks
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from kit import rpc


def keys_of(users_target: str) -> Callable[[], Awaitable[list[dict[str, str]]]]:
    """Returns a function that fetches the public keys from Users at host:port."""
    users = UsersServiceStub(rpc.channel(users_target))

    # All processes start at once: whoever is early waits for Users instead of refusing its first callers.
    async def fetch() -> list[dict[str, str]]:
        jwks: Jwks = await users.GetJwks(GetJwksRequest(), timeout=5, wait_for_ready=True)
        return [{field.name: value for field, value in key.ListFields()} for key in jwks.keys]

    return fetch
