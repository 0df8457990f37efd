"""Every field of text of every RPC, with SQL and with characters that break things, over REST and gRPC."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from gozon.orders.v1.orders_pb2 import UpdateOrderRequest
from tests.edge.http2 import GOAWAY, HEADERS, RST_STREAM, Connection
from tests.edge.security.conftest import fresh_key, new_owner
from tests.edge.security.rows import all_rows
from tests.edge.security.rpcs import Answer, Json, Owner, Rpc, all_rpcs, replaced
from tests.support import Edge, RunningStack, User, refused

HOSTILE = {
    "a quote": "x'",
    "SQL that is always true": "x' OR '1'='1",
    "SQL that deletes": "x'); DELETE FROM orders; DELETE FROM users; DELETE FROM accounts; --",
    "SQL in an expression": "x' || (SELECT version()) || '",
    "a parameter of SQL": "$1 :user_id %s {0}",
    "lines": "x\r\nset-cookie: mallory=1\r\n\r\nHTTP/1.1 200 OK",
    "NUL": "x\0y",
    "backwards": "\u202egnp.exe\u2066\u200b",
    "a lone surrogate": "x\ud800y",
    "no character": "\uffff\U0010ffff\x1b[2J\x7f",
    "JSON and HTML": '"},{"roles":["admin"]}<script>alert(1)</script>',
    "a template": "${jndi:ldap://127.0.0.1:9/x}{{7*7}}%{7*7}",
}
FIELDS = [(rpc, path) for rpc in all_rpcs() for path in rpc.string_fields()]
FORBIDDEN = ("Traceback", 'File "', "asyncpg", "sqlalchemy", "syntax error", "PostgreSQL", "SELECT", "DELETE", "::text")
HASHING = {"Register", "Token", "ChangePassword"}
"""What costs 0.1 s of a core a call: some values must do."""
OF_SOMETHING_ELSE = {"RefundOrder"}
"""The description that is sent is the refund's, and the one in the answer the order's."""
SOME = ("a quote", "SQL that deletes", "lines", "NUL", "a lone surrogate")


@pytest.fixture(scope="module")
async def nobody(edge: Edge, admin: User) -> Owner:
    """Whose own things may change, and who may be locked out."""
    return await new_owner(edge, admin)


@pytest.fixture(autouse=True, scope="module")
async def nothing_of_others_is_changed(stack: RunningStack, nobody: Owner, victim: Owner) -> AsyncIterator[None]:
    """Whatever the tests send, all rows of everybody else must still be there afterwards, just as they were."""
    changing = (*nobody.names, nobody.product_id)
    before = {row for row in await all_rows(stack) if not any(name in row for name in changing)}
    assert any(victim.user.id in row for row in before)
    yield
    assert before <= await all_rows(stack)


def assert_tells_nothing(answer: Answer, request: Json, value: str) -> None:
    """Of what went wrong inside; what was sent may come back, in the field that it was sent in."""
    assert answer.code not in ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"), (request, answer)
    assert "set-cookie" not in dict(answer.headers)
    told = (str(answer.body.get("message", "")) + str(answer.headers)).replace(value, "")
    assert not [word for word in FORBIDDEN if word in told], answer
    if answer.code == "OK":
        for name in answer.body.keys() & {name for name, sent in request.items() if sent == value}:
            assert answer.body[name] == value, "changed on its way"


@pytest.mark.parametrize(("rpc", "path"), FIELDS, ids=[f"{r.method.name}.{'.'.join(p)}" for r, p in FIELDS])
async def test_text_is_data_and_never_code(
    rpc: Rpc, path: tuple[str, ...], edge: Edge, nobody: Owner, admin: User
) -> None:
    async def one(value: str) -> None:
        request, headers = replaced(rpc.request(nobody), path, value), nobody.user.headers
        if rpc.rule.admin_only:
            headers = admin.headers
        if path == ("refresh_token",):
            request["grant_type"] = "refresh_token"
        echoed = {} if rpc.method.name in OF_SOMETHING_ELSE else request
        over_grpc = await rpc.over_grpc(edge.channel, request, headers | fresh_key())
        assert_tells_nothing(over_grpc, echoed, value)
        if path[0] == "form":
            return  # not a field of REST, but its whole body
        for binding in rpc.bindings:
            over_rest = await rpc.over_rest(edge.rest, request, headers | fresh_key(), binding)
            assert_tells_nothing(over_rest, echoed, value)
            if "\0" in value or "\ud800" in value:
                assert {over_grpc.code, over_rest.code} == {"INVALID_ARGUMENT"}, (over_grpc, over_rest)

    names = SOME if rpc.method.name in HASHING else HOSTILE
    await asyncio.gather(*(one(HOSTILE[name]) for name in names))


async def test_a_mask_names_what_may_be_changed_and_nothing_else(edge: Edge, nobody: Owner) -> None:
    texts = [text for name, text in HOSTILE.items() if name != "a lone surrogate"]
    for path in (*texts, "", "*", "id", "user_id", "order_id", "paid_price", "etag", "update_mask", "status.x"):
        mask = FieldMask(paths=["description", path])
        request = UpdateOrderRequest(order_id=nobody.order_id, description="x", update_mask=mask)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"):
            await edge.orders.UpdateOrder(request, metadata=nobody.user.metadata())


NAMES = ["idempotency-key", "x-request-id", "traceparent", "if-match", "origin", "user-agent", "accept-language"]


@pytest.mark.parametrize("header", NAMES)
async def test_headers_are_data_and_never_code(header: str, edge: Edge, nobody: Owner) -> None:
    for name, value in HOSTILE.items():
        if name in ("lines", "NUL", "a lone surrogate", "no character"):
            continue  # no HTTP client sends these: see below
        headers = {name.encode(): text.encode() for name, text in (nobody.user.headers | {header: value}).items()}
        answer = await edge.rest.post("/orders", json={"amount": 5}, headers=headers)
        assert answer.status_code in (201, 400), answer.text
        assert not [word for word in FORBIDDEN if word in answer.text.replace(value, "")]
        assert not [name for name, received in answer.headers.items() if value in received and name != "x-request-id"]


BYTES = [b"x\0y", b"x\ry", b"x\r\n y", b"x\x0b", b"\x7f", b"\xed\xa0\x80", b"\xff\xfe"]


async def test_bytes_that_belong_into_no_header(edge: Edge, nobody: Owner) -> None:
    """Each is refused or is only text; it never becomes a second header or a second answer."""
    url = edge.rest.base_url
    own = {"host": b"x", "authorization": f"Bearer {nobody.user.token}".encode(), "connection": b"close"}

    async def one(header: str, value: bytes) -> None:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        headers = own | {header: own.get(header, b"") + value}
        lines = [b"GET /users/me HTTP/1.1", *(name.encode() + b": " + text for name, text in headers.items())]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        allowed = (b"400", b"401") if header == "authorization" else (b"200", b"400")
        assert answer.split(b" ")[1] in allowed, (header, value, answer)
        assert b"\nHTTP/1.1" not in answer
        assert b"\0" not in answer

    await asyncio.gather(*(one(header, value) for header in ("authorization", "host", *NAMES) for value in BYTES))


@pytest.mark.parametrize("header", ["authorization", *NAMES])
async def test_line_ends_inside_a_header_of_http_2(header: str, stack: RunningStack, nobody: Owner) -> None:
    """There they are possible, and would split the header if a service or Envoy passed it on as HTTP/1.1."""
    for value in ("x\r\nx-user-id: admin", "x\nset-cookie: a=b", "x\0y", "x\r\n\r\nGET /orders HTTP/1.1"):
        connection = await Connection.open(stack.edge_target)
        authorization = [] if header == "authorization" else [("authorization", f"Bearer {nobody.user.token}")]
        connection.get("/users/me", more=[*authorization, (header, value)])
        while (kind := (await connection.frame())[0]) not in (HEADERS, RST_STREAM, GOAWAY):
            pass
        assert kind == RST_STREAM, "Envoy refuses it before any filter sees it"
        await connection.close()
