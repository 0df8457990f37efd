"""A stack seen from outside: starting and stopping its supervisor, and asking what runs."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from stack import binaries, proc
from stack.config import WORKERS, Config, ConfigError, Options, choose, port_is_free
from stack.home import Home, HomeError, Stack
from stack.logs import tail
from stack.probes import ask
from stack.processes import environment, migration, processes, service_command, worker_env

POLL_SECONDS = 0.03
# Longer than any process takes to stop.
STOP_SECONDS = 90.0
LOG_LINES = 15

Progress = Callable[[dict[str, Any]], None]


class UpError(Exception):
    """The stack did not come up; nothing of it runs."""

    def __init__(self, reason: str, log: list[str]) -> None:
        super().__init__(reason)
        self.log = log


@dataclass(frozen=True)
class Status:
    """What runs in a home folder now."""

    # "running", "starting", "stopping", or "stopped" when there is no supervisor.
    phase: str
    supervisor: dict[str, Any] | None = None
    # By name, as in stack/state.py; `state` is "ready" only for what answered just now.
    processes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Says whether everything is up and answers."""
        return self.phase == "running" and all(facts["state"] == "ready" for facts in self.processes.values())


def up(home: Home, options: Options, progress: Progress) -> Config | None:
    """Starts a stack and waits until it is ready; None when it already was.

    `progress` is called with the state (see stack/state.py) now and then. Raises ConfigError when the options can't
    work or a port is taken, and UpError when a process does not start.
    """
    home.create()
    while True:
        lock = home.lock()
        if lock is not None:
            break
        if home.is_supervised() and home.state()["phase"] == "running":
            return None
        progress(home.state())
        time.sleep(POLL_SECONDS)
    try:
        end_leftovers(home)
        config = choose(options, home.config())
        _refuse_taken_ports(home, config)
        home.secrets()
        home.save_config(config)
        home.save_state({})
        home.rotate_logs()
    finally:
        os.close(lock)
    _start(home, progress)
    return config


def down(home: Home) -> bool:
    """Stops everything and waits for it; False when nothing ran."""
    if not home.is_supervised():
        return bool(end_leftovers(home))
    proc.send(home.state()["supervisor"]["pid"], signal.SIGTERM)
    _wait(lambda: not home.is_supervised(), STOP_SECONDS)
    return True


def end_leftovers(home: Home) -> list[str]:
    """Ends what a killed supervisor may have left; returns the names of what there was."""
    found = home.living()
    for name, pid in found.items():
        # The kernel has told PostgreSQL already (PDEATHSIG); KILL would leave its backends behind.
        proc.send(pid, signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
    _wait(lambda: not home.living().items() & found.items(), STOP_SECONDS)
    return list(found)


def status(home: Home) -> Status:
    """Asks every process whether it is ready."""
    if not home.is_supervised():
        return Status("stopped")
    state = home.state()
    if "processes" not in state:
        return Status("starting")
    facts: dict[str, dict[str, Any]] = state["processes"]
    asyncio.run(_probe(Stack.load(home), facts))
    return Status(state["phase"], state["supervisor"], facts)


def migrate(stack: Stack, service: str) -> bool:
    """Runs the migrations of a service on the terminal; says whether they succeeded."""
    command, env = migration(stack, service)
    return subprocess.run(command, env=env, check=False).returncode == 0  # noqa: S603 - our own program


def become_worker(stack: Stack, kind: str) -> NoReturn:
    """Replaces this process by a worker of the stack, of a kind such as `orders`. Errors: HomeError."""
    kinds = [name.removeprefix("worker-") for name in WORKERS]
    if kind not in kinds:
        raise HomeError(f"no kind of worker {kind!r}: there are {', '.join(kinds)}")
    command = binaries.workers("work", kind)
    os.execve(command[0], command, environment(worker_env(stack, 0)))  # noqa: S606 - our own program


def set_admin(stack: Stack, email: str, *, admin: bool) -> None:
    """Makes a user an administrator, or an ordinary user again. Errors: HomeError, such as for an unknown email."""
    command, env = service_command(stack, "users", "grant-admin" if admin else "revoke-admin", email)
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)  # noqa: S603 - our own program
    if done.returncode:
        raise HomeError(done.stderr.strip())


def _start(home: Home, progress: Progress) -> None:
    """Starts the supervisor and follows it until everything is ready."""
    with home.log("supervisor").open("ab") as log:
        supervisor = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "stack.supervisor", str(home.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.path,
            # Its own session: closing the terminal or Ctrl-C there is not for the stack.
            start_new_session=True,
        )
    try:
        while True:
            state = home.state()
            progress(state)
            if state.get("phase") == "running":
                return
            if supervisor.poll() is not None:
                break
            time.sleep(POLL_SECONDS)
    except BaseException:
        # Interrupted: a stack that nobody waits for must not come up.
        supervisor.terminate()
        supervisor.wait()
        raise
    state = home.state()
    error = state.get("error") or {"process": "supervisor", "reason": f"exited with code {supervisor.returncode}"}
    raise UpError(f"{error['process']} {error['reason']}", tail(home, error["process"], LOG_LINES))


def _refuse_taken_ports(home: Home, config: Config) -> None:
    taken = {name: port for name, port in config.ports.items() if not port_is_free(port)}
    if taken:
        raise ConfigError(
            f"taken by another program: port {', '.join(f'{port} ({name})' for name, port in taken.items())}. Choose "
            f"others, {home.command('up', '--port', f'{next(iter(taken))}=NUMBER')}, or any that are free, "
            f"{home.command('up', '--free-ports')}"
        )


async def _probe(stack: Stack, facts: dict[str, dict[str, Any]]) -> None:
    """Corrects `state` of what is said to run by asking it."""

    async def one(name: str, probe: Callable[[], Any]) -> None:
        if facts[name]["state"] == "ready" and not await ask(probe):
            facts[name]["state"] = "not ready"

    # Of those that run: after an upgrade there may be more.
    await asyncio.gather(*(one(each.name, each.probe) for each in processes(stack) if each.name in facts))


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
