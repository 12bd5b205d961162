"""Settings, the database that they name, and its required packages."""

import pickle
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from crawlyard import Settings
from crawlyard.cli.options import Basics
from crawlyard.cli.session import load_settings
from crawlyard.config import LogFormat, settings_fields
from crawlyard.databases import place_of
from crawlyard.errors import CrawlyardError, Invalid
from crawlyard.export.base import Format
from crawlyard.export.plan import check_installed
from crawlyard.store.admin.place import DatabaseLocation, reading
from crawlyard.store.open import open_sql_store
from crawlyard.yard import Yard


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without settings in the environment."""
    for name in settings_fields():
        monkeypatch.delenv(f"CRAWLYARD_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_setting_is_described() -> None:
    assert all(field.about.doc for field in settings_fields().values())


def test_the_environment_beats_a_file_and_a_flag_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "crawlyard.toml").write_text("jobs = 5\nshutdown_s = 1.5\n")
    monkeypatch.setenv("CRAWLYARD_JOBS", "6")
    settings = Settings()
    assert (settings.jobs, settings.shutdown_s) == (6, 1.5)
    assert Settings(jobs=7).jobs == 7


def test_what_is_kept_for_ever_may_be_written_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLYARD_RETENTION_DAYS", "forever")
    monkeypatch.setenv("CRAWLYARD_EVENTS_DAYS", "0")
    settings = Settings()
    assert settings.retention is settings.events_kept is None


def test_a_bad_value_is_refused_by_name(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, Any]] = [
        ("jobs", 0),
        ("jobs", 257),
        ("jobs", "many"),
        ("lease_s", 5.9),
        ("lease_s", 601),
        ("shutdown_s", -1),
        ("user_agent", ""),
        ("trusted_proxies", "10.0.0.1,proxy.example.org"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("max_connections", 0),
        ("public_url", "yard.example.org"),
        ("public_url", "ftp://yard.example.org"),
        ("public_url", "https://yard.example.org/crawlyard"),
        ("public_url", "https://ada:secret@yard.example.org"),
        ("public_url", "https://yard.example.org:99999"),
        ("public_url", "https://"),
    ]
    for name, value in cases:
        with subtests.test(value=value), pytest.raises(Invalid) as refused:
            Settings(**{name: value})
        assert [error.field for error in refused.value.faults] == [name], value


def test_the_public_url_is_kept_as_browsers_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for written, normalized in [
        ("https://Yard.example.org/", "https://yard.example.org"),
        ("https://yard.example.org:443", "https://yard.example.org"),
        ("http://[::1]:8700", "http://[::1]:8700"),
        ("", ""),
    ]:
        assert Settings(public_url=written).public_url == normalized
    monkeypatch.setenv("CRAWLYARD_PUBLIC_URL", "yard.example.org")
    expected = r"^public_url: expected http.*, got 'yard\.example\.org' \(from CRAWLYARD_PUBLIC_URL"
    with pytest.raises(Invalid, match=expected):
        load_settings(Basics())


def test_a_proxy_that_is_no_address_is_refused_with_what_is_expected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRAWLYARD_TRUSTED_PROXIES", "10.0.0.1, ::1, fd00::/8")
    assert load_settings(Basics()).trusted_proxies == ("10.0.0.1", "::1", "fd00::/8")
    monkeypatch.setenv("CRAWLYARD_TRUSTED_PROXIES", "10.0.0.1,proxy.example.org")
    with pytest.raises(Invalid, match=r"^trusted_proxies: expected an address or .*proxy\.example"):
        load_settings(Basics())


def test_a_bad_value_of_the_environment_or_a_file_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("CRAWLYARD_LEASE_S", "soon")
    with pytest.raises(Invalid, match="lease_s"):
        Settings()
    monkeypatch.delenv("CRAWLYARD_LEASE_S")
    (folder / "crawlyard.toml").write_text("job = 5\n")
    with pytest.raises(Invalid, match="job"):
        Settings()


def test_a_variable_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER", "TOKEN", "TEST_DOCS", "PORT", "PORT_8700_TCP_ADDR", "SERVICE_HOST"):
        monkeypatch.setenv(f"CRAWLYARD_{name}", "x")
    Settings()
    monkeypatch.setenv("CRAWLYARD_DATABASE", "postgresql://x/")

    with pytest.raises(Invalid, match="CRAWLYARD_DATABASE: there is no such setting"):
        Settings()
    with pytest.raises(Invalid, match="did you mean CRAWLYARD_DATABASE_URL"):
        load_settings(Basics())
    monkeypatch.delenv("CRAWLYARD_DATABASE")
    monkeypatch.setenv("CRAWLYARD_FOO", "x")
    with pytest.raises(Invalid, match="no such setting; there are CRAWLYARD_DATA_DIR, "):
        load_settings(Basics())


def test_all_bad_settings_are_named_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "crawlyard.toml").write_text('shutdown = 5\nbrowsers = "few"\n')
    for name, value in {"JOBS": "0", "LEASE_S": "soon", "DATABSE_URL": "x"}.items():
        monkeypatch.setenv(f"CRAWLYARD_{name}", value)
    with pytest.raises(Invalid) as refused:
        load_settings(Basics(), flags={"reserve_urgent": -1})
    faults = {fault.field: fault.message for fault in refused.value.faults}
    assert faults == {
        "jobs": "expected 1 to 256, got 0 (from CRAWLYARD_JOBS)",
        "lease_s": "expected a number, got 'soon' (from CRAWLYARD_LEASE_S)",
        "browsers": "expected a whole number, got 'few' (from crawlyard.toml)",
        "--reserve-urgent": "expected 0 to 256, got -1",
        "CRAWLYARD_DATABSE_URL": ("there is no such setting; did you mean CRAWLYARD_DATABASE_URL?"),
        "shutdown": "there is no such setting; did you mean shutdown_s?",
    }


def test_values_of_the_environment_are_read_as_their_settings_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = {
        "JOBS": " 8 ",
        "SEARCH_INDEX": "off",
        "LEASE_S": "7",
        "CA_FILE": "null",
        "DATA_DIR": "/srv/yard",
        "WORKER_TAGS": "eu, gpu,",
        "LOG_FORMAT": "json",
        "SECRET_KEY": "k" * 32,
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"CRAWLYARD_{name}", value)
    monkeypatch.setenv("crawlyard_browsers", "3")
    settings = Settings(data_dir=Path("crawls"))
    assert (settings.jobs, settings.search_index, settings.lease_s) == (8, False, 7.0)
    assert (settings.ca_file, settings.data_dir) == (Path("null"), Path("crawls"))
    assert (settings.worker_tags, settings.log_format) == (("eu", "gpu"), LogFormat.JSON)
    assert settings.browsers == 3
    assert settings.named == {name.lower() for name in environment} | {"browsers"}
    assert "k" * 32 not in repr(settings)
    monkeypatch.setenv("CRAWLYARD_JOBS", "9")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.with_values(browsers=1).jobs == 8


def test_a_file_of_settings_that_is_no_toml_is_refused(folder: Path) -> None:
    (folder / "crawlyard.toml").write_text("jobs 5\n")
    with pytest.raises(Invalid, match=r"^crawlyard\.toml: Expected '='"):
        Settings()


def test_a_secret_key_that_is_refused_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLYARD_SECRET_KEY", "hunter2")
    with pytest.raises(Invalid, match=r"secret_key: .*CRAWLYARD_SECRET_KEY") as refused:
        load_settings(Basics())
    assert "hunter2" not in str(refused.value)


DIRECT = "postgresql://crawlyard@db.example.org/yard"
POOLED = "postgresql://crawlyard@pool.example.org/yard"


@pytest.mark.parametrize("database", ["", "sqlite:////srv/yard.db"])
def test_a_direct_url_says_nothing_of_a_yard_on_a_file(database: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database, database_direct_url=DIRECT)
    place = place_of(settings)
    assert place.file == Path("/srv/yard.db" if database else tmp_path / "crawlyard.db")


def test_a_direct_url_leads_past_a_pooler() -> None:
    place = place_of(Settings(database_url=POOLED, database_direct_url=DIRECT))
    assert (place.file, place.url.host) == (None, "db.example.org")


def test_a_yard_on_a_file_loads_nothing_that_is_for_postgres(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "import crawlyard\n"
        "async def main():\n"
        "    async with crawlyard.open() as yard:\n"
        "        await yard.jobs.create({'urls': ['https://example.org/']})\n"
        "asyncio.run(main())\n"
        "loaded = 'sqlalchemy.dialects.postgresql.'\n"  # its modules; it stands there as a promise
        "print([name for name in sys.modules if name.startswith(loaded)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.decode() == "[]\n"


POSTGRES = "postgresql://127.0.0.1:1/none"


async def parquet() -> None:
    check_installed(Format.PARQUET)


async def warc() -> None:
    check_installed(Format.WARC)


async def postgres() -> None:
    await open_sql_store(POSTGRES)


async def copy_of_postgres() -> None:
    with reading(DatabaseLocation.of(POSTGRES)):
        pass


async def redis() -> None:
    async with Yard.open(Settings(redis_url="redis://127.0.0.1:1", database_url="memory://")):
        pass


@pytest.mark.parametrize(
    ("use", "missing", "packages"),
    [
        (parquet, "pyarrow", ["pyarrow"]),
        (warc, "warcio", ["warcio"]),
        (postgres, "psycopg", ["psycopg[binary]"]),
        (copy_of_postgres, "psycopg", ["psycopg[binary]"]),
        (redis, "redis", ["redis[hiredis]"]),
    ],
)
async def test_what_is_not_installed_is_installed_by_the_names_of_its_packages(
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[], Awaitable[None]],
    missing: str,
    packages: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(CrawlyardError) as refused:
        await use()
    words = str(refused.value).partition("pip install ")[2].split()
    assert [re.split("[<>]", word.strip("'"))[0] for word in words] == packages
