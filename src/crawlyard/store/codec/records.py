"""Records whose rows follow their fields."""

from operator import attrgetter

from crawlyard.core.access.audit import audited_address
from crawlyard.core.access.credential import Credential
from crawlyard.core.access.policy import Section
from crawlyard.core.access.site_session import SiteSession
from crawlyard.core.access.user import Quota, User, is_limited
from crawlyard.core.access.view import SavedView
from crawlyard.core.crawl.changes import RunChanges, StoredChange
from crawlyard.core.crawl.page import KnownURL
from crawlyard.core.endpoints.idempotency import StoredReply
from crawlyard.core.events.event import Event
from crawlyard.core.hosts.hosts import HostRule
from crawlyard.core.jobs.job_log import LogLine
from crawlyard.core.operations.operation import Operation
from crawlyard.core.schedules.schedule import Tick
from crawlyard.core.webhooks.webhook import Delivery, Webhook
from crawlyard.store.codec.base import RecordCodec, Row, decoder_of

USERS = RecordCodec(User, limited=lambda user: is_limited(user.quota))
CREDENTIALS = RecordCodec(Credential)
SITE_SESSIONS = RecordCodec(SiteSession)
SECTIONS = RecordCodec(Section)
VIEWS = RecordCodec(SavedView)
REPLIES = RecordCodec(StoredReply)
OPERATIONS = RecordCodec(Operation)
HOST_RULES = RecordCodec(HostRule)
KNOWN_URLS = RecordCodec(KnownURL)
LOG_LINES = RecordCodec(LogLine, generated="n")
TICKS = RecordCodec(Tick)
WEBHOOKS = RecordCodec(Webhook, receiver=attrgetter("receiver"))
DELIVERIES = RecordCodec(Delivery, generated="no")
RUN_CHANGES = RecordCodec(RunChanges)
CHANGES = RecordCodec(StoredChange, generated="seq")
EVENTS = RecordCodec(Event, generated="seq", address=audited_address)

_QUOTA = decoder_of(Quota)


def quota_of(row: Row) -> Quota:
    """Return the quota in a row of `users`, which may have no other column."""
    return _QUOTA.decode(row["quota"])
