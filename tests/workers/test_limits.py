"""workers.settings and workers.app: whatever settings are accepted, a task can do its work in the time that it has."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from workers.app import app, configure_worker
from workers.settings import WorkerSettings


def settings(**given: Any) -> WorkerSettings:
    needed: dict[str, Any] = dict.fromkeys(
        ("broker_url", "users_target", "orders_target", "payments_target", "provider_url"), ""
    )
    return WorkerSettings(**needed, **given, worker_secret=SecretStr(""), provider_secret=SecretStr(""))


@pytest.mark.parametrize("task_seconds", [10, 12, 20, 39, 40, 60])
def test_the_longest_work_that_is_accepted_ends_before_its_task_is_told_to_stop(
    task_seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "conf", app.conf.copy())
    longest = settings(task_seconds=task_seconds, process_order_seconds=task_seconds / 2, provider_seconds=5)
    configure_worker(longest, "orders")
    assert longest.process_order_seconds < app.conf.task_soft_time_limit < app.conf.task_time_limit


@pytest.mark.parametrize("given", [{"task_seconds": 19}, {"task_seconds": 39, "provider_seconds": 20}])
def test_a_provider_that_may_take_longer_than_its_task_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"provider_seconds\s.*at most half of GOZON_TASK_SECONDS"):
        settings(**given)
    assert settings(task_seconds=40, provider_seconds=20).provider_seconds == 20
