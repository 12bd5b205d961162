"""Messages for people: what happened, where, why, and what to do."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.quantity import count_noun
from crawlyard.core.templates.secrets import hide_urls
from crawlyard.core.webhooks.notifications import (
    FAILURES,
    Occasion,
    Recurrence,
    is_success,
    occasion_of,
    series_key,
)
from crawlyard.core.words import REASONS

_LONGEST = 300  # characters of a name or a reason

_COUNTED: Mapping[Occasion | None, tuple[str, str]] = {
    Occasion.FAILED: ("crawl failed", "crawls failed"),
    Occasion.STOPPED: ("crawl stopped by errors", "crawls stopped by errors"),
    Occasion.LOGGED_OUT: ("crawl logged out", "crawls logged out"),
    Occasion.CHANGED: ("site changed", "sites changed"),
    Occasion.ATTENTION: ("problem needs attention", "problems need attention"),
    None: ("crawl works again", "crawls work again"),
}
"""Parts of the title of a digest, in their order."""


class NotifiedEvent(Struct, frozen=True, kw_only=True):
    """An event for a channel, with the names that its message has."""

    event: Event
    recurrence: Recurrence = Recurrence.FIRST
    name: str = ""  # of its schedule, if it has one
    host: str = ""  # of the first start URL


class SummaryItem(Struct, frozen=True, kw_only=True):
    """One thing that happened; each field is one line of text, and may be empty."""

    title: str
    where: str = ""
    why: str = ""
    advice: str = ""
    url: str = ""  # of its page in the dashboard
    kind: Occasion | None = None  # None: good news

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines below the title, without the link."""
        place = " · ".join(part for part in (self.where, self.why) if part)
        return tuple(line for line in (place, self.advice) if line)


class Summary(Struct, frozen=True, kw_only=True):
    """A message for people: one item, or a digest of several."""

    title: str
    items: tuple[SummaryItem, ...]
    url: str = ""  # of the dashboard
    urgent: bool = True  # not only good news


def summarize(entries: Sequence[NotifiedEvent], public_url: str = "") -> Summary:
    """Return the message about *entries*, oldest first.

    Several events of one schedule or name are one item: the last of them.
    """
    latest: dict[str, NotifiedEvent] = {}
    times: Counter[str] = Counter()
    for entry in entries:
        changed = occasion_of(entry.event) is Occasion.CHANGED
        series = series_key(entry.event) or entry.event.subject
        key = f"{series} {changed} {entry.event.name.kind}"
        latest.pop(key, None)  # the order is that of the last events
        latest[key] = entry
        times[key] += occasion_of(entry.event) in FAILURES
    items = tuple(_item(entry, times[key], public_url) for key, entry in latest.items())
    return Summary(
        title=items[0].title if len(items) == 1 else _digest_title(items),
        items=items,
        url=public_url,
        urgent=any(item.kind is not None for item in items),
    )


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Return *text* on one line, without control characters and secrets in URLs."""
    printable = "".join(c if c.isprintable() else " " for c in hide_urls(text))
    words = " ".join(printable.split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def _digest_title(items: Sequence[SummaryItem]) -> str:
    counts = Counter(item.kind for item in items)
    parts = [count_noun(counts[kind], *words) for kind, words in _COUNTED.items() if counts[kind]]
    return ", ".join(parts)


def _item(entry: NotifiedEvent, times: int, public_url: str) -> SummaryItem:
    event, data = entry.event, entry.event.data
    name = one_line(entry.name or str(data.get("name") or "") or entry.host or event.subject)
    occasion = occasion_of(event)
    detail = one_line(str(data.get("detail") or ""))
    words = REASONS.get(str(data.get("reason")), "")
    reason = f"{words}: {detail}" if words and detail else words or detail
    path = event.page
    if event.name.kind == "webhook":
        is_test = event.name is EventName.WEBHOOK_TEST
        path = "/settings/notifications" if is_test else "/settings/webhooks"
    item = SummaryItem(
        title=f"{name} {_verb(entry, times)}",
        where="" if entry.host == name else entry.host,
        why=reason,
        advice=_advice(event),
        url=public_url + path if public_url and path else "",
        kind=occasion,
    )
    match event.name:
        case EventName.WEBHOOK_TEST:
            return replace(item, title="Test message from Crawlyard", why="", advice=_TESTED)
        case EventName.RUN_CHANGED:
            return replace(item, why=_changes(data))
        case EventName.SCHEDULE_PAUSED | EventName.WEBHOOK_DISABLED:
            host = one_line(str(data.get("host") or name))
            noun = "Schedule" if event.name is EventName.SCHEDULE_PAUSED else "Webhook to"
            return replace(
                item,
                title=f"{noun} {host if event.name.kind == 'webhook' else name} {_verb(entry, 0)}",
                why=one_line(str(data.get("reason") or "")),
            )
    return item


_TESTED = "Messages to this channel arrive."


def _verb(entry: NotifiedEvent, times: int) -> str:
    event = entry.event
    if is_success(event):
        return "works again"
    again = " again" if entry.recurrence is Recurrence.AGAIN else ""
    verb = _VERBS_OF_EVENTS.get(event.name) or _VERBS.get(occasion_of(event), "")
    return verb.format(more=f" {times} times" if times > 1 else again)


_VERBS: Mapping[Occasion | None, str] = {
    Occasion.FAILED: "failed{more}",
    Occasion.STOPPED: "was stopped{more} by its limit of errors",
    Occasion.LOGGED_OUT: "is logged out",
    Occasion.CHANGED: "changed",
    Occasion.ATTENTION: "was paused",
}
_VERBS_OF_EVENTS: Mapping[EventName, str] = {
    EventName.EXPIRING: "was paused for long and will be cancelled",
    EventName.WEBHOOK_DISABLED: "was disabled",
}


def _advice(event: Event) -> str:
    advice = _ADVICE_OF_EVENTS.get(event.name) or _ADVICE.get(occasion_of(event), "")
    return advice.format(id=event.subject, base=event.data.get("base_id"))


_ADVICE: Mapping[Occasion | None, str] = {
    Occasion.FAILED: "See its errors: crawlyard jobs errors {id}",
    Occasion.STOPPED: "See its errors: crawlyard jobs errors {id}",
    Occasion.LOGGED_OUT: "Log in again (crawlyard sessions login), "
    "then: crawlyard jobs resume {id}",
    Occasion.CHANGED: "See the changes: crawlyard diff {base} {id}",
    Occasion.ATTENTION: "Remove the cause, then: crawlyard jobs resume {id}",
}
_ADVICE_OF_EVENTS: Mapping[EventName, str] = {
    EventName.EXPIRING: "To continue it: crawlyard jobs resume {id}",
    EventName.SCHEDULE_PAUSED: "Remove the cause, then: crawlyard schedules resume {id}",
    EventName.WEBHOOK_DISABLED: "Check the receiver, then: crawlyard webhooks enable {id}",
}


def _changes(data: Mapping[str, object]) -> str:
    counts = data.get("counts")
    if not isinstance(counts, Mapping):
        return ""
    return ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in counts.items() if n)
