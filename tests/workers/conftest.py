"""Fixtures: a payout provider that misbehaves on demand."""

from collections.abc import AsyncIterator

import pytest

from tests.workers.simulator import Simulator


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
