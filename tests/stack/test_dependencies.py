"""What runs needs no package that only a developer's machine has."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Celery imports its transport when it connects.
PROCESSES = (
    "services.users.__main__",
    "services.orders.__main__",
    "services.payments.__main__",
    "workers.__main__",
    "workers.dispatcher",
    "workers.orders",
    "workers.payouts",
    "workers.daily",
    "kombu.transport.redis",
    "stack.cli",
    "stack.demo",
    "stack.provider",
)
OPTIONAL = {"attrs", "grpcio-tools", "setuptools"}
"""Others import these where they are there, and do without them."""


def test_every_process_imports_only_what_make_up_installs() -> None:
    code = (
        f"import json, sys, {', '.join(PROCESSES)}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    of = packages_distributions()
    imported = {name.lower().replace("_", "-") for module in json.loads(run.stdout) for name in of.get(module, ())}
    assert "celery" in imported
    assert imported - OPTIONAL - _installed() == set()


def _installed() -> set[str]:
    """The packages that the lock file has for `uv sync --no-dev --group stack`."""
    packages = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    gozon = packages["gozon"]
    wanted = [*gozon["dependencies"], *gozon["dev-dependencies"]["stack"]]
    found = {"gozon"}
    while wanted:
        one = wanted.pop()
        package = packages[one["name"]]
        for extra in one.get("extra", ()):
            wanted += package["optional-dependencies"][extra]
        if one["name"] not in found:
            found.add(one["name"])
            wanted += package.get("dependencies", ())
    return found
