"""Commands that look into the books: `gozon check` and `gozon statement`."""

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

from stack import screen
from stack.cli_options import HomeOption, JsonOption, place, running
from stack.home import DEFAULT_HOME, HomeError, Stack


def _time(name: str, text: str) -> Any:
    formats = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]
    return typer.Option(name, formats=formats, metavar="TIME", help=f"{text[:-1]}, such as 2026-11-01T12:30:00.")


def check(
    home: HomeOption = DEFAULT_HOME,
    stuck_after: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds that an order, a payment, a refund or an event may be under way. After an outage an order "
            "may take a while: Orders asks Payments again after 30 s.",
        ),
    ] = 60.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again and again until Ctrl-C, with a line about what each round found.")
    ] = False,
    every: Annotated[float, typer.Option(min=0, help="With --watch: seconds from one round to the next.")] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Proves on the live databases that no order is lost or stuck, no money doubled, and the ledger in balance.

    Recomputes every sum and every hash of the ledger, compares all orders and refunds with their payments, shows the
    rows that break a rule and exits 1 when there is one. It may run at any time, under load too. With --watch the
    last round decides, and with --json too each round is one line of JSON.
    """
    stack = running(place(home))
    if watch:
        _watch(stack, stuck_after, every, as_json=as_json)
    # asyncpg is slow to import.
    from kit.snapshot import AWAY  # noqa: PLC0415
    from stack.check import check as check_databases  # noqa: PLC0415

    try:
        report = asyncio.run(check_databases(stack, stuck_after))
    except AWAY as error:
        raise HomeError(f"the databases can't be read now ({error}): look at {stack.home.command('status')}") from error
    if as_json:
        print(json.dumps(asdict(report), indent=2, default=str))
    else:
        screen.check_report(report)
    raise SystemExit(0 if report.ok else 1)


def _watch(stack: Stack, stuck_after: float, every: float, *, as_json: bool) -> None:
    from stack.check_watch import rounds  # noqa: PLC0415 - asyncpg is slow to import

    last = None
    try:
        with screen.watching(quiet=as_json) as say:
            for last in rounds(stack, stuck_after, every):
                if as_json:
                    print(json.dumps(asdict(last), default=str), flush=True)
                else:
                    say(last)
    except KeyboardInterrupt:
        if last and last.report and not last.ok and not as_json:
            screen.check_report(last.report)
    ok = last is not None and last.ok
    raise SystemExit(0 if ok else 1)


def statement(
    who: Annotated[str, typer.Argument(metavar="USER_ID_OR_EMAIL", help="Whose account.")],
    home: HomeOption = DEFAULT_HOME,
    since: Annotated[datetime | None, _time("--from", "Only what happened at this moment (UTC) or later.")] = None,
    until: Annotated[datetime | None, _time("--to", "Only what happened before this moment (UTC).")] = None,
    output: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write to this file, which only you may read, once all is there."),
    ] = None,
) -> None:
    """Prints the statement of an account as CSV: each transaction of its ledger on a line, oldest first.

    Columns: number; time (UTC); kind; order_id, payout_id and purchase_id, of what it was for; amount and held_amount,
    by which the money that can be spent and the money that is held changed; balance and held after it (what can be
    spent is balance - held); currency; and the hash over all of that and the hash of the line before. All amounts are
    in minor units (kopeks, cents). Who keeps the last hash somewhere else can tell later that nothing before it was
    changed.
    """
    stack = running(place(home))
    if output is None:
        try:
            _write(stack, who, since, until, sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            _leave(0)
        return
    try:
        # Beside it, because half a statement must not be taken for a whole one.
        descriptor, temporary = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
        try:
            with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as file:
                lines = _write(stack, who, since, until, file)
            Path(temporary).replace(output)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise HomeError(f"{output} can't be written: {error.strerror}") from error
    screen.out.print(f"{lines} transactions in {output}", markup=False)


def _write(stack: Stack, who: str, since: datetime | None, until: datetime | None, file: TextIO) -> int:
    from stack import statement as statement_module  # noqa: PLC0415 - asyncpg is slow to import

    return asyncio.run(statement_module.write(stack, who, _utc(since), _utc(until), file))


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _leave(code: int) -> NoReturn:
    # The reader of the pipe has gone, which is how one leaves: what is left in buffers can't be written.
    os._exit(code)
