from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from crawlyard import Settings
from crawlyard.cli.options import Basics
from crawlyard.cli.session import settings_of
from crawlyard.errors import Invalid


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without settings in the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CRAWLYARD_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_setting_has_a_default_that_works_on_a_laptop() -> None:
    settings = Settings()
    assert settings.data_dir == Path("crawlyard-data")
    assert settings.database_url == ""
    assert settings.jobs == 4
    assert settings.lease == timedelta(seconds=8)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_a_file_beats_the_default(folder: Path) -> None:
    (folder / "crawlyard.toml").write_text("jobs = 5\n")
    assert Settings().jobs == 5


def test_the_environment_beats_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "crawlyard.toml").write_text("jobs = 5\nshutdown_s = 1.5\n")
    monkeypatch.setenv("CRAWLYARD_JOBS", "6")
    settings = Settings()
    assert (settings.jobs, settings.shutdown_s) == (6, 1.5)


def test_what_is_kept_for_ever_may_be_written_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLYARD_RETENTION_DAYS", "forever")
    monkeypatch.setenv("CRAWLYARD_EVENTS_DAYS", "0")
    settings = Settings()
    assert settings.retention is settings.events_kept is None


def test_a_flag_beats_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "crawlyard.toml").write_text("jobs = 5\n")
    monkeypatch.setenv("CRAWLYARD_JOBS", "6")
    assert Settings(jobs=7).jobs == 7


def test_a_bad_value_is_refused_by_name(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, Any]] = [
        ("jobs", 0),
        ("jobs", 257),
        ("jobs", "many"),
        ("lease_s", 5.9),
        ("lease_s", 601),
        ("shutdown_s", -1),
        ("user_agent", ""),
    ]
    for name, value in cases:
        with subtests.test(value=value), pytest.raises(ValidationError) as refused:
            Settings(**{name: value})

        assert [error["loc"] for error in refused.value.errors()] == [(name,)], value


def test_a_bad_value_of_the_environment_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRAWLYARD_LEASE_S", "soon")
    with pytest.raises(ValidationError, match="lease_s"):
        Settings()


def test_a_name_in_the_file_that_is_none_is_refused(folder: Path) -> None:
    (folder / "crawlyard.toml").write_text("job = 5\n")
    with pytest.raises(ValidationError, match="job"):
        Settings()


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.jobs = 9


def test_a_variable_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER", "TOKEN", "TEST_DOCS", "PORT", "PORT_8700_TCP_ADDR", "SERVICE_HOST"):
        monkeypatch.setenv(f"CRAWLYARD_{name}", "x")
    Settings()
    monkeypatch.setenv("CRAWLYARD_DATABASE", "postgresql://x/")

    with pytest.raises(ValidationError, match=r"database\n  Extra inputs"):
        Settings()
    with pytest.raises(Invalid, match="did you mean CRAWLYARD_DATABASE_URL"):
        settings_of(Basics())
