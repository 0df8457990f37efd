"""What a person sees: progress while the stack comes up, tables, the card at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stack.config import Config
from stack.control import Status
from stack.doctor import Finding
from stack.home import ADMIN_EMAIL, Home

if TYPE_CHECKING:
    from services.system.audit.check import Report
    from stack.check_watch import Round
    from stack.demo import Result, Step
    from stack.dlq import DeadLetter
    from stack.keys import Key
    from stack.seed import Seeded

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

STATE_COLOURS = {"ready": "green", "running": "green", "starting": "yellow", "restarting": "yellow", "waiting": "dim"}


@contextmanager
def progress(title: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Shows the start: a line for each part as it is ready, and what is being waited for.

    Yields the function to call with each new state (see stack/state.py).
    """
    begun = time.monotonic()
    reported: set[str] = set()
    with out.status(title) as spinner:

        def show(state: dict[str, Any]) -> None:
            parts = {**state.get("steps", {})}
            parts |= {name: facts["state"] for name, facts in state.get("processes", {}).items()}
            for name, part in parts.items():
                if part in ("done", "ready") and name not in reported:
                    reported.add(name)
                    out.print(f"  [green]✓[/] {name:<18} [dim]{time.monotonic() - begun:5.1f} s[/]")
            waiting = [name for name, part in parts.items() if part in ("running", "starting", "restarting")]
            spinner.update(f"{title} [dim]{', '.join(waiting)}[/]")

        yield show


def failure(reason: str, log: list[str]) -> None:
    """Shows on standard error what went wrong, with the end of a log."""
    err.print(f"[bold red]✗[/] {escape(reason)}")
    if log:
        err.print(Panel(Text.from_ansi("\n".join(log)), title="the end of its log", border_style="red"))


def card(home: Home, config: Config, seconds: float) -> None:
    """Shows that the stack is up and what to do with it."""
    edge = f"http://127.0.0.1:{config.ports['edge']}"
    lines = Table.grid(padding=(0, 2))
    lines.add_row("In a browser", f"[bold]{edge}[/]")
    lines.add_row("REST and gRPC", edge)
    lines.add_row("Swagger UI", f"{edge}/docs")
    lines.add_row("Administrator", ADMIN_EMAIL)
    lines.add_row("… first password", escape(home.secrets().admin))
    lines.add_row("Envoy admin", f"http://127.0.0.1:{config.ports['envoy-admin']}")
    lines.add_row("NATS monitor", f"http://127.0.0.1:{config.ports['nats-monitor']}")
    lines.add_row("Data, logs, secrets", str(home.path))
    out.print(Panel(lines, title=f"[bold green]Gozon is up[/] after {seconds:.1f} s", expand=False))
    commands = {
        home.command("seed"): "products for the shop",
        home.command("demo"): "orders, goods and payouts, paid and declined, as curl",
        home.command("check"): "proves that no money is lost or doubled",
        home.command("status"): "what runs",
        home.command("logs", "-f"): "what it says",
        home.command("down"): "stops it",
    }
    width = max(map(len, commands))
    for command, what in commands.items():
        # Outside the panel and without wrapping: the lines are to be pasted.
        out.print(f"  [bold]{escape(command.ljust(width))}[/]  {what}", soft_wrap=True)


def status_table(home: Home, status: Status) -> None:
    """Shows every process and whether it answers."""
    if not status.processes:
        out.print(f"Gozon is {status.phase} ({home.path}).")
        return
    table = Table(title=f"Gozon is {status.phase} · {home.path}", title_justify="left", title_style="bold")
    for column in ("process", "state", "pid", "port", "metrics", "restarts", "up for"):
        table.add_column(column, justify="left" if column in ("process", "state") else "right")
    for name, facts in status.processes.items():
        colour = STATE_COLOURS.get(facts["state"], "red")
        numbers = (facts["pid"], facts["port"], facts["metrics_port"], facts["restarts"], _age(facts["since"]))
        cells = ("" if number is None else str(number) for number in numbers)
        table.add_row(name, f"[{colour}]{facts['state']}[/]", *cells)
    out.print(table)


def demo_step(step: Step) -> None:
    """Shows a request as one would type it, and its answer."""
    out.rule(f"[bold]{escape(step.title)}[/]", align="left", style="dim")
    # Without markup and wrapping: the lines are to be pasted.
    out.print(step.curl, markup=False, soft_wrap=True, style="cyan")
    colour = "green" if step.status < 300 else "red"
    location = f" · location: {step.location}" if step.location else ""
    out.print(f"[{colour}]{step.status}[/] [dim]in {step.milliseconds:.1f} ms{escape(location)}[/]")
    answer = step.response
    if not isinstance(answer, str):
        answer = json.dumps(answer, indent=2, ensure_ascii=False)
    out.print(answer, markup=False, soft_wrap=True)
    if isinstance(step.response, dict) and (token := step.response.get("access_token")):
        out.print(f"TOKEN={token}", markup=False, soft_wrap=True, style="cyan")
    out.print()


def demo_result(home: Home, result: Result) -> None:
    """Shows how the orders, purchases and payouts of the demo ended."""
    for order in result.orders:
        _demo_end("order", order, order["total_price"], order["cancel_reason"] if order["status"] != "PAID" else "")
    for bought in result.purchases:
        price = f"{int(bought['total_price']) / 100:,.2f} {bought['currency']}"
        name = escape(bought["product_name"])
        out.print(f"purchase {bought['id']} · {price} · [green]{bought['status']}[/], {bought['quantity']} of {name}")
    for payout in result.payouts:
        _demo_end("payout", payout, payout["amount"], payout["failure_reason"])
    if not result.ok:
        failure(f"The demo failed: {result.error}. Does {home.command('status')} show everything ready?", [])


def seeded(products: list[Seeded]) -> None:
    """Shows the products that the shop has now, and which of them are new."""
    for product in products:
        price = f"{product.price / 100:,.2f} {product.currency}"
        line = f"{product.id}  {product.type:<10}  {price:>12}  {escape(product.name)}"
        out.print(f"{line}  [green]added[/]" if product.added else line, soft_wrap=True)


def _demo_end(what: str, ended: dict[str, Any], amount: str, reason: str) -> None:
    colour = "yellow" if reason else "green"
    price = f"{int(amount) / 100:,.2f} {ended['currency']}"
    why = f" ({escape(reason)})" if reason else ""
    out.print(
        f"{what} {ended['id']} · {price} · [{colour}]{ended['status']}[/]{why}, {ended['settled_ms']:.0f} ms after it "
        "was sent",
        soft_wrap=True,
    )


def check_report(report: Report) -> None:
    """Shows each rule, and the rows that break it."""
    counts = f"{report.orders} orders, {report.payments} payments, {report.transactions} transactions"
    table = Table(title=counts, title_justify="left", title_style="bold")
    for column in ("", "rule", "guarantee", "broken by"):
        table.add_column(column)
    for result in report.results:
        mark = "[red]✗[/]" if result.broken else "[green]✓[/]"
        table.add_row(mark, result.rule, result.guarantee, f"{result.broken} rows" if result.broken else "")
    out.print(table)
    for result in report.results:
        if result.broken:
            out.print(f"\n[red]{result.rule}[/]: {result.broken} rows, the first {len(result.rows)}:")
            for row in result.rows:
                out.print(json.dumps(row, default=str), markup=False, soft_wrap=True)
    if report.dead_letters:
        # No rule is broken by them: what they keep waiting breaks one.
        out.print(f"[yellow]{report.dead_letters} dead letters[/] wait for somebody: gozon dlq list")


@contextmanager
def watching(*, quiet: bool) -> Iterator[Callable[[Round], None]]:
    """Shows that something is looked at again and again, unless `quiet`; yields what prints the line of a round."""

    def say(found: Round) -> None:
        mark = "[green]✓[/]" if found.ok else "[red]✗[/]"
        when = f"{found.at:%H:%M:%S} UTC [dim]{found.seconds:5.1f} s[/]"
        out.print(f"{mark} {when}  {escape(', '.join(found.news))}", soft_wrap=True)

    with nullcontext() if quiet else out.status("Watching (Ctrl-C ends it)"):
        yield say


def key_table(found: list[Key]) -> None:
    """Shows the signing keys."""
    table = Table("key id", "signs from (UTC)", "state", title="Keys of access tokens", title_justify="left")
    for key in found:
        table.add_row(key.kid, f"{key.signs_from:%Y-%m-%d %H:%M:%S}", key.state)
    out.print(table)


def dead_letter_list(found: list[DeadLetter]) -> None:
    """Shows dead letters, two lines each: a table would cut the ids or the errors."""
    if not found:
        out.print("There are no dead letters.")
    for letter in found:
        where = f"{letter.subject} at {letter.consumer}"
        died = f"died {letter.died_at:%Y-%m-%d %H:%M:%S} UTC after {letter.deliveries} deliveries"
        out.print(f"{letter.event_id}  {where}, {died}", markup=False, soft_wrap=True)
        out.print(f"  {letter.reason}", markup=False, soft_wrap=True, style="red")


def doctor_table(findings: list[Finding]) -> None:
    """Shows what was looked at, and advice where something is wrong."""
    for finding in findings:
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        out.print(f"{mark} {finding.name:<12} {escape(finding.found)}", soft_wrap=True)
        if not finding.ok:
            out.print(f"  → {escape(finding.advice)}", style="yellow", soft_wrap=True)


def _age(since: float | None) -> str | None:
    if since is None:
        return None
    seconds = int(time.time() - since)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
