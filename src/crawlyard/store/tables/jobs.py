"""Tables of jobs, their shards, frontiers, pages and bodies, and of events.

Child tables refer to a job by its short key `no`. Frontier, pages and bodies have no
foreign keys: only `FrontierStore.record` writes them, in a transaction that has
locked the job, and checking each of its 1,200 rows would double its time.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import NODEFAULT
from msgspec.structs import fields
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
)

from crawlyard.core.crawl.page import Page, TargetState
from crawlyard.core.fields import fields_of
from crawlyard.core.jobs.lifecycle import State
from crawlyard.store.tables.base import CleanText, Instant, Key, Span, metadata

jobs = Table(
    "jobs",
    metadata,
    Column("no", Key, primary_key=True),
    Column("id", String(36), nullable=False),
    Column("owner", CleanText, nullable=False),
    Column("name", CleanText, nullable=False),
    Column("spec", CleanText, nullable=False),  # JSON
    Column("state", String(16), nullable=False),
    Column("state_reason", String(32), nullable=False),
    Column("detail", CleanText, nullable=False),
    Column("version", Integer, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("level", SmallInteger, nullable=False),  # the priority, or a higher one after aging
    Column("turn", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("since", Instant, nullable=False),  # in its current state since then
    Column("queued_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("deleted_at", Instant),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("retry_of", String(36)),
    Column("retention", Span),  # NULL: as in the instance's settings
    Column("template_id", String(36)),
    Column("template_version", Integer),
    Column("schedule_id", String(36)),
    Column("tick_at", Instant),
    Column("group_id", String(36)),
    Column("given", CleanText, nullable=False),  # JSON
    Column("by_grant", CleanText, nullable=False),  # JSON
    Column("needs", CleanText, nullable=False),  # required worker tags: sorted, one per line
    Column("spread", SmallInteger, nullable=False),  # shards besides 0; 0: one worker has it all
    Column("ready", SmallInteger, nullable=False),  # 1: was due when written, or seen due since
    Column("tail", String(4), nullable=False),  # end of the id, by which people refer to jobs
    Column("dated", SmallInteger, nullable=False),  # 1: the time in its id matches `created_at`
    Column("based_on", String(36)),  # the id of the job whose pages it asks for changes of
    Column("dealt", SmallInteger),  # 1: all its targets have had buckets since it was cut last
    Column("unique_key", CleanText),
    Column("in_turn", SmallInteger),  # 1: its start hosts have buckets in turn
    Column("settled_pages", BigInteger, nullable=False),  # out of date while a worker has the job
    Column("hidden", SmallInteger, nullable=False),  # `core.access.job_parts.Hidden`
    UniqueConstraint("id"),
    CheckConstraint(f"state IN {tuple(s.value for s in State)}", name="state"),
    sqlite_autoincrement=True,  # keys are never reused: an old lease may still refer to one
)

# Literals, not parameters: no planner recognizes that `state = $1` implies a partial index.
PENDING = jobs.c.state == literal_column("'pending'")
RUNNING = jobs.c.state == literal_column("'running'")
PRESENT = jobs.c.deleted_at.is_(None)
ENDED = jobs.c.ended_at.is_not(None) & PRESENT
HELD_BACK = jobs.c.state == literal_column("'paused'")
GIVEN_UP = jobs.c.state == literal_column("'failed'")
OF_TEMPLATE = jobs.c.template_id.is_not(None)
UNIQUE = jobs.c.unique_key.is_not(None) & PRESENT
OF_SCHEDULE = jobs.c.schedule_id.is_not(None)
OF_GROUP = jobs.c.group_id.is_not(None)
PRIVATE = jobs.c.hidden == literal_column("2")

# The order matters: of two equally good indexes, SQLite uses the later one.
Index("jobs_running", jobs.c.no, sqlite_where=RUNNING)
Index("jobs_deleted", jobs.c.no, sqlite_where=jobs.c.deleted_at.is_not(None))
Index("jobs_owner", jobs.c.owner, jobs.c.id)
# Not on shards.pages: no checkpoint would be a cheap update (HOT) any more.
Index("jobs_settled_pages", jobs.c.settled_pages, jobs.c.id, sqlite_where=PRESENT)
Index("jobs_unique_key", jobs.c.owner, jobs.c.unique_key, unique=True, sqlite_where=UNIQUE)
Index("jobs_ended", jobs.c.ended_at, jobs.c.retention, sqlite_where=ENDED)
Index("jobs_paused", jobs.c.since, sqlite_where=HELD_BACK)
Index("jobs_template", jobs.c.template_id, jobs.c.id, sqlite_where=OF_TEMPLATE)
Index("jobs_schedule", jobs.c.schedule_id, jobs.c.id, sqlite_where=OF_SCHEDULE)
Index("jobs_group", jobs.c.group_id, jobs.c.id, sqlite_where=OF_GROUP)
Index("jobs_failed", jobs.c.ended_at, sqlite_where=GIVEN_UP)
Index("jobs_private", jobs.c.owner, sqlite_where=PRIVATE)

CLAIM_ORDER = (jobs.c.level.desc(), jobs.c.turn, jobs.c.queued_at, jobs.c.id)
"""The order of `core.jobs.queue.claim_key`; a test compares the two."""

Index("jobs_claim", *CLAIM_ORDER, sqlite_where=PENDING)
# Claims read READY alone, so that they don't step over a million jobs due tomorrow.
READY = PENDING & (jobs.c.ready == literal_column("1"))
UNREADY = PENDING & (jobs.c.ready == literal_column("0"))
NEEDY = PENDING & (jobs.c.needs != literal_column("''"))
Index("jobs_unready", jobs.c.due_at, sqlite_where=UNREADY)
Index("jobs_needs", jobs.c.needs, sqlite_where=NEEDY)
Index("jobs_ripe", jobs.c.level, jobs.c.due_at, sqlite_where=UNREADY)
Index(
    "jobs_turn",
    jobs.c.owner,
    jobs.c.level,
    jobs.c.turn,
    jobs.c.queued_at,
    jobs.c.id,
    sqlite_where=PENDING,
)
# It includes `ready`, though that has one value only: else SQLite might pick `jobs_claim`.
Index("jobs_ready", jobs.c.ready, *CLAIM_ORDER, sqlite_where=READY)

# The odd expression makes sure that only list queries match it: for claims, SQLite would pick an
# index that begins with the state, and sort all pending jobs.
LISTED = jobs.c.deleted_at.op("+")(literal_column("0")).is_(None)
Index("jobs_state", jobs.c.state, jobs.c.id, sqlite_where=LISTED)
Index("jobs_owner_state", jobs.c.owner, jobs.c.state, jobs.c.id, sqlite_where=LISTED)
# nearly all jobs have normal priority and are found in the order of ids
UNUSUAL = jobs.c.priority != literal_column("1")
Index("jobs_priority", jobs.c.priority, jobs.c.id, sqlite_where=PRESENT & UNUSUAL)
RETRIED = jobs.c.retry_of.is_not(None)
Index("jobs_retries", jobs.c.id, sqlite_where=RETRIED)
Index("jobs_tail", jobs.c.tail)
# Filters by creation time use the ids, which contain it; this finds the jobs whose id does not.
DATED = jobs.c.dated == literal_column("1")
UNDATED = jobs.c.dated == literal_column("0")
Index("jobs_undated", jobs.c.id, sqlite_where=UNDATED)

BASED = jobs.c.based_on.is_not(None)
Index("jobs_based_on", jobs.c.based_on, sqlite_where=BASED)

job_tags = Table(
    "job_tags",
    metadata,
    Column("tag", CleanText, nullable=False),
    Column("job_no", ForeignKey("jobs.no"), nullable=False, index=True),
    PrimaryKeyConstraint("tag", "job_no"),
)

job_hosts = Table(  # of start URLs
    "job_hosts",
    metadata,
    Column("host", CleanText, nullable=False),
    Column("job_no", ForeignKey("jobs.no"), nullable=False, index=True),
    PrimaryKeyConstraint("host", "job_no"),
    sqlite_with_rowid=False,  # the key is the whole row
)

# Reading a million of these takes 50 ms; as a column of `jobs`, amid the others, 500 ms.
job_texts = Table(
    "job_texts",
    metadata,
    Column("job_no", ForeignKey("jobs.no"), primary_key=True),
    Column("text", CleanText, nullable=False),  # name and start URLs, case-folded
)

shards = Table(
    "shards",
    metadata,
    Column("job_no", ForeignKey("jobs.no"), nullable=False),
    Column("shard", Integer, nullable=False),
    Column("worker", CleanText),
    Column("attempt", Integer, nullable=False),
    Column("lease_until", Instant),
    Column("seq", BigInteger, nullable=False),
    Column("pages", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("discovered", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("redirects", BigInteger, nullable=False),
    Column("bad_redirects", BigInteger, nullable=False),
    Column("needs_scripts", BigInteger, nullable=False),
    Column("unchanged", BigInteger, nullable=False),
    Column("requests_saved", BigInteger, nullable=False),
    Column("bytes_saved", BigInteger, nullable=False),
    Column("rendered", BigInteger, nullable=False),
    Column("subrequests", BigInteger, nullable=False),
    Column("render_s", Float, nullable=False),
    Column("render_took_s", Float, nullable=False),
    Column("pulse", Text, nullable=False),  # JSON
    Column("current_url", CleanText, nullable=False),
    Column("recorded_at", Instant),
    Column("budget", CleanText, nullable=False),  # JSON: its share of the job's limits
    Column("freed_at", Instant),
    Column("deaths", Integer, nullable=False),  # as jobs.losses
    Column("asked_by", CleanText),  # the worker for which its holder gives it back
    PrimaryKeyConstraint("job_no", "shard"),
)

STANDING = jobs.join(shards, (shards.c.job_no == jobs.c.no) & (shards.c.shard == 0))
"""Jobs, each with its shard 0."""

SHARDS_OF_JOB = (
    "CREATE OR REPLACE FUNCTION shards_of_job(bigint) RETURNS SETOF shards LANGUAGE sql VOLATILE"
    " AS 'SELECT * FROM shards WHERE job_no = $1'"
)
"""Postgres function for the shards of a job as they are when it is called.

A plain query would return them as of the start of its statement, which may have waited for a lock
since. A volatile function has a snapshot of its own (PostgreSQL manual, "Function Volatility
Categories").
"""

HELD = shards.c.worker.is_not(None)

# Not on lease_until: a heartbeat then changes no indexed column, a cheap update (HOT).
Index("shards_worker", shards.c.worker, sqlite_where=HELD)

frontier = Table(
    "frontier",
    metadata,
    Column("id", Key, primary_key=True),
    Column("job_no", BigInteger, nullable=False),
    Column("fp", BigInteger, nullable=False),
    Column("url", CleanText, nullable=False),
    Column("host", CleanText, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("via", String(16), nullable=False),
    Column("parent_fp", BigInteger),
    Column("hops", Integer, nullable=False),
    Column("origin", CleanText),
    Column("state", SmallInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", Instant),
    Column("rule", CleanText, nullable=False),
    Column("bucket", SmallInteger),  # of the host; NULL: not assigned yet
    UniqueConstraint("job_no", "fp"),
)

WAITING = frontier.c.state == literal_column(str(TargetState.WAITING.value))
SKIPPED = frontier.c.state == literal_column(str(TargetState.SKIPPED.value))
SEED_HOP = (frontier.c.via == literal_column("'seed'")) & (frontier.c.hops > literal_column("0"))

IN_BUCKET = frontier.c.bucket.is_not(None)
DEALT = WAITING & IN_BUCKET

Index(
    "frontier_waiting",
    frontier.c.job_no,
    frontier.c.depth,
    frontier.c.id,
    sqlite_where=WAITING,
)
Index("frontier_skipped", frontier.c.job_no, frontier.c.id, sqlite_where=SKIPPED)
Index("frontier_roots", frontier.c.job_no, sqlite_where=SEED_HOP)
# It has what a shard reads when it begins: from the table, a million rows take ten times as long.
Index(
    "frontier_known",
    frontier.c.job_no,
    frontier.c.bucket,
    frontier.c.fp,
    sqlite_where=IN_BUCKET,
)
Index(
    "frontier_bucket",
    frontier.c.job_no,
    frontier.c.bucket,
    frontier.c.depth,
    frontier.c.id,
    sqlite_where=DEALT,
)

_PAGE_TYPES: Mapping[str, Any] = {
    "elapsed_ms": BigInteger,
    "bytes": BigInteger,
    "sha256": String(64),
    "extracted": CleanText,  # JSON; NULL: nothing
    "structured": CleanText,  # likewise
}
_TYPES: Mapping[Any, Any] = {int: Integer, bool: Boolean, str: CleanText, datetime: Instant}


def _page_columns() -> Iterator[Column[Any]]:
    """Yield the columns of each field of a page record; its parent is in the frontier."""
    kinds = fields_of(Page)
    for field in fields(Page):
        if field.name == "error":
            yield Column("error", String(32))
            yield Column("error_detail", CleanText, nullable=False)
        elif field.name != "parent":
            may_be_null = field.default is None or field.default_factory is not NODEFAULT
            kind = _PAGE_TYPES.get(field.name) or _TYPES[kinds[field.name].kind]
            yield Column(field.name, kind, nullable=may_be_null)


pages = Table(
    "pages",
    metadata,
    Column("id", Key, primary_key=True),
    Column("job_no", BigInteger, nullable=False),
    Column("fp", BigInteger, nullable=False),
    Column("parent_fp", BigInteger),
    Column("body_of", BigInteger),  # the page that it shares bodies with, maybe deleted
    *_page_columns(),
    UniqueConstraint("job_no", "fp"),
    sqlite_autoincrement=True,  # ascending keys: a reader's cursor never misses later pages
)

FAILED = pages.c.error.is_not(None)

Index("pages_job", pages.c.job_no, pages.c.id)
Index("pages_failed", pages.c.job_no, pages.c.id, sqlite_where=FAILED)
Index("pages_body_of", pages.c.body_of, sqlite_where=pages.c.body_of.is_not(None))
Index("pages_failed_at", pages.c.fetched_at, sqlite_where=FAILED)

bodies = Table(
    "bodies",
    metadata,
    Column("page_id", BigInteger, nullable=False),  # `BODIES_OF` a page, and of later ones
    Column("kind", String(16), nullable=False),
    Column("data", LargeBinary, nullable=False),  # zstd; of `TARGETS` as it is
    PrimaryKeyConstraint("page_id", "kind"),
)

lastmods = Table(  # reliability of the dates in sitemaps of each host, in this and earlier runs
    "lastmods",
    metadata,
    Column("job_no", BigInteger, nullable=False),
    Column("host", CleanText, nullable=False),
    Column("told", Integer, nullable=False),
    Column("missed", Integer, nullable=False),
    PrimaryKeyConstraint("job_no", "host"),
)

job_cookies = Table(  # cookies set by sites in a job
    "job_cookies",
    metadata,
    Column("job_no", BigInteger, nullable=False),
    Column("key", String(32), nullable=False),  # a hash of its name and place
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("job_no", "key"),
)

BODIES_OF = func.coalesce(pages.c.body_of, pages.c.id)
"""The key of the bodies of a page: unchanged pages share those of an earlier one."""

TARGETS = "targets"
"""The kind of body that finds the pages with a link to a URL: the fps of a page's links, packed."""


def _event_columns() -> tuple[Column[Any], ...]:
    """Return the columns of an event, without its number."""
    return (
        Column("subject", String(48), nullable=False),
        Column("owner", CleanText, nullable=False),
        Column("name", String(32), nullable=False),
        Column("at", Instant, nullable=False),
        Column("actor", CleanText, nullable=False),
        Column("data", CleanText, nullable=False),  # JSON
        Column("address", CleanText),  # of the user who caused it; NULL: no user did
    )


events = Table(
    "events",
    metadata,
    Column("seq", Key, primary_key=True),
    *_event_columns(),
    sqlite_autoincrement=True,
)

Index("events_subject", events.c.subject, events.c.seq)
Index("events_owner", events.c.owner, events.c.seq)
AUDITED = events.c.address.is_not(None)
Index("events_audit", events.c.seq, sqlite_where=AUDITED)

# On Postgres, events are added here, and moved to `events` by readers: numbers that were
# given before the commit would not follow the order of commits.
new_events = Table("new_events", metadata, Column("no", Key, primary_key=True), *_event_columns())
