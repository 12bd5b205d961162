"""Site map: the URLs of a job, grouped by folder and counted by what happened to them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    case,
    func,
    literal_column,
    not_,
    select,
)

from crawlyard.core.crawl.page import TargetState
from crawlyard.core.crawl.site_map import Folder, SiteMap
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.database import StorePart, is_postgres, reads
from crawlyard.store.db.dialects import Position
from crawlyard.store.jobs.job_rows import no_of
from crawlyard.store.tables.jobs import frontier

_COUNTS = {
    "fetched": TargetState.DONE,
    "failed": TargetState.FAILED,
    "waiting": TargetState.WAITING,
    "redirected": TargetState.REDIRECTED,
    "skipped": TargetState.SKIPPED,
}
_SPARSE = 4  # rows of all jobs for one of a job's own
_SLASH: ColumnElement[str] = literal_column("'/'")
_QUERY: ColumnElement[str] = literal_column("'?'")
_SCHEME: ColumnElement[str] = literal_column("'://'")


class SiteMapStore(StorePart):
    """The folders of the sites that jobs crawl."""

    @reads
    def folders(self, conn: Connection, job_id: str, under: str, limit: int) -> SiteMap:
        """Return the *limit* largest folders right below *under*, in one read of a job's URLs.

        Lists only hosts with a URL that was requested or waits; URLs skipped on other hosts
        are counted separately.
        """
        under = clean(under)
        state = frontier.c.state
        counts = [
            func.count(case((state == int(target_state), 1))).label(word)
            for word, target_state in _COUNTS.items()
        ]
        name = (_folder_below(under) if under else frontier.c.host).label("name")
        grouped = select(name, *counts).where(*_own(conn, job_id)).group_by(name)
        if under:
            grouped = grouped.where(is_under(frontier.c.url, under))
        groups = grouped.subquery()
        of = groups.c
        size = of.fetched + of.failed + of.waiting
        inside = size + of.redirected >= (0 if under else 1)  # an expression: it is sorted by
        totals = [_sum(of[word], inside).label(f"all_{word}") for word in _COUNTS]
        listed = select(
            groups,
            *totals,
            inside.label("inside"),
            _sum(literal_column("1"), inside).label("groups"),
            _sum(of.skipped, not_(inside)).label("elsewhere"),
        )
        order = (inside.desc(), size.desc(), (of.redirected + of.skipped).desc(), of.name)
        listed_rows = conn.execute(listed.order_by(*order).limit(limit)).all()
        rows = [row for row in listed_rows if row.inside]
        return SiteMap(
            under=under,
            folders=tuple(_folder(row, row.name if under else f"{row.name}/") for row in rows),
            total=_folder(listed_rows[0], "", "all_") if listed_rows else _NOTHING,
            unlisted=int(listed_rows[0].groups) - len(rows) if listed_rows else 0,
            skipped_elsewhere=int(listed_rows[0].elsewhere) if listed_rows else 0,
        )


def _sum(count: ColumnElement[int], condition: ColumnElement[bool]) -> ColumnElement[int]:
    """Return the sum of *count* over all groups for which *condition* holds."""
    return func.sum(case((condition, count), else_=0)).over()


def _own(conn: Connection, job_id: str) -> Sequence[ColumnElement[bool]]:
    """Return the condition for the URLs of a job, so that they are read in the order on disk."""
    no = frontier.c.job_no
    own = no == no_of(job_id).scalar_subquery()
    if is_postgres(conn):  # it sorts what it has found in the index by itself
        return [own]
    # with the index, which has fingerprints in it, SQLite jumps from row to row: that takes twice
    # as long, and the rows of other jobs take less if there are not many in between
    key = frontier.c.id
    first, last, count = conn.execute(
        select(func.min(key), func.max(key), func.count()).where(own)
    ).one()
    if count and last - first < _SPARSE * count:
        return [no + 0 == no_of(job_id).scalar_subquery(), key.between(first, last)]
    return [key.in_(select(key).where(own))]


def _folder_below(under: str) -> ColumnElement[str]:
    """Return the part of a URL from *under* through the next slash; empty without a slash."""
    url = frontier.c.url
    below = func.substr(url, _begin(url) + len(under))
    slash, query = Position(_SLASH, below), Position(_QUERY, below)
    is_in_query = (query > 0) & (query < slash)
    return case((is_in_query, ""), else_=func.substr(below, 1, slash))


_NOTHING = Folder(name="", **dict.fromkeys(_COUNTS, 0))


def is_under(url: ColumnElement[str], under: str) -> ColumnElement[bool]:
    """Return the condition for URLs that begin with exactly *under* after their scheme."""
    # no LIKE: on SQLite it ignores case
    return func.substr(url, _begin(url), len(under)) == under


def _begin(url: ColumnElement[str]) -> ColumnElement[int]:
    """Return the position behind the scheme of a URL."""
    return Position(_SCHEME, url) + 3


def _folder(row: Row[Any], name: str, prefix: str = "") -> Folder:
    # a sum over a window is a decimal on Postgres
    return Folder(name=name, **{word: int(getattr(row, prefix + word)) for word in _COUNTS})
