"""What users heard is judged by what the database and the stream say."""

import pytest

from tests.bench.told import CREATED, PAID, Fact, judge

FIRST, SECOND, OTHERS = Fact(CREATED, "ann", "1"), Fact(PAID, "ann", "1"), Fact(PAID, "bob", "2")
SCRIPT = [("id 1", FIRST), ("id 2", SECOND)]
WRONG = {
    "lost": SCRIPT[:1],
    "doubled": [*SCRIPT, SCRIPT[1]],
    "foreign": [*SCRIPT, ("id 3", OTHERS)],
    "out of order": SCRIPT[::-1],
}


def test_what_is_due_in_the_order_of_the_stream_is_right() -> None:
    assert not judge([SECOND, FIRST], SCRIPT, SCRIPT)


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_counted(kind: str) -> None:
    found = judge([FIRST, SECOND], SCRIPT, WRONG[kind])
    assert list(found) == [kind]


def test_an_id_that_is_not_that_of_the_stream_is_out_of_order() -> None:
    assert judge([FIRST, SECOND], SCRIPT, [SCRIPT[0], ("id 3", SECOND)]) == {"out of order": 1}
