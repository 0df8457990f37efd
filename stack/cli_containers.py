"""`gozon containers`: what docker-compose.yml runs once before the rest, and what Kubernetes is given."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from stack import containers, control, servers
from stack.cli_options import HomeOption, TracePercentOption, TraceToOption, TrustedProxiesOption, place, running
from stack.config import SERVICES, Options
from stack.home import DEFAULT_HOME, HomeError

commands = typer.Typer(help="For containers: docker-compose.yml and Kubernetes.", no_args_is_help=True)


@commands.command()
def prepare(
    home: HomeOption = DEFAULT_HOME,
    rate_limit_scale: Annotated[int, typer.Option(min=1, help="Multiply the edge's rate limits.")] = 1,
    trusted_proxies: TrustedProxiesOption = None,
    rate_limit_service: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="envoyproxy/ratelimit, which counts for all Envoys.")
    ] = None,
    trace_to: TraceToOption = None,
    trace_percent: TracePercentOption = None,
) -> None:
    """Makes the secrets that are missing, and what each container reads of them, in a folder of its own."""
    options = Options(
        rate_limit_scale=rate_limit_scale,
        trusted_proxies=trusted_proxies,
        rate_limit_service=rate_limit_service,
        otlp_endpoint=trace_to,
        trace_percent=trace_percent,
    )
    containers.prepare(place(home), options)


@commands.command()
def secrets(
    folder: Annotated[Path, typer.Argument(help="Where they are kept; not one that `up` uses.", file_okay=False)],
) -> None:
    """Prints the Secrets of deploy/k8s for `kubectl apply -f -`; the folder keeps what they are made of.

    Again it prints the same, and what is new since. Whoever loses the folder has them in the cluster only.
    """
    home = place(folder)
    if home.is_ours():
        raise HomeError(f"{folder} is the home of a stack: name another folder")
    typer.echo(json.dumps(containers.secrets(home)))


@commands.command()
def migrate(home: HomeOption = DEFAULT_HOME) -> None:
    """Creates the databases that are missing and brings all of them up to date."""
    stack = running(place(home))
    asyncio.run(servers.create_databases(stack))
    failed = [service for service in SERVICES if not control.migrate(stack, service)]
    raise SystemExit(1 if failed else 0)
