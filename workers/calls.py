"""How tasks call the services: over gRPC, with a token of the worker's own.

Channels are made by the first task of a child process and never before it was forked, which gRPC does not survive.
"""

import time
from collections.abc import Mapping
from typing import TypeVar, cast

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2

from gozon.maintenance.v1.maintenance_pb2_grpc import MaintenanceServiceStub
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payouts.v1.payouts_pb2_grpc import PayoutsServiceStub
from gozon.users.v1.users_pb2 import TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub
from kit.errors import Unavailable
from kit.telemetry import traceparent
from workers.settings import WorkerSettings

CALL_SECONDS = 10.0
"""The longest a call may take; the services allow themselves no more."""
RENEW_SECONDS = 60.0
"""So long before it expires a token is replaced."""
CLIENT_ID = "worker"

NOT_NOW = frozenset({
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
})  # fmt: skip
"""Answers that may be others a moment later; the remaining ones are the service's last word."""

Request = TypeVar("Request")
Response = TypeVar("Response")

log = structlog.get_logger()


class Refused(Exception):
    """A service has said no, and would say so again."""

    def __init__(self, reason: str, message: str) -> None:
        """`reason` is that of the ErrorInfo, such as ORDER_NOT_FOUND."""
        super().__init__(reason, message)
        self.reason = reason


class Services:
    """The services, and the token to call them with."""

    def __init__(self, users: grpc.Channel, orders: grpc.Channel, payments: grpc.Channel, secret: str) -> None:
        """`secret` is what Users knows this worker by."""
        self._users = UsersServiceStub(users)
        self._secret = secret
        self._token = ""
        self._renew_at = 0.0
        self.orders = OrdersServiceStub(orders)
        self.payouts = PayoutsServiceStub(payments)
        self.maintenance: Mapping[str, MaintenanceServiceStub] = {
            "orders": MaintenanceServiceStub(orders),
            "payments": MaintenanceServiceStub(payments),
            "users": MaintenanceServiceStub(users),
        }

    def call(self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request) -> Response:
        """Calls a method of one of the stubs.

        Errors: Refused; Unavailable when it makes sense to try again, which has then happened or not.
        """
        metadata = (("authorization", f"Bearer {self._current_token()}"), ("traceparent", traceparent.get()))
        try:
            return method(request, timeout=CALL_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            if _code(error) == grpc.StatusCode.UNAUTHENTICATED:
                self._renew_at = 0.0
            if _code(error) in NOT_NOW:
                raise Unavailable(_told(error)) from None
            raise Refused(_reason(error), _told(error)) from None

    def _current_token(self) -> str:
        if time.monotonic() >= self._renew_at:
            request = TokenRequest(grant_type="client_credentials", client_id=CLIENT_ID, client_secret=self._secret)
            asked_at = time.monotonic()
            try:
                answer = self._users.Token(request, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                if _code(error) not in NOT_NOW - {grpc.StatusCode.UNAUTHENTICATED}:
                    # The secret is wrong: tasks wait for whoever sets it right, instead of failing one by one.
                    log.error("no_token", error=_told(error))
                raise Unavailable(_told(error)) from None
            self._token = answer.access_token
            self._renew_at = asked_at + max(answer.expires_in - RENEW_SECONDS, answer.expires_in / 2)
        return self._token


_settings: WorkerSettings | None = None
_services: Services | None = None


def configure(of_worker: WorkerSettings) -> None:
    """Tells this process, and those it forks, where the services are."""
    global _settings  # noqa: PLW0603 - Celery has no place for what belongs to a process
    _settings = of_worker


def settings() -> WorkerSettings:
    """Returns the settings of this worker."""
    assert _settings is not None
    return _settings


def services() -> Services:
    """Returns this process's way to the services."""
    if _services is None:
        here = settings()
        targets = (here.users_target, here.orders_target, here.payments_target)
        users, orders, payments = (grpc.insecure_channel(target, options=_OPTIONS) for target in targets)
        use(Services(users, orders, payments, here.worker_secret.get_secret_value()))
    assert _services is not None
    return _services


def use(those: Services | None) -> None:
    """Makes these what the tasks of this process call."""
    global _services  # noqa: PLW0603 - as above
    _services = those


_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.lb_policy_name", "round_robin"),
)


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    return cast(grpc.Call, error).code()


def _told(error: grpc.RpcError) -> str:
    return f"{_code(error).name}: {cast(grpc.Call, error).details()}"


def _reason(error: grpc.RpcError) -> str:
    """The reason of the ErrorInfo; empty when there is none."""
    info = error_details_pb2.ErrorInfo()
    for name, value in cast(grpc.Call, error).trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""
