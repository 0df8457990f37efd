"""services.orders.domain"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain import MAX_TOTAL_PRICE, TotalMismatch, TotalTooLarge, total_price

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
