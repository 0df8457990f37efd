"""Idempotency keys: a repeated request gets the first answer, and the effect happens once.

The key is written in the transaction of the effect, so either both are there or neither. Requests that failed are not
kept: they had no effect and may be tried again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import Message

from kit.db import Conflict, Connection, Transaction, sql
from kit.errors import IdempotencyKeyReused

Identity = tuple[str, str, str]
"""The user's id, the method and the key."""


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key, kept per user and method, with the hash of the request that it stands for."""

    user_id: str
    method: str
    key: str
    request_hash: bytes

    @property
    def identity(self) -> Identity:
        """What is kept once."""
        return self.user_id, self.method, self.key


class First(NamedTuple):
    """The first request that came with a key, and its answer."""

    request_hash: bytes
    response: bytes


def key_of(user_id: str, method: str, key: str, request: Message) -> Key:
    """Returns the key of a request."""
    return Key(user_id, method, key, hashlib.sha256(request.SerializeToString(deterministic=True)).digest())


async def claim(tx: Transaction, key: Key) -> bytes | None:
    """Returns None when the key is new and now ours until `tx` ends, else the first answer.

    While another transaction holds the key this waits for it. Errors: IdempotencyKeyReused.
    """
    parameters = {"user_id": key.user_id, "method": key.method, "key": key.key, "request_hash": key.request_hash}
    if await tx.one_or_none(_CLAIM, **parameters):
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
    return answer_in({key.identity: First(first["request_hash"], bytes(first["response"]))}, key)


async def first_answers(connection: Connection, keys: Sequence[Key]) -> dict[Identity, First]:
    """Returns the answers that keys have got, whatever the requests were; none for those that have none."""
    rows = await connection.execute(
        _FIRST_ALL,
        user_ids=[key.user_id for key in keys],
        methods=[key.method for key in keys],
        keys=[key.key for key in keys],
    )
    return {
        (str(row["user_id"]), row["method"], row["key"]): First(row["request_hash"], bytes(row["response"]))
        for row in rows
    }


def answer_in(answers: Mapping[Identity, First], key: Key) -> bytes | None:
    """Returns the answer that a key has got; None when it has none. Errors: IdempotencyKeyReused."""
    first = answers.get(key.identity)
    if first is None:
        return None
    if first.request_hash != key.request_hash:
        raise IdempotencyKeyReused
    return first.response


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
    offered = {key.identity: (key, response) for key, response in reversed(answers)}
    rows = [offered[identity] for identity in sorted(offered)]
    inserted = await tx.execute(
        _CLAIM_ALL,
        user_ids=[key.user_id for key, _ in rows],
        methods=[key.method for key, _ in rows],
        keys=[key.key for key, _ in rows],
        request_hashes=[key.request_hash for key, _ in rows],
        responses=[response for _, response in rows],
    )
    ours = {(str(row["user_id"]), row["method"], row["key"]) for row in inserted}
    first = {i: First(offered[i][0].request_hash, offered[i][1]) for i in ours}
    if len(ours) < len(offered):
        first |= await first_answers(tx, [key for key, _ in rows])
    if len(first) < len(offered):
        raise Conflict("a key was deleted in the meantime")
    outcomes: list[bytes | IdempotencyKeyReused | None] = []
    for key, _ in answers:
        request_hash, response = first[key.identity]
        if request_hash != key.request_hash:
            outcomes.append(IdempotencyKeyReused())
        elif key.identity in ours:
            ours.remove(key.identity)
            outcomes.append(None)
        else:
            outcomes.append(response)
    return outcomes


_CLAIM = sql("""
    INSERT INTO idempotency_keys (user_id, method, key, request_hash)
    VALUES (:user_id::uuid, :method::text, :key::text, :request_hash::bytea)
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
