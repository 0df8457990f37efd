"""`gozon keys`: what there is, and what comes in place of it."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from kit import keys as key_files
from kit.auth import ACCESS_TOKEN_SECONDS
from stack import keys
from stack.home import ADMIN_EMAIL, Home, HomeError
from tests.edge.security.conftest import new_owner
from tests.edge.security.rpcs import Owner, all_rpcs
from tests.stack.conftest import OwnStack
from tests.support import Edge, RunningStack, eventually, gozon

READS = [
    rpc for rpc in all_rpcs() if rpc.rule.needs_token and not rpc.rule.admin_only and rpc.method.name.startswith("Get")
]
"""One of each service that everybody may call."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with its first key, where nothing runs."""
    home = Home(tmp_path)
    home.create()
    home.secrets()
    return home


def states(home: Home) -> list[str]:
    return [key.state for key in keys.list_keys(home)]


def test_there_is_one_key_at_first_and_it_signs(home: Home) -> None:
    assert states(home) == ["signs"]


def test_a_new_key_is_published_before_it_signs_and_is_the_only_one_on_its_way(home: Home) -> None:
    [first] = keys.list_keys(home)
    new, removed = keys.rotate(home, at_once=False)
    assert [(key.kid, key.state) for key in keys.list_keys(home)] == [(first.kid, "signs"), (new.kid, "next")]
    assert removed == []
    with pytest.raises(HomeError, match="on its way"):
        keys.rotate(home, at_once=False)
    assert states(home) == ["signs", "next"]


def test_a_new_key_may_be_given_more_time_to_get_around(home: Home) -> None:
    new, _ = keys.rotate(home, at_once=False, after=300)
    assert new.signs_from > datetime.now(UTC) + timedelta(seconds=290)


def test_old_keys_verify_until_their_last_token_has_ended_and_the_next_rotation_removes_them(home: Home) -> None:
    now = datetime.now(UTC)
    for file in home.signing_keys.iterdir():
        file.unlink()
    ages = [timedelta(days=2), timedelta(days=1), timedelta(seconds=ACCESS_TOKEN_SECONDS / 2), timedelta(seconds=30)]
    made = [key_files.add(home.signing_keys, now - age).jwk["kid"] for age in ages]
    assert states(home) == ["retired", "verifies", "verifies", "signs"]
    new, removed = keys.rotate(home, at_once=False)
    assert removed == made[:1]
    assert [key.kid for key in keys.list_keys(home)] == [*made[1:], new.kid]


def test_after_a_leak_there_is_the_new_key_only(home: Home) -> None:
    keys.rotate(home, at_once=False)
    for _ in range(3):  # in the same second, too
        old = [key.kid for key in keys.list_keys(home)]
        new, removed = keys.rotate(home, at_once=True)
        assert removed == old
        assert [(key.kid, key.state) for key in keys.list_keys(home)] == [(new.kid, "signs")]


def test_the_command_tells_which_keys_are_gone(home: Home) -> None:
    old = [key.kid for key in keys.list_keys(home)]
    result = gozon("keys", "rotate", "--now", "--home", str(home.path))
    assert result.returncode == 0, result.stderr
    assert all(kid in result.stdout for kid in old)
    [new] = json.loads(gozon("keys", "list", "--json", "--home", str(home.path)).stdout)
    assert new["kid"] not in old
    assert new["state"] == "signs"


def test_nothing_private_is_shown(home: Home) -> None:
    [pem] = [file.read_text() for file in home.signing_keys.iterdir()]
    secret = pem.splitlines()[1]
    table, as_json = (gozon("keys", "list", *more, "--home", str(home.path)) for more in ((), ("--json",)))
    assert table.returncode == as_json.returncode == 0
    assert not {word for word in (secret, "PRIVATE") if word in table.stdout + as_json.stdout}
    [shown] = json.loads(as_json.stdout)
    assert shown["kid"] in table.stdout
    assert shown.keys() == {"kid", "signs_from", "state"}


@pytest.mark.parametrize("command", ["list", "rotate"])
def test_without_keys_it_says_so(command: str, tmp_path: Path) -> None:
    result = gozon("keys", command, "--home", str(tmp_path / "none"))
    assert result.returncode == 1
    assert result.stderr.startswith("✗ ")
    assert "Traceback" not in result.stderr


async def test_after_a_leak_no_old_token_passes_and_who_was_signed_in_goes_on(own_stack: OwnStack) -> None:
    stack = RunningStack.from_status(own_stack.json("status", "--secrets"))
    async with Edge(stack) as edge, AsyncExitStack() as exits:
        doors = {}
        for service, target in stack.targets.items():
            doors[service] = await exits.enter_async_context(grpc.aio.insecure_channel(target))

        async def codes(owner: Owner) -> set[str]:
            """What each service answers, over REST, gRPC, and past the edge."""
            found = set()
            for rpc in READS:
                request, headers = rpc.request(owner), owner.user.headers
                found.add((await rpc.over_rest(edge.rest, request, headers)).code)
                found.add((await rpc.over_grpc(edge.channel, request, headers)).code)
                found.add((await rpc.over_grpc(doors[rpc.service], request, headers)).code)
            return found

        secrets = json.loads((own_stack.home / "secrets.json").read_text())
        owner = await new_owner(edge, await edge.sign_in(ADMIN_EMAIL, secrets["admin"]))
        # Now Envoy and the services have seen the token, and remember that it is good.
        assert await codes(owner) == await codes(owner) == {"OK"}
        rotated = await asyncio.to_thread(own_stack.gozon, "keys", "rotate", "--now")
        assert rotated.returncode == 0, rotated.stderr

        async def ended() -> bool:
            return await codes(owner) == {"UNAUTHENTICATED"}

        await eventually(ended)
        assert await ended(), "and for good"

        form = {"grant_type": "refresh_token", "refresh_token": owner.refresh_token}
        refreshed = await edge.rest.post("/token", data=form)
        assert refreshed.status_code == 200, refreshed.text
        again = replace(owner, user=replace(owner.user, token=refreshed.json()["access_token"]))

        async def goes_on() -> bool:
            return await codes(again) == {"OK"}

        await eventually(goes_on)
        assert await ended()
