"""Every RPC of every service, from the descriptors: requests of it, and calls over REST and gRPC."""

import importlib
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import grpc
import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf import json_format, symbol_database
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from kit.access import Rule
from stack.config import SERVICES
from tests.support import User, reason_of

Json = dict[str, Any]
Headers = dict[str, str] | list[tuple[str, str]]
HTTP_BODY = "google.api.HttpBody"
TEXT_IN_JSON = {"google.protobuf.FieldMask", "google.protobuf.Timestamp"}
"""Messages that JSON writes as text."""
CALL_SECONDS = 20
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Owner:
    """A user, and what is this user's."""

    user: User
    order_id: str
    payout_id: str
    refresh_token: str
    product_id: str
    """What the user has bought; anybody may."""

    @property
    def names(self) -> tuple[str, ...]:
        """What belongs into answers to this user only, and into rows about this user."""
        return self.user.id, self.user.email, self.order_id, self.payout_id


@dataclass(frozen=True)
class Binding:
    """How REST calls an RPC, see google.api.http."""

    verb: str
    template: str
    body: str


@dataclass(frozen=True)
class Answer:
    """What came back, in one form for REST and gRPC."""

    code: str
    """Name of the gRPC status."""
    reason: str
    body: Json
    """The message, or the error."""
    headers: list[tuple[str, str]]

    @property
    def text(self) -> str:
        """All of it."""
        return json.dumps([self.body, self.headers], ensure_ascii=False)


@dataclass(frozen=True)
class Rpc:
    """A method of a service."""

    service: str
    method: MethodDescriptor
    rule: Rule

    @property
    def path(self) -> str:
        """Its path in HTTP/2."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def bindings(self) -> list[Binding]:
        """All the ways REST calls it; none, when it is for workers."""
        extensions: Any = self.method.GetOptions().Extensions
        rule = extensions[annotations_pb2.http]
        if rule.WhichOneof("pattern") is None:
            return []
        rules = [(one, one.WhichOneof("pattern")) for one in (rule, *rule.additional_bindings)]
        return [Binding(verb.upper(), getattr(one, verb), one.body) for one, verb in rules]

    def request(self, owner: Owner) -> Json:
        """Returns a valid request about an owner's things."""
        return _sample(self.method.input_type, _values(owner))

    def string_fields(self) -> list[tuple[str, ...]]:
        """The paths of all fields of the request that hold text."""
        return list(_string_fields(self.method.input_type))

    async def over_grpc(self, channel: grpc.aio.Channel, request: Json, headers: Headers) -> Answer:
        """Calls it with headers as metadata; of a stream, the first message is the answer."""
        data = _encoded(self.method.input_type, request)
        metadata = tuple(headers.items() if isinstance(headers, dict) else headers)
        try:
            if self.method.server_streaming:
                streams: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(self.path)
                stream = streams(data, metadata=metadata, timeout=CALL_SECONDS)
                answer, received = await stream.read(), await stream.initial_metadata()
                stream.cancel()
            else:
                calls: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(self.path)
                call = calls(data, metadata=metadata, timeout=CALL_SECONDS)
                answer, received = await call, await call.initial_metadata()
        except grpc.aio.AioRpcError as error:
            trailers = [(str(name), str(value)) for name, value in error.trailing_metadata() or ()]
            return Answer(error.code().name, reason_of(error), {"message": error.details()}, trailers)
        message = _new(self.method.output_type)
        assert isinstance(answer, bytes), "a stream without a message"
        message.ParseFromString(answer)
        body = json_format.MessageToDict(message, preserving_proto_field_name=True)
        return Answer("OK", "", body, [(str(name), str(value)) for name, value in received or ()])

    async def over_rest(
        self, rest: httpx.AsyncClient, request: Json, headers: dict[str, str], binding: Binding | None = None
    ) -> Answer:
        """Calls it in one of the ways of REST, the first by default; of a stream, the first event is the answer."""
        verb, url, content, content_type = _rest_request(binding or self.bindings[0], request)
        sent = ({"content-type": content_type} if content_type else {}) | headers
        async with rest.stream(verb, url, content=content, headers=sent, timeout=CALL_SECONDS) as response:
            if response.headers.get("content-type") == "text/event-stream":
                text = (await anext(response.aiter_lines())).removeprefix("data:")
            else:
                text = (await response.aread()).decode()
        assert response.status_code < 500, text
        body: Json = json.loads(text or "{}")
        received = list(response.headers.items())
        if response.status_code < 400:
            return Answer("OK", "", body, received)
        code = next(code.name for code in grpc.StatusCode if code.value[0] == body["code"])
        return Answer(code, body["details"][0]["reason"], body, received)


def all_rpcs() -> list[Rpc]:
    """Every RPC that there is, with its rule."""
    served = [(service, f"services.{service}.api", service) for service in SERVICES]
    served += [("payments", f"services.payments.{contract}_api", contract) for contract in ("payouts", "shop")]
    served += [("system", "services.system.api", "system")]
    served += [(service, "kit.maintenance", "maintenance") for service in SERVICES]
    found = []
    for service, module, contract in served:
        rules = importlib.import_module(module).RULES
        file = importlib.import_module(f"gozon.{contract}.v1.{contract}_pb2").DESCRIPTOR
        for each in file.services_by_name.values():
            found += [Rpc(service, method, rules[method.name]) for method in each.methods]
    return found


def replaced(request: Json, path: tuple[str, ...], value: str) -> Json:
    """Returns the request with another value in a field; all items of a list get it."""
    name, *rest = path
    if not rest:
        return request | {name: value}
    inner = request.get(name, {})
    if isinstance(inner, list):
        return request | {name: [replaced(item, tuple(rest), value) for item in inner]}
    return request | {name: replaced(inner, tuple(rest), value)}


def _values(owner: Owner) -> Json:
    """By name of the field, or by message and field where a name means several things."""
    return {
        "user_id": owner.user.id,
        "order_id": owner.order_id,
        "payout_id": owner.payout_id,
        "product_id": owner.product_id,
        "email": f"{uuid.uuid4().hex}@example.com",
        "username": "Ann",
        "password": owner.user.password,
        "current_password": owner.user.password,
        "new_password": owner.user.password,
        "TokenRequest.username": owner.user.email,
        "grant_type": "password",
        "refresh_token": owner.refresh_token,
        "token": owner.refresh_token,
        "client_id": "worker",
        "client_secret": "",
        "etag": "",
        # Either these or items.
        "CreateOrderRequest.amount": 0,
        "amount": 5,
        "name": "tea",
        "quantity": 1,
        "price": 5,
        "total_price": 5,
        "description": "for the road",
        "currency": "RUB",
        "page_size": 5,
        "page_token": "",
        "status": "STATUS_UNSPECIFIED",
        "UpdateOrderRequest.status": "CANCELED",
        "update_mask": "description",
        "capture": "AUTOMATIC",
        "at": "2999-12-31T00:00:00Z",
        "type": "CARD",
        "number": "4242424242424242",
        # A card has none of these.
        "Recipient.bank_account": None,
        "Recipient.phone": None,
        "comment": "for the road",
        "recipient_type": "TYPE_UNSPECIFIED",
        "show_deleted": True,
        "UpdatePayoutRequest.status": "CANCELED",
        "UpdatePayoutRequest.failure_reason": "",
        "UpdatePayoutRequest.update_mask": "comment",
        "FinishPayoutRequest.status": "COMPLETED",
        "failure_reason": "",
        "provider_reference": "",
        "is_active": True,
        "UpdateProductRequest.update_mask": "name,description",
        "CreateProductRequest.type": "CONSUMABLE",
        "ListProductsRequest.type": "TYPE_UNSPECIFIED",
        "dead_letter_days": 30,
        "dead_letter_id": "orders.CgA",
        "limit": 5,
        "consumer": "orders-settle",
        "event_id": owner.order_id,
        "died_at": "2026-11-21T00:00:00Z",
    }


def _sample(message: Descriptor, values: Json) -> Json:
    request: Json = {}
    for field in message.fields:
        by_field = f"{message.name}.{field.name}"
        if by_field in values and values[by_field] is None:
            continue
        if field.message_type is None or field.message_type.full_name in TEXT_IN_JSON:
            name = by_field if by_field in values else field.name
            if name not in values:
                pytest.fail(f"{message.full_name}.{field.name} is new: give it a value in {__file__}")
            request[field.name] = values[name]
        elif field.message_type.full_name != HTTP_BODY:  # the form of REST, which is made of the other fields
            inner = _sample(field.message_type, values)
            request[field.name] = [inner] if field.is_repeated else inner
    return request


def _string_fields(message: Descriptor) -> Iterator[tuple[str, ...]]:
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield (field.name,)
        elif field.message_type is not None and field.message_type.full_name not in {
            "google.protobuf.Any",
            *TEXT_IN_JSON,
        }:
            yield from ((field.name, *path) for path in _string_fields(field.message_type))


def _new(message: Descriptor) -> Message:
    found: Message = symbol_database.Default().GetSymbol(message.full_name)()
    return found


def _encoded(message: Descriptor, request: Json) -> bytes:
    """The message in protobuf; lone surrogates as the bytes that careless programs make of them."""
    lone: dict[bytes, bytes] = {}

    def storable(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: storable(one) for name, one in value.items()}
        if isinstance(value, list):
            return [storable(one) for one in value]
        if isinstance(value, str) and SURROGATE.search(value):
            data = value.encode("utf-8", "surrogatepass")
            # As long as the real thing, because its length is written before it.
            lone[b"X" * len(data)] = data
            return "X" * len(data)
        return value

    data = json_format.ParseDict(storable(request), _new(message)).SerializeToString()
    for placeholder, real in lone.items():
        data = data.replace(placeholder, real)
    return data


def _rest_request(binding: Binding, request: Json) -> tuple[str, str, str | None, str]:
    """Verb, URL, body and its content type."""
    left, url = dict(request), binding.template
    for name in [name for name in left if f"{{{name}}}" in url]:
        url = url.replace(f"{{{name}}}", quote(str(left.pop(name)).encode("utf-8", "surrogatepass"), safe=""))
    if binding.body == "*":
        return binding.verb, url, json.dumps(left), "application/json"
    query = urlencode(left, encoding="utf-8", errors="surrogatepass")
    if binding.body:
        return binding.verb, url, query, "application/x-www-form-urlencoded"
    return binding.verb, f"{url}?{query}" if query else url, None, ""
