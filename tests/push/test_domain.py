"""Ids of messages."""

import pytest

from kit.ids import new_id
from services.push.domain import BadId, MessageId, Position, message_id, read_id

ANN, BOB = new_id(), new_id()
ID = message_id(ANN, "660cde66b051f", Position(12, 3))
IDS = [MessageId("660cde66b051f", Position(2**63 - 1, 65_535)), MessageId("0", Position(0, 0))]


@pytest.mark.parametrize("given", IDS, ids=["large", "small"])
def test_an_id_is_read_as_it_was_made(given: MessageId) -> None:
    text = message_id(ANN, given.life, given.position)
    assert read_id(ANN, text) == given
    with pytest.raises(BadId):
        read_id(BOB, text)


@pytest.mark.parametrize(
    "changed",
    [
        "",
        f"{ID}0",
        ID.replace("-12-", "-13-"),
        ID.upper(),
        f"{ID}\n",
        ID.replace("12", "١٢"),
        "9" * 100_000,
        ID[: ID.rindex("-")],
    ],
    ids=["empty", "longer", "another number", "capitals", "newline", "other digits", "huge", "no tag"],
)
def test_what_is_no_id_is_refused(changed: str) -> None:
    assert read_id(ANN, ID).position == Position(12, 3)
    with pytest.raises(BadId):
        read_id(ANN, changed)
