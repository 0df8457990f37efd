"""People with money: `python -m tests.bench.people --users HOST:PORT --payments HOST:PORT` prints tokens."""

import argparse
import asyncio
from dataclasses import dataclass
from uuid import uuid4

import grpc

from gozon.payments.v1.payments_pb2 import DepositRequest, OpenAccountRequest
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from gozon.users.v1.users_pb2 import GetMeRequest, RegisterRequest, TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub

FUNDS = 1_000_000_000_000
"""What everybody starts with, in minor units: the largest deposit."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account."""

    user_id: str
    token: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What gRPC calls of this person carry."""
        return (("authorization", f"Bearer {self.token}"),)


async def make_people(users_target: str, payments_target: str, count: int, funds: int = FUNDS) -> list[Person]:
    """Registers people, opens their accounts and puts `funds` minor units in each, nothing when that is 0.

    Errors: grpc.RpcError when anything is refused.
    """
    async with (
        grpc.aio.insecure_channel(users_target) as users_channel,
        grpc.aio.insecure_channel(payments_target) as payments_channel,
    ):
        users, payments = UsersServiceStub(users_channel), PaymentsServiceStub(payments_channel)

        async def one() -> Person:
            email, password = f"{uuid4().hex}@example.com", uuid4().hex
            user = await users.Register(RegisterRequest(email=email, password=password))
            grant = TokenRequest(grant_type="password", username=email, password=password)
            person = Person(user.id, (await users.Token(grant)).access_token)
            await payments.OpenAccount(OpenAccountRequest(user_id=user.id), metadata=person.metadata)
            if funds:
                await payments.Deposit(
                    DepositRequest(user_id=user.id, amount=funds),
                    metadata=(*person.metadata, ("idempotency-key", uuid4().hex)),
                )
            return person

        # A few at a time: hashing passwords is meant to be slow.
        people: list[Person] = []
        while len(people) < count:
            people += await asyncio.gather(*(one() for _ in range(min(8, count - len(people)))))
        return people


async def sign_in(users_target: str, email: str, password: str) -> Person:
    """Returns somebody who is registered. Errors: grpc.RpcError."""
    async with grpc.aio.insecure_channel(users_target) as channel:
        users = UsersServiceStub(channel)
        token = await users.Token(TokenRequest(grant_type="password", username=email, password=password))
        metadata = (("authorization", f"Bearer {token.access_token}"),)
        me = await users.GetMe(GetMeRequest(), metadata=metadata)
        return Person(me.id, token.access_token)


def main() -> None:
    """Makes people and prints their tokens, one a line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.people", description=__doc__)
    parser.add_argument("--users", required=True, metavar="HOST:PORT")
    parser.add_argument("--payments", required=True, metavar="HOST:PORT")
    parser.add_argument("--count", type=int, default=64)
    given = parser.parse_args()
    for person in asyncio.run(make_people(given.users, given.payments, given.count)):
        print(person.token)


if __name__ == "__main__":
    main()
