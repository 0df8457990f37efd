"""kit.settings: what is off is refused at start, in one clear line that holds no secret."""

import os
from pathlib import Path

import pytest

from kit import settings as settings_module
from kit.settings import Settings


class ShopSettings(Settings):
    shelves: int = 3


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the one variable that is needed."""
    for name in list(os.environ):
        if name.startswith("GOZON_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GOZON_DATABASE_URL", "postgresql://shop:secret@127.0.0.1:1/shop")
    return monkeypatch


def test_variables_become_fields_and_the_rest_have_defaults(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOZON_SHELVES", "7")
    settings = ShopSettings.load()
    assert (settings.shelves, settings.metrics_port, settings.log_format) == (7, 0, "json")
    assert settings.database_url.endswith("/shop")


def test_an_unknown_variable_ends_the_process_and_names_the_known_ones(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOZON_SHELFS", "7")
    with pytest.raises(SystemExit, match=r"unknown settings: GOZON_SHELFS; known are .*GOZON_SHELVES"):
        ShopSettings.load()


def test_a_missing_variable_ends_the_process(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("GOZON_DATABASE_URL")
    with pytest.raises(SystemExit, match="GOZON_DATABASE_URL: Field required"):
        ShopSettings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [("GOZON_SHELVES", "many-secret"), ("GOZON_LOG_LEVEL", "loud-secret"), ("GOZON_METRICS_PORT", "secret")],
)
def test_a_bad_value_ends_the_process_and_is_not_printed(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        ShopSettings.load()
    assert f"bad settings: {name}: " in str(caught.value)
    assert "secret" not in str(caught.value).lower()


def test_a_setting_may_be_a_file_but_the_variable_counts(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setattr(settings_module, "SECRETS", tmp_path)
    (tmp_path / "gozon_shelves").write_text("7\n")
    (tmp_path / "gozon_database_url").write_text("not this one")
    (tmp_path / "of_another_process").write_text("ignored")
    settings = ShopSettings.load()
    assert settings.shelves == 7
    assert settings.database_url.endswith("/shop")


def test_settings_do_not_change_once_they_are_read() -> None:
    settings = ShopSettings.load()
    with pytest.raises(ValueError, match="frozen"):
        settings.shelves = 4
