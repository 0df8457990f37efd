"""Runs the lines of docs/clients.md as they are printed there."""

import faulthandler
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support import RunningStack

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "clients.md"
EDGE_IN_DOCUMENT = "localhost:8080"
RUN_SECONDS = 400
"""Long enough for compilers that start with empty caches."""


def blocks(language: str, section: str = "") -> list[str]:
    """Returns the fenced blocks of a language, of one section or of the whole document."""
    text = DOCUMENT.read_text()
    if section:
        text = next(part for part in text.split("\n## ") if part.startswith(f"{section}\n"))
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Shell:
    """A shell in the repository's root; what a section sets, those that are run in what it returns can use."""

    edge: str
    environment: dict[str, str]
    output: str = ""

    def run(self, section: str) -> "Shell":
        """Runs the lines of a section; fails the test when one of them fails."""
        # What takes longer than any other test is no hang: it has a limit of its own.
        faulthandler.cancel_dump_traceback_later()
        lines = "\n".join(blocks("bash", section)).replace(EDGE_IN_DOCUMENT, self.edge)
        with tempfile.NamedTemporaryFile() as left:
            ran = subprocess.run(
                # -a exports what is set, functions too.
                ["bash", "-c", f"set -aeuo pipefail\n{lines}\nenv -0 >{left.name}"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
            variables = [line.split("=", 1) for line in left.read().decode().split("\0") if line]
        assert ran.returncode == 0, f"{section} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}"
        return replace(self, environment=dict(variables), output=ran.stdout)


@pytest.fixture(scope="package")
def signed_in(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell after the section "curl"."""
    for program in ("bash", "curl"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program} here")
    home = tmp_path_factory.mktemp("curl")
    # curl calls an answer of 400 a success.
    (home / ".curlrc").write_text("fail-with-body\nshow-error\n")
    # Not what pytest's own make says to makes below it.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "ARGS")}
    return Shell(stack.edge_target, environment | {"CURL_HOME": str(home)}).run("curl")


@pytest.fixture(scope="package")
def prepared(signed_in: Shell) -> Shell:
    """A shell after the sections "curl" and "Packages and tools"."""
    tools = subprocess.run(
        ["make", ".venv/.clients"],
        cwd=ROOT,
        env=signed_in.environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    if tools.returncode and not os.environ.get("CI"):
        pytest.skip(f"Go and Node.js can't be installed here: {tools.stderr}")
    assert tools.returncode == 0, tools.stderr
    return signed_in.run("Packages and tools")
