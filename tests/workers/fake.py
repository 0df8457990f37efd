"""Services at the other end of a fake channel: what a task asks, and what it is answered."""

import threading
from collections.abc import Callable
from typing import Any

import grpc
import grpc_testing
from google.protobuf import any_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2, status_pb2

from gozon.maintenance.v1 import maintenance_pb2
from gozon.orders.v1 import orders_pb2
from gozon.payouts.v1 import payouts_pb2
from gozon.users.v1 import users_pb2
from workers.calls import Services

Answer = Callable[[Any], Any]


class Refusal(Exception):
    """What a service answers instead of a message."""

    def __init__(self, code: grpc.StatusCode, reason: str = "") -> None:
        self.code = code
        self.reason = reason


class FakeServices:
    """Answers as it is told, on threads of its own, and remembers what it was asked."""

    def __init__(self) -> None:
        found: list[ServiceDescriptor] = [
            service
            for file in (users_pb2, orders_pb2, payouts_pb2, maintenance_pb2)
            for service in file.DESCRIPTOR.services_by_name.values()
        ]
        self._services = {service.name: service for service in found}
        self._channel = grpc_testing.channel(found, grpc_testing.strict_real_time())
        self._answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str | bytes]] = []
        """What came with each of these."""
        self.services = Services(self._channel, self._channel, self._channel, "secret")
        self.answer("UsersService.Token", lambda _: users_pb2.TokenResponse(access_token="token", expires_in=900))

    def answer(self, method: str, answer: Answer) -> None:
        """Answers a method, Service.Method, from now on."""
        service, _, name = method.partition(".")
        descriptor = self._services[service].methods_by_name[name]
        if method not in self._answers:
            threading.Thread(target=self._answer_all, args=(method, descriptor), daemon=True).start()
        self._answers[method] = answer

    def names(self) -> list[str]:
        """What it was asked, apart from tokens."""
        return [name for name, _ in self.asked if name != "Token"]

    def _answer_all(self, method: str, descriptor: MethodDescriptor) -> None:
        while True:
            metadata, request, call = self._channel.take_unary_unary(descriptor)
            self.metadata.append(dict(metadata or ()))
            self.asked.append((descriptor.name, request))
            call.send_initial_metadata(())
            try:
                call.terminate(self._answers[method](request), (), grpc.StatusCode.OK, "")
            except Refusal as refusal:
                call.terminate(None, _details(refusal), refusal.code, refusal.reason)


def _details(refusal: Refusal) -> tuple[tuple[str, bytes], ...]:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=refusal.reason, domain="gozon"))
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.reason, details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)
