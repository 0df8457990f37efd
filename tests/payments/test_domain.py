"""services.payments.domain: who can pay, and that books balance, for whatever comes."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from services.payments.domain import (
    CURRENCY_MISMATCH,
    FAILED,
    INSUFFICIENT_FUNDS,
    NO_ACCOUNT,
    REVENUE,
    SUCCEEDED,
    USER,
    ChargeRequest,
    Funds,
    charge_entries,
    decide,
    deposit_entries,
)

USERS = st.sampled_from(["ann", "ben", "cat"])
CURRENCIES = st.sampled_from(["RUB", "EUR"])
AMOUNTS = st.one_of(st.integers(1, 20), st.integers(1, 10**12))
ACCOUNTS = st.dictionaries(USERS, st.builds(Funds, st.one_of(st.integers(0, 50), st.integers(0, 10**15)), CURRENCIES))


@st.composite
def requests(draw: st.DrawFn) -> list[ChargeRequest]:
    asked = draw(st.lists(st.tuples(USERS, AMOUNTS, CURRENCIES), max_size=30))
    return [ChargeRequest(user, f"order-{n}", amount, currency) for n, (user, amount, currency) in enumerate(asked)]


@given(requests(), ACCOUNTS)
def test_nobody_spends_more_than_there_is(asked: list[ChargeRequest], funds: dict[str, Funds]) -> None:
    spent: Counter[str] = Counter()
    for charge in decide(asked, funds):
        if charge.status == SUCCEEDED:
            assert charge.request.currency == funds[charge.request.user_id].currency
            spent[charge.request.user_id] += charge.request.amount
    assert all(spent[user_id] <= funds[user_id].available for user_id in spent)


@given(requests(), ACCOUNTS)
def test_each_is_decided_once_in_order_and_paid_when_those_before_left_enough(
    asked: list[ChargeRequest], funds: dict[str, Funds]
) -> None:
    left = {user_id: account.available for user_id, account in funds.items()}
    charges = decide(asked, funds)
    assert [charge.request for charge in charges] == asked
    for charge in charges:
        user_id, amount = charge.request.user_id, charge.request.amount
        if user_id not in funds:
            expected = (FAILED, NO_ACCOUNT)
        elif funds[user_id].currency != charge.request.currency:
            expected = (FAILED, CURRENCY_MISMATCH)
        elif amount > left[user_id]:
            expected = (FAILED, INSUFFICIENT_FUNDS)
        else:
            expected = (SUCCEEDED, "")
            left[user_id] -= amount
        assert (charge.status, charge.reason) == expected


@given(requests(), ACCOUNTS, st.integers(0, 30))
def test_deciding_in_two_batches_is_deciding_in_one(
    asked: list[ChargeRequest], funds: dict[str, Funds], cut: int
) -> None:
    first = decide(asked[:cut], funds)
    taken: Counter[str] = Counter()
    for charge in first:
        if charge.status == SUCCEEDED:
            taken[charge.request.user_id] += charge.request.amount
    left = {user: Funds(account.available - taken[user], account.currency) for user, account in funds.items()}
    assert first + decide(asked[cut:], left) == decide(asked, funds)


@given(requests(), ACCOUNTS)
def test_every_charge_is_booked_twice_and_sums_to_zero(asked: list[ChargeRequest], funds: dict[str, Funds]) -> None:
    charges = decide(asked, funds)
    booked = defaultdict(list)
    for entry in charge_entries(charges):
        booked[entry.transaction_id].append(entry)
    paid = {charge.request.order_id: charge.request for charge in charges if charge.status == SUCCEEDED}
    assert booked.keys() == paid.keys()
    for order_id, (taken, earned) in booked.items():
        request = paid[order_id]
        assert (taken.account, taken.amount) == (USER, -request.amount)
        assert (earned.account, earned.amount) == (REVENUE, request.amount)
        assert {(e.user_id, e.currency) for e in (taken, earned)} == {(request.user_id, request.currency)}


@given(AMOUNTS, CURRENCIES)
def test_a_deposit_is_booked_twice_and_sums_to_zero(amount: int, currency: str) -> None:
    entries = deposit_entries("ann", "t1", amount, currency)
    assert sum(entry.amount for entry in entries) == 0
    assert {(entry.account, entry.amount) for entry in entries} == {("funding", -amount), (USER, amount)}
    assert {(entry.user_id, entry.transaction_id, entry.currency) for entry in entries} == {("ann", "t1", currency)}
