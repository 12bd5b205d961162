"""Tables of webhooks, their deliveries, and the cursor of the events that were processed."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)

from crawlyard.store.tables.base import CleanText, Instant, Key, metadata

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("url", CleanText, nullable=False),
    Column("receiver", CleanText, nullable=False),  # host and port of the URL
    Column("format", String(16), nullable=False),
    Column("name", CleanText, nullable=False),  # of a channel
    Column("rules", CleanText),  # JSON
    Column("sealed", LargeBinary),
    Column("failing", CleanText, nullable=False),  # JSON
    Column("description", CleanText, nullable=False),
    Column("events", CleanText, nullable=False),  # JSON
    Column("secrets", CleanText, nullable=False),  # JSON
    Column("allow_addresses", CleanText, nullable=False),  # JSON
    Column("by_grant", CleanText, nullable=False),  # JSON
    Column("active", Boolean, nullable=False),
    Column("disabled_reason", CleanText, nullable=False),
    Column("failing_since", Instant),
    Column("failures", Integer, nullable=False),  # since `failing_since`
    Column("held_until", Instant),
    Column("job_id", String(36), index=True),
    Column("group_id", String(36)),  # of that job
    Column("schedule_id", String(36)),
    Column("metadata", CleanText, nullable=False),  # JSON
    Column("headers", CleanText, nullable=False),  # JSON
    Column("page_cursor", BigInteger),
    Column("since_seq", BigInteger, nullable=False),  # it gets the events after this one
    Column("version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

_WITHOUT_JOB = webhooks.c.job_id.is_(None)
_OF_GROUP = webhooks.c.group_id.is_not(None)

Index("webhooks_owner", webhooks.c.owner, webhooks.c.id)
# without webhooks of jobs: an owner may have any number of these, one or more for each job
Index("webhooks_own", webhooks.c.owner, sqlite_where=_WITHOUT_JOB)
Index(
    "webhooks_name",
    *(webhooks.c.owner, webhooks.c.name),
    unique=True,
    sqlite_where=webhooks.c.name != literal_column("''"),
)
Index("webhooks_group", webhooks.c.group_id, sqlite_where=_OF_GROUP)
EXPECTS_PAGES = webhooks.c.page_cursor >= literal_column("0")
Index("webhooks_pages", webhooks.c.id, sqlite_where=EXPECTS_PAGES)

deliveries = Table(
    "deliveries",
    metadata,
    Column("no", Key, primary_key=True),
    Column("id", String(64), nullable=False),
    Column("webhook_id", ForeignKey("webhooks.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),  # negative: of a page
    Column("name", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", CleanText, nullable=False),  # JSON
    Column("due_at", Instant, nullable=False),
    Column("leased_until", Instant),
    Column("created_at", Instant, nullable=False, index=True),
    Column("ended_at", Instant),
    Column("recurrence", String(8), nullable=False),
    UniqueConstraint("id"),
    UniqueConstraint("webhook_id", "seq"),
    sqlite_autoincrement=True,
)

UNDELIVERED = deliveries.c.state == literal_column("'pending'")

Index("deliveries_due", deliveries.c.due_at, sqlite_where=UNDELIVERED)
# lets a query skip from one webhook to the next, however many deliveries of each are pending
Index(
    "deliveries_turns",
    *(deliveries.c.state, deliveries.c.webhook_id, deliveries.c.due_at),
    sqlite_where=UNDELIVERED,
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("seq", BigInteger, nullable=False),  # of the last event that was processed
)
"""A single row, named `webhooks`."""
