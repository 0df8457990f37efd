"""kit.idempotency on a real PostgreSQL: one key, one effect, one answer."""

import asyncio

import pytest

from gozon.payments.v1.payments_pb2 import Account, DepositRequest
from kit import idempotency
from kit.db import Database
from kit.errors import IdempotencyKeyReused
from kit.idempotency import Key, key_of
from kit.ids import new_id
from tests.support import count

USER = new_id()


def key(name: str, *, amount: int = 1, user_id: str = USER, method: str = "Deposit") -> Key:
    return key_of(user_id, method, name, DepositRequest(user_id=user_id, amount=amount))


async def act(database: Database, asked: Key, balance: int = 1) -> tuple[Account, bool]:
    """Does what a method does: claims, acts, answers. Returns the answer and whether it is a replay."""
    async with database.transaction() as tx:
        if first := await idempotency.claim(tx, asked):
            return Account.FromString(first), True
        # Long enough for everybody else to stand in line.
        await asyncio.sleep(0.01)
        account = Account(user_id=asked.user_id, balance=balance)
        await idempotency.answer(tx, asked, account)
        return account, False


async def test_a_repetition_gets_the_first_answer(payments_db: Database) -> None:
    assert await act(payments_db, key("k"), 5) == (Account(user_id=USER, balance=5), False)
    assert await act(payments_db, key("k"), 6) == (Account(user_id=USER, balance=5), True)


async def test_the_same_key_with_another_request_is_refused(payments_db: Database) -> None:
    await act(payments_db, key("k", amount=1))
    with pytest.raises(IdempotencyKeyReused):
        await act(payments_db, key("k", amount=2))


@pytest.mark.parametrize("other", [key("k", user_id=new_id()), key("k", method="Hold"), key("K"), key("k ")])
async def test_keys_of_other_users_and_methods_are_other_keys(other: Key, payments_db: Database) -> None:
    await act(payments_db, key("k"))
    assert (await act(payments_db, other))[1] is False


async def test_a_request_that_failed_may_be_tried_again(payments_db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with payments_db.transaction() as tx:
            assert await idempotency.claim(tx, key("k")) is None
            raise ZeroDivisionError
    assert (await act(payments_db, key("k", amount=2)))[1] is False


async def test_fifty_at_once_have_one_effect_and_all_get_its_answer(payments_db: Database) -> None:
    results = await asyncio.gather(*(act(payments_db, key("k"), balance) for balance in range(1, 51)))
    firsts = [account for account, replayed in results if not replayed]
    assert len(firsts) == 1
    assert all(account == firsts[0] for account, _ in results)


async def claim_all(database: Database, *answers: tuple[Key, bytes]) -> list[bytes | str | None]:
    async with database.transaction() as tx:
        outcomes = await idempotency.claim_all(tx, answers)
    return [outcome.reason if isinstance(outcome, IdempotencyKeyReused) else outcome for outcome in outcomes]


async def test_many_keys_are_claimed_at_once(payments_db: Database) -> None:
    assert await claim_all(payments_db, (key("a"), b"1"), (key("b"), b"2")) == [None, None]
    assert await claim_all(payments_db, (key("b"), b"3"), (key("c"), b"4"), (key("a"), b"5")) == [b"2", None, b"1"]
    assert await count(payments_db, "idempotency_keys") == 3


async def test_within_one_batch_the_first_of_a_key_claims_it_and_the_others_get_its_answer(
    payments_db: Database,
) -> None:
    outcomes = await claim_all(payments_db, (key("a"), b"1"), (key("b"), b"2"), (key("a"), b"3"), (key("a"), b"4"))
    assert outcomes == [None, None, b"1", b"1"]
    assert await claim_all(payments_db, (key("a"), b"5")) == [b"1"]


async def test_within_one_batch_a_key_with_another_request_is_refused(payments_db: Database) -> None:
    outcomes = await claim_all(payments_db, (key("a", amount=1), b"1"), (key("a", amount=2), b"2"))
    assert outcomes == [None, "IDEMPOTENCY_KEY_REUSED"]
    outcomes = await claim_all(payments_db, (key("a", amount=2), b"3"), (key("a", amount=1), b"4"))
    assert outcomes == ["IDEMPOTENCY_KEY_REUSED", b"1"]


async def test_a_batch_that_was_rolled_back_claimed_nothing(payments_db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with payments_db.transaction() as tx:
            await idempotency.claim_all(tx, [(key("a"), b"1")])
            raise ZeroDivisionError
    assert await claim_all(payments_db, (key("a"), b"2")) == [None]


async def test_instances_with_the_same_keys_agree_on_who_was_first(payments_db: Database) -> None:
    names = [f"k{n}" for n in range(40)]
    batches = [
        [(key(name), f"{n}:{name}".encode()) for name in (names if n % 2 else reversed(names))] for n in range(12)
    ]
    outcomes = await asyncio.gather(*(claim_all(payments_db, *batch) for batch in batches))
    answers: dict[str, set[bytes]] = {name: set() for name in names}
    claimed = 0
    for batch, got in zip(batches, outcomes, strict=True):
        for (asked, own), outcome in zip(batch, got, strict=True):
            claimed += outcome is None
            answers[asked.key].add(outcome if isinstance(outcome, bytes) else own)
    assert claimed == len(names)
    assert all(len(found) == 1 for found in answers.values())


async def test_no_keys_are_no_trouble(payments_db: Database) -> None:
    assert await claim_all(payments_db) == []
