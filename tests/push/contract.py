"""edge/asyncapi.yaml, which every message that a test hears is held against."""

from functools import cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from stack.home import CHECKOUT

FILE = CHECKOUT / "edge" / "asyncapi.yaml"


@cache
def document() -> dict[str, Any]:
    """Returns the parsed document; nobody changes it."""
    parsed: dict[str, Any] = yaml.load(FILE.read_text(), Loader=yaml.CSafeLoader)
    return parsed


@cache
def _registry() -> "Registry[Any]":
    registry: Registry[Any] = Registry()
    for name in ("asyncapi.yaml", "openapi.yaml"):
        text = (FILE.parent / name).read_text()
        contents = yaml.load(text, Loader=yaml.CSafeLoader)
        registry = registry.with_resource(f"file:///{name}", DRAFT202012.create_resource(contents))
    return registry


@cache
def _validator(kind: str) -> Draft202012Validator:
    assert kind in document()["components"]["messages"], kind
    name = kind.replace("~", "~0").replace("/", "~1")
    ref = f"file:///asyncapi.yaml#/components/messages/{name}/payload"
    return Draft202012Validator({"$ref": ref}, registry=_registry())


def assert_documented(message: dict[str, Any]) -> None:
    """Fails when a message is not what the document says of its type."""
    _validator(message["type"]).validate(message)
