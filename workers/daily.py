"""The daily job: what every service does for its plumbing once a day, when beat says so.

What it asks for may be asked twice, by a second beat or by hand: the second time there is nothing left to do.
"""

from pathlib import Path
from typing import Any

import structlog
from celery.schedules import crontab
from pydantic import Field

from gozon.maintenance.v1.maintenance_pb2 import CleanUpRequest
from workers import calls
from workers.app import QUEUE_OF, TaskName, app
from workers.settings import BrokerSettings

SERVICES = ("orders", "payments", "users")
MAX_RETRIES = 20
"""A quarter of an hour, and each goes on where the one before stopped. What is left then is the next day's."""
EXPIRES_SECONDS = 12 * 3600
"""One that no worker has taken by then is dropped: the next one does the same."""

log = structlog.get_logger()


class BeatSettings(BrokerSettings):
    """Settings of beat: when it is time."""

    beat_file: Path
    """Where beat notes what it started when, so that it makes up for what it missed."""
    daily_hour: int = Field(default=3, ge=0, le=23)
    """Hour of the daily job, UTC."""
    daily_minute: int = Field(default=30, ge=0, le=59)
    """Minute of the daily job."""
    dead_letter_days: int = Field(default=90, ge=1, le=3650)
    """Dead letters that are older are deleted by the daily job."""


@app.task(name=TaskName.CLEAN_UP, max_retries=MAX_RETRIES)
def clean_up(service: str, dead_letter_days: int) -> None:
    """Has a service, one of SERVICES, delete what is too old."""
    services = calls.services()
    request = CleanUpRequest(dead_letter_days=dead_letter_days)
    deleted = services.call(services.maintenance[service].CleanUp, request).deleted
    log.info("cleaned_up", of=service, **deleted)


def schedule(settings: BeatSettings) -> dict[str, Any]:
    """Returns what beat does and when, in Celery's words."""
    return {
        f"clean-up-{service}": {
            "task": TaskName.CLEAN_UP,
            "args": (service, settings.dead_letter_days),
            "schedule": crontab(hour=str(settings.daily_hour), minute=str(settings.daily_minute)),
            "options": {"queue": QUEUE_OF[TaskName.CLEAN_UP], "expires": EXPIRES_SECONDS},
        }
        for service in SERVICES
    }
