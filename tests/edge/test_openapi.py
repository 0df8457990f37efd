"""edge/openapi.yaml: it says what the edge does, of every method and of nothing else."""

import ast
import json
import re
import uuid
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
import yaml
from google.api import annotations_pb2
from jsonschema.protocols import Validator
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from stack import edge as edge_config
from tests.support import Edge, RunningStack, User
from tools import openapi, postman

Json = dict[str, Any]

DOCUMENT: Json = yaml.safe_load(openapi.RESULT.read_text())
OVERLAY: Json = yaml.safe_load(openapi.OVERLAY.read_text())
CONTRACT = openapi.Contract(edge_config.DESCRIPTORS.read_bytes())
NO_PRODUCT = "01a1fcd5-5a44-77a7-b02f-b51bc5639cd1"
HEALTH = {("get", "/healthz"), ("get", "/readyz")}


def operations() -> Iterator[tuple[str, str, Json]]:
    """Path, verb and operation."""
    for path, item in DOCUMENT["paths"].items():
        for verb, operation in item.items():
            yield path, verb, operation


def resolved(value: Json) -> Json:
    """What a reference stands for, or the value itself."""
    if "$ref" not in value:
        return value
    found: Any = DOCUMENT
    for name in value["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return dict(found)


def validator(schema: Json, *, closed: bool = False) -> Validator:
    """A validator for a schema of the document; a closed one allows no members that are not described."""
    document = json.loads(json.dumps([DOCUMENT, schema]), object_hook=_closed if closed else None)
    registry = Registry().with_resource("urn:openapi", DRAFT202012.create_resource(document[0]))
    schema = document[1]
    absolute = json.loads(json.dumps(schema).replace('"#/', '"urn:openapi#/'))
    return OAS31Validator(absolute, registry=registry, format_checker=OAS31Validator.FORMAT_CHECKER)


def test_it_is_valid_openapi_3_1() -> None:
    validate(DOCUMENT)

    assert DOCUMENT["openapi"].startswith("3.1")


def test_it_has_each_path_of_the_contract_and_nothing_else() -> None:
    wanted = set(HEALTH)
    for method in CONTRACT.methods.values():
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        for one in (rule, *rule.additional_bindings):
            if verb := one.WhichOneof("pattern"):
                wanted.add((verb, getattr(one, verb)))

    assert {(verb, path) for path, verb, _ in operations()} == wanted


def test_operations_without_a_token_are_those_that_the_edge_and_the_services_let_pass() -> None:
    source = yaml.safe_load(edge_config.SOURCE.read_text())
    listeners = source["static_resources"]["listeners"]
    filters = listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    rules = next(one for one in filters if one["name"] == "envoy.filters.http.jwt_authn")["typed_config"]["rules"]
    free = {rule["match"].get("path", "") for rule in rules if "requires" not in rule}
    by_name = {name.partition("_")[2]: method for name, method in CONTRACT.methods.items()}

    for path, verb, operation in operations():
        if (verb, path) not in HEALTH:
            method = by_name[_method_name(operation)]
            path_of_rpc = f"/{method.containing_service.full_name}/{method.name}"
            assert (operation.get("security") == []) == (path_of_rpc in free), operation["operationId"]


def test_it_promises_what_the_methods_do() -> None:
    """201, 204 and idempotency keys are asked for in the api classes."""
    calls: dict[str, set[str]] = {}
    for file in sorted((openapi.ROOT / "services").glob("*/*api.py")):
        functions = [
            node
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
        ]
        own = {node.name: {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)} for node in functions}
        for node in functions:
            helpers = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} & own.keys()
            calls[node.name] = own[node.name].union(*(own[name] for name in helpers))

    for _, _, operation in operations():
        if operation["tags"] == ["Edge"]:
            continue
        does = calls[re.sub(r"(?<!^)([A-Z])", r"_\1", _method_name(operation)).lower()]
        answers = operation["responses"]
        parameters = [resolved(one)["name"] for one in operation.get("parameters", ())]
        assert ("201" in answers) == ("created" in does), operation["operationId"]
        assert ("204" in answers) == ("no_content" in does), operation["operationId"]
        assert ("Idempotency-Key" in parameters) == ("idempotency_key" in does), operation["operationId"]


def test_every_example_fits_its_schema() -> None:
    checked = 0
    for _, _, operation in operations():
        bodies = [resolved(answer) for answer in operation["responses"].values()]
        bodies.append(operation.get("requestBody", {}))
        for media in (media for body in bodies for media in body.get("content", {}).values()):
            validator(media["schema"], closed=True).validate(media["example"])
            checked += 1
        for parameter in map(resolved, operation.get("parameters", ())):
            if parameter.get("example") is not None:
                validator(parameter["schema"]).validate(parameter["example"])
    assert checked > len(list(operations()))


def test_every_operation_has_errors_of_the_one_shape() -> None:
    for path, verb, operation in operations():
        errors = {status: resolved(one) for status, one in operation["responses"].items() if status >= "400"}
        for error in errors.values():
            shape = resolved(error["content"]["application/json"]["schema"])
            # Those of OAuth have more.
            assert shape["properties"].items() >= DOCUMENT["components"]["schemas"]["Error"]["properties"].items()
        if (verb, path) not in HEALTH:
            assert errors.keys() >= {"400", "429", "500", "503", "504"}, operation["operationId"]
            assert ("401" in errors) or operation.get("security") == [], operation["operationId"]


@pytest.mark.parametrize(
    ("path", "given", "fits"),
    [
        ("/orders", {"amount": 5}, True),
        ("/orders", {"amount": "1000000000000", "description": None, "unknown": 1}, True),
        ("/orders", {"items": [{"name": "tea", "quantity": 1, "price": "5"}]}, True),
        ("/orders", {}, False),
        ("/orders", {"items": [], "amount": 0}, False),
        ("/orders", {"items": [{"name": "tea", "quantity": 1, "price": 5}], "amount": 5}, False),
        ("/orders", {"amount": "1000000000001"}, False),
        ("/orders", {"items": [{"name": "tea", "quantity": 1}]}, False),
        ("/orders", {"items": [{"name": "", "quantity": 1, "price": 5}]}, False),
        ("/orders", {"items": [{"name": "tea", "quantity": 1, "price": 5, "product_id": NO_PRODUCT}]}, False),
        ("/orders", {"items": [{"quantity": 1, "price": 5, "product_id": NO_PRODUCT}]}, False),
        ("/orders", {"items": [{"quantity": 1, "product_id": "tea"}]}, False),
        ("/register", {"email": "ann@example.com", "password": "short"}, False),
        ("/register", {"email": "ann@example.com"}, False),
    ],
)
async def test_a_request_fits_the_document_exactly_when_the_edge_takes_it(
    edge: Edge, path: str, given: Json, *, fits: bool
) -> None:
    schema = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    answer = await edge.rest.post(path, json=given, headers=(await edge.register()).headers)

    assert validator(schema).is_valid(given) == fits
    assert answer.status_code == (201 if fits else 400), answer.text


async def test_the_postman_collection_works_from_top_to_bottom_as_the_document_says(
    edge: Edge, stack: RunningStack, admin: User
) -> None:
    file = openapi.ROOT / "docs" / openapi.COLLECTION
    collection = json.loads(file.read_text())
    variables = {one["key"]: one["value"] for one in collection["variable"]}
    variables |= {"baseUrl": stack.edge_url, "email": f"{uuid.uuid4().hex}@example.com", "admin_token": admin.token}
    described = {operation["operationId"]: operation for _, _, operation in operations()}
    sent = []

    for item in (item for folder in collection["item"] for item in folder["item"]):
        name = item["name"].partition(":")[0]
        request = json.loads(_filled(json.dumps(item["request"]), variables))
        headers = {one["key"]: one["value"] for one in request["header"] if not one.get("disabled")}
        auth = request.get("auth", collection["auth"])
        if auth["type"] == "bearer":
            headers["authorization"] = _filled(f"Bearer {auth['bearer'][0]['value']}", variables)
        body = request.get("body", {})
        form = {one["key"]: one["value"] for one in body.get("urlencoded", ())}
        async with edge.rest.stream(
            request["method"], request["url"]["raw"], headers=headers, content=body.get("raw"), data=form or None
        ) as answer:
            text = await anext(answer.aiter_text()) if name == "WatchOrder" else (await answer.aread()).decode()
        # Workers may have begun the payout by now.
        begun = name.endswith(("UpdatePayout", "DeletePayout")) and "TRANSITION_NOT_ALLOWED" in text
        # And nothing has gone wrong in this system.
        all_well = name.endswith("DeadLetter") and "DEAD_LETTER_NOT_FOUND" in text
        assert answer.is_success or begun or all_well, (name, answer.status_code, text)
        _assert_described(described[name], answer, text)
        for variable, member in postman.REMEMBERED.get(name, ()):
            variables[variable] = json.loads(text).get(member, "")
        if name == "CreateOrder":
            # People are slower than the payment.
            await edge.settled(User(variables["user_id"], "", "", variables["token"]), variables["order_id"])
        sent.append(name)

    assert sorted(set(sent)) == sorted(described)


async def test_errors_are_as_described(edge: Edge) -> None:
    user = await edge.register()
    described = {operation["operationId"]: operation for _, _, operation in operations()}
    nobody = uuid.uuid4()
    for name, answer in (
        ("GetOrder", await edge.rest.get(f"/orders/{nobody}", headers=user.headers)),
        ("GetOrder", await edge.rest.get("/orders/x", headers=user.headers)),
        ("GetMe", await edge.rest.get("/users/me")),
        ("Register", await edge.rest.post("/register", json={"email": user.email, "password": user.password})),
        ("Register", await edge.rest.post("/register", content="{")),
        ("Token", await edge.rest.post("/token", data={"grant_type": "password", "username": "x", "password": "y"})),
        ("CreateOrder", await edge.rest.post("/orders", content="1" * 300_000, headers=user.headers)),
        ("Deposit", await edge.rest.post(f"/accounts/{nobody}/deposit", json={"amount": 1}, headers=user.headers)),
    ):
        assert answer.is_error
        _assert_described(described[name], answer, answer.text)


def test_what_does_not_fit_together_is_named() -> None:
    document = {
        "tags": [{"name": "UsersService", "description": "Users."}],
        "paths": {
            "/users/me": {
                "get": {
                    "tags": ["UsersService"],
                    "operationId": "UsersService_GetMe",
                    "description": "Returns you.\n\n Errors: NOT_FOUND (GONE).",
                }
            }
        },
        "components": {"schemas": {"gozon.users.v1.User": {"type": "object", "description": "A user."}}},
    }

    def made(document: Json, **operations: Json) -> Json:
        return openapi.Document(document, CONTRACT, OVERLAY | {"operations": operations}).json

    me = made(document, GetMe={"answer": {}})["paths"]["/users/me"]["get"]
    assert "`GONE`" in me["responses"]["404"]["description"]
    with pytest.raises(openapi.OpenApiError, match="no such operation: Gone"):
        made(document, GetMe={"answer": {}}, Gone={"answer": {}})
    with pytest.raises(openapi.OpenApiError, match="describe the operation GetMe"):
        made(document)
    with pytest.raises(openapi.OpenApiError, match="GetMe: give an example"):
        made(document, GetMe={})
    with pytest.raises(openapi.OpenApiError, match="GetMe: unknown: colour"):
        made(document, GetMe={"answer": {}, "colour": "red"})
    other = deepcopy(document)
    other["paths"]["/users/me"]["get"]["description"] = "Errors: MISSING (GONE)."  # type: ignore[index]
    with pytest.raises(openapi.OpenApiError, match="no gRPC code: MISSING"):
        made(other, GetMe={"answer": {}})


def _closed(schema: Json) -> Json:
    return {"additionalProperties": False, **schema} if schema.get("type") == "object" else schema


def _method_name(operation: Json) -> str:
    """The RPC of an operation; a second path of one has another name."""
    name = {new: old for old, new in OVERLAY["names"].items()}.get(operation["operationId"], operation["operationId"])
    return re.sub(r"\d+$", "", str(name))


def _filled(text: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        text = text.replace("{{" + name + "}}", value)
    return text.replace("{{$guid}}", str(uuid.uuid4()))


def _assert_described(operation: Json, answer: httpx.Response, text: str) -> None:
    """Status, body and headers are those that the document names."""
    assert str(answer.status_code) in operation["responses"], (operation["operationId"], answer.status_code)
    described = resolved(operation["responses"][str(answer.status_code)])
    kind = answer.headers.get("content-type", "")
    if "content" not in described:
        assert not text
    elif kind == "text/event-stream":
        assert kind in described["content"]
        assert text.startswith("data: {")
    else:
        validator(described["content"][kind]["schema"], closed=True).validate(json.loads(text))
    if answer.is_success:
        optional = {"idempotency-replayed"}
        assert answer.headers.keys() >= described.get("headers", {}).keys() - optional, operation["operationId"]
    ours = {"location", "etag", "idempotency-replayed", "retry-after"}
    assert answer.headers.keys() & ours <= described.get("headers", {}).keys(), operation["operationId"]
