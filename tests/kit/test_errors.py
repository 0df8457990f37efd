"""kit.errors, and the errors of all services: each is one reason of the contract."""

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest

import kit
import services
from kit.errors import Error, InvalidArgument, NotFound
from kit.statuses import STATUS, status_of


def _everywhere() -> Iterator[type[Error]]:
    """Yields every error class that is defined anywhere in kit and services."""
    for package in (kit, services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    waiting = [Error]
    while waiting:
        for error in waiting.pop().__subclasses__():
            waiting.append(error)
            if error.__module__.partition(".")[0] in ("kit", "services"):
                yield error


ERRORS = sorted(_everywhere(), key=lambda error: error.__name__)


def test_errors_of_all_services_are_found() -> None:
    assert {"OrderNotFound", "AccountNotFound", "EmailTaken", "InvalidToken"} <= {error.__name__ for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_has_a_status_a_reason_and_a_message_of_its_own(error: type[Error]) -> None:
    assert any(kind in STATUS for kind in error.__mro__), "no group of kit.errors: clients would see INTERNAL"
    assert "reason" in vars(error), "no reason of its own"
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{2,62}", error.reason)
    assert (error.__doc__ or "").strip() == error().message, "its docstring is what the client reads"
    assert "\n" not in error().message


def test_no_two_errors_of_a_service_have_the_same_reason() -> None:
    reasons = Counter((*error.__module__.split(".")[:2], error.reason) for error in ERRORS)
    assert [reason for reason, times in reasons.items() if times > 1] == []


def test_a_reason_has_one_status_whichever_service_gives_it() -> None:
    statuses = {(error.reason, status_of(error())) for error in ERRORS}
    assert [reason for reason, times in Counter(reason for reason, _ in statuses).items() if times > 1] == []


def test_a_subclass_has_the_status_of_its_group() -> None:
    class ParcelNotFound(NotFound):
        """There is no such parcel."""

    assert status_of(ParcelNotFound()) is grpc.StatusCode.NOT_FOUND


def test_what_belongs_to_no_group_is_internal() -> None:
    assert status_of(Error()) is grpc.StatusCode.INTERNAL


def test_a_message_of_the_moment_replaces_the_docstring() -> None:
    error = InvalidArgument("Too long.", violations=(("name", "too long"),))
    assert (str(error), error.message, error.violations) == ("Too long.", "Too long.", (("name", "too long"),))
