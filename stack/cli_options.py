"""What the commands of `gozon` have in common."""

from pathlib import Path
from typing import Annotated

import typer

from stack.home import Home, HomeError, Stack

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home", envvar="GOZON_HOME", help="Folder of data, logs and secrets.", show_default="the checkout's .gozon"
    ),
]
TraceToOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="http://host:port of an OpenTelemetry collector (OTLP over gRPC) that gets the traces; '' ends that.",
        show_default="none",
    ),
]
TracePercentOption = Annotated[
    int | None,
    typer.Option(
        help="Of a hundred requests so many are traced, and those whose traceparent asks.", show_default="100"
    ),
]
PostgresOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT,…",
        help="A PostgreSQL that runs elsewhere, with the password in secrets.json; of several the primary is used.",
        show_default="its own",
    ),
]
TrustedProxiesOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=9,
        help="Proxies in front of the edge, which say by X-Forwarded-For whose a request is.",
        show_default="0",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, nothing else.")]


def running(home: Home) -> Stack:
    """Returns the stack that runs in a home folder, or in containers. Errors: HomeError when none does."""
    config = home.config()
    if not home.is_supervised() and not (config and config.hosts):
        raise HomeError(f"nothing runs in {home.path}: {home.command('up')} first")
    return Stack.load(home)


def place(home: Path) -> Home:
    """Returns the home folder that --home names."""
    return Home(home.expanduser().absolute())
