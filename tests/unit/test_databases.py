"""Which database the commands about databases are about."""

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
