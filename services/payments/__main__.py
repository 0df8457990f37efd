"""The process of Payments: `python -m services.payments` serves, `… migrate` brings the database up to date."""

from functools import partial
from pathlib import Path

from gozon.payments.v1 import payments_pb2
from kit import process, rpc
from kit.auth import TokenVerifier
from kit.bus import Bus
from kit.db import Database
from kit.housekeeping import Housekeeping
from kit.outbox import Outbox
from kit.settings import Settings
from services.jwks import keys_of
from services.payments.api import RULES, PaymentsApi
from services.payments.consumer import consume
from services.payments.service import PaymentService
from services.topology import CONSUMERS, PAYMENTS_CHARGE, STREAMS


class PaymentsSettings(Settings):
    """Settings of Payments."""

    nats_url: str
    """nats://user:password@host:port"""
    users_target: str
    """host:port of Users, whose keys verify tokens."""


async def serve(settings: PaymentsSettings) -> None:
    """Serves until told to stop."""
    database = Database(settings.database_url)
    bus = Bus(settings.nats_url, STREAMS, CONSUMERS)
    await bus.connect()
    outbox = Outbox(database, bus)
    service = PaymentService(database, outbox)
    housekeeping = Housekeeping(database, bus, [PAYMENTS_CHARGE], has_inbox=True)
    verifier = TokenVerifier(keys_of(settings.users_target))

    await rpc.serve(
        settings.listen,
        [rpc.Service(payments_pb2.DESCRIPTOR.services_by_name["PaymentsService"], PaymentsApi(service), RULES)],
        verifier,
        ready=database.ping,
        background=[outbox.run, partial(consume, bus, service, database), housekeeping.run],
        drain=[bus.stop_consuming, outbox.drain, bus.close, database.close],
    )


if __name__ == "__main__":
    process.run("payments", PaymentsSettings, serve, Path(__file__).parent)
