"""Fixtures of Payments: the service on a database of the test's own, with an outbox that keeps its messages."""

import pytest

from kit.db import Database
from kit.outbox import Outbox
from services.payments.service import PaymentService
from tests.support import disconnected_bus


@pytest.fixture
def service(payments_db: Database) -> PaymentService:
    return PaymentService(payments_db, Outbox(payments_db, disconnected_bus()))
