"""Whether a message keeps the rules of its contract (protovalidate), and the database can store it."""

from collections.abc import Callable
from typing import Any

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kit.errors import InvalidArgument

_VALIDATOR = protovalidate.Validator()


def validator_of(message_type: Descriptor) -> Callable[[Message, bytes], None]:
    """Returns a function that refuses bad messages of a type; its arguments are the message and what it was read from.

    Errors of the function: InvalidArgument with the violations.
    """
    max_items = _max_items(message_type)

    def validate(message: Message, data: bytes) -> None:
        for name, limit in max_items:
            # Before the validator, which would look into each of a hundred thousand items first.
            if len(getattr(message, name)) > limit:
                raise InvalidArgument(violations=((name, f"must contain no more than {limit} item(s)"),))
        if b"\0" in data and (name := _field_with_nul(message)):
            raise InvalidArgument(violations=((name, "must not contain a NUL character"),))
        if violations := _VALIDATOR.collect_violations(message):
            raise InvalidArgument(violations=tuple((_path(v.proto), v.proto.message) for v in violations))

    return validate


def _path(violation: Any) -> str:
    """Returns the path of a violation's field as JSON writes it: items[2].price."""
    path = ""
    for element in violation.field.elements if violation.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    return path


def _max_items(message: Descriptor) -> list[tuple[str, int]]:
    """Returns the message's repeated fields that have a largest number of items, and that number."""
    limits = []
    for field_descriptor in message.fields:
        extensions: Any = field_descriptor.GetOptions().Extensions
        rules = extensions[validate_pb2.field]
        if rules.repeated.HasField("max_items"):
            limits.append((field_descriptor.name, int(rules.repeated.max_items)))
    return limits


def _field_with_nul(message: Message) -> str:
    """Returns the name of a string field that contains NUL, which PostgreSQL can't store; empty when there is none."""
    for descriptor, value in message.ListFields():
        for one in value if descriptor.is_repeated else (value,):
            if descriptor.type == FieldDescriptor.TYPE_STRING and "\0" in one:
                return descriptor.name
            if descriptor.type == FieldDescriptor.TYPE_MESSAGE and (name := _field_with_nul(one)):
                return f"{descriptor.name}.{name}"
    return ""
