"""workers.settings: what would have a task run twice at once, or never to its end, is refused at start."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from workers.settings import WorkerSettings


def settings(**given: Any) -> WorkerSettings:
    secret = SecretStr("")
    needed: dict[str, Any] = dict.fromkeys(
        ("broker_url", "users_target", "orders_target", "payments_target", "provider_url"), ""
    )
    return WorkerSettings(**needed, **given, worker_secret=secret, provider_secret=secret)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        # A task that is as slow as it may be, and then waits for its next attempt as long as it may.
        ({"visibility_seconds": 120}, "GOZON_VISIBILITY_SECONDS must be more than 120"),
        ({"visibility_seconds": 150, "task_seconds": 90}, "GOZON_VISIBILITY_SECONDS must be more than 150"),
        ({"process_order_seconds": 31}, "at most half of GOZON_TASK_SECONDS"),
        ({"process_order_seconds": 6, "task_seconds": 10}, "at most half of GOZON_TASK_SECONDS"),
    ],
    ids=["visibility", "visibility and limit", "work", "work and limit"],
)
def test_times_that_contradict_each_other_are_refused(given: dict[str, float], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        settings(**given)


def test_times_at_their_limits_are_accepted() -> None:
    assert settings(visibility_seconds=121).visibility_seconds == 121
    assert settings(visibility_seconds=151, task_seconds=90).task_seconds == 90
    assert settings(process_order_seconds=30).process_order_seconds == 30
