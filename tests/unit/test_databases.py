"""Which database the commands about databases are about."""

import subprocess
import sys
from pathlib import Path

import pytest

from crawlyard import Settings
from crawlyard.databases import place_of

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
        "from crawlyard import LOCAL, JobSpec, Yard\n"
        "async def main():\n"
        "    async with Yard.open() as yard:\n"
        "        await yard.jobs.submit(LOCAL, JobSpec(urls=('https://example.org/',)))\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith('sqlalchemy.dialects.postgres')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True
    )

    assert done.stdout.decode() == "[]\n"
