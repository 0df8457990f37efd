"""docs/clients.md: what it prints works, and what it shows is so."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.clients.conftest import ROOT, Shell, blocks
from tests.support import Edge, User

EXAMPLES = ROOT / "docs" / "examples"
PACKAGES = ROOT / "build" / "clients"
WALK = re.compile(
    r"registered \S+@example.com (?P<user>\S+)\n"
    r"deposited 100000 RUB replayed (null|None|\[\])\n"
    r"deposited 100000 RUB replayed (true|\[true\])\n"
    r"created (?P<order>\S+) PENDING 39800 RUB\n"
    r"(it is PENDING\n)?"
    r"it is PAID\n"
    r"balance 60200 RUB\n"
)
"""What each example prints."""


def test_every_section_with_lines_to_run_is_run_here() -> None:
    run_here = ["curl", "Packages and tools", "grpcurl", "buf curl", "Python", "TypeScript", "Go"]

    assert [block for section in run_here for block in blocks("bash", section)] == blocks("bash")


async def test_curl_orders_and_signs_out(signed_in: Shell, edge: Edge) -> None:
    lines = map(json.loads, signed_in.output.splitlines())
    registered, _opened, deposited, _settled, account, canceled, refunded, statement, _revoked = lines
    ended = json.loads(signed_in.environment["SIGN_IN"])["refresh_token"]
    answer = await edge.rest.post("/token", data={"grant_type": "refresh_token", "refresh_token": ended})

    assert deposited["user_id"] == registered["id"]
    assert int(account["balance"]) == int(deposited["balance"]) - 2 * 19_900
    assert (canceled["status"], refunded["refunded_price"]) == ("CANCELED", canceled["total_price"])
    assert [one["kind"] for one in statement["entries"]] == ["REFUND", "CHARGE", "DEPOSIT"]
    assert answer.json()["details"][0]["reason"] == "INVALID_REFRESH_TOKEN"


def test_grpcurl_orders(prepared: Shell) -> None:
    ran = prepared.run("grpcurl")

    assert "gozon.orders.v1.OrdersService\n" in ran.output
    assert "message Order {" in ran.output
    assert f'"id": "{ran.environment["ORDER_ID"]}"' in ran.output
    assert '"access_token": ' in ran.output or '"accessToken": ' in ran.output


def test_buf_curl_orders(prepared: Shell) -> None:
    output = prepared.run("buf curl").output

    assert "gozon.orders.v1.OrdersService/WatchOrder\n" in output
    assert f'"userId": "{prepared.environment["USER_ID"]}"' in output
    assert '"totalPrice": "19900"' in output
    assert '"accessToken": ' in output


@pytest.mark.parametrize("language", ["Python", "TypeScript", "Go"])
async def test_an_example_walks_from_registering_to_a_paid_order(language: str, prepared: Shell) -> None:
    assert WALK.search(prepared.run(language).output)


def test_the_wheel_works_with_the_oldest_versions_it_allows_and_has_types(prepared: Shell, tmp_path: Path) -> None:
    [wheel] = (PACKAGES / "python" / "dist").glob("*.whl")
    python = tmp_path / "venv" / "bin" / "python"
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = True\n[mypy-grpc.*,google.*]\nignore_missing_imports = True\n")
    main = str(EXAMPLES / "python-client" / "main.py")
    uv = Path(sys.executable).with_name("uv")
    commands: tuple[list[str | Path], ...] = (
        [uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"],
        [uv, "pip", "install", "--quiet", "--python", python, "--resolution", "lowest", wheel],
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--python-executable", python, main],
        [python, main, prepared.edge],
    )
    for command in commands:
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert WALK.search(ran.stdout)


@pytest.mark.parametrize("module", [PACKAGES / "go", EXAMPLES / "go-client"], ids=["package", "example"])
def test_a_go_module_names_what_it_imports(module: Path, prepared: Shell) -> None:
    command = ["go", "mod", "tidy", "-diff"]
    ran = subprocess.run(
        command, cwd=module, env=prepared.environment, capture_output=True, text=True, timeout=120, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("folder", [ROOT / "clients" / "typescript", EXAMPLES / "typescript-client"])
def test_npm_packages_are_locked_by_their_hashes_whatever_registry_has_them(folder: Path) -> None:
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    others = {name: package for name, package in packages.items() if name not in ("", "node_modules/gozon-client")}

    assert others
    assert [name for name, package in others.items() if "resolved" in package or "integrity" not in package] == []


@pytest.mark.parametrize(
    ("language", "example"),
    [("python", "python-client/main.py"), ("typescript", "typescript-client/main.ts"), ("go", "go-client/main.go")],
)
def test_code_in_the_document_is_that_of_the_example(language: str, example: str) -> None:
    [shown] = blocks(language)
    written = (EXAMPLES / example).read_text()

    assert any(textwrap.indent(shown, indent) in written for indent in ("  ", "    ", "\t"))


async def test_the_error_in_the_document_is_what_the_edge_answers(edge: Edge, alice: User) -> None:
    answer = await edge.rest.post(
        f"/accounts/{alice.id}/deposit",
        json={"amount": 0},
        headers={**alice.headers, "idempotency-key": "an amount of nothing"},
    )

    [shown] = blocks("json")
    assert answer.json() == json.loads(shown)
