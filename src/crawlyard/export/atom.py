"""Atom feed of the changes found by the runs of a schedule.

Source: RFC 4287.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from crawlyard.core.answer import API, rfc3339
from crawlyard.core.crawl.changes import RunChanges, StoredChange
from crawlyard.core.schedules.schedule import CrawlSchedule

MEDIA_TYPE = "application/atom+xml"

_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def feed(
    schedule: CrawlSchedule,
    changes: Sequence[StoredChange],
    runs: Mapping[str, RunChanges],
    public_url: str = "",
) -> str:
    """Return the feed of a schedule with these *changes*; *runs* has their runs, by job id.

    With *public_url*, it links to itself and to the schedule in the dashboard.
    """
    pairs = [(change, runs[change.job_id]) for change in changes if change.job_id in runs]
    latest = max((run.compared_at for _, run in pairs), default=schedule.created_at)
    entries = "".join(_entry(change, run.compared_at) for change, run in pairs)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<id>urn:uuid:{schedule.id}</id>\n"
        f"<title>{_text(f'Changes found by {schedule.name}')}</title>\n"
        f"<author><name>{_text(schedule.owner)}</name></author>\n"
        f"<updated>{rfc3339(latest)}</updated>\n"
        f"{_links(schedule, public_url)}{entries}</feed>\n"
    )


def _links(schedule: CrawlSchedule, public_url: str) -> str:
    if not public_url:
        return ""
    own = f"{public_url}{API}/schedules/{schedule.id}/changes.atom"
    page = f"{public_url}/schedules/{schedule.id}"
    return (
        f'<link rel="self" href={quoteattr(own)}/>\n'
        f'<link rel="alternate" type="text/html" href={quoteattr(page)}/>\n'
    )


def _entry(change: StoredChange, found_at: datetime) -> str:
    link = change.moved_to or change.url
    kind = change.kind.replace("_", " ")
    return (
        "<entry>\n"
        f"<id>urn:crawlyard:change:{change.job_id}:{change.seq}</id>\n"
        f"<title>{_text(f'{kind}: {change.url}')}</title>\n"
        f"<link href={quoteattr(_NO_XML.sub('', link))}/>\n"
        f"<updated>{rfc3339(found_at)}</updated>\n"
        f"<summary>{_text(_summary(change))}</summary>\n"
        "</entry>\n"
    )


def _summary(change: StoredChange) -> str:
    if change.moved_to is not None:
        return f"It is now at {change.moved_to}."
    if change.added is not None:
        return f"Lines added: {change.added:,}, removed: {change.removed or 0:,}."
    return change.detail


def _text(text: str) -> str:
    return escape(_NO_XML.sub("", text))
