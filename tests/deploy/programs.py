"""Our programs as a deployment starts them: settings are variables, and files of secrets."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from kit.settings import ProcessSettings
from services.orders.__main__ import OrdersSettings
from services.payments.__main__ import PaymentsSettings
from services.push.__main__ import PushSettings
from services.system.__main__ import SystemSettings
from services.users.__main__ import UsersSettings
from workers.app import WORKERS
from workers.daily import BeatSettings
from workers.settings import DispatcherSettings, WorkerSettings

SETTINGS: dict[str, type[ProcessSettings]] = {
    "users": UsersSettings,
    "orders": OrdersSettings,
    "payments": PaymentsSettings,
    "push": PushSettings,
    "system": SystemSettings,
    "dispatcher": DispatcherSettings,
    "beat": BeatSettings,
    **{f"worker-{kind}": WorkerSettings for kind in WORKERS},
}


def started(name: str, env: Mapping[str, str], secrets: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessSettings:
    """Returns the settings that a program reads at its start.

    Fails when one is missing, bad or unknown, or when there is a file that is no setting.
    """
    with monkeypatch.context() as process:
        process.setattr("kit.settings.SECRETS", secrets)
        for variable in [name for name in os.environ if name.startswith("GOZON_")]:
            process.delenv(variable)  # one of whoever runs the tests
        for variable, value in env.items():
            process.setenv(variable, value)
        settings = SETTINGS[name].load()
    given = {f"GOZON_{field}".upper() for field in settings.model_fields_set}
    assert given == {*env, *(file.name.upper() for file in secrets.iterdir())}, f"{name}: a file that is no setting"
    return settings
