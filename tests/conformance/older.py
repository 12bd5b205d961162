"""A schema older than that of this program, and the revision that upgrades it."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from crawlyard.store import migrations
from crawlyard.store.db import schema
from crawlyard.store.tables import SCHEMA

OLDER = "0099"

_REVISION = """
from alembic import op

revision, down_revision = {revision!r}, {before!r}

def upgrade():
    op.execute("{statement}")
"""
_UPGRADE = "INSERT INTO cursors (name, seq) VALUES ('upgraded', 7)"


def give_an_older_schema(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `OLDER` be a schema that is upgraded to this program's: a row of `cursors` is added."""
    (folder / "versions").mkdir()
    environment = Path(migrations.__file__).with_name("env.py").read_text("utf-8")
    (folder / "env.py").write_text(environment, "utf-8")
    for revision, before, statement in ((OLDER, None, "SELECT 1"), (SCHEMA, OLDER, _UPGRADE)):
        written = _REVISION.format(revision=revision, before=before, statement=statement)
        (folder / "versions" / f"{revision}_step.py").write_text(written, "utf-8")
    monkeypatch.setattr(migrations, "SCRIPTS", str(folder))
    monkeypatch.setattr(schema, "UPGRADABLE", (OLDER,))


def stamp(conn: Connection, version: str) -> None:
    """Let a database say that its schema is *version*."""
    conn.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
