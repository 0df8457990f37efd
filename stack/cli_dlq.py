"""`gozon dlq`: events that a consumer has given up."""

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from stack import screen
from stack.cli_options import HomeOption, JsonOption, place, running
from stack.home import DEFAULT_HOME, HomeError, Stack

if TYPE_CHECKING:
    from stack.dlq import Choice, DeadLetter

T = TypeVar("T")

commands = typer.Typer(help="Dead letters: events that a consumer has given up.", no_args_is_help=True)
ConsumerOption = Annotated[str | None, typer.Option(help="Only those of this consumer, such as `payments-charge`.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of events, as `gozon dlq list` shows them.")]


@commands.command("list")
def list_dead_letters(
    home: HomeOption = DEFAULT_HOME,
    consumer: ConsumerOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the latest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Lists the events that failed again and again, with the last error, the latest first."""
    from stack import dlq  # noqa: PLC0415 - asyncpg is slow to import

    stack = running(place(home))
    found = _run(stack, dlq.find(stack, _choice(None, consumer), limit))
    if as_json:
        print(json.dumps([letter.summary() for letter in found], indent=2, default=str))
    else:
        screen.dead_letter_list(found)


@commands.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Id of an event, as `gozon dlq list` shows it.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Prints as JSON all that is known of an event, what it says too: once for each consumer that gave it up."""
    print(json.dumps([letter.details() for letter in _find_each(home, [event_id], None)], indent=2, default=str))


@commands.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of events; or --all.")] = None,
    home: HomeOption = DEFAULT_HOME,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    consumer: ConsumerOption = None,
) -> None:
    """Publishes events again, once what made them fail is repaired. One that fails again comes back to the list.

    All consumers of an event get it again; those that have handled it once leave it alone.
    """
    from stack import dlq  # noqa: PLC0415 - asyncpg and nats are slow to import

    if everything == bool(ids):
        raise typer.BadParameter("either ids or --all", param_hint="ID...")
    stack = running(place(home))
    replayed = _run(stack, dlq.replay(stack, _choice(ids or None, consumer)))
    screen.out.print(f"{replayed} published again.")


@commands.command()
def drop(
    ids: Ids,
    home: HomeOption = DEFAULT_HOME,
    consumer: ConsumerOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Deletes dead letters for good: what their events asked for will not happen."""
    from stack import dlq  # noqa: PLC0415 - asyncpg is slow to import

    letters = _find_each(home, ids, consumer)
    if not yes:
        screen.dead_letter_list(letters)
        typer.confirm(f"Delete {len(letters)} for good?", abort=True)
    stack = running(place(home))
    _run(stack, dlq.drop(stack, letters))
    screen.out.print(f"{len(letters)} deleted.")


def _find_each(home: Path, ids: list[str], consumer: str | None) -> "list[DeadLetter]":
    from stack import dlq  # noqa: PLC0415 - asyncpg is slow to import

    stack = running(place(home))
    return _run(stack, dlq.find_each(stack, _choice(ids, consumer)))


def _choice(ids: list[str] | None, consumer: str | None) -> "Choice":
    from stack.dlq import Choice  # noqa: PLC0415 - asyncpg is slow to import

    return Choice(ids, consumer)


def _run(stack: Stack, work: Coroutine[None, None, T]) -> T:
    from kit.snapshot import AWAY  # noqa: PLC0415 - asyncpg is slow to import

    try:
        return asyncio.run(work)
    except AWAY as error:
        raise HomeError(f"the databases can't be read now ({error}): look at {stack.home.command('status')}") from error
