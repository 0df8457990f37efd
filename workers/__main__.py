"""The processes of background work: `python -m workers dispatch`, `… beat`, `… work orders`, `… work payouts`."""

import sys
import warnings

import uvloop
from celery import signals
from celery.exceptions import SecurityWarning

from kit import telemetry, tracing
from workers import calls, daily
from workers.app import WORKERS, app, configure, configure_worker
from workers.settings import DispatcherSettings, WorkerSettings

TASKS = ("workers.orders", "workers.payouts", "workers.daily")
"""Modules with tasks."""


def work(kind: str) -> None:
    """Runs tasks until told to stop, which waits for those that have begun."""
    settings = WorkerSettings.load()
    telemetry.configure(f"worker-{kind}", settings)
    # That is about pickled tasks, which are not accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    configure_worker(settings, kind)
    calls.configure(settings)
    app.conf.imports = TASKS

    @signals.worker_ready.connect(weak=False)
    def measure(**_: object) -> None:
        telemetry.serve_metrics(settings)

    # In the children: what exports does not survive a fork.
    @signals.worker_process_init.connect(weak=False)
    def trace(**_: object) -> None:
        tracing.begin_export(f"worker-{kind}", settings)

    @signals.worker_process_shutdown.connect(weak=False)
    def flush(**_: object) -> None:
        tracing.end_export()

    app.worker_main([
        "--quiet",
        "worker",
        f"--queues={','.join(WORKERS[kind])}",
        f"--hostname={kind}@%h",
        "--loglevel=WARNING",
        # What they are for, nobody uses; without them an idle worker is idle.
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    ])  # fmt: skip


def beat() -> None:
    """Starts tasks when it is time, until told to stop."""
    settings = daily.BeatSettings.load()
    telemetry.configure("beat", settings)
    telemetry.serve_metrics(settings)
    configure(settings)
    app.conf.beat_schedule = daily.schedule(settings)
    app.start(["--quiet", "beat", f"--schedule={settings.beat_file}", "--pidfile=", "--loglevel=WARNING"])


def dispatch() -> None:
    """Turns events into tasks until told to stop."""
    settings = DispatcherSettings.load()
    telemetry.configure("dispatcher", settings)
    # Imported here: workers have no use for NATS and its client.
    from workers import dispatcher  # noqa: PLC0415

    with tracing.exported("dispatcher", settings):
        uvloop.run(dispatcher.run(settings))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["dispatch"]:
            dispatch()
        case ["beat"]:
            beat()
        case ["work", kind] if kind in WORKERS:
            work(kind)
        case _:
            kinds = " | ".join(f"work {kind}" for kind in WORKERS)
            raise SystemExit(f"usage: python -m workers dispatch | beat | {kinds}")
