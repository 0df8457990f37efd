"""kit.ids"""

import time
import uuid

import pytest

from kit.ids import canonical, first_id_at, new_id


def test_an_id_is_a_uuid_of_version_7_in_its_stored_form() -> None:
    made = new_id()
    assert uuid.UUID(made).version == 7
    assert canonical(made) == made


def test_ids_sort_by_the_time_of_their_creation() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    "written",
    [
        "0192F0C4-7E57-7000-8000-00000000ABCD",
        "0192f0c47e5770008000-00000000abcd",
        "{0192f0c4-7e57-7000-8000-00000000abcd}",
    ],
)
def test_every_way_of_writing_a_uuid_becomes_one(written: str) -> None:
    assert canonical(written) == "0192f0c4-7e57-7000-8000-00000000abcd"


@pytest.mark.parametrize("nonsense", ["", "7", "0192f0c4-7e57-7000-8000-00000000abcg", "\x00"])
def test_what_is_no_uuid_is_a_value_error(nonsense: str) -> None:
    with pytest.raises(ValueError, match=r"badly formed|invalid literal"):
        canonical(nonsense)


def test_a_moment_divides_the_ids_made_before_from_those_made_after() -> None:
    made = new_id()
    assert first_id_at(time.time() - 60) < made < first_id_at(time.time() + 60)
    assert uuid.UUID(first_id_at(time.time())).version == 7
