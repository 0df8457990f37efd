"""The process of System: `python -m services.system` serves."""

import httpx
import uvloop
from pydantic import Field, field_validator

from gozon.system.v1 import system_pb2
from kit import rpc, telemetry, tracing
from kit.auth import TokenVerifier
from kit.settings import ProcessSettings
from services.jwks import keys_of
from services.system.api import RULES, SystemApi
from services.system.auditor import Auditor
from services.system.dead_letters import DeadLetters
from services.system.scraper import Scraper, read_targets


class SystemSettings(ProcessSettings):
    """Settings of System."""

    listen: str = "127.0.0.1:50051"
    """host:port of the gRPC server."""
    users_target: str
    """host:port of Users, whose keys verify tokens."""
    metrics: str
    """Where the metrics of each process are, `orders=orders:9100;push=push:9100,push-2:9100`; a host may be several."""
    orders_target: str
    """host:port of Orders, which is asked for its dead letters."""
    payments_target: str
    """host:port of Payments, which is asked for its dead letters."""
    orders_database_url: str = ""
    """postgresql://… of a role that may read all of the database and need not write; empty: there is no audit."""
    payments_database_url: str = ""
    """The same of Payments."""
    audit_seconds: int = Field(default=60, ge=1)
    """The pause between two rounds of the audit; after long ones it is longer."""

    @field_validator("metrics")
    @classmethod
    def _are_targets(cls, metrics: str) -> str:
        read_targets(metrics)
        return metrics


async def serve(settings: SystemSettings) -> None:
    """Serves until told to stop."""
    urls = {"orders": settings.orders_database_url, "payments": settings.payments_database_url}
    audited = all(urls.values())
    auditor = Auditor(urls if audited else {}, settings.audit_seconds)
    dead_letters = DeadLetters({"orders": settings.orders_target, "payments": settings.payments_target})
    # What the environment says of proxies is not about neighbours.
    client = httpx.AsyncClient(trust_env=False)
    api = SystemApi(Scraper(read_targets(settings.metrics), client), auditor, dead_letters)
    await rpc.serve(
        settings.listen,
        [rpc.Service(system_pb2.DESCRIPTOR.services_by_name["SystemService"], api, RULES)],
        TokenVerifier(keys_of(settings.users_target)),
        ready=_ready,
        background=[auditor.run] if audited else [],
        drain=[client.aclose],
    )


async def _ready() -> None:
    """It is as soon as it serves: whatever is away, it is there to say so."""


if __name__ == "__main__":
    settings = SystemSettings.load()
    telemetry.configure("system", settings)
    telemetry.serve_metrics(settings)
    with tracing.exported("system", settings):
        uvloop.run(serve(settings))
