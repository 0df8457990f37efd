"""The document says what there is; that messages are as it says, every test of a socket sees to (tests/push/ear.py)."""

import re
from typing import Any

import pytest
from jsonschema import ValidationError

from services.push.domain import CloseCode
from services.push.gateway import CLOSED_BY_LIBRARY, MAX_MESSAGE_BYTES, Limits
from services.push.hub import HELLO, RESUME_SECONDS, RESYNC
from services.push.messages import KINDS
from tests.push.contract import assert_documented, document

TYPES = {HELLO, RESYNC, *(kind.type for kind in KINDS.values())}
HELLO_MESSAGE: dict[str, Any] = {
    "id": "1a-2-3-0123456789ab",
    "type": "hello",
    "at": "2026-11-21T18:55:25.490Z",
    "expires_at": "2026-11-21T19:10:25.000Z",
}


def test_it_has_all_types_of_messages_and_no_others() -> None:
    assert set(document()["components"]["messages"]) == TYPES
    assert set(document()["channels"]["live"]["messages"]) == TYPES


def test_it_has_all_codes_and_limits() -> None:
    text = document()["info"]["description"]
    rows = re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE)
    codes = {int(code) for row in rows for code in row.split(", ")}
    assert codes == {*CloseCode, *CLOSED_BY_LIBRARY}
    flat = " ".join(text.split())
    limits = Limits()
    assert f"older than {RESUME_SECONDS / 60:.0f} minutes" in flat
    assert f"at most {limits.frames_a_minute} frames a minute" in flat
    assert f"{MAX_MESSAGE_BYTES // 1024} KiB a message" in flat
    assert f"pings every {limits.ping_seconds:.0f} s" in flat
    assert f"did not read for {limits.write_seconds:.0f} s" in flat
    assert f"{limits.max_user_sockets} of a user on an instance" in flat


@pytest.mark.parametrize(
    "change", [{"type": "resync", "data": {}}, {"id": "with space"}, {"at": "yesterday"}, {"secret": 1}], ids=str
)
def test_what_it_does_not_say_is_noticed(change: dict[str, Any]) -> None:
    assert_documented(HELLO_MESSAGE)
    with pytest.raises(ValidationError):
        assert_documented(HELLO_MESSAGE | change)
