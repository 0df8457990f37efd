"""What the load generator sends says what it means to, in both languages."""

from itertools import islice

import hpack

from kit.db import sql
from tests.bench import asked, shop_floor
from tests.bench.outage import Phase, judge

TOKENS = ["ann", "bob"]
TEA, CUP, POT = PRODUCTS = ["tea", "cup", "pot"]


def decoded(block: bytes) -> dict[str, str]:
    """What a block of headers says."""
    return {str(name): str(value) for name, value in hpack.Decoder().decode(block)}


def test_everybody_asks_for_everything_in_turn() -> None:
    found = [(one.token, one.path) for one in asked.requests("purchases", TOKENS, PRODUCTS)]
    assert found[:3] == [
        ("ann", "/products/tea/purchase"),
        ("bob", "/products/cup/purchase"),
        ("ann", "/products/pot/purchase"),
    ]
    assert len(set(found)) == 6


def test_purchases_over_grpc_each_have_a_key() -> None:
    calls = islice(asked.grpc_calls(asked.requests("purchases", TOKENS, [TEA]), "host:1"), 3)
    headers = [decoded(block) for block, _ in calls]
    assert [one["authorization"] for one in headers] == ["Bearer ann", "Bearer bob", "Bearer ann"]
    assert {one[":path"] for one in headers} == {"/gozon.shop.v1.ShopService/PurchaseProduct"}
    assert len({one["idempotency-key"] for one in headers}) == 3


def test_purchases_over_rest_each_have_a_key() -> None:
    texts = islice(asked.rest_requests(asked.requests("purchases", TOKENS, [TEA]), "host:1"), 2)
    for text, token in zip(texts, TOKENS, strict=True):
        head, _, body = text.decode().partition("\r\n\r\n")
        line, *headers = head.split("\r\n")
        assert line == "POST /products/tea/purchase HTTP/1.1"
        assert {f"authorization: Bearer {token}", f"content-length: {len(body)}"} <= set(headers)
        assert sum(header.startswith("idempotency-key: ") for header in headers) == 1


def test_orders_and_reads_have_no_key() -> None:
    for work in ("orders", "inventory"):
        asks = asked.requests(work, TOKENS, ["id"])
        assert "idempotency-key" not in decoded(next(asked.grpc_calls(asks, "host:1"))[0])
        assert b"idempotency-key" not in next(asked.rest_requests(asks, "host:1"))


def test_pgbench_gets_values_by_their_names() -> None:
    statement = sql("SELECT :b::int, :a::text, :b::int")
    assert shop_floor.filled(statement, {"a": "'x'", "b": ":n"}) == "SELECT :n::int, 'x'::text, :n::int;\n"


def test_an_outage_may_cost_some_time_and_no_answer() -> None:
    def phase(name: str, ms: float, refused: int = 0, hits: int = 100) -> Phase:
        return Phase(name, [ms] * 100, {"503": refused} if refused else {}, {"hit": hits})

    usual = phase("answers", 5)
    assert judge(phase("is dead", 104, hits=0), usual) == []
    assert judge(phase("is dead", 106, hits=0), usual) == ["Valkey is dead: p99 is 101 ms more"]
    assert judge(phase("is dead", 5, refused=2, hits=0), usual) == ["Valkey is dead: 2 times 503"]
    assert judge(phase("is back", 5, hits=49), usual) == ["Valkey is back: only 49 of 100 inventories came from it"]
