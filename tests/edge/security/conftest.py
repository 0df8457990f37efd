"""Somebody who means harm, somebody to be harmed, and all the doors."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import pytest

from kit import keys
from tests.edge.security.forger import Forger
from tests.edge.security.rpcs import Owner
from tests.support import Edge, RunningStack, User, eventually

Channels = dict[str, grpc.aio.Channel]


async def new_owner(edge: Edge, admin: User) -> Owner:
    """Somebody with an account, money, a paid order, a payout that has ended, goods of the shop and a sign-in."""
    user = await edge.register()
    await edge.deposit(user, 1000)
    order = await edge.rest.post("/orders", json={"amount": 5}, headers=user.headers)
    await edge.settled(user, order.json()["id"])
    recipient = {"type": "CARD", "card": {"number": "4242424242424242"}}
    asked = await edge.rest.post(
        "/payouts", json={"amount": 5, "recipient": recipient}, headers=user.headers | fresh_key()
    )
    payout_id = asked.json()["id"]

    async def paid() -> bool:
        answer = await edge.rest.get(f"/payouts/{payout_id}", headers=user.headers)
        return bool(answer.json()["status"] == "COMPLETED")

    # Nor does it change by itself any more.
    await eventually(paid)
    boost = {"name": "Boost", "price": 5, "type": "CONSUMABLE"}
    product_id = (await edge.rest.post("/products", json=boost, headers=admin.headers)).json()["id"]
    bought = await edge.rest.post(f"/products/{product_id}/purchase", json={}, headers=user.headers | fresh_key())
    assert bought.status_code == 201, bought.text
    form = {"grant_type": "password", "username": user.email, "password": user.password}
    signed_in = await edge.rest.post("/token", data=form)
    return Owner(user, order.json()["id"], payout_id, signed_in.json()["refresh_token"], product_id)


@pytest.fixture(scope="package")
async def victim(edge: Edge, admin: User) -> Owner:
    """Whose things nobody else may see or change."""
    return await new_owner(edge, admin)


@pytest.fixture(scope="package")
async def mallory(edge: Edge, admin: User) -> Owner:
    """Who tries, with a valid token of her own."""
    return await new_owner(edge, admin)


@pytest.fixture(scope="package")
def forger(stack: RunningStack, victim: Owner) -> Forger:
    """Makes tokens in the victim's name; knows the real key, to show that it is each single thing that counts."""
    signing = keys.load(stack.home / "keys").signing(datetime.now(UTC))
    return Forger(signing.private, signing.jwk, victim.user.id, victim.refresh_token)


@pytest.fixture(scope="package")
async def direct(stack: RunningStack) -> AsyncIterator[Channels]:
    """Channels to the services themselves, past the edge."""
    channels = {service: grpc.aio.insecure_channel(target) for service, target in stack.targets.items()}
    yield channels
    for channel in channels.values():
        await channel.close()


@pytest.fixture(scope="package")
def doors(edge: Edge, direct: Channels) -> Channels:
    """All that speaks gRPC."""
    return {"the edge": edge.channel, **direct}


def fresh_key() -> dict[str, str]:
    """A header of a write that was never tried."""
    return {"idempotency-key": uuid.uuid4().hex}
