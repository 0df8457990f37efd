"""The process of a service: settings, telemetry, and then serving or migrating."""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from kit import migrations, telemetry
from kit.settings import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)


def run(
    name: str,
    settings_type: type[AnySettings],
    serve: Callable[[AnySettings], Coroutine[Any, Any, None]],
    folder: Path,
) -> None:
    """Runs `python -m services.NAME`, which serves, or `… migrate`, which brings the database up to date.

    `folder` is the service's own. Anything off (settings, words on the command line) ends the process with one line.
    """
    words = sys.argv[1:]
    if words not in ([], ["migrate"]):
        raise SystemExit(f"usage: python -m services.{name} [migrate]")
    settings = settings_type.load()
    telemetry.configure(name, settings.log_level, settings.log_format, 0 if words else settings.metrics_port)
    if words:
        migrations.upgrade(settings.database_url, folder)
    else:
        uvloop.run(serve(settings))
