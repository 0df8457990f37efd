"""The key that signs access tokens changes under load, and no request fails."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import jwt

from gozon.orders.v1.orders_pb2 import CreateOrderRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payments.v1.payments_pb2 import GetAccountRequest
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from gozon.users.v1.users_pb2 import GetMeRequest, TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from tests.conftest import NewUser
from tests.support import Edge, RunningStack, User, gozon

PAUSE_SECONDS = 0.1
"""Between the requests of one loop: steady, and nothing that a small machine would choke on."""
AFTERWARDS_SECONDS = 5
"""How long the load goes on when the new key signs already."""


@dataclass
class Load:
    """Requests that go on, with the oldest token and the newest one."""

    edge: Edge
    oldest: User
    newest: User
    done: Counter[str] = field(default_factory=Counter)
    kids: list[str] = field(default_factory=list)
    """Key ids of the tokens that were issued, without repetitions."""

    async def repeat(self, name: str, request: Callable[[User], Awaitable[object]]) -> None:
        """Requests for ever, in turns with either token. The first failure ends it."""
        while True:
            for user in (self.oldest, self.newest):
                await request(user)
                self.done[name] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def renew(self, issue: Callable[[], Awaitable[str]]) -> None:
        """Gets a new token all the time, so that a new key's first is used at once."""
        while True:
            token = await issue()
            kid = jwt.get_unverified_header(token)["kid"]
            if self.kids[-1:] != [kid]:
                self.kids.append(kid)
            self.newest = replace(self.newest, token=token)
            await asyncio.sleep(PAUSE_SECONDS)

    def rest(self, method: str, path: str, body: dict[str, int] | None = None) -> Callable[[User], Awaitable[object]]:
        """A request of REST that must succeed."""

        async def request(user: User) -> None:
            answer = await self.edge.rest.request(method, path, json=body, headers=user.headers)
            assert answer.status_code in (200, 201), answer.text

        return request


@asynccontextmanager
async def running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Runs loops beside the block, and fails when one of them did."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    yield tasks
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


async def rotated(home: Path) -> str:
    """Runs `gozon keys rotate` beside the load and returns what it printed."""
    command = str(Path(sys.executable).with_name("gozon"))
    process = await asyncio.create_subprocess_exec(
        command, "keys", "rotate", "--home", str(home), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_no_request_fails_while_the_key_changes(edge: Edge, stack: RunningStack, new_user: NewUser) -> None:
    user = await new_user()
    await edge.deposit(user, 1_000_000)
    form = {"grant_type": "password", "username": user.email, "password": user.password}
    refresh_token = (await edge.rest.post("/token", data=form)).json()["refresh_token"]
    load = Load(edge, oldest=user, newest=user)
    before = jwt.get_unverified_header(user.token)["kid"]

    async def next_token() -> str:
        nonlocal refresh_token
        request = TokenRequest(grant_type="refresh_token", refresh_token=refresh_token)
        answer = await edge.users.Token(request)
        refresh_token = answer.refresh_token
        return answer.access_token

    async with (
        grpc.aio.insecure_channel(stack.targets["orders"]) as orders,
        grpc.aio.insecure_channel(stack.targets["payments"]) as payments,
        grpc.aio.insecure_channel(stack.targets["users"]) as users,
        running(
            load.renew(next_token),
            load.repeat("REST orders", load.rest("POST", "/orders", {"amount": 1})),
            load.repeat("REST list", load.rest("GET", "/orders?page_size=1")),
            load.repeat("REST me", load.rest("GET", "/users/me")),
            load.repeat("REST account", load.rest("GET", f"/accounts/{user.id}")),
            load.repeat(
                "gRPC orders", lambda u: edge.orders.CreateOrder(CreateOrderRequest(amount=1), metadata=u.metadata())
            ),
            load.repeat(
                "direct orders",
                lambda u: OrdersServiceStub(orders).CreateOrder(CreateOrderRequest(amount=1), metadata=u.metadata()),
            ),
            load.repeat(
                "direct account",
                lambda u: PaymentsServiceStub(payments).GetAccount(
                    GetAccountRequest(user_id=u.id), metadata=u.metadata()
                ),
            ),
            load.repeat("direct me", lambda u: UsersServiceStub(users).GetMe(GetMeRequest(), metadata=u.metadata())),
        ) as loops,
    ):
        failed = asyncio.ensure_future(asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED))
        rotation = asyncio.create_task(rotated(stack.home))
        # Whatever fails ends the waiting; nothing to wait for goes on for ever.
        await asyncio.wait((rotation, failed), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((failed,), timeout=AFTERWARDS_SECONDS if rotation.done() else 0)
        failed.cancel()
    assert "It signs." in await rotation

    listed = {
        key["kid"]: key["state"]
        for key in json.loads(gozon("keys", "list", "--json", "--home", str(stack.home)).stdout)
    }
    # With the password: the last answer with a refresh token may have been lost when the load was ended.
    signed_in = (await edge.rest.post("/token", data=form)).json()
    after = jwt.get_unverified_header(signed_in["access_token"])["kid"]
    assert load.kids == [before, after], "from one key to the other, and never back"
    assert (listed[before], listed[after]) == ("verifies", "signs")
    published = (await edge.rest.get("/.well-known/jwks.json")).json()["keys"]
    assert {before, after} <= {key["kid"] for key in published}
    assert len(load.done) == 8
    assert min(load.done.values()) > 50, load.done
