"""A stack that runs somewhere else, in containers for example: tests see of it what the public sees."""

import os
from typing import Any

import grpc
import httpx
import pytest

from tests.support import RunningStack

EDGE = os.environ.get("GOZON_TEST_EDGE", "")
"""URL of its edge."""
ADMIN_PASSWORD = os.environ.get("GOZON_TEST_ADMIN", "")
"""Its first administrator's."""


class DistantStack(RunningStack):
    """Whoever asks for more than the edge, such as a database or the folder, is skipped."""

    def __init__(self, edge_url: str) -> None:
        url = httpx.URL(edge_url)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        # Fields of a frozen class; the others stay unset.
        self.__dict__.update(edge_url=edge_url.rstrip("/"), edge_target=f"{url.host}:{port}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        pytest.skip(f"only the edge of this stack can be reached, not its {name}")

    def channel(self) -> grpc.aio.Channel:
        """Returns a channel to the edge, with TLS where its URL says so."""
        if self.edge_url.startswith("https:"):
            return grpc.aio.secure_channel(self.edge_target, grpc.ssl_channel_credentials())
        return super().channel()
