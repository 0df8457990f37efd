"""services.orders.domain"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import TransitionNotAllowed
from services.orders.domain import (
    AUTHORIZE,
    AUTHORIZED,
    CANCEL,
    CANCELED,
    DECLINE,
    DESCRIBE,
    EXPIRE,
    MAX_TOTAL_PRICE,
    PAID,
    PAY,
    PENDING,
    REFUND,
    RELEASE,
    SHIP,
    SHIPPED,
    TRANSITIONS,
    RefundTooLarge,
    TotalMismatch,
    TotalTooLarge,
    require,
    require_refundable,
    total_price,
)

LINES = st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 100_000_000_000)), min_size=1, max_size=100)


@given(LINES)
def test_an_order_costs_the_sum_of_its_lines(lines: list[tuple[int, int]]) -> None:
    total = sum(quantity * price for quantity, price in lines)
    if total > MAX_TOTAL_PRICE:
        with pytest.raises(TotalTooLarge):
            total_price(lines, 0, None)
    else:
        assert total_price(lines, 0, None) == total_price(lines, 0, total) == total


def test_an_order_without_lines_costs_its_amount() -> None:
    assert total_price([], 500, None) == 500


@pytest.mark.parametrize("expected", [999, 1001, 0, -1000, 2**63 - 1])
def test_a_total_that_contradicts_the_lines_is_refused(expected: int) -> None:
    with pytest.raises(TotalMismatch, match=f"{expected}, but the items cost 1000"):
        total_price([(2, 500)], 0, expected)


def test_the_largest_total_is_allowed_and_one_more_is_not() -> None:
    assert total_price([(10, MAX_TOTAL_PRICE // 10)], 0, None) == MAX_TOTAL_PRICE
    with pytest.raises(TotalTooLarge):
        total_price([(10, MAX_TOTAL_PRICE // 10), (1, 1)], 0, None)


STEPS_FROM = {
    PENDING: {AUTHORIZE: AUTHORIZED, PAY: PAID, DECLINE: CANCELED, RELEASE: CANCELED, CANCEL: CANCELED}
    | {EXPIRE: CANCELED, DESCRIBE: PENDING},
    AUTHORIZED: {PAY: PAID, RELEASE: CANCELED, CANCEL: CANCELED, SHIP: AUTHORIZED, DESCRIBE: AUTHORIZED},
    PAID: {CANCEL: CANCELED, SHIP: SHIPPED, DESCRIBE: PAID, REFUND: PAID},
    SHIPPED: {REFUND: SHIPPED},
    CANCELED: {},
}


@pytest.mark.parametrize("status", STEPS_FROM)
@pytest.mark.parametrize("step", TRANSITIONS)
def test_each_status_allows_its_steps_and_no_other(step: str, status: str) -> None:
    if after := STEPS_FROM[status].get(step):
        assert require(step, status) == after
    else:
        with pytest.raises(TransitionNotAllowed, match=status):
            require(step, status)


def test_what_is_shipped_or_canceled_stays_that() -> None:
    for transitions in TRANSITIONS.values():
        for before, after in transitions.items():
            assert before == after or before not in (SHIPPED, CANCELED)


@given(st.integers(1, MAX_TOTAL_PRICE), st.data())
def test_no_more_comes_back_than_was_paid(paid_price: int, data: st.DataObject) -> None:
    refunded = data.draw(st.integers(0, paid_price))
    under_way = data.draw(st.integers(0, paid_price - refunded))
    left = paid_price - refunded - under_way
    require_refundable(left, paid_price, refunded, under_way)
    with pytest.raises(RefundTooLarge, match=str(left)):
        require_refundable(left + 1, paid_price, refunded, under_way)
