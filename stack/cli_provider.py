"""`gozon provider`: the payout provider of a stack, which is simulated."""

import json
from typing import Annotated, Any

import typer

from stack.cli_options import HomeOption, place, running
from stack.config import ConfigError
from stack.home import DEFAULT_HOME, HomeError, Stack
from stack.provider import Behaviour

SECONDS = 10.0

commands = typer.Typer(help="The payout provider, which is simulated: it pays nobody.", no_args_is_help=True)


@commands.command()
def show(home: HomeOption = DEFAULT_HOME) -> None:
    """Prints as JSON how it behaves and what it has done, oldest first."""
    stack = running(place(home))
    behaviour, book = _ask(stack, "GET", "/behaviour"), _ask(stack, "GET", "/book")
    print(json.dumps({"behaviour": behaviour, **book}, indent=2))


@commands.command()
def behave(
    home: HomeOption = DEFAULT_HOME,
    pay: Annotated[
        list[str] | None,
        typer.Option(help="What it does when it is asked to pay, once, such as `decline`; repeat it for the next."),
    ] = None,
    find: Annotated[
        list[str] | None, typer.Option(help="The same when it is asked what it has done, such as `error_before`.")
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option(help="What it does at random, such as `time_out_after=0.1`; repeat it.")
    ] = None,
    delay: Annotated[float, typer.Option(help="Seconds before each answer.")] = Behaviour.delay_seconds,
    pending: Annotated[
        float, typer.Option(help="Seconds until it has paid what it pays later.")
    ] = Behaviour.pending_seconds,
    hold: Annotated[float, typer.Option(help="Seconds that it says nothing in a time-out.")] = Behaviour.hold_seconds,
) -> None:
    """Makes it behave like this from now on; without options, well. docs/operations.md says what it can do."""
    behaviour = {
        "pay": pay or [],
        "find": find or [],
        "rates": dict(_rate(text) for text in rate or []),
        "delay_seconds": delay,
        "pending_seconds": pending,
        "hold_seconds": hold,
    }
    print(json.dumps(_ask(running(place(home)), "PUT", "/behaviour", behaviour), indent=2))


def _rate(text: str) -> tuple[str, float]:
    word, _, probability = text.partition("=")
    try:
        return word, float(probability)
    except ValueError:
        raise ConfigError(f"--rate {text!r}: write it as word=probability, for example decline=0.1") from None


def _ask(stack: Stack, method: str, path: str, body: Any = None) -> Any:
    """Returns what the provider answers. Errors: HomeError."""
    import httpx  # noqa: PLC0415 - slow to import

    headers = {"authorization": f"Bearer {stack.secrets.provider}"}
    try:
        answer = httpx.request(method, f"{stack.provider_url}{path}", json=body, headers=headers, timeout=SECONDS)
    except httpx.HTTPError as error:
        raise HomeError(f"the provider does not answer ({error}): look at {stack.home.command('status')}") from error
    if answer.is_error:
        raise ConfigError(f"the provider refuses that: {answer.json()['error']}")
    return answer.json()
