"""The `gozon` command: one machine, one command.

Commands import what is slow to import (httpx, asyncpg) when they run, so that `gozon --help` answers at once.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from stack import cli_audit, cli_containers, cli_dlq, cli_provider, cli_upgrade, control, screen
from stack import doctor as doctor_module
from stack import logs as logs_module
from stack.cli_options import (
    HomeOption,
    JsonOption,
    PostgresOption,
    TracePercentOption,
    TraceToOption,
    TrustedProxiesOption,
)
from stack.cli_options import place as _place
from stack.cli_options import running as _running
from stack.config import FREE_PORTS, SETTINGS, ConfigError, LogLevel, Options, parse_pairs, parse_range
from stack.home import DEFAULT_HOME, Home, HomeError, Stack

app = typer.Typer(
    help="Runs the whole of Gozon on this machine: PostgreSQL, NATS, Valkey, the services and the Envoy edge.\n\n"
    "Start with `up`, then try `demo`; from a checkout, `make up` and `make demo`. Everything lives in one folder "
    "(--home) and listens on loopback only; `reset` removes it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

admin_commands = typer.Typer(help="Who is an administrator.", no_args_is_help=True)
key_commands = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True)
app.add_typer(admin_commands, name="admin")
app.add_typer(key_commands, name="keys")
app.add_typer(cli_containers.commands, name="containers")
app.add_typer(cli_dlq.commands, name="dlq")
app.add_typer(cli_provider.commands, name="provider")
EmailArgument = Annotated[str, typer.Argument(help="Email of somebody who has registered.")]


def main() -> None:
    """Runs the command line; exits 1 when something is wrong, 2 when it was called wrongly."""
    try:
        app()
    except (ConfigError, HomeError) as error:
        typer.secho(f"✗ {error}", err=True, fg=typer.colors.RED)
        raise SystemExit(1) from None


@app.command()
def up(
    home: HomeOption = DEFAULT_HOME,
    edge_port: Annotated[
        int | None, typer.Option(envvar="GOZON_EDGE_PORT", help="Public port, REST and gRPC.", show_default="8080")
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            envvar="GOZON_PORTS", help="Port of another part, such as `postgres=15433`; repeat it or use commas."
        ),
    ] = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take free ports for those not given.")] = False,
    free_range: Annotated[
        str,
        typer.Option(
            envvar="GOZON_FREE_RANGE",
            help="Ports to choose from; with ranges of their own, stacks that start at the same time can't collide.",
        ),
    ] = f"{FREE_PORTS[0]}-{FREE_PORTS[-1]}",
    instances: Annotated[
        list[str] | None,
        typer.Option(
            help="Processes of a service or kind of worker, such as `orders=2,worker-payouts=3`; or `nats=3`.",
            show_default="1",
        ),
    ] = None,
    rate_limit_scale: Annotated[
        int | None, typer.Option(help="Multiply the edge's rate limits, for load tests.", show_default="1")
    ] = None,
    edge_concurrency: Annotated[int | None, typer.Option(help="Worker threads of Envoy.", show_default="1")] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="What the services write to their logs.", show_default="info")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE.NAME=NUMBER",
            help=f"A setting of a service: {', '.join(SETTINGS)}; repeat it or use commas.",
            show_default="the service's own",
        ),
    ] = None,
    trace_to: TraceToOption = None,
    trace_percent: TracePercentOption = None,
    postgres: PostgresOption = None,
    trusted_proxies: TrustedProxiesOption = None,
) -> None:
    """Starts everything and waits until it is ready. Does nothing when it already runs.

    What you choose is remembered: the next `up` on the same home uses it again. Processes that crash are
    started again; those that never start are shown with the end of their log, and nothing is left running.
    """
    begun = time.monotonic()
    ports = parse_pairs(port or [], "--port") | ({"edge": edge_port} if edge_port else {})
    options = Options(
        ports,
        free_ports,
        parse_range(free_range),
        parse_pairs(instances or [], "--instances"),
        rate_limit_scale,
        edge_concurrency,
        log_level,
        parse_pairs(setting or [], "--setting"),
        trace_to,
        trace_percent,
        postgres,
        trusted_proxies=trusted_proxies,
    )
    place = _place(home)
    try:
        with screen.progress("Starting Gozon") as progress:
            config = control.up(place, options, progress)
    except control.UpError as error:
        screen.failure(f"Gozon did not come up, nothing runs: {error}", error.log)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        screen.failure("Interrupted, nothing runs.", [])
        raise SystemExit(130) from None
    if config is None:
        screen.out.print(f"Gozon is up already ({place.path}); to change something, {place.command('down')} first.")
    else:
        screen.card(place, config, time.monotonic() - begun)


@app.command()
def down(home: HomeOption = DEFAULT_HOME) -> None:
    """Stops everything; the data stays. Requests under way are finished first."""
    with screen.out.status("Stopping Gozon"):
        stopped = control.down(_place(home))
    screen.out.print("Gozon is down." if stopped else "Gozon was not running.")


@app.command()
def status(
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="With --json: add the addresses that hold passwords.")
    ] = False,
) -> None:
    """Shows every process and asks it whether it is ready. Exits 1 unless all are."""
    if secrets and not as_json:
        raise typer.BadParameter("it needs --json", param_hint="--secrets")
    place = _place(home)
    found = control.status(place)
    if as_json:
        data: dict[str, Any] = {"ok": found.ok, "home": str(place.path), "phase": found.phase}
        if found.processes:
            stack = Stack.load(place)
            data["config"] = asdict(stack.config)
            data["urls"] = stack.urls() | (stack.secret_urls() if secrets else {})
            data["supervisor"] = found.supervisor
            data["processes"] = [
                {"name": name, **facts, "log": str(place.log(name))} for name, facts in found.processes.items()
            ]
        print(json.dumps(data, indent=2))
    else:
        screen.status_table(place, found)
    raise SystemExit(0 if found.ok else 1)


@app.command()
def worker(
    kind: Annotated[str, typer.Argument(help="Whose tasks it runs: `orders` or `payouts`.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Runs one more worker on the running stack, in the foreground. Ctrl-C ends it when its tasks are done."""
    control.become_worker(_running(_place(home)), kind)


@app.command()
def logs(
    process: Annotated[
        str | None, typer.Argument(help="Such as `orders`, `orders-2`, `envoy`, `supervisor`; all when left out.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of each log.")] = 20,
) -> None:
    """Prints the end of the logs. They are files: HOME/logs/PROCESS.log, and PROCESS.log.1 of the run before."""
    place = _place(home)
    names = sorted(log.stem for log in place.logs.glob("*.log"))
    if not names:
        raise HomeError(f"there are no logs in {place.logs}: nothing ran there yet")
    if process is not None:
        if process not in names:
            raise HomeError(f"no log of {process!r} in {place.logs}: there are {', '.join(names)}")
        names = [process]
    width = max(map(len, names))
    try:
        for name, line in _all_lines(place, names, lines, follow):
            text = line if sys.stdout.isatty() else logs_module.ESCAPES.sub("", line)
            print(text if process else f"{name:<{width}} | {text}", flush=follow)
    except (KeyboardInterrupt, BrokenPipeError):
        # Closed by Ctrl-C or by the reader of a pipe: both are how one leaves.
        os._exit(0)


def _all_lines(place: Home, names: list[str], lines: int, follow: bool) -> Iterator[tuple[str, str]]:
    yield from logs_module.last_lines(place, names, lines)
    if follow:
        yield from logs_module.follow(place, names)


@app.command()
def demo(
    home: HomeOption = DEFAULT_HOME,
    url: Annotated[str | None, typer.Option(help="Address of another edge.", show_default="this stack's")] = None,
    as_json: JsonOption = False,
) -> None:
    """Registers a user, puts money on an account, and orders twice: one is paid, one is too dear. Then the paid one is
    canceled, and its money comes back. Goods are bought and used, if the shop has some (`seed`). A part of the money is
    paid out to a card; another card declines. The statement shows all of it.

    Everything goes through the public edge; each request is printed as a curl line to paste, with its answer. Exits
    0 only when the first order is PAID, the second CANCELED for INSUFFICIENT_FUNDS, the first payout COMPLETED, the
    second FAILED with a reason, and the account has what is left then.
    """
    from stack import demo as demo_module  # noqa: PLC0415 - httpx is slow to import

    place = _place(home)
    edge = url or _running(place).edge_url
    result = demo_module.run(edge.rstrip("/"), None if as_json else screen.demo_step)
    if as_json:
        print(json.dumps(asdict(result), indent=2))
    else:
        screen.demo_result(place, result)
    raise SystemExit(0 if result.ok else 1)


@app.command()
def seed(
    home: HomeOption = DEFAULT_HOME,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="GOZON_ADMIN_PASSWORD",
            help="Of the first administrator, when it was changed.",
            show_default="the one that `up` made",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Adds products to the shop, as the first administrator and through the public edge; those it has stay as they are.

    Again it changes nothing: products are known by their names.
    """
    from stack import seed as seed_module  # noqa: PLC0415 - httpx is slow to import

    stack = _running(_place(home))
    products = seed_module.run(stack.edge_url, password or stack.secrets.admin)
    if as_json:
        print(json.dumps({"products": [asdict(product) for product in products]}, indent=2, ensure_ascii=False))
    else:
        screen.seeded(products)


app.command()(cli_audit.check)
app.command()(cli_audit.statement)
app.command()(cli_upgrade.migrate)
app.command()(cli_upgrade.restart)


@app.command()
def doctor(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Looks whether this machine can run Gozon and what is wrong if not, with advice. Exits 1 when something is."""
    findings = list(doctor_module.examine(_place(home)))
    ok = all(finding.ok for finding in findings)
    if as_json:
        print(json.dumps({"ok": ok, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        screen.doctor_table(findings)
    raise SystemExit(0 if ok else 1)


@app.command()
def reset(
    home: HomeOption = DEFAULT_HOME,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stops everything and deletes the home folder: databases, secrets, logs and what was chosen at `up`."""
    place = _place(home)
    if not place.path.exists():
        screen.out.print(f"There is nothing in {place.path}.")
        return
    if not place.is_ours():
        raise HomeError(f"{place.path} was not made by Gozon: it is left alone")
    if not yes:
        typer.confirm(f"Delete all orders, accounts and secrets in {place.path}?", abort=True)
    control.down(place)
    shutil.rmtree(place.path)
    screen.out.print(f"{place.path} is deleted.")


@admin_commands.command()
def grant(email: EmailArgument, home: HomeOption = DEFAULT_HOME) -> None:
    """Makes a user an administrator, from the user's next access token on."""
    _set_admin(home, email, admin=True)


@admin_commands.command()
def revoke(email: EmailArgument, home: HomeOption = DEFAULT_HOME) -> None:
    """Makes an administrator an ordinary user, at the latest when the present access token expires (15 minutes)."""
    _set_admin(home, email, admin=False)


def _set_admin(home: Path, email: str, *, admin: bool) -> None:
    control.set_admin(_running(_place(home)), email, admin=admin)
    screen.out.print(f"{email} is {'an administrator' if admin else 'an ordinary user'} now.", markup=False)


@key_commands.command("list")
def list_keys(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Shows the keys: which signs, which are still to come, which are only there for tokens that are still valid."""
    from stack import keys as keys_module  # noqa: PLC0415 - cryptography is slow to import

    found = keys_module.list_keys(_place(home))
    if as_json:
        print(json.dumps([asdict(key) for key in found], indent=2, default=str))
    else:
        screen.key_table(found)


@key_commands.command()
def rotate(
    home: HomeOption = DEFAULT_HOME,
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="A key has leaked: sign with the new key at once and remove all others. All access tokens end, "
            "within 10 s; for as long the edge may refuse new ones too. Refresh tokens stay.",
        ),
    ] = False,
    after: Annotated[
        int, typer.Option(min=15, help="Seconds until it signs: more where the folder takes its time to get around.")
    ] = 15,
) -> None:
    """Replaces the key that signs, with no interruption and no restart.

    The new key is published now and signs in 15 seconds, when everybody knows it; the old one stays published until
    its last token has expired, and is removed by the next `rotate`. Waiting for it may be interrupted.
    """
    from stack import keys as keys_module  # noqa: PLC0415 - cryptography is slow to import

    place = _place(home)
    new, removed = keys_module.rotate(place, at_once=now, after=after)
    for kid in removed:
        screen.out.print(f"Key {kid} is removed.")
    screen.out.print(f"Key {new.kid} is published and signs from {new.signs_from:%H:%M:%S} UTC.")
    with screen.out.status("Waiting for it (Ctrl-C stops the waiting only)"):
        try:
            time.sleep(max(0.0, (new.signs_from - datetime.now(UTC)).total_seconds()))
        except KeyboardInterrupt:
            return
    screen.out.print("It signs.")
