"""Makes a Postman collection (format 2.1) from an OpenAPI document.

Sent from top to bottom the requests work as they are: what one answers, the next ones use. Only the token of an
administrator, for what needs one, is to be given.
"""

import json
import re
from typing import Any

Json = dict[str, Any]

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
# Sent first, in this order: what the others need.
FIRST = ("Register", "Token", "GetMe", "OpenAccount", "Deposit", "CreateOrder")
# Sent once more before an operation that needs what it makes: a hold is captured or released, once.
AGAIN = {"ReleaseHold": "CreateHold"}
# So ends the first sentence about what only administrators may do, with the token `admin_token`.
FOR_ADMINS = "; for admins."
VARIABLES = (
    *("token", "refresh_token", "admin_token", "email", "user_id"),
    *("order_id", "held_order_id", "payout_id", "product_id"),
)
# Which member of an operation's answer is remembered as which variable.
REMEMBERED = {
    "Token": [("token", "access_token"), ("refresh_token", "refresh_token")],
    "GetMe": [("user_id", "id")],
    "CreateOrder": [("order_id", "id")],
    "CreateHold": [("held_order_id", "order_id")],
    "CreatePayout": [("payout_id", "id")],
    "ApiCreatePayout": [("payout_id", "id")],
    "CreateProduct": [("product_id", "id")],
}
# Values that must be new, or one's own, in JSON and in forms.
JSON_VARIABLES = {"email": "{{email}}", "order_id": "{{held_order_id}}"}
NEW_VARIABLES = {"CreateHold": {"order_id": "{{$guid}}"}}
FORM_VARIABLES = {"username": "{{email}}", "token": "{{refresh_token}}"}


def collection(document: Json) -> Json:
    """Returns the collection of an OpenAPI document's operations, a folder for each tag."""
    operations = [
        (path, verb, operation) for path, item in document["paths"].items() for verb, operation in item.items()
    ]
    operations.sort(key=lambda one: _rank(one[2]["operationId"]))
    by_name = {one[2]["operationId"]: one for one in operations}
    for name, earlier in AGAIN.items():
        if name in by_name:
            operations.insert(operations.index(by_name[name]), by_name[earlier])
    tags = list(dict.fromkeys(operation["tags"][0] for _, _, operation in operations))
    return {
        "info": {
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "schema": SCHEMA,
        },
        "auth": _bearer("{{token}}"),
        "event": [_script("prerequest", ["if (!pm.collectionVariables.get('email')) {", *_NEW_EMAIL, "}"])],
        "variable": [
            {"key": "baseUrl", "value": "http://127.0.0.1:8080"},
            *({"key": name, "value": ""} for name in VARIABLES),
        ],
        "item": [
            {
                "name": tag,
                "item": [_item(document, *operation) for operation in operations if operation[2]["tags"][0] == tag],
            }
            for tag in tags
        ],
    }


_NEW_EMAIL = ["  pm.collectionVariables.set('email', pm.variables.replaceIn('{{$guid}}@example.com'));"]


def _bearer(token: str) -> Json:
    return {"type": "bearer", "bearer": [{"key": "token", "value": token, "type": "string"}]}


def _rank(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _item(document: Json, path: str, verb: str, operation: Json) -> Json:
    request: Json = {"method": verb.upper(), "description": operation.get("description", ""), "header": []}
    if operation.get("security") == []:
        request["auth"] = {"type": "noauth"}
    elif FOR_ADMINS in request["description"]:
        request["auth"] = _bearer("{{admin_token}}")
    parameters = [_resolved(document, parameter) for parameter in operation.get("parameters", ())]
    for parameter in parameters:
        if parameter["in"] == "header":
            header = {"key": parameter["name"], "value": "", "description": parameter["description"]}
            key = parameter["name"] == "Idempotency-Key"
            request["header"].append(header | ({"value": "{{$guid}}"} if key else {"disabled": True}))
    if body := operation.get("requestBody"):
        request["body"] = _body(body["content"], request["header"], NEW_VARIABLES.get(operation["operationId"], {}))
    # A part such as {order_id}:watch is no variable to Postman, so all of them are written as its own variables.
    raw = re.sub(r"{(\w+)}", r"{{\1}}", path)
    query = [
        {"key": parameter["name"], "value": "", "description": parameter["description"], "disabled": True}
        for parameter in parameters
        if parameter["in"] == "query"
    ]
    request["url"] = {"raw": "{{baseUrl}}" + raw, "host": ["{{baseUrl}}"], "path": raw.removeprefix("/").split("/")}
    if query:
        request["url"]["query"] = query
    item: Json = {"name": f"{operation['operationId']}: {operation['summary']}", "request": request, "response": []}
    if remembered := REMEMBERED.get(operation["operationId"]):
        lines = ["if (pm.response.code < 300) {", "  const answer = pm.response.json();"]
        lines += [f"  pm.collectionVariables.set('{name}', answer.{member} || '');" for name, member in remembered]
        item["event"] = [_script("test", [*lines, "}"])]
    return item


def _body(content: Json, headers: list[Json], new: Json) -> Json:
    [(kind, media)] = content.items()
    variables = JSON_VARIABLES | new if kind == "application/json" else FORM_VARIABLES
    example = {name: variables.get(name, value) for name, value in media["example"].items()}
    if kind == "application/json":
        headers.append({"key": "Content-Type", "value": kind})
        raw = json.dumps(example, indent=2, ensure_ascii=False)
        return {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
    return {"mode": "urlencoded", "urlencoded": [{"key": name, "value": value} for name, value in example.items()]}


def _resolved(document: Json, parameter: Json) -> Json:
    if "$ref" not in parameter:
        return parameter
    found: Json = document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    return found


def _script(listen: str, lines: list[str]) -> Json:
    return {"listen": listen, "script": {"type": "text/javascript", "exec": lines}}
