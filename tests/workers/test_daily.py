"""workers.daily: every service is asked once a day, at the hour that the settings say."""

from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from gozon.maintenance.v1.maintenance_pb2 import CleanUpRequest, CleanUpResponse
from tests.workers.fake import FakeServices, Refusal
from workers.app import TaskName
from workers.daily import SERVICES, BeatSettings, clean_up, schedule


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_asked_until_nothing_is_left(service: str, fake: FakeServices) -> None:
    # What its time was too short for, goes on with the next attempt.
    answers: list[CleanUpResponse | Refusal] = [
        CleanUpResponse(deleted={"inbox": 3}),
        Refusal(grpc.StatusCode.DEADLINE_EXCEEDED),
    ]

    def answer(_: CleanUpRequest) -> CleanUpResponse:
        next_one = answers.pop()
        if isinstance(next_one, Refusal):
            raise next_one
        return next_one

    fake.answer("MaintenanceService.CleanUp", answer)
    assert clean_up.apply((service, 30)).successful()
    asked = [request for name, request in fake.asked if name == "CleanUp"]
    assert asked == [CleanUpRequest(dead_letter_days=30)] * 2


def test_the_schedule_is_what_the_settings_say() -> None:
    jobs = schedule(BeatSettings(broker_url="", beat_file=Path(), daily_hour=4, daily_minute=5, dead_letter_days=7))
    assert sorted(job["args"] for job in jobs.values()) == [(service, 7) for service in SERVICES]
    for job in jobs.values():
        assert job["task"] == TaskName.CLEAN_UP
        at = job["schedule"]
        assert (at.hour, at.minute, len(at.day_of_week), len(at.month_of_year)) == ({4}, {5}, 7, 12)
        # Seen from four in the morning it is due in five minutes, in UTC and not on the clock of this machine.
        last = datetime(2026, 11, 20, 4, 5, tzinfo=UTC)
        at.nowfun = lambda: datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
        assert at.is_due(last) == (False, 300)
