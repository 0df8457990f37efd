"""People who have their money paid out through the edge, and now and then take that back at once."""

import asyncio
import time
from abc import ABC, abstractmethod
from functools import partial
from uuid import uuid4

import grpc
import httpx
from google.protobuf.json_format import MessageToDict

from gozon.payouts.v1.payouts_pb2 import (
    BankAccount,
    Card,
    CreatePayoutRequest,
    DeletePayoutRequest,
    Phone,
    Recipient,
)
from gozon.payouts.v1.payouts_pb2_grpc import PayoutsServiceStub
from tests.chaos.clients import Book, Client, PaidOut, call, send

MAX_AMOUNT = 100
DELETED = 0.2
"""The part of payouts that are deleted."""
MAX_SECOND_THOUGHTS = 0.1
"""Seconds until then: about as long as until a worker begins one."""
RECIPIENTS = (
    Recipient(type=Recipient.CARD, card=Card(number="4111111111111111")),
    Recipient(
        type=Recipient.BANK_ACCOUNT, bank_account=BankAccount(iban="GB82WEST12345698765432", holder_name="Ann Ode")
    ),
    Recipient(type=Recipient.PHONE, phone=Phone(number="+79161234567")),
)


class Payee(Client, ABC):
    """Somebody who creates payouts, so many per second, until told to stop."""

    def __init__(self, book: Book, seed: str, per_second: float) -> None:
        super().__init__(book, seed)
        self._per_second = per_second

    async def collect(self, stop: asyncio.Event) -> None:
        """Sends requests until `stop`, what an outage delayed at once; returns when the last one is answered."""
        due = time.monotonic()
        while not stop.is_set():
            due += self._random.expovariate(self._per_second)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._pay_out(self._random.randint(1, MAX_AMOUNT), self._random.choice(RECIPIENTS))

    async def _pay_out(self, amount: int, recipient: Recipient) -> None:
        create = partial(self._create, uuid4().hex, amount, recipient)
        payout_id = await self.created(create, self.book.payouts)
        if payout_id is None:
            return
        payout = self.book.payouts[payout_id] = PaidOut(amount)
        if self._random.random() < DELETED:
            await asyncio.sleep(self._random.uniform(0, MAX_SECOND_THOUGHTS))
            payout.deleted = await self.until_answered(partial(self._delete, payout_id)) is not None

    # Errors of both: Refused; NotAllowed when the payout was begun.

    @abstractmethod
    async def _create(self, key: str, amount: int, recipient: Recipient) -> tuple[str, bool]:
        """Returns the payout's id and whether the answer is a repeated one."""

    @abstractmethod
    async def _delete(self, payout_id: str) -> bool:
        """Returns true."""


class GrpcPayee(Payee):
    """Does so over gRPC."""

    def __init__(self, book: Book, seed: str, per_second: float, channel: grpc.aio.Channel) -> None:
        super().__init__(book, seed, per_second)
        self._payouts = PayoutsServiceStub(channel)

    async def _create(self, key: str, amount: int, recipient: Recipient) -> tuple[str, bool]:
        request = CreatePayoutRequest(amount=amount, recipient=recipient)
        payout, replayed = await call(self._payouts.CreatePayout, request, self.book.person, key)
        return payout.id, replayed

    async def _delete(self, payout_id: str) -> bool:
        await call(self._payouts.DeletePayout, DeletePayoutRequest(payout_id=payout_id), self.book.person)
        return True


class RestPayee(Payee):
    """Does so over REST."""

    def __init__(self, book: Book, seed: str, per_second: float, client: httpx.AsyncClient) -> None:
        super().__init__(book, seed, per_second)
        self._client = client

    async def _create(self, key: str, amount: int, recipient: Recipient) -> tuple[str, bool]:
        body = {"amount": amount, "recipient": MessageToDict(recipient, preserving_proto_field_name=True)}
        payout, replayed = await send(self._client, "POST", "/payouts", body, self.book.person, key, expected=201)
        return payout["id"], replayed

    async def _delete(self, payout_id: str) -> bool:
        await send(self._client, "DELETE", f"/payouts/{payout_id}", None, self.book.person, expected=204)
        return True
