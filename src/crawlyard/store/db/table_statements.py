"""Statements that create the tables and indexes, and the rows that every database starts with."""

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import ClauseElement, Index, insert
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.sharing import Visibility
from crawlyard.core.access.user import LOCAL
from crawlyard.store.codec.base import to_json
from crawlyard.store.tables import SCHEMA, page_search
from crawlyard.store.tables.access import users
from crawlyard.store.tables.base import in_order, versions
from crawlyard.store.tables.desk import settings
from crawlyard.store.tables.every import metadata
from crawlyard.store.tables.jobs import SHARDS_OF_JOB
from crawlyard.store.tables.webhooks import cursors

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def generate(dialect: Dialect) -> Iterator[str]:
    """Yield the statements for a new database in their order."""
    on_postgres = dialect.name == "postgresql"
    for table in metadata.sorted_tables:
        yield _text(CreateTable(table), dialect)
        for index in in_order(table.indexes):
            yield _text(_create_index(index, on_postgres=on_postgres), dialect)
    for table in page_search.INDEX.sorted_tables:
        yield _text(CreateTable(table), dialect)
    if on_postgres:
        yield SHARDS_OF_JOB
    yield from page_search.ON_POSTGRES if on_postgres else page_search.ON_SQLITE
    yield _text(CreateTable(versions), dialect)
    no_turn = {"holder": "", "until": _EPOCH, "loose": False}
    yield _text(insert(page_search.marks).values(id=1, low=0, high=0, **no_turn), dialect)
    local = {"id": LOCAL.id, "role": LOCAL.role, "quota": "{}", "limited": False, "version": 1}
    yield _text(insert(users).values(created_at=_EPOCH, updated_at=_EPOCH, **local), dialect)
    sharing = {"name": SectionName.SHARING, "value": to_json({"visibility": Visibility.EVERYONE})}
    yield _text(insert(settings).values(version=1, updated_at=_EPOCH, actor="", **sharing), dialect)
    yield _text(insert(cursors).values(name="webhooks", seq=0), dialect)
    yield _text(insert(versions).values(version_num=SCHEMA), dialect)


def _create_index(index: Index, *, on_postgres: bool) -> CreateIndex:
    if on_postgres:
        where = index.dialect_options["sqlite"]["where"]
        index.dialect_options["postgresql"]["where"] = where
    return CreateIndex(index)


def _text(statement: ClauseElement, dialect: Dialect) -> str:
    kwargs = {"literal_binds": True} if statement.is_dml else {}
    return str(statement.compile(dialect=dialect, compile_kwargs=kwargs))
