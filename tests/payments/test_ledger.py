"""services.payments.ledger: transactions balance, nobody goes below zero, no link of a chain can be changed."""

import hashlib
from collections.abc import Mapping
from copy import copy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payments import ledger
from services.payments.ledger import AVAILABLE, FUNDING, HELD, PAYOUTS, REVENUE, Account, Transaction
from tests.payments.audit import is_chain

START = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
ACCOUNTS = (AVAILABLE, HELD, FUNDING, REVENUE, PAYOUTS)
KINDS = st.sampled_from([ledger.DEPOSIT, ledger.CHARGE, ledger.HOLD, ledger.CAPTURE, ledger.RELEASE, ledger.REFUND])
AMOUNTS = st.one_of(st.integers(-20, 20), st.integers(-(10**15), 10**15))
# Clocks of several machines: now and then one is behind.
MOMENTS = st.integers(-(10**9), 10**9).map(lambda microseconds: START + timedelta(microseconds=microseconds))
Booking = tuple[str, str | None, Mapping[str, int], datetime]


def new_account() -> Account:
    return Account("ann", "RUB", 0, 0, 0, b"", START, START)


@st.composite
def balanced(draw: st.DrawFn) -> Mapping[str, int]:
    moved = draw(st.dictionaries(st.sampled_from(ACCOUNTS[:-1]), AMOUNTS, min_size=1))
    return {**moved, PAYOUTS: -sum(moved.values())}


BOOKINGS = st.lists(st.tuples(KINDS, st.none() | st.just("order"), balanced(), MOMENTS), max_size=15)


def booked(bookings: list[Booking]) -> tuple[Account, list[Transaction]]:
    """Books what can be booked; what can't must leave the account as it was."""
    account, transactions = new_account(), []
    for kind, order_id, entries, at in bookings:
        before = copy(account)
        available = before.available + entries.get(AVAILABLE, 0)
        if any(entries.values()) and available >= 0 and before.held + entries.get(HELD, 0) >= 0:
            transactions.append(ledger.book(account, kind, order_id, entries, at))
        else:
            with pytest.raises(ValueError, match=r"balance|not got"):
                ledger.book(account, kind, order_id, entries, at)
            assert account == before
    return account, transactions


@given(BOOKINGS)
def test_a_balance_is_the_sum_of_its_entries_and_no_part_of_it_is_below_zero(bookings: list[Booking]) -> None:
    account, transactions = booked(bookings)
    sums = dict.fromkeys(ACCOUNTS, 0)
    for transaction in transactions:
        assert len(transaction.entries) >= 2
        for name, amount in transaction.entries:
            assert amount
            sums[name] += amount
        assert (transaction.balance, transaction.held) == (sums[AVAILABLE] + sums[HELD], sums[HELD])
        assert sums[AVAILABLE] >= 0
        assert sums[HELD] >= 0
    assert sum(sums.values()) == 0
    assert (account.available, account.held) == (sums[AVAILABLE], sums[HELD])


@given(BOOKINGS)
def test_numbers_have_no_gap_times_never_go_back_and_the_account_ends_where_its_chain_does(
    bookings: list[Booking],
) -> None:
    account, transactions = booked(bookings)
    assert [t.number for t in transactions] == list(range(1, len(transactions) + 1))
    times = [account.created_at, *(t.created_at for t in transactions)]
    assert times == sorted(times)
    if transactions:
        last = transactions[-1]
        assert (account.number, account.hash, account.updated_at) == (last.number, last.hash, last.created_at)


@given(st.dictionaries(st.sampled_from(ACCOUNTS), AMOUNTS).filter(lambda entries: sum(entries.values()) != 0))
def test_entries_out_of_balance_are_refused(entries: Mapping[str, int]) -> None:
    account = Account("ann", "RUB", 10**17, 10**16, 0, b"", START, START)
    before = copy(account)
    with pytest.raises(ValueError, match="out of balance"):
        ledger.book(account, ledger.DEPOSIT, None, entries, START)
    assert account == before


@given(BOOKINGS, st.data())
def test_whatever_is_changed_afterwards_breaks_the_chain(bookings: list[Booking], data: st.DataObject) -> None:
    _, transactions = booked([("DEPOSIT", None, {AVAILABLE: 1, FUNDING: -1}, START), *bookings])
    assert is_chain(transactions, new_account())
    place = data.draw(st.integers(0, len(transactions) - 1))
    honest = transactions[place]
    (name, amount), *others = honest.entries
    forged = data.draw(
        st.sampled_from(
            [
                honest._replace(kind="GIFT"),
                honest._replace(order_id="another order"),
                honest._replace(currency="EUR"),
                honest._replace(entries=((name, amount + 1), *others)),
                honest._replace(entries=(("another account", amount), *others)),
                honest._replace(balance=honest.balance + 1),
                honest._replace(held=honest.held + 1),
                honest._replace(created_at=honest.created_at + timedelta(microseconds=1)),
                honest._replace(hash=hashlib.sha256(honest.hash).digest()),
            ]
        )
    )
    before, after = transactions[:place], transactions[place + 1 :]
    assert not is_chain([*before, forged, *after], new_account())
    # Without its end a chain is a chain, which is why the account has the number and the hash of the last one.
    assert is_chain(before + after, new_account()) == (not after)


def test_a_hash_is_over_the_hash_before_it_and_everything_that_a_transaction_says() -> None:
    account, later = new_account(), START + timedelta(microseconds=1)
    first = ledger.book(account, ledger.DEPOSIT, None, {FUNDING: -1000, AVAILABLE: 1000}, START)
    second = ledger.book(account, ledger.HOLD, "order", {HELD: 400, AVAILABLE: -400}, later)
    text = b"ann|1|DEPOSIT||RUB|available:1000,funding:-1000|1000|0|1795249800000000"
    assert first.hash == hashlib.sha256(text).digest()
    text = b"ann|2|HOLD|order|RUB|available:-400,held:400|1000|400|1795249800000001"
    assert second.hash == hashlib.sha256(first.hash + text).digest()
