"""Administrators: the first one, and `gozon admin`. What they may do is in tests/edge/security/test_roles.py."""

import pytest

from stack.home import ADMIN_EMAIL, Home
from tests.stack.conftest import OwnStack
from tests.support import Edge, RunningStack


async def test_the_first_administrator_signs_in_with_the_password_that_up_makes(own_stack: OwnStack) -> None:
    password = Home(own_stack.home).secrets().admin
    assert (own_stack.home / "secrets.json").stat().st_mode & 0o077 == 0
    assert password not in "".join(log.read_text(errors="replace") for log in (own_stack.home / "logs").iterdir())
    form = {"grant_type": "password", "username": ADMIN_EMAIL, "password": password}
    async with Edge(RunningStack.from_status(own_stack.json("status", "--secrets"))) as edge:
        signed_in = await edge.rest.post("/token", data=form)
        headers = {"authorization": f"Bearer {signed_in.json()['access_token']}"}
        me = (await edge.rest.get("/users/me", headers=headers)).json()
    assert (me["email"], me["roles"]) == (ADMIN_EMAIL, ["user", "admin"])


@pytest.mark.parametrize(("command", "email"), [("grant", "nobody@example.com"), ("revoke", "' OR 1=1 --")])
def test_who_has_not_registered_is_refused(command: str, email: str, own_stack: OwnStack) -> None:
    result = own_stack.gozon("admin", command, email)
    assert result.returncode == 1
    assert f"nobody has registered as {email}" in result.stderr


def test_granting_may_be_repeated(own_stack: OwnStack) -> None:
    result = own_stack.gozon("admin", "grant", ADMIN_EMAIL)
    assert result.returncode == 0, result.stderr
    assert ADMIN_EMAIL in result.stdout
