"""schemathesis against the running edge: what fits edge/openapi.yaml is answered as it says, and nothing else is."""

import subprocess
import sys
from pathlib import Path

from tests.support import RunningStack, User
from tools import openapi

CONFIG = Path(__file__).with_name("schemathesis.toml")
SECONDS = 240


async def test_no_answer_contradicts_the_document(stack: RunningStack, admin: User, tmp_path: Path) -> None:
    """As an administrator, who gets furthest. What is not checked, and why, is in schemathesis.toml."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={CONFIG}",
        "run",
        str(openapi.RESULT),
        f"--url={stack.edge_url}",
        f"--header=Authorization: Bearer {admin.token}",
        "--max-examples=4",
        # The same requests each time: a test is not the place to look for new ones.
        "--seed=1",
        "--generation-deterministic",
        "--no-color",
    ]
    run = subprocess.run(  # noqa: ASYNC221 - nobody else is waiting
        command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert run.returncode == 0, run.stdout
