"""services.payments.books: what may become of a payment, and that all books agree whatever is asked for."""

from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import Error
from services.payments import ledger
from services.payments.books import Books
from services.payments.domain import (
    ADMIN,
    AUTHORIZED,
    CAPTURED,
    CURRENCY_MISMATCH,
    EXPIRED,
    FAILED,
    HOLD_MISMATCH,
    INSUFFICIENT_FUNDS,
    NO_ACCOUNT,
    ORDERS,
    RELEASED,
    REVERSED,
    SUCCEEDED,
    AccountNotFound,
    BalanceLimit,
    CaptureRequest,
    CaptureTooLarge,
    ChargeRequest,
    CurrencyMismatch,
    DepositLimit,
    HoldNotFound,
    HoldRequest,
    InsufficientFunds,
    Limits,
    Payment,
    PaymentExists,
    Refund,
    RefundRequest,
    ReleaseRequest,
    Request,
    ReversalRequest,
)
from services.payments.ledger import Account
from tests.payments.audit import Everything

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
LIMITS = Limits(max_deposit=500, max_balance=1000, hold_lifetime=timedelta(hours=1))
OWNERS = {"order-1": "ann", "order-2": "ann", "order-3": "ben", "order-4": "nobody"}


def new_books(*, deposit: int = 0) -> Books:
    """Ann has an account in rubles, Ben one in euros."""
    accounts = [
        Account(user_id, currency, 0, 0, 0, b"", NOW, NOW) for user_id, currency in (("ann", "RUB"), ("ben", "EUR"))
    ]
    books = Books(accounts, [], [], NOW, LIMITS)
    if deposit:
        books.deposit("ann", deposit, "")
    return books


def next_batch(books: Books) -> Books:
    """The same books in the next database transaction."""
    return Books(books.accounts.values(), books.payments.values(), books.refunds.values(), NOW, LIMITS)


def everything(books: Books, transactions: Sequence[ledger.Transaction] = ()) -> Everything:
    chain = sorted([*transactions, *books.transactions], key=lambda t: (t.user_id, t.number))
    return Everything(
        [copy(account) for account in books.accounts.values()],
        list(books.payments.values()),
        list(books.refunds.values()),
        chain,
    )


AMOUNT = st.integers(1, 30)
CURRENCY = st.sampled_from(["RUB", "RUB", "EUR"])


def requests_of(order: str) -> st.SearchStrategy[Request]:
    own = (st.just(OWNERS[order]), st.just(order))
    return st.one_of(
        st.builds(ChargeRequest, *own, AMOUNT, CURRENCY, st.booleans()),
        st.builds(HoldRequest, *own, AMOUNT, st.just("") | CURRENCY),
        st.builds(CaptureRequest, *own, st.just(0) | AMOUNT),
        st.builds(ReleaseRequest, *own, st.just(EXPIRED)),
        st.builds(ReversalRequest, *own, AMOUNT, CURRENCY),
        st.builds(RefundRequest, *own, st.sampled_from(["a", "b", "c"]), AMOUNT),
    )


REQUESTS = st.one_of([requests_of(order) for order in OWNERS])
DEPOSITS = st.tuples(st.sampled_from(["ann", "ben"]), AMOUNT)


@given(st.lists(DEPOSITS | REQUESTS, max_size=25))
def test_whatever_is_asked_for_all_books_agree_and_asking_again_changes_nothing(
    asked: list[tuple[str, int] | Request],
) -> None:
    books = new_books(deposit=40)
    for request in asked:
        before = everything(books)
        if isinstance(request, tuple):
            books.deposit(*request, "")
        else:
            try:
                outcome = books.apply(request)
            except Error:
                assert everything(books) == before
                continue
            after = everything(books)
            assert books.apply(request) == outcome
            assert everything(books) == after
        everything(books).assert_right()


@given(st.lists(REQUESTS, max_size=25), st.integers(0, 25))
def test_deciding_in_two_batches_is_deciding_in_one(asked: list[Request], cut: int) -> None:
    def apply(books: Books, requests: list[Request]) -> list[Payment | Refund | str]:
        outcomes: list[Payment | Refund | str] = []
        for request in requests:
            try:
                outcomes.append(books.apply(request))
            except Error as error:
                outcomes.append(error.reason)
        return outcomes

    whole, first = new_books(deposit=40), new_books(deposit=40)
    outcomes = apply(first, asked[:cut])
    booked = first.transactions
    second = next_batch(first)
    assert outcomes + apply(second, asked[cut:]) == apply(whole, asked)
    assert everything(second, booked) == everything(whole)


CHARGE = ChargeRequest("ann", "order-1", 100, "RUB")
MANUAL = ChargeRequest("ann", "order-1", 100, "RUB", manual=True)
HOLD = HoldRequest("ann", "order-1", 100)
CAPTURE = CaptureRequest("ann", "order-1")
RELEASE = ReleaseRequest("ann", "order-1", RELEASED)
REVERSAL = ReversalRequest("ann", "order-1", 100, "RUB")
REFUND = RefundRequest("ann", "order-1", "refund-1", 30)
ALL: list[Request] = [CHARGE, MANUAL, HOLD, CAPTURE, RELEASE, REVERSAL, REFUND]
# How a payment comes to be in each state, without a hold and with one.
STATES: dict[str, list[Request]] = {
    "nothing": [],
    "refused": [ChargeRequest("ann", "order-1", 1001, "RUB")],
    "charged": [CHARGE],
    "tombstone": [REVERSAL],
    "held": [MANUAL],
    "held by an admin": [HOLD],
    "captured": [MANUAL, CAPTURE],
    "captured by an admin": [HOLD, CAPTURE],
    "released": [MANUAL, RELEASE],
    "reversed": [MANUAL, REVERSAL],
}
HELD_ALIKE = ("held", "held by an admin")
TAKEN_ALIKE = ("charged", "captured", "captured by an admin")
# The diagram in books.py: what becomes of it, and what is booked. Whatever is not here changes nothing.
CHANGES: dict[tuple[str, Request], tuple[str, list[str]]] = {
    ("nothing", CHARGE): (CAPTURED, ["CHARGE"]),
    ("nothing", MANUAL): (AUTHORIZED, ["HOLD"]),
    ("nothing", HOLD): (AUTHORIZED, ["HOLD"]),
    ("nothing", REVERSAL): (REVERSED, []),
    **{(held, CAPTURE): (CAPTURED, ["CAPTURE"]) for held in HELD_ALIKE},
    **{(held, RELEASE): (RELEASED, ["RELEASE"]) for held in HELD_ALIKE},
    **{(held, REVERSAL): (REVERSED, ["RELEASE"]) for held in HELD_ALIKE},
    **{(taken, REVERSAL): (REVERSED, ["REFUND"]) for taken in TAKEN_ALIKE},
    **{(taken, REFUND): (CAPTURED, ["REFUND"]) for taken in TAKEN_ALIKE},
    # The order makes it its own.
    ("held by an admin", CHARGE): (CAPTURED, ["CAPTURE"]),
    ("held by an admin", MANUAL): (AUTHORIZED, []),
    **{("captured by an admin", asked): (CAPTURED, []) for asked in (CHARGE, MANUAL)},
}
REFUSALS: dict[tuple[str, Request], type[Error]] = {
    **{(never, asked): HoldNotFound for never in ("nothing", "refused", "charged") for asked in (CAPTURE, RELEASE)},
    **{("tombstone", asked): HoldNotFound for asked in (CAPTURE, RELEASE)},
    ("nothing", REFUND): HoldNotFound,
    **{(never, HOLD): PaymentExists for never in ("refused", "charged", "tombstone")},
}


@pytest.mark.parametrize("asked", ALL, ids=lambda r: f"{type(r).__name__}{'-manual' if r is MANUAL else ''}")
@pytest.mark.parametrize("state", STATES)
def test_the_state_diagram(state: str, asked: Request) -> None:
    first = new_books(deposit=300)
    for earlier in STATES[state]:
        first.apply(earlier)
    books = next_batch(first)
    before = dict(books.payments)
    if (state, asked) in REFUSALS:
        with pytest.raises(REFUSALS[state, asked]):
            books.apply(asked)
    else:
        books.apply(asked)
    after = books.payments.get(("ann", "order-1"))
    if (state, asked) in CHANGES:
        assert after is not None
        assert books.changed(after)
        assert (after.status, [t.kind for t in books.transactions]) == CHANGES[state, asked]
    else:
        assert (books.payments, books.transactions) == (before, [])
        assert after is None or not books.changed(after)
    everything(books, first.transactions).assert_right()


@pytest.mark.parametrize("manual", [False, True])
def test_who_cannot_pay_is_refused_with_the_reason(manual: bool) -> None:
    books = new_books(deposit=100)
    asked = [("ann", 101, "RUB"), ("nobody", 1, "RUB"), ("ann", 1, "EUR"), ("ann", 100, "RUB"), ("ann", 1, "RUB")]
    payments = [
        books.apply(ChargeRequest(user_id, f"order-{n}", amount, currency, manual))
        for n, (user_id, amount, currency) in enumerate(asked)
    ]
    paid = AUTHORIZED if manual else CAPTURED
    assert [(p.status, p.reason) for p in payments if isinstance(p, Payment)] == [
        (FAILED, INSUFFICIENT_FUNDS),
        (FAILED, NO_ACCOUNT),
        (FAILED, CURRENCY_MISMATCH),
        (paid, ""),
        (FAILED, INSUFFICIENT_FUNDS),
    ]


def test_a_hold_takes_from_what_is_available_has_an_end_and_says_who_asked_for_it() -> None:
    books = new_books(deposit=150)
    first, second = books.apply(MANUAL), books.apply(HoldRequest("ann", "order-2", 50, "RUB"))
    assert isinstance(first, Payment)
    assert isinstance(second, Payment)
    assert (first.requested_by, second.requested_by) == (ORDERS, ADMIN)
    assert first.expires_at == second.expires_at == NOW + timedelta(hours=1)
    assert (books.accounts["ann"].balance, books.accounts["ann"].available) == (150, 0)
    with pytest.raises(InsufficientFunds):
        books.apply(HoldRequest("ann", "order-5", 1))


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (HoldRequest("nobody", "order-1", 1), AccountNotFound),
        (HoldRequest("ann", "order-1", 1, "EUR"), CurrencyMismatch),
        (HoldRequest("ann", "order-1", 301), InsufficientFunds),
    ],
)
def test_a_hold_that_cannot_be_leaves_the_order_free(asked: HoldRequest, error: type[Error]) -> None:
    books = new_books(deposit=300)
    with pytest.raises(error):
        books.apply(asked)
    assert books.payments == {}


def test_a_second_hold_for_an_order_is_the_first_or_none() -> None:
    books = new_books(deposit=300)
    first = books.apply(HOLD)
    assert books.apply(HOLD) is first
    with pytest.raises(PaymentExists):
        books.apply(HoldRequest("ann", "order-1", 101))
    released = books.apply(ReleaseRequest("ann", "order-1", EXPIRED))
    assert isinstance(released, Payment)
    assert (released.status, released.reason) == (RELEASED, EXPIRED)
    assert books.apply(HOLD) is released


@pytest.mark.parametrize("earlier", [[], [CaptureRequest("ann", "order-1", 70)], [CaptureRequest("ann", "order-1", 0)]])
@pytest.mark.parametrize("held", [99, 101])
def test_what_an_admin_held_is_given_back_when_the_order_asks_for_another_amount(
    held: int, earlier: list[Request]
) -> None:
    for charge in (CHARGE, MANUAL):
        books = new_books(deposit=200)
        for request in (HoldRequest("ann", "order-1", held), *earlier):
            books.apply(request)
        payment = books.apply(charge)
        assert isinstance(payment, Payment)
        assert (payment.status, payment.reason) == (RELEASED, HOLD_MISMATCH)
        assert (books.accounts["ann"].available, books.accounts["ann"].held) == (200, 0)
        assert books.apply(charge) is payment
        assert books.apply(REVERSAL) is payment
        everything(books).assert_right()


def test_what_an_admin_held_is_the_orders_from_when_it_asks() -> None:
    books = new_books(deposit=100)
    books.apply(HOLD)
    payment = books.apply(MANUAL)
    assert isinstance(payment, Payment)
    assert (payment.status, payment.requested_by) == (AUTHORIZED, ORDERS)
    assert books.apply(HOLD) is payment
    # A part that was captured before is what the order costs.
    books = new_books(deposit=100)
    for request in (HOLD, CaptureRequest("ann", "order-1", 30)):
        books.apply(request)
    payment = books.apply(CHARGE)
    assert isinstance(payment, Payment)
    assert (payment.status, payment.captured, payment.requested_by) == (CAPTURED, 30, ORDERS)


def test_a_part_is_captured_and_the_rest_is_available_again() -> None:
    books = new_books(deposit=100)
    books.apply(MANUAL)
    for amount in (101, 10**12):
        with pytest.raises(CaptureTooLarge, match="100 minor units"):
            books.apply(CaptureRequest("ann", "order-1", amount))
    payment = books.apply(CaptureRequest("ann", "order-1", 30))
    assert isinstance(payment, Payment)
    assert (payment.status, payment.amount, payment.captured) == (CAPTURED, 100, 30)
    assert dict(books.transactions[-1].entries) == {"held": -100, "revenue": 30, "available": 70}
    assert (books.accounts["ann"].balance, books.accounts["ann"].held) == (70, 0)


def test_refunds_give_back_what_was_taken_and_no_more() -> None:
    books = new_books(deposit=100)
    books.apply(CHARGE)
    asked = [("a", 30), ("b", 71), ("c", 70), ("d", 1), ("a", 30), ("b", 71)]
    refunds = [books.apply(RefundRequest("ann", "order-1", name, amount)) for name, amount in asked]
    assert [(r.status, r.refunded) for r in refunds if isinstance(r, Refund)] == [
        (SUCCEEDED, 30),
        (FAILED, 30),
        (SUCCEEDED, 100),
        (FAILED, 100),
        (SUCCEEDED, 30),
        (FAILED, 30),
    ]
    assert books.accounts["ann"].available == 100
    # Nothing is left for a reversal, which ends the payment all the same.
    before = len(books.transactions)
    reversed_ = books.apply(REVERSAL)
    assert isinstance(reversed_, Payment)
    assert (reversed_.status, reversed_.refunded, len(books.transactions)) == (REVERSED, 100, before)


def test_a_refund_is_of_its_order_whatever_its_id() -> None:
    books = new_books(deposit=200)
    books.apply(CHARGE)
    books.apply(ChargeRequest("ann", "order-2", 100, "RUB"))
    refunds = [books.apply(RefundRequest("ann", order_id, "a", 100)) for order_id in ("order-1", "order-2")]
    assert [(r.order_id, r.status) for r in refunds] == [("order-1", SUCCEEDED), ("order-2", SUCCEEDED)]
    everything(books).assert_right()


def test_a_deposit_has_limits_and_what_is_refused_books_nothing() -> None:
    books = new_books()
    with pytest.raises(AccountNotFound):
        books.deposit("nobody", 1, "")
    with pytest.raises(CurrencyMismatch, match="in EUR"):
        books.deposit("ben", 1, "RUB")
    with pytest.raises(DepositLimit, match="500 minor"):
        books.deposit("ann", 501, "")
    books.deposit("ann", 500, "RUB")
    books.deposit("ann", 499, "")
    with pytest.raises(BalanceLimit, match="1,000 minor"):
        books.deposit("ann", 2, "")
    books.deposit("ann", 1, "")
    # What is held counts: it is hers until it is taken.
    books.apply(MANUAL)
    with pytest.raises(BalanceLimit):
        books.deposit("ann", 1, "")
    assert [t.balance for t in books.transactions] == [500, 999, 1000, 1000]
