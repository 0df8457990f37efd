"""The Celery app: its queues and tasks by name, and how every task is delivered, limited, tried again and counted.

A task is acknowledged when it has ended, so one whose worker dies is run again; and Redis may deliver any task twice.
So every task finds out first what was done already, and what it asks of a service has one effect however often.
"""

import time
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

import structlog
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback  # type: ignore[attr-defined]  # not in its stubs
from celery import Celery, Task, signals
from celery.exceptions import Retry, SoftTimeLimitExceeded, TimeLimitExceeded
from celery.states import FAILURE, SUCCESS
from celery.worker.request import Request
from prometheus_client import Counter, Gauge, Histogram

from kit import telemetry, tracing
from kit.errors import Unavailable
from workers.settings import LONGEST_COUNTDOWN, BrokerSettings, WorkerSettings

BROKER_SECONDS = 4.0
"""How long the broker may take to answer. Less than NATS waits for the dispatcher to acknowledge."""
TRACE_HEADER = "traceparent"
"""The header of a task with the trace it belongs to."""
SOFT_LIMIT_SECONDS = 10
"""So long before it is killed, a task is told to stop; but not before it had three quarters of its time."""


class Queue(StrEnum):
    """Where tasks wait."""

    ORDERS = "orders"
    PAYOUTS = "payouts"
    MAINTENANCE = "maintenance"


class TaskName(StrEnum):
    """The tasks: names are what waits in the broker, so they never change."""

    PROCESS_ORDER = "process_order"
    PAY_OUT = "pay_out"
    CLEAN_UP = "clean_up"


QUEUE_OF = {
    TaskName.PROCESS_ORDER: Queue.ORDERS,
    TaskName.PAY_OUT: Queue.PAYOUTS,
    TaskName.CLEAN_UP: Queue.MAINTENANCE,
}

WORKERS = {
    "orders": (Queue.ORDERS,),
    "payouts": (Queue.PAYOUTS, Queue.MAINTENANCE),
}
"""The kinds of workers and whose tasks they run: who processes many orders keeps nobody from being paid."""

TASKS = Counter("tasks_total", "Tasks ended, by how: succeeded, failed, retried, timed_out, lost", ["task", "outcome"])
RUNNING = Gauge("tasks_running", "Tasks at work", ["task"])
SECONDS = Histogram(
    "task_seconds", "Duration of tasks", ["task"], buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 3, 5, 10, 20, 30, 60)
)

log = structlog.get_logger()


class CountedRequest(Request):
    """A task as the worker's main process sees it, which outlives its children: it counts how each task ended."""

    _accepted_at = 0.0
    _outcome = "succeeded"
    _counted = False

    def on_accepted(self, pid: str, time_accepted: float) -> None:
        """A child has begun it."""
        self._accepted_at = time_accepted
        RUNNING.labels(self.name).inc()
        super().on_accepted(pid, time_accepted)

    def on_failure(self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """It has raised something, or its child died or was killed at the hard limit."""
        raised = exc_info.exception
        # What is raised in this process, not in a child, comes wrapped.
        match raised.exc if isinstance(raised, ExceptionWithTraceback) else raised:
            case Retry():
                self._outcome = "retried"
            case TimeLimitExceeded():
                self._outcome = "timed_out"
            case _:
                self._outcome = "failed"
        super().on_failure(exc_info, send_failed_event, return_ok)

    def acknowledge(self) -> None:
        """It is over."""
        super().acknowledge()
        self._count()

    def reject(self, requeue: bool = False) -> None:
        """It is given to another child."""
        self._outcome = "lost"
        super().reject(requeue)
        self._count()

    def _count(self) -> None:
        if self._counted or not self._accepted_at:
            return
        self._counted = True
        RUNNING.labels(self.name).dec()
        TASKS.labels(self.name, self._outcome).inc()
        SECONDS.labels(self.name).observe(time.monotonic() - self._accepted_at)


class GozonTask(Task[Any, Any]):
    """A task that is tried again, after a random pause of up to 1 s, 2 s … a minute, while what it needs is away."""

    abstract = True
    Request = "workers.app:CountedRequest"
    autoretry_for = (Unavailable, SoftTimeLimitExceeded)
    retry_backoff = True
    retry_backoff_max = int(LONGEST_COUNTDOWN.total_seconds())
    retry_jitter = True
    # For ever: a task that gives up makes room for the next one, which would fare no better.
    max_retries = None

    def on_retry(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: ExceptionInfo) -> None:
        """Tells why it is tried again."""
        log.warning("task_retried", error=repr(exc), retries=self.request.retries)


app = Celery("gozon", task_cls=GozonTask)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    # Whoever publishes knows better what to do when the broker is away.
    task_publish_retry=False,
    result_backend=None,
    task_serializer="json",
    accept_content=["json"],
    task_create_missing_queues=True,
    task_routes={name: {"queue": queue} for name, queue in QUEUE_OF.items()},
    # Nobody watches them; each would be another connection that is polled.
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    timezone="UTC",
)


def configure(settings: BrokerSettings) -> None:
    """Tells the app where its broker is."""
    app.conf.update(
        broker_url=settings.broker_url,
        broker_transport_options={
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
        },
    )


def configure_worker(settings: WorkerSettings, kind: str) -> None:
    """Does so for a worker, one of WORKERS."""
    configure(settings)
    app.conf.update(
        worker_concurrency=settings.concurrency,
        task_time_limit=settings.task_seconds,
        task_soft_time_limit=max(settings.task_seconds - SOFT_LIMIT_SECONDS, settings.task_seconds * 3 // 4),
        broker_transport_options={
            **app.conf.broker_transport_options,
            **taken_keys(kind),
            "visibility_timeout": settings.visibility_seconds,
            # Every ten seconds somebody looks for tasks whose worker died; else every hundred.
            "unacked_restore_throttle": 1,
        },
    )


def taken_keys(kind: str) -> dict[str, str]:
    """The keys under which the broker keeps what workers of a kind have taken; the dispatcher counts it."""
    return {f"unacked{part}_key": f"unacked{part}.{kind}" for part in ("", "_index", "_mutex")}


@signals.setup_logging.connect
def _leave_logging_alone(**_: object) -> None:
    """Celery sets up none of its own where somebody listens to this."""


@signals.task_prerun.connect
def _begin_trace(task: Task[Any, Any], **_: object) -> None:
    header = getattr(task.request, TRACE_HEADER, None) or telemetry.continue_trace("")
    span = tracing.begin(f"task {task.name}", header, "CONSUMER")
    _span.set(span)
    telemetry.traceparent.set(header if span is None else span.traceparent)
    structlog.contextvars.bind_contextvars(task=task.name, task_id=task.request.id)


@signals.task_postrun.connect
def _end_trace(state: str = "", **_: object) -> None:
    if span := _span.get():
        if state != SUCCESS:
            span.note(state, failed=state == FAILURE)
        span.end()
        _span.set(None)


_span: ContextVar[tracing.Span | None] = ContextVar("span", default=None)
"""Of the task that this process is at."""
