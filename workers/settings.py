"""Settings of the processes of background work."""

from datetime import timedelta

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from kit.settings import BusSettings, ProcessSettings

LONGEST_COUNTDOWN = timedelta(seconds=60)
"""The longest that a task waits until it is tried again."""


class BrokerSettings(ProcessSettings):
    """What all of them need: the way to the tasks."""

    broker_url: str
    """redis://:password@host:port/db of the broker, which is never the cache: a cache may forget."""


class WorkerSettings(BrokerSettings):
    """Settings of a worker."""

    users_target: str
    """host:port of Users, which gives the worker its tokens."""
    orders_target: str
    """host:port of Orders."""
    payments_target: str
    """host:port of Payments."""
    worker_secret: SecretStr
    """What the worker shows Users."""
    provider_url: str
    """http://host:port of the payout provider."""
    provider_secret: SecretStr
    """What the worker shows the payout provider."""
    visibility_seconds: int = Field(default=150, gt=0)
    """A task whose worker died is given to another one after so long. The same for all workers."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Tasks at once, each in a process of its own."""
    task_seconds: int = Field(default=60, ge=10)
    """A task that takes longer is killed; some seconds before, it is told to stop."""
    process_order_seconds: float = Field(default=2.0, ge=0)
    """How long processing an order takes."""
    provider_seconds: float = Field(default=10.0, gt=0, le=20, validate_default=True)
    """So long the payout provider may take to connect, and to say something; then what it did is unknown."""

    @field_validator("task_seconds")
    @classmethod
    def _before_it_is_given_away(cls, seconds: int, others: ValidationInfo) -> int:
        # Else a task that is only slow, or waits for its next attempt, is given to a second worker.
        longest = seconds + LONGEST_COUNTDOWN.total_seconds()
        if others.data.get("visibility_seconds", longest + 1) <= longest:
            raise ValueError(f"with this, GOZON_VISIBILITY_SECONDS must be more than {longest:.0f}")
        return seconds

    @field_validator("process_order_seconds", "provider_seconds")
    @classmethod
    def _before_it_is_stopped(cls, seconds: float, others: ValidationInfo) -> float:
        # Else a task is told to stop in the middle of it, each time anew.
        if seconds > others.data.get("task_seconds", seconds * 2) / 2:
            raise ValueError("must be at most half of GOZON_TASK_SECONDS")
        return seconds


class DispatcherSettings(BrokerSettings, BusSettings):
    """Settings of the dispatcher."""

    max_queued: int = Field(default=200, ge=1)
    """Events wait in NATS while so many tasks are in the broker, waiting or at work; for each kind of task."""
