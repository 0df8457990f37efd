"""python -m workers dispatch: it ends when it is told to, also while NATS is away."""

import os
import subprocess
import sys

from tests.support import free_port


def test_the_dispatcher_stops_while_it_waits_for_nats() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GOZON_")} | {
        "GOZON_NATS_URL": f"nats://127.0.0.1:{free_port()}",
        "GOZON_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    command = [sys.executable, "-m", "workers", "dispatch"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as dispatcher:
        try:
            assert dispatcher.stdout
            assert "nats_error" in dispatcher.stdout.readline()
            dispatcher.terminate()
            dispatcher.wait(timeout=10)
        finally:
            dispatcher.kill()
