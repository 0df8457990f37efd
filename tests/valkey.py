"""A Valkey of a test's own, to be killed, frozen and started again."""

import asyncio
import signal
import subprocess

from stack import binaries, config
from tests.support import eventually, free_port


class ValkeyServer:
    """Keeps nothing: what it had is gone when it starts again."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Starts it, unless it runs, and waits until it listens."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and nobody else is waiting
            [
                *binaries.dying_with_parent("KILL"),
                str(binaries.valkey_server()),
                *("--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--maxmemory-policy", "noeviction"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        async def listens() -> bool:
            return not config.port_is_free(self._port)

        await eventually(listens)

    async def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    def freeze(self) -> None:
        """Has it take connections and commands, and answer none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on, with what it was sent meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
