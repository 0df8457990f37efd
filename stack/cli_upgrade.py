"""`gozon migrate` and `gozon restart`: new code for a stack that runs."""

import asyncio
from typing import Annotated

import typer

from stack import control, screen
from stack.cli_options import HomeOption, place, running
from stack.config import SERVICES
from stack.home import DEFAULT_HOME


def migrate(home: HomeOption = DEFAULT_HOME) -> None:
    """Brings the databases of the running stack up to date, as `up` does when it starts."""
    stack = running(place(home))
    failed = [service for service in SERVICES if not control.migrate(stack, service)]
    raise SystemExit(1 if failed else 0)


def restart(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Processes, such as `orders orders-2`.", show_default="all but the servers"),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Restarts one process after another, each when the one before is ready again: how new code is put to work.

    With two instances of each service (`up --instances users=2,orders=2,payments=2,push=2`) no request fails.
    Addresses, settings and the list of processes stay as they were at `up`.
    """
    from stack import restart as restart_module  # noqa: PLC0415 - for this command only

    stack = running(place(home))
    asyncio.run(restart_module.restart(stack, restart_module.names_of(stack, names or []), screen.out.print))
