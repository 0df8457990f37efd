"""Makes edge/openapi.yaml: what protoc-gen-connect-openapi wrote, as Envoy really serves it.

    python -m tools.openapi write FOLDER     makes FOLDER/openapi.yaml and the Postman collection of what is in FOLDER
    python -m tools.openapi verify           fails when edge/openapi.yaml was not written from its sources as they are

The generator knows fields, limits and comments. The descriptors tell which fields are always there; everything else
about REST is data, in edge/openapi_overlay.yaml. Whatever doesn't fit together is an error that names it.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import protovalidate
import yaml
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2

from tools.postman import collection

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
OVERLAY = ROOT / "edge" / "openapi_overlay.yaml"
RESULT = ROOT / "edge" / "openapi.yaml"
COLLECTION = "gozon.postman_collection.json"
DEFAULTS: Json = {
    "token": True,
    "limited": False,
    "created": False,
    "no_content": False,
    "if_match": False,
    "idempotency_key": None,
    "required": [],
    "patch": {},
}
TRAITS = {*DEFAULTS, "request", "answer"}
FORM = "application/x-www-form-urlencoded"
REF = "#/components/schemas/"
TIMESTAMP = "google.protobuf.Timestamp"
# How Envoy answers a gRPC status over REST.
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_VALIDATOR = protovalidate.Validator()


class OpenApiError(Exception):
    """The contract and the overlay don't fit together; the message says what to change."""


class Contract:
    """The services and messages of a descriptor set."""

    def __init__(self, descriptors: bytes) -> None:
        self._pool = DescriptorPool()
        self.methods: dict[str, MethodDescriptor] = {}
        """By `Service_Method`, as the generator names operations."""
        for proto in FileDescriptorSet.FromString(descriptors).file:
            self._pool.AddSerializedFile(proto.SerializeToString())
            file: FileDescriptor = self._pool.FindFileByName(proto.name)
            for service in file.services_by_name.values():
                self.methods |= {f"{service.name}_{method.name}": method for method in service.methods}

    def message(self, full_name: str) -> Descriptor | None:
        """Returns a message, None when the name is that of an enum."""
        try:
            return self._pool.FindMessageTypeByName(full_name)
        except KeyError:
            return None

    def short_name(self, full_name: str) -> str:
        """Returns a name without its package: `Order.Status`."""
        file = self._pool.FindFileContainingSymbol(full_name)
        return full_name.removeprefix(f"{file.package}.")


class Document:
    """The OpenAPI document in the making."""

    def __init__(self, generated: Json, contract: Contract, overlay: Json) -> None:
        self._contract = contract
        self._overlay = overlay
        for response in overlay["document"]["components"]["responses"].values():
            response.setdefault("headers", {})["x-request-id"] = {"$ref": "#/components/headers/x-request-id"}
        self._generated_schemas: Json = generated["components"]["schemas"]
        self._schemas: Json = {}
        self._origins: dict[str, str] = {}
        self._answered = self._reachable(
            method.output_type.full_name for method in contract.methods.values() if method.output_type
        )
        self._used: set[str] = set()
        paths = {path: self._path_item(path, item) for path, item in generated["paths"].items()}
        order = list(overlay["operations"])
        rank = {path: min(order.index(one["operationId"]) for one in item.values()) for path, item in paths.items()}
        if unknown := sorted(overlay["operations"].keys() - self._used):
            raise OpenApiError(f"{OVERLAY.name}: there is no such operation: {', '.join(unknown)}")
        paths = dict(sorted(paths.items(), key=lambda one: rank[one[0]]))
        comments = {_tag(tag["name"]): _tidy(tag["description"]) for tag in generated["tags"]}
        names = [operation["tags"][0] for item in paths.values() for operation in item.values()]
        tags = [{"name": name, "description": comments[name]} for name in dict.fromkeys(names)]
        base = deepcopy(overlay["document"])
        head = {name: base.pop(name) for name in ("openapi", "info", "servers", "security")}
        self.json: Json = head | {"tags": tags + base.pop("tags"), "paths": paths, "components": {}}
        self.json["components"]["schemas"] = dict(sorted(self._schemas.items()))
        _merge(self.json, base)

    def _path_item(self, path: str, item: Json) -> Json:
        return {verb: self._operation(path, operation) for verb, operation in item.items()}

    def _operation(self, path: str, generated: Json) -> Json:
        method, name = self._method(generated["operationId"])
        traits = self._traits(name)
        description = _tidy(generated["description"])
        operation: Json = {
            "tags": [_tag(tag) for tag in generated["tags"]],
            "operationId": name,
            "summary": re.split(r"[.:;](?:\s|$)", description, maxsplit=1)[0],
            "description": description,
        }
        if not traits["token"]:
            operation["security"] = []
        body = self._body(path, generated, method, traits)
        if parameters := self._parameters(generated, method, traits, is_form=bool(body and FORM in body["content"])):
            operation["parameters"] = parameters
        if body:
            operation["requestBody"] = body
        errors = self._errors(path, description, traits, has_body=body is not None)
        operation["responses"] = self._success(method, traits) | errors
        for status in traits["patch"].get("responses", {}):
            answer = operation["responses"].get(status, {})
            if "$ref" in answer:
                components = self._overlay["document"]["components"]["responses"]
                operation["responses"][status] = deepcopy(components[answer["$ref"].rpartition("/")[2]])
        _merge(operation, traits["patch"])
        return operation

    def _method(self, operation_id: str) -> tuple[MethodDescriptor, str]:
        """Returns the method of a generated operation, and the name that the operation gets."""
        key = operation_id if operation_id in self._contract.methods else re.sub(r"\d+$", "", operation_id)
        method = self._contract.methods[key]
        name = operation_id.partition("_")[2]
        name = self._overlay["names"].get(name, name)
        if name in self._used:
            raise OpenApiError(f"two operations are called {name}")
        self._used.add(name)
        return method, name

    def _traits(self, name: str) -> Json:
        if name not in self._overlay["operations"]:
            raise OpenApiError(f"{OVERLAY.name}: describe the operation {name} (name a second path under `names`)")
        traits: Json = self._overlay["operations"][name]
        if unknown := sorted(traits.keys() - TRAITS):
            raise OpenApiError(f"{OVERLAY.name}: {name}: unknown: {', '.join(unknown)}")
        if "answer" not in traits and not traits.get("no_content"):
            raise OpenApiError(f"{OVERLAY.name}: {name}: give an example of its answer")
        return DEFAULTS | traits

    def _parameters(self, generated: Json, method: MethodDescriptor, traits: Json, *, is_form: bool) -> list[Json]:
        parameters: list[Json] = []
        for parameter in generated.get("parameters", ()):
            if is_form and parameter["in"] == "query":
                continue
            name, schema = parameter["name"], self._field(parameter["schema"], answer=False)
            if whole := self._time(name, method.input_type):
                # The generator takes it apart; Envoy takes its text.
                name, schema = name.partition(".")[0], whole
                if any(one["name"] == name for one in parameters):
                    continue
            description = schema.pop("description", "")
            new = {"name": name, "in": parameter["in"], "description": description}
            if parameter["in"] == "path":
                examples = self._overlay["path_examples"]
                if parameter["name"] not in examples:
                    raise OpenApiError(f"{OVERLAY.name}: path_examples: give one for {parameter['name']}")
                new |= {"required": True, "schema": schema, "example": examples[parameter["name"]]}
            else:
                new["schema"] = schema
            parameters.append(new)
        names = []
        if traits["idempotency_key"]:
            names.append("IdempotencyKey" + traits["idempotency_key"].capitalize())
        if "etag" in method.input_type.fields_by_name or traits["if_match"]:
            names.append("IfMatch")
        return parameters + [{"$ref": f"#/components/parameters/{name}"} for name in names]

    def _time(self, parameter: str, message: Descriptor) -> Json | None:
        """Returns the schema of a time when the parameter is a part of one, such as `at.seconds`."""
        name, _, part = parameter.partition(".")
        kind = message.fields_by_name[name].message_type if part else None
        if kind is None or kind.full_name != TIMESTAMP:
            return None
        return self._field(self._generated_schemas[message.full_name]["properties"][name], answer=False)

    def _body(self, path: str, generated: Json, method: MethodDescriptor, traits: Json) -> Json | None:
        if "requestBody" not in generated:
            return None
        if "request" not in traits:
            raise OpenApiError(f"{OVERLAY.name}: {method.name}: give an example of its request")
        schema = generated["requestBody"]["content"]["application/json"]["schema"]
        form = schema.get("$ref") == f"{REF}google.api.HttpBody"
        # What is in the path may not be in the body too, and a form takes the place of the other fields.
        elsewhere = set(re.findall(r"{(\w+)}", path))
        if form:
            elsewhere |= {
                field.name
                for field in method.input_type.fields
                if field.message_type and field.message_type.full_name == "google.api.HttpBody"
            }
        if form or elsewhere:
            schema = self._message(method.input_type, answer=False)
            if form:
                schema.pop("propertyNames")
            for field in elsewhere:
                schema["properties"].pop(field, None)
            required = [field for field in schema.pop("required", []) if field not in elsewhere] + traits["required"]
            schema |= {"required": required} if required else {}
        else:
            schema = self._reference(method.input_type.full_name, answer=False)
        content = {"schema": schema, "example": traits["request"]}
        return {"required": True, "content": {FORM if form else "application/json": content}}

    def _success(self, method: MethodDescriptor, traits: Json) -> Json:
        headers = ["x-request-id"]
        if traits["token"] or traits["limited"]:
            headers += ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
        if traits["idempotency_key"]:
            headers.append("idempotency-replayed")
        if traits["created"]:
            headers.append("location")
        # Headers come once, before the states of a stream.
        if "etag" in method.output_type.fields_by_name and not method.server_streaming:
            headers.append("etag")
        status, description = ("201", "Created.") if traits["created"] else ("200", "Done.")
        answer: Json = {"description": description}
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
        if traits["no_content"]:
            return {"204": answer | {"description": "Done; there is no content."}}
        if method.server_streaming:
            kind = self._contract.short_name(method.output_type.full_name)
            self._reference(method.output_type.full_name, answer=True)
            answer["description"] = f"Server-sent events; the data of each is one {kind} as JSON."
            example = f"data: {json.dumps(traits['answer'], separators=(',', ':'))}\n\n"
            answer["content"] = {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
        else:
            schema = self._reference(method.output_type.full_name, answer=True)
            answer["content"] = {"application/json": {"schema": schema, "example": traits["answer"]}}
        return {status: answer}

    def _errors(self, path: str, description: str, traits: Json, *, has_body: bool) -> Json:
        applies = {"all": True, "token": traits["token"], "body": has_body, "path": "{" in path, "comment": False}
        own: dict[int, list[str]] = {}
        codes: dict[int, int] = {}
        for code, reasons in _documented_errors(description):
            own.setdefault(HTTP_STATUS[code], []).extend(reasons)
            codes.setdefault(HTTP_STATUS[code], code_pb2.Code.Value(code))
        errors = self._overlay["errors"]
        if missing := sorted(own.keys() - errors.keys()):
            raise OpenApiError(f"{OVERLAY.name}: errors: nothing about the status {missing[0]}")
        answers: Json = {}
        for status, rule in errors.items():
            component = self._overlay["document"]["components"]["responses"][rule["response"]]
            reasons = [one for one in own.get(status, ()) if f"`{one}`" not in component["description"]]
            if reasons:
                named = ", ".join(f"`{reason}`" for reason in dict.fromkeys(reasons))
                answer = deepcopy(component) | {"description": f"{component['description']} {named}."}
                if rule["of"] in ("path", "comment"):
                    example = answer["content"]["application/json"]["example"]
                    example["code"] = codes[status]
                    example["details"][0]["reason"] = reasons[0]
                answers[str(status)] = answer
            elif status in own or applies[rule["of"]]:
                answers[str(status)] = {"$ref": f"#/components/responses/{rule['response']}"}
        return answers

    def _reference(self, full_name: str, *, answer: bool) -> Json:
        """Returns a reference to the schema of a message or an enum, which is made if need be.

        What is in answers and in requests too has a second schema for requests, with `Input` in its name.
        """
        message = self._contract.message(full_name)
        name = self._contract.short_name(full_name)
        known = message is not None and "properties" in self._generated_schemas[full_name]
        if known and not answer and full_name in self._answered:
            name += "Input"
        origin = f"{full_name} {answer if message else ''}"
        if self._origins.setdefault(name, origin) != origin and not full_name.startswith("google."):
            raise OpenApiError(f"two schemas are called {name}: {origin} and {self._origins[name]}")
        if name not in self._schemas:
            self._schemas[name] = {}
            generated = self._generated_schemas[full_name]
            self._schemas[name] = self._message(message, answer=answer) if message and known else _clean(generated)
        return {"$ref": f"{REF}{name}"}

    def _message(self, message: Descriptor, *, answer: bool) -> Json:
        generated = self._generated_schemas[message.full_name]
        properties = {
            name: self._field(schema, answer=answer) for name, schema in generated.get("properties", {}).items()
        }
        for field in message.fields:
            if field.enum_type and "enum" in (limited := properties.get(field.name, {})):
                limited["enum"] = [field.enum_type.values_by_number[number].name for number in limited["enum"]]
        required = _always_there(message) if answer else _never_empty(message)
        if not answer:
            for name in properties.keys() - set(required):
                if isinstance(kind := properties[name].get("type"), str | list):
                    properties[name]["type"] = [*([kind] if isinstance(kind, str) else kind), "null"]
        schema: Json = {"type": "object", "description": _tidy(generated.get("description", ""))}
        if not answer:
            # An unknown member is ignored, but none may be nameless.
            schema["propertyNames"] = {"minLength": 1}
        if required:
            schema["required"] = required
        return schema | {"properties": properties}

    def _field(self, generated: Json, *, answer: bool) -> Json:
        schema = _clean(generated)
        for part in (schema, schema.get("items", {})):
            if "$ref" in part:
                part.update(self._reference(part["$ref"].removeprefix(REF), answer=answer))
            if part.get("format") == "int64":
                part.update(type="string" if answer else ["integer", "string"], pattern=_digits(part))
            elif not answer and part.get("type") == "string" and not part.keys() & {"pattern", "format", "enum"}:
                # PostgreSQL can't store a NUL.
                part["pattern"] = r"^[^\u0000]*$"
        return schema

    def _reachable(self, names: Iterator[str]) -> set[str]:
        """Returns the names of the messages that these hold, themselves included."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            message = self._contract.message(name)
            if message and name not in found:
                found.add(name)
                waiting += [field.message_type.full_name for field in message.fields if field.message_type]
        return found


def _always_there(message: Descriptor) -> list[str]:
    """Fields that Envoy prints whatever they hold."""
    return [field.name for field in message.fields if not field.has_presence]


def _never_empty(message: Descriptor) -> list[str]:
    """Fields whose limits forbid the value they have when they are not sent."""
    violations = _VALIDATOR.collect_violations(GetMessageClass(message)())
    names = {one.proto.field.elements[0].field_name for one in violations if one.proto.field}
    return [field.name for field in message.fields if field.name in names and field.type != FieldDescriptor.TYPE_ENUM]


def _digits(schema: Json) -> str:
    """A pattern for an int64 as a string; as exact as its limits where those are 0 or 1 and a power of ten."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low in (0, 1) and high and set(str(high)[1:]) == {"0"} and str(high)[0] == "1":
        zero = "0|" if low == 0 else ""
        return f"^({zero}[1-9][0-9]{{0,{len(str(high)) - 2}}}|{high})$"
    return "^-?[0-9]{1,19}$"


def _documented_errors(description: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the gRPC codes and their reasons that a comment names: `NOT_FOUND (ORDER_NOT_FOUND)`."""
    _, _, errors = description.partition("Errors:")
    for code, reasons in re.findall(r"\b([A-Z_]+) \(([^)]*)\)", errors):
        if code not in HTTP_STATUS:
            raise OpenApiError(f"no gRPC code: {code} in: {errors.strip()}")
        yield code, [word for part in re.split(r"[;,]\s*", reasons) if (word := _reason(part))]


def _reason(text: str) -> str:
    found = re.match(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*\b", text)
    return found.group() if found else ""


_NOISE = {"title", "additionalProperties", "nullable"}


def _clean(generated: Json) -> Json:
    """A schema without titles, which repeat names, and words of OpenAPI 3.0, and with its description in order."""
    schema = {key: deepcopy(value) for key, value in generated.items() if key not in _NOISE}
    if "description" in schema:
        schema["description"] = _tidy(schema["description"])
    return schema


def _tidy(comment: str) -> str:
    """A comment with a line for each paragraph; the generator adds rules as `id // message`."""
    lines = [re.sub(r"^[\w.]+ // (\w)(.*)$", _sentence, line.strip()) for line in comment.splitlines()]
    return re.sub(r"(?<!\n)\n(?!\n)", " ", "\n".join(lines)).strip()


def _sentence(rule: re.Match[str]) -> str:
    return f"It {rule[1]}{rule[2]}."


def _tag(name: str) -> str:
    return name.removesuffix("Service")


def _merge(target: Json, patch: Json) -> None:
    """JSON Merge Patch (RFC 7396)."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = deepcopy(value)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def sources() -> list[Path]:
    """What edge/openapi.yaml is made from, the generator included."""
    protos = [path for folder in ("protos", "third_party/buf") for path in (ROOT / folder).rglob("*.proto")]
    tools = [ROOT / "tools" / name for name in ("openapi.py", "go.mod", "go.sum")]
    return [*sorted(protos), *tools, OVERLAY]


def checksum(body: str) -> str:
    """A hash over the sources and the document made from them."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    digest.update(body.encode())
    return digest.hexdigest()


def write(folder: Path) -> None:
    """Makes the document and the Postman collection from what is in a folder. Raises OpenApiError."""
    generated = yaml.load((folder / "generated.yaml").read_text(), Loader=yaml.CSafeLoader)
    overlay = yaml.load(OVERLAY.read_text(), Loader=yaml.CSafeLoader)
    document = Document(generated, Contract((folder / "gozon.binpb").read_bytes()), overlay).json
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    head = f"# Made by `make gen` from protos/ and edge/openapi_overlay.yaml.\n# Checksum: {checksum(body)}\n"
    (folder / "openapi.yaml").write_text(head + body)
    (folder / COLLECTION).write_text(_collection(document))


def _collection(document: Json) -> str:
    return json.dumps(collection(document), indent=1, ensure_ascii=False) + "\n"


def verify() -> bool:
    """Says whether edge/openapi.yaml and the collection were written from the sources as they are now."""
    _, line, body = RESULT.read_text().split("\n", 2)
    same = line == f"# Checksum: {checksum(body)}"
    return same and (ROOT / "docs" / COLLECTION).read_text() == _collection(yaml.load(body, Loader=yaml.CSafeLoader))


def main(arguments: list[str]) -> int:
    """Runs one of the commands above; returns the exit code."""
    try:
        match arguments:
            case ["write", folder]:
                write(Path(folder))
            case ["verify"]:
                return 0 if verify() else 1
            case _:
                print(__doc__)
                return 2
    except OpenApiError as error:
        print(f"tools.openapi: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
