"""A rolling restart: one process of a running stack after another, so that the code on disk is run without an outage.

Each is asked to stop, and the supervisor starts it again. With two instances of each service no request fails. Envoy is
replaced by a second one on the same port for as long as it takes.
"""

import asyncio
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from stack import edge, proc
from stack.config import FREE_PORTS, PUSH, SERVICES, SYSTEM, port_is_free
from stack.home import HomeError, Stack
from stack.probes import NO_ANSWER, http_request
from stack.processes import DRAIN_SECONDS, Process, Stage, environment, processes

READY_SECONDS = 120.0
POLL_SECONDS = 0.05
# Requests that last (WatchOrder, WebSockets) are cut after this, and their clients go on with the new Envoy.
LAST_REQUESTS_SECONDS = 5.0

Tell = Callable[[str], None]


def names_of(stack: Stack, wanted: Sequence[str]) -> list[str]:
    """What to restart, in which order: what is wanted, or all that is ours, which leaves out the servers.

    Errors: HomeError for a name that no process has.
    """
    known = {process.name: process for process in processes(stack)}
    if unknown := set(wanted) - known.keys():
        raise HomeError(f"no process {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    return list(wanted) or [name for name, process in known.items() if process.stage is not Stage.SERVERS]


async def restart(stack: Stack, names: Sequence[str], tell: Tell) -> None:
    """Restarts processes one after another, each when the one before is ready and the edge knows it.

    Errors: HomeError when one is not ready within two minutes; those after it are left alone.
    """
    known = {process.name: process for process in processes(stack)}
    for name in names:
        began = time.monotonic()
        if name == "envoy":
            await _replace_edge(stack, known[name])
        else:
            await _restart_one(stack, known[name])
            await _until(name, lambda name=name: _edge_sends_to(stack, name))  # type: ignore[misc]
        tell(f"{name} is back after {time.monotonic() - began:.1f} s")


async def _restart_one(stack: Stack, process: Process) -> None:
    """Asks a process to stop, and waits until the supervisor has another one that is ready."""
    pid = stack.home.living().get(process.name)
    if pid is not None:
        proc.send(pid, process.stop_signal)
    asked_at = time.monotonic()

    async def again() -> bool:
        now = stack.home.state()["processes"][process.name]
        if pid is not None and now["pid"] == pid and time.monotonic() - asked_at > process.stop_seconds:
            proc.send(pid, signal.SIGKILL)
        return bool(now["state"] == "ready" and now["pid"] != pid)

    await _until(process.name, again)


async def _edge_sends_to(stack: Stack, name: str) -> bool:
    """Says whether Envoy finds an instance healthy, so that the next one may stop; True for what it does not know."""
    service = name.partition("-")[0]
    if service not in (*SERVICES, PUSH, SYSTEM):
        return True
    return await _is_healthy(stack.config.ports["envoy-admin"], service, stack.config.ports[name])


async def _is_healthy(admin_port: int, cluster: str, port: int) -> bool:
    _, text = await http_request("GET", admin_port, "/clusters")
    return f"{cluster}::127.0.0.1:{port}::health_flags::healthy" in text


async def _replace_edge(stack: Stack, envoy: Process) -> None:
    async with _second_edge(stack, envoy):
        await _drain(stack.config.ports["envoy-admin"])
        await _restart_one(stack, envoy)
        await _until("envoy", lambda: _edge_is_ready(stack, stack.config.ports["envoy-admin"]))


@asynccontextmanager
async def _second_edge(stack: Stack, envoy: Process) -> AsyncIterator[None]:
    """Runs a second Envoy on the ports of the first, all but the one of its admin page: the kernel lets it."""
    admin_port = next(port for port in random.sample(FREE_PORTS, len(FREE_PORTS)) if port_is_free(port))
    config = replace(stack.config, ports={**stack.config.ports, "envoy-admin": admin_port})
    file = stack.home.path / "envoy-second.yaml"
    edge.write(replace(stack, config=config), file)
    argv = [str(file) if word == str(stack.home.envoy_config) else word for word in envoy.argv]
    with stack.home.log("envoy-second").open("ab") as log:
        second = await asyncio.create_subprocess_exec(
            *argv, env=environment(envoy.env), cwd=stack.home.path, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        await _until("the second envoy", lambda: _edge_is_ready(stack, admin_port))
        yield
        await _drain(admin_port)
    finally:
        second.terminate()
        await second.wait()


async def _edge_is_ready(stack: Stack, admin_port: int) -> bool:
    """Says whether one of several Envoys on the same port serves, has the keys, and finds every service healthy."""
    status, _ = await http_request("GET", admin_port, "/ready")
    _, stats = await http_request("GET", admin_port, "/stats?filter=jwt_authn.jwks_fetch_success")
    has_keys = any(not line.endswith(": 0") for line in stats.splitlines())
    ports = stack.config.ports
    healthy = [await _is_healthy(admin_port, service, ports[service]) for service in SERVICES]
    return status == 200 and has_keys and all(healthy)


async def _drain(admin_port: int) -> None:
    """Has an Envoy send its clients away, and returns when they are gone, or last too long."""
    await http_request("POST", admin_port, "/drain_listeners?graceful&skip_exit")
    await asyncio.sleep(DRAIN_SECONDS)
    deadline = time.monotonic() + LAST_REQUESTS_SECONDS
    while time.monotonic() < deadline and await edge.active_requests(admin_port):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(POLL_SECONDS)


async def _until(name: str, condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if await condition():
                return
        except NO_ANSWER:
            pass  # it starts
        await asyncio.sleep(POLL_SECONDS)
    raise HomeError(f"{name} was not ready within {READY_SECONDS:.0f} s; the processes after it are as they were")
