"""Pages of lists."""

import pytest

from gozon.orders.v1.orders_pb2 import Order
from kit import pages
from kit.errors import InvalidPageToken
from kit.ids import new_id


def orders(number: int, length: int = 0) -> list[Order]:
    """Orders, newest first, with descriptions of so many bytes."""
    return [Order(id=new_id(), description="x" * length) for _ in range(number)][::-1]


def test_a_page_holds_what_was_asked_for_and_tells_where_the_next_one_begins() -> None:
    found = orders(3)
    page, token = pages.cut(found, 2)
    assert page == found[:2]
    assert pages.read_token(token) == found[1].id
    assert pages.cut(found, 3) == (found, "")
    assert pages.cut([], 3) == ([], "")


@pytest.mark.parametrize(("length", "fit"), [(pages.MAX_BYTES // 2 - 100, 2), (pages.MAX_BYTES * 2, 1)])
def test_a_page_of_long_ones_holds_fewer_but_one_at_least(length: int, fit: int) -> None:
    found = orders(3, length)
    page, token = pages.cut(found, 3)
    assert page == found[:fit]
    assert pages.read_token(token) == found[fit - 1].id
    assert pages.cut(found[:1], 1) == (found[:1], "")


def test_without_a_token_it_begins_with_the_newest() -> None:
    assert pages.read_token("") > new_id()


@pytest.mark.parametrize("token", ["x", "bm90aGluZw==", "\N{SNOWMAN}"])
def test_a_token_that_nobody_gave_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        pages.read_token(token)
