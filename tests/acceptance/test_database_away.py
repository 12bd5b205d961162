"""Workers and servers started while Postgres is down or refuses them."""

from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.shell import Shell, draining_stderr, until
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres


@pytest.fixture
def server(postgres_server: PostgresServer, postgres_url: str) -> PostgresServer:
    """The server of `postgres_url`, to be stopped."""
    if str(postgres_server.folder) not in make_url(postgres_url).normalized_query.get("host", ()):
        pytest.skip("the Postgres of CRAWLYARD_TEST_POSTGRES_URL is not ours to stop")
    return postgres_server


def a_shell(folder: Path, url: str) -> Shell:
    return Shell(folder, {"CRAWLYARD_DATABASE_URL": url})


@pytest.mark.parametrize(
    ("words", "ready"),
    [
        (("work", "--no-scheduler"), "runs up to"),
        pytest.param(("serve", "--port", "0", "--no-worker"), "serving", marks=pytest.mark.slow),
    ],
)
def test_a_process_started_before_the_database_waits_for_it(
    server: PostgresServer, postgres_url: str, tmp_path: Path, words: tuple[str, ...], ready: str
) -> None:
    server.stop()
    try:
        with a_shell(tmp_path, postgres_url).started(*words) as process:
            notice = until(process, "waiting for it")
            server.start()
            until(process, ready)
            with draining_stderr(process):
                process.terminate()
    finally:
        if not (server.folder / "data" / "postmaster.pid").exists():
            server.start()

    assert "does not answer" in notice
    assert make_url(postgres_url).database in notice  # type: ignore[operator]


def test_a_process_refused_by_the_database_exits_with_an_error(
    server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    rules = server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE locked LOGIN PASSWORD 's3cret'")
        rules.write_text(f"local all locked scram-sha-256\n{before}")
        admin.execute("SELECT pg_reload_conf()")
        url = make_url(postgres_url)
        try:
            ends = {
                name: a_shell(tmp_path, wrong.render_as_string(hide_password=False)).run("work")
                for name, wrong in {
                    "password": url.set(username="locked", password="wr0ng"),
                    "nowhere": url.set(database="nowhere"),
                    "stranger": url.set(username="stranger"),
                }.items()
            }
        finally:
            rules.write_text(before)
            admin.execute("DROP ROLE locked")
            admin.execute("SELECT pg_reload_conf()")

    for name, ran in ends.items():
        assert ran.returncode == 6
        assert name in ran.stderr
        assert "check the database URL" in ran.stderr
        assert "waiting" not in ran.stderr
        assert "wr0ng" not in ran.stderr
