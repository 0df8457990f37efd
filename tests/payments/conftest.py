"""Fixtures of Payments: the service on a database of the test's own, with an outbox that keeps its messages."""

import pytest

from kit.db import Database
from services.payments.service import PaymentService
from tests.payments.steps import service_on


@pytest.fixture
def service(payments_db: Database) -> PaymentService:
    return service_on(payments_db)
