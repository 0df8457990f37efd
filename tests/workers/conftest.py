"""Fixtures: a payout provider that misbehaves on demand, services that answer as they are told."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from tests.workers.fake import FakeServices
from tests.workers.simulator import SECRET, Simulator
from workers import calls
from workers.settings import WorkerSettings

PROVIDER_SECONDS = 1.0
"""How long the tasks of tests wait for the provider."""


@pytest.fixture(scope="session")
async def _simulator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("provider"))
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def simulator(_simulator: Simulator) -> Simulator:
    """The provider of this test run, on its best behaviour."""
    await _simulator.behave()
    return _simulator


@pytest.fixture
def fake(simulator: Simulator) -> Iterator[FakeServices]:
    """The services that tasks of this test call, with the real simulator as the provider."""
    fake = FakeServices()
    calls.configure(
        WorkerSettings(
            broker_url="",
            users_target="",
            orders_target="",
            payments_target="",
            worker_secret=SecretStr(""),
            provider_url=simulator.url,
            provider_secret=SecretStr(SECRET),
            provider_seconds=PROVIDER_SECONDS,
        )
    )
    calls.use(fake.services)
    yield fake
    calls.use(None)
