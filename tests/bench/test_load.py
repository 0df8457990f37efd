"""The load generator must be believed: what it counts as accepted is there, what is refused it tells."""

from pathlib import Path

import pytest

from stack import seed
from stack.home import Home, Stack
from tests.bench.answered import TARGETS, Load
from tests.bench.load import ask
from tests.bench.settled import measure
from tests.bench.shopping import purchases
from tests.conftest import NewUser
from tests.support import Edge, RunningStack


@pytest.fixture
async def tokens(edge: Edge, new_user: NewUser, tmp_path: Path) -> Path:
    """A file with the token of somebody with money."""
    user = await new_user()
    headers = {**user.headers, "idempotency-key": "funds"}
    await edge.rest.post(f"/accounts/{user.id}", json={}, headers=user.headers)
    await edge.rest.post(f"/accounts/{user.id}/deposit", json={"amount": 10**12}, headers=headers)
    file = tmp_path / "tokens"
    file.write_text(user.token)
    return file


@pytest.mark.parametrize("subject", TARGETS)
async def test_every_accepted_order_is_paid(subject: str, stack: RunningStack, tokens: Path) -> None:
    own = Stack.load(Home(stack.home))
    found = await measure(own, subject, Load("orders", tokens, seconds=0.5, clients=8))
    assert found.accepted > 8
    assert found.cpu_us["orders"] > 0
    assert 0 < found.generator_share < 1


@pytest.mark.parametrize("subject", ["grpc", "rest-edge"])
async def test_every_accepted_purchase_is_completed(
    subject: str, stack: RunningStack, tokens: Path, tmp_path: Path
) -> None:
    own = Stack.load(Home(stack.home))
    ids = tmp_path / "ids"
    ids.write_text(
        "\n".join(product.id for product in seed.run(own.edge_url, own.secrets.admin) if product.type == "CONSUMABLE")
    )
    found = await purchases(own, subject, Load("purchases", tokens, seconds=0.5, clients=4, ids=ids))
    assert found.accepted > 4
    assert found.cpu_us["payments"] > 0


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
async def test_refusals_are_told(protocol: str, stack: RunningStack) -> None:
    result = await ask(protocol, stack.edge_target, "orders", ["no token"], seconds=0.1, clients=2, connections=1)
    assert result.accepted == 0
    kinds = list(result.failed)
    assert len(kinds) == 1
    assert kinds[0].startswith("grpc-status 16: " if protocol == "grpc" else "HTTP/1.1 401 Unauthorized: ")
