"""The process of a service: settings, telemetry, and then serving, migrating or a command of its own."""

import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from kit import telemetry, tracing
from kit.settings import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)


def run(
    name: str,
    settings_type: type[AnySettings],
    serve: Callable[[AnySettings], Coroutine[Any, Any, None]],
    folder: Path,
    *,
    migrated: Callable[[AnySettings], Coroutine[Any, Any, None]] | None = None,
    commands: Mapping[str, Callable[[AnySettings, str], Coroutine[Any, Any, None]]] | None = None,
) -> None:
    """Runs `python -m services.NAME`, which serves, `… migrate`, which brings the database up to date, or a command.

    `folder` is the service's own; `migrated` follows the migrations; each of `commands` takes one word. Anything off
    (settings, words on the command line) ends the process with one line.
    """
    commands = commands or {}
    words = sys.argv[1:]
    if words not in ([], ["migrate"]) and not (len(words) == 2 and words[0] in commands):
        usages = ["migrate", *(f"{command} ARGUMENT" for command in commands)]
        raise SystemExit(f"usage: python -m services.{name} [{' | '.join(usages)}]")
    settings = settings_type.load()
    telemetry.configure(name, settings)
    match words:
        case []:
            telemetry.serve_metrics(settings)
            with tracing.exported(name, settings):
                uvloop.run(serve(settings))
        case ["migrate"]:
            # Imported here: Alembic and SQLAlchemy take a third of the start of a process that does not need them.
            from kit import migrations  # noqa: PLC0415

            migrations.upgrade(settings.database_url, folder)
            if migrated:
                uvloop.run(migrated(settings))
        case _:
            uvloop.run(commands[words[0]](settings, words[1]))
