"""Webhooks: endpoints, messages, deliveries and their retries."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from crawlyard.core.access.user import Grant
from crawlyard.core.events.event import SENDER, Event, EventName
from crawlyard.core.fields import HIDDEN, OptionRecord, Panel, about, answer_name
from crawlyard.core.parse import suggestion
from crawlyard.core.quantity import count_noun
from crawlyard.core.webhooks.notifications import NotificationRules, Recurrence
from crawlyard.errors import Invalid

EVERYTHING = "*"

MAILTO = "mailto:"
"""The beginning of the URL of a channel for mail."""

WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=16),
)
"""Waits between the attempts of one delivery: nine attempts in 47 h 35 min.

Source: Standard Webhooks, "Retry schedule", its tail shortened to two days.
"""

_IN_ALL = sum(WAITS, timedelta(0))

JITTER = 0.1
"""Waits vary by up to this fraction, so that deliveries that failed together spread out."""

LONGEST_HOLD = timedelta(hours=24)
"""The longest Retry-After that is honoured."""

GONE = 410
"""The status with which a receiver declines further messages."""

ROTATION = timedelta(hours=24)
"""How long the previous secret also signs."""

BY_HAND = "switched off by "
"""The beginning of the reason if a user disabled the webhook."""

MAX_PATTERNS = 100
_LONGEST_PATTERN = 64
MAX_DESCRIPTION = 500
MAX_METADATA = 2_000
"""Bytes of the metadata of a job's webhook, as ASCII JSON."""

MAX_BODY = 20_000
"""Bytes of a message. Source: Standard Webhooks, "Payload size", asks for less than 20 kB."""

EXCERPT = 1024
"""Bytes of a response body that are stored."""

OF_A_JOB = frozenset({"job", "group"})
"""Kinds of events that a webhook of a job receives: those of the job, and of its group."""

PAYLOAD_VERSION = 1
"""`data.v` of a message and `v` of an event. Fields never change their meaning within a version."""


class MessageFormat(StrEnum):
    """Kinds of receivers, each with headers and a body of its own."""

    STANDARD = auto()  # Standard Webhooks: signed JSON
    # for people: see `NotificationRules`
    SLACK = auto()
    DISCORD = auto()
    NTFY = auto()
    TEAMS = auto()  # an adaptive card, as Workflows accept it
    MAIL = auto()  # by SMTP, not HTTP
    # as Firecrawl's API sends them about a crawl and about a batch of URLs
    FIRECRAWL_CRAWL = auto()
    FIRECRAWL_BATCH = auto()


JOB_FORMATS = (
    MessageFormat.STANDARD,
    MessageFormat.FIRECRAWL_CRAWL,
    MessageFormat.FIRECRAWL_BATCH,
)
"""Formats of messages to the webhooks of a job."""

PAGE_FORMATS = (MessageFormat.FIRECRAWL_CRAWL, MessageFormat.FIRECRAWL_BATCH)
"""Formats that have messages for pages."""

PAGE = "page"
"""The name of the deliveries of pages, beside those of events."""


class JobWebhook(OptionRecord, frozen=True, kw_only=True):
    """An endpoint for the events of one job, as requested in its spec.

    Raises:
        Invalid: a value has the wrong type; the message names the field.
    """

    _group: ClassVar[str] = "webhooks."

    url: str
    events: tuple[str, ...] = ("job.completed", "job.failed", "job.cancelled")
    # whsec_…; empty: one is generated, and shown when it is rotated
    secret: Annotated[str, HIDDEN] = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)  # returned in each message
    format: MessageFormat = MessageFormat.STANDARD  # one of `JOB_FORMATS`
    pages: bool = False  # also a message for each page: one of `PAGE_FORMATS` only
    # of each request, in addition to those of the message
    headers: Annotated[Mapping[str, str], HIDDEN] = field(default_factory=dict)


MAX_WEBHOOKS = 10

JobWebhooks: TypeAlias = Annotated[
    tuple[JobWebhook, ...],
    about(
        "webhooks for events of the job",
        help="Send events of the job to URL; a JSON object can add events, secret, "
        "metadata and headers. Repeatable.",
        panel=Panel.JOB,
        flag="--webhook",
        metavar="URL",
        longest=MAX_WEBHOOKS,
    ),
]


class Secret(Struct, frozen=True, kw_only=True):
    """A key that signs messages."""

    value: str  # whsec_…
    until: datetime | None = None  # when it stops being used; None: the current one


class Webhook(Struct, frozen=True, kw_only=True):
    """An endpoint and the events it receives."""

    id: str
    owner: str
    url: str
    format: MessageFormat = MessageFormat.STANDARD
    # of a channel, for people; empty: a webhook, for programs
    name: Annotated[str, HIDDEN] = ""
    rules: Annotated[NotificationRules | None, HIDDEN] = None  # of a channel
    # of a channel: its URL, encrypted; `url` shows only the host and the last characters
    sealed: Annotated[bytes | None, HIDDEN] = None
    # of a channel: failures in a row of schedules and names that fail
    failing: Annotated[Mapping[str, int], HIDDEN] = field(default_factory=dict)
    description: str = ""
    events: tuple[str, ...] = (EVERYTHING,)  # names, or patterns such as "job.*"
    secrets: Annotated[tuple[Secret, ...], HIDDEN]  # the current one first; two during rotation
    active: bool = True
    disabled_reason: str = ""  # why it is not active
    failing_since: datetime | None = None  # no delivery has succeeded since
    failures: Annotated[int, HIDDEN] = 0  # failed attempts since then
    # when its receiver accepts messages again
    held_until: Annotated[datetime | None, HIDDEN] = None
    allow_addresses: tuple[str, ...] = ()  # as in a spec: allowed in addition to public addresses
    # grants that allow them; if withdrawn, they are blocked
    by_grant: Annotated[tuple[Grant, ...], HIDDEN] = ()
    job_id: str | None = None  # belongs to this job, and is deleted with it
    group_id: Annotated[str | None, HIDDEN] = None  # of that job
    schedule_id: str | None = None  # receives only what concerns this schedule and its runs
    metadata: Mapping[str, Any] = field(default_factory=dict)  # returned in each message
    headers: Annotated[Mapping[str, str], HIDDEN] = field(default_factory=dict)  # of each request
    # id of the last page of its job that has a delivery, with its bits inverted (~) once the job
    # has ended and all were sent; None: it receives no pages
    page_cursor: Annotated[int | None, HIDDEN] = None
    version: int = 1
    created_at: datetime
    updated_at: datetime

    @property
    def receiver(self) -> str:
        """The host and port that messages are sent to, as written in the URL."""
        return self.url.partition("://")[2].partition("/")[0].partition("?")[0]

    @property
    def off_by_itself(self) -> bool:
        """True if it was disabled, but not by a user."""
        return not self.active and not self.disabled_reason.startswith(BY_HAND)

    def wants(self, event: Event) -> bool:
        """Return whether *event* should be delivered to it.

        The event must have the same owner, belong to the webhook's job (or the group of that) and
        schedule if it has them, and match a pattern. A test event goes only to the webhook that it
        is about.
        """
        if event.owner != self.owner:
            return False
        if event.name is EventName.WEBHOOK_TEST:
            return event.subject == self.id
        if self.job_id is not None and event.subject not in (self.job_id, self.group_id):
            return False
        if self.schedule_id not in (None, event.subject, event.data.get("schedule_id")):
            return False
        if not any(fnmatchcase(event.name, pattern) for pattern in self.events):
            return False
        return self.rules is None or self.rules.wants(event, self.name)

    @property
    def one_at_a_time(self) -> bool:
        """True if a message is sent only when the one before has an answer."""
        return self.rules is not None or self.failing_since is not None

    def signing(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets that sign at *now*, the current one first."""
        return tuple(s.value for s in self.secrets if s.until is None or now < s.until)

    def rotate_secret(self, value: str, now: datetime) -> "Webhook":
        """Return it with *value* as its current secret; the old one also signs for `ROTATION`.

        There are never more than two secrets: the one before the old one stops signing at once.
        """
        before = replace(self.secrets[0], until=now + ROTATION)
        return replace(
            self,
            secrets=(Secret(value=value), before),
            version=self.version + 1,
            updated_at=now,
        )

    def switch(self, now: datetime, *, on: bool, reason: str = "") -> "Webhook":
        """Return it enabled, with its failures reset, or disabled for *reason*."""
        return replace(
            self,
            active=on,
            disabled_reason=reason,
            failing_since=None if on else self.failing_since,
            failures=0 if on else self.failures,
            held_until=None,
            version=self.version + 1,
            updated_at=now,
        )

    def record_attempt(
        self, delivery: "Delivery", held_until: datetime | None = None
    ) -> "tuple[Webhook, Event | None]":
        """Return it after the last attempt of *delivery*, which is already part of that.

        The result has an event if the attempt disabled it, as decided by `why_off`. *held_until* is
        when its receiver accepts messages again, if it said so, or when a channel may send its next
        message.
        """
        last = delivery.attempts[-1]
        if last.ok:
            hold = held_until or self.held_until
            return replace(self, failing_since=None, failures=0, held_until=hold), None
        holds = [until for until in (self.held_until, held_until) if until is not None]
        failing = replace(
            self,
            failing_since=self.failing_since or last.at,
            failures=self.failures + 1,
            held_until=max(holds, default=None),
        )
        why = why_off(failing, delivery) if self.active else ""
        if not why:
            return failing, None
        now = last.at + last.latency
        off = failing.switch(now, on=False, reason=why)
        return off, off.event(EventName.WEBHOOK_DISABLED, now, SENDER)

    def event(self, name: EventName, now: datetime, actor: str, /, **data: object) -> Event:
        """Return an event about this webhook in its current state, with *data* added.

        It contains only the host: the rest of the URL alone permits posting to it.
        """
        event_data: dict[str, object] = {
            "host": self.receiver,
            "events": list(self.events),
            "active": self.active,
            "reason": self.disabled_reason,
            "version": self.version,
        }
        if self.job_id is not None:
            event_data["job_id"] = self.job_id
        return Event(
            name=name,
            subject=self.id,
            owner=self.owner,
            at=now,
            actor=actor,
            data=event_data | data,
        )


class DeliveryState(StrEnum):
    """Progress of a delivery; the last two are final."""

    PENDING = auto()  # waits for its next attempt
    DELIVERED = auto()  # answered with 2xx
    FAILED = auto()  # given up after the last attempt, or its webhook was disabled


class DeliveryAttempt(Struct, frozen=True, kw_only=True):
    """One attempt to deliver, and its response."""

    at: datetime
    latency: timedelta
    status: int | None = None  # None: no answer
    excerpt: str = ""  # the beginning of the response body
    error: str = ""  # why it did not count as a success

    @property
    def ok(self) -> bool:
        """True if the receiver accepted the message."""
        return self.status is not None and 200 <= self.status < 300


class Delivery(Struct, frozen=True, kw_only=True):
    """One event or page for one webhook.

    Its id is the message id, which is the same at every attempt.
    """

    id: str  # msg_…
    no: int  # the store's own key, increasing
    webhook_id: str
    seq: int  # of the event; of a page, its id, negated
    name: Annotated[str, answer_name("event")]
    state: DeliveryState = DeliveryState.PENDING
    attempts: tuple[DeliveryAttempt, ...] = ()  # oldest first
    due_at: datetime
    created_at: datetime
    ended_at: datetime | None = None
    recurrence: Annotated[Recurrence, HIDDEN] = Recurrence.FIRST  # of an event for a channel

    @property
    def page_id(self) -> int | None:
        """Id of the page that is sent; ``None``: an event is sent."""
        return -self.seq if self.seq < 0 else None

    def record_attempt(
        self, attempt: DeliveryAttempt, *, chance: float, retry_after: timedelta | None = None
    ) -> "Delivery":
        """Return it after *attempt*: delivered, due again, or given up.

        *retry_after* is what the receiver asked for; *chance* is a random number from 0 to 1, drawn
        by the caller.
        """
        attempts = (*self.attempts, attempt)
        ended_at = attempt.at + attempt.latency
        if attempt.ok:
            state = DeliveryState.DELIVERED
            return replace(self, state=state, attempts=attempts, ended_at=ended_at)
        wait = None if attempt.status == GONE else wait_after(len(attempts), chance)
        if wait is None:
            return replace(self, state=DeliveryState.FAILED, attempts=attempts, ended_at=ended_at)
        hold = min(retry_after or timedelta(0), LONGEST_HOLD)
        return replace(self, attempts=attempts, due_at=ended_at + max(wait, hold))

    def give_up(self, now: datetime) -> "Delivery":
        """Return it failed, with no further attempt."""
        return replace(self, state=DeliveryState.FAILED, ended_at=now)


def wait_after(attempts: int, chance: float) -> timedelta | None:
    """Return how long to wait after *attempts* failures; ``None`` to give up.

    *chance* is a random number from 0 to 1, drawn by the caller.
    """
    if attempts > len(WAITS):
        return None
    return WAITS[attempts - 1] * (1 + JITTER * (2 * chance - 1))


def why_off(webhook: Webhook, delivery: Delivery) -> str:
    """Return why *delivery* disables its webhook; empty if it does not.

    A webhook is disabled if the receiver answers 410; if all attempts of a delivery have failed and
    nothing else has arrived since the first of them; or if nothing has arrived for as long as these
    attempts take, in at least as many attempts. The last rule covers many deliveries that wait for
    each other, so that none has been tried that often yet.
    """
    if not delivery.attempts or delivery.attempts[-1].ok:
        return ""
    first, last = delivery.attempts[0], delivery.attempts[-1]
    if last.status == GONE:
        return "the receiver answered 410 (gone)"
    since = webhook.failing_since
    if since is None:
        return ""
    tried_out = delivery.state is DeliveryState.FAILED and since <= first.at
    too_long = since <= last.at - _IN_ALL and webhook.failures > len(WAITS)
    if not tried_out and not too_long:
        return ""
    return (
        f"nothing has arrived since {since:%Y-%m-%d %H:%M} UTC: "
        f"{count_noun(webhook.failures, 'attempt')} failed"
    )


def message_id(webhook_id: str, seq: int) -> str:
    """Return the message id of event *seq* for a webhook, which is always the same."""
    digest = hashlib.blake2b(f"{webhook_id}:{seq}".encode(), digest_size=16)
    return f"msg_{digest.hexdigest()}"


def check_patterns(patterns: Iterable[str], *, kinds: Collection[str] = ()) -> None:
    """Check that each pattern matches an event, of these *kinds* if given.

    Raises:
        Invalid: one matches none, there are none, or there are too many.
    """
    words = tuple(patterns)
    if not 1 <= len(words) <= MAX_PATTERNS:
        raise Invalid("events", f"expected 1 to {MAX_PATTERNS} names or patterns, got {len(words)}")
    names = [n for n in EventName if not kinds or n.kind in kinds]
    for pattern in words:
        fits = len(pattern) <= _LONGEST_PATTERN and any(fnmatchcase(n, pattern) for n in names)
        if not fits:
            hint = suggestion(pattern, names) or f"; there are: {', '.join(names)}"
            text = pattern[:_LONGEST_PATTERN]
            raise Invalid("events", f"no event matches {text!r}{hint}")


def narrow_patterns(patterns: Iterable[str], names: Collection[EventName]) -> tuple[str, ...]:
    """Return patterns for those events that match *patterns* and are among *names*.

    A pattern that matches others as well is replaced by one for each kind, such as ``job.*``, and
    by single names.
    """
    result: list[str] = []
    for pattern in patterns:
        matches = [name for name in EventName if fnmatchcase(name, pattern)]
        if set(matches) <= set(names):
            result.append(pattern)
            continue
        allowed = [name for name in matches if name in names]
        for kind in dict.fromkeys(name.kind for name in allowed):
            of_kind = [name for name in EventName if name.kind == kind]
            whole = set(of_kind) <= set(allowed)
            result += [f"{kind}.*"] if whole else [n.value for n in allowed if n in of_kind]
    return tuple(dict.fromkeys(result))


class Subscribers:
    """Active webhooks, each with the number of the event after which it receives events."""

    def __init__(self, endpoints: Iterable[tuple[Webhook, int]]) -> None:
        self._of_owner: dict[str, list[tuple[Webhook, int]]] = defaultdict(list)
        self._of_subject: dict[str, list[tuple[Webhook, int]]] = defaultdict(list)
        self._by_id: dict[str, tuple[Webhook, int]] = {}
        for webhook, since in endpoints:
            self._by_id[webhook.id] = webhook, since
            if webhook.job_id is None:
                self._of_owner[webhook.owner].append((webhook, since))
            else:
                self._of_subject[webhook.job_id].append((webhook, since))
            if webhook.group_id is not None:
                self._of_subject[webhook.group_id].append((webhook, since))

    def of(self, event: Event) -> Iterator[Webhook]:
        """Yield the webhooks that receive *event*."""
        webhooks = {
            webhook.id: (webhook, since)
            for webhook, since in (
                *self._of_owner.get(event.owner, ()),
                *self._of_subject.get(event.subject, ()),
                *((self._by_id[event.subject],) if event.subject in self._by_id else ()),
            )
        }
        for webhook, since in webhooks.values():
            if event.seq > since and webhook.wants(event):
                yield webhook


# --- messages


class MessageData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The event that a message is about."""

    v: int  # `PAYLOAD_VERSION`
    seq: int
    subject: str
    job_id: str | None
    owner: str
    actor: str
    details: Mapping[str, Any]  # data of the event
    url: str = ""  # page of the subject in the dashboard, if the instance has a `public_url`
    metadata: Mapping[str, Any] = field(default_factory=dict)  # of the webhook, unchanged
    cut: bool = False  # some values were shortened to keep the message below `MAX_BODY`


class WebhookMessage(Struct, frozen=True, kw_only=True):
    """Body of a webhook request: one event.

    Source: Standard Webhooks, "Payload structure".
    """

    type: str  # name of the event
    timestamp: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    data: MessageData


def message(
    event: Event, public_url: str = "", metadata: Mapping[str, Any] = MappingProxyType({})
) -> WebhookMessage:
    """Return the message about *event*, encoded in fewer than `MAX_BODY` bytes.

    Values that are too long are cut, and so says `data.cut`; *metadata* is never cut. With
    *public_url*, `data.url` links to the dashboard.
    """
    whole = _message(event, public_url, metadata)
    for chars, items in _CUTS:
        details = {n: _cut(v, chars, items) for n, v in event.data.items()}
        shortened = _with_details(whole, details, cut=details != event.data)
        if len(encode_message(shortened)) < MAX_BODY:
            return shortened
    return _with_details(whole, {}, cut=bool(event.data))


def _with_details(
    message: WebhookMessage, details: Mapping[str, Any], *, cut: bool
) -> WebhookMessage:
    return replace(message, data=replace(message.data, details=details, cut=cut))


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Check that *metadata* can be returned in messages.

    Raises:
        Invalid: it is no JSON, or too long.
    """
    try:
        size = len(json.dumps(dict(metadata), allow_nan=False, separators=(",", ":")))
    except (TypeError, ValueError) as error:
        raise Invalid("metadata", f"expected a JSON object: {error}") from None
    if size > MAX_METADATA:
        raise Invalid("metadata", f"expected at most {MAX_METADATA:,} bytes of JSON, got {size:,}")


def encode_message(message: WebhookMessage) -> bytes:
    """Return the body of a request: ASCII JSON, the same bytes at every attempt."""
    return json.dumps(msgspec.to_builtins(message), separators=(",", ":")).encode()


_WHOLE = 2**31
_CUTS = ((_WHOLE, _WHOLE), (2000, 100), (200, 20), (50, 5))
"""How many characters of a text and items of a list to keep: the first pair that fits is used."""


def _message(event: Event, public_url: str, metadata: Mapping[str, Any]) -> WebhookMessage:
    at = event.at.astimezone(UTC).isoformat(timespec="milliseconds")
    data = MessageData(
        v=PAYLOAD_VERSION,
        seq=event.seq,
        subject=event.subject,
        job_id=event.job_id,
        owner=_cut(event.owner, 200, 0),
        actor=_cut(event.actor, 200, 0),
        details=event.data,
        url="" if event.page is None or not public_url else public_url + event.page,
        metadata=dict(metadata),
    )
    timestamp = at.replace("+00:00", "Z")
    return WebhookMessage(type=event.name.value, timestamp=timestamp, data=data)


def _cut(value: Any, chars: int, items: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= chars else f"{value[:chars]}…"
    if isinstance(value, Mapping):
        members = list(value.items())[:items]
        return {str(k)[:chars]: _cut(v, chars, items) for k, v in members}
    if isinstance(value, (list, tuple)):
        return [_cut(v, chars, items) for v in value[:items]]
    return value
