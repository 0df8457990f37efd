"""Idempotency keys: a repeated request gets the first answer, and the effect happens once.

The key is written in the transaction of the effect, so either both are there or neither. Requests that failed are not
kept: they had no effect and may be tried again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from kit.db import Conflict, Connection, Transaction, sql
from kit.errors import IdempotencyKeyReused


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key, kept per user and method, with the hash of the request that it stands for."""

    user_id: str
    method: str
    key: str
    request_hash: bytes


def key_of(user_id: str, method: str, key: str, request: Message) -> Key:
    """Returns the key of a request."""
    return Key(user_id, method, key, hashlib.sha256(request.SerializeToString(deterministic=True)).digest())


async def claim(tx: Transaction, key: Key, response: Message | None = None) -> bytes | None:
    """Returns None when the key is new and now ours until `tx` ends, else the first answer.

    `response` is kept as the answer, if it is known so soon; else answer() keeps one. While another transaction holds
    the key this waits for it. Errors: IdempotencyKeyReused.
    """
    parameters = {"user_id": key.user_id, "method": key.method, "key": key.key, "request_hash": key.request_hash}
    if await tx.one_or_none(_CLAIM, **parameters, response=response and response.SerializeToString()):
        return None
    first = await first_answer(tx, key)
    if first is None:
        raise Conflict("the key was deleted in the meantime")
    return first


async def first_answer(connection: Connection, key: Key) -> bytes | None:
    """Returns the answer that a key has got; None when it has none. Errors: IdempotencyKeyReused."""
    first = await connection.one_or_none(_FIRST, user_id=key.user_id, method=key.method, key=key.key)
    if first is None:
        return None
    if first["request_hash"] != key.request_hash:
        raise IdempotencyKeyReused
    return bytes(first["response"])


async def answer(tx: Transaction, key: Key, response: Message) -> None:
    """Keeps the answer of a claimed key."""
    await tx.execute(
        _ANSWER, user_id=key.user_id, method=key.method, key=key.key, response=response.SerializeToString()
    )


async def claim_all(tx: Transaction, answers: Sequence[tuple[Key, bytes]]) -> list[bytes | IdempotencyKeyReused | None]:
    """Claims many keys, each with the answer its request will get if it is the first.

    Returns for each, in order: None when the key is ours, else the first answer or IdempotencyKeyReused. When a key
    occurs several times, its first occurrence is the one that may claim it.
    """
    # Sorted, so that two instances with the same keys wait for each other instead of deadlocking.
    offered = {_identity(key): (key, response) for key, response in reversed(answers)}
    rows = [offered[identity] for identity in sorted(offered)]
    columns = {
        "user_ids": [key.user_id for key, _ in rows],
        "methods": [key.method for key, _ in rows],
        "keys": [key.key for key, _ in rows],
    }
    inserted = await tx.execute(
        _CLAIM_ALL,
        **columns,
        request_hashes=[key.request_hash for key, _ in rows],
        responses=[response for _, response in rows],
    )
    ours = {(str(row["user_id"]), row["method"], row["key"]) for row in inserted}
    first = {i: (offered[i][0].request_hash, offered[i][1]) for i in ours}
    if len(ours) < len(offered):
        for row in await tx.execute(_FIRST_ALL, **columns):
            first[str(row["user_id"]), row["method"], row["key"]] = (row["request_hash"], row["response"])
    if len(first) < len(offered):
        raise Conflict("a key was deleted in the meantime")
    outcomes: list[bytes | IdempotencyKeyReused | None] = []
    for key, _ in answers:
        request_hash, response = first[_identity(key)]
        if request_hash != key.request_hash:
            outcomes.append(IdempotencyKeyReused())
        elif _identity(key) in ours:
            ours.remove(_identity(key))
            outcomes.append(None)
        else:
            outcomes.append(bytes(response))
    return outcomes


def _identity(key: Key) -> tuple[str, str, str]:
    return key.user_id, key.method, key.key


_CLAIM = sql("""
    INSERT INTO idempotency_keys (user_id, method, key, request_hash, response)
    VALUES (:user_id::uuid, :method::text, :key::text, :request_hash::bytea, :response::bytea)
    ON CONFLICT DO NOTHING RETURNING 1
""")
_FIRST = sql("""
    SELECT request_hash, response FROM idempotency_keys
    WHERE user_id = :user_id::uuid AND method = :method::text AND key = :key::text
""")
_ANSWER = sql("""
    UPDATE idempotency_keys SET response = :response::bytea
    WHERE user_id = :user_id::uuid AND method = :method::text AND key = :key::text
""")
_CLAIM_ALL = sql("""
    INSERT INTO idempotency_keys (user_id, method, key, request_hash, response)
    SELECT * FROM unnest(:user_ids::uuid[], :methods::text[], :keys::text[],
                         :request_hashes::bytea[], :responses::bytea[])
    ON CONFLICT DO NOTHING RETURNING user_id, method, key
""")
_FIRST_ALL = sql("""
    SELECT user_id, method, key, request_hash, response FROM idempotency_keys
    JOIN unnest(:user_ids::uuid[], :methods::text[], :keys::text[]) AS asked (user_id, method, key)
    USING (user_id, method, key)
""")
