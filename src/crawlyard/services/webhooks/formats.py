"""Message formats: the headers and body of a request to a webhook."""

import hmac
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.header import Header
from functools import partial
from typing import Any, TypeAlias

from msgspec import Struct

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.webhooks.summary import NotifiedEvent, Summary, SummaryItem, summarize
from crawlyard.core.webhooks.webhook import (
    PAGE,
    Delivery,
    MessageFormat,
    Webhook,
    encode_message,
    message,
)
from crawlyard.services.webhooks.signing import sign_body


class OutgoingMessage(Struct, frozen=True, kw_only=True):
    """An event on its way to a webhook."""

    webhook: Webhook
    delivery: Delivery
    event: Event
    now: datetime
    wall: datetime  # of the wall clock: the receiver compares timestamps with its own
    public_url: str  # of the dashboard; empty: there are no links
    entries: Sequence[NotifiedEvent] = ()  # of a message for people: *event* and others


class RequestContent(Struct, frozen=True, kw_only=True):
    """Headers and body of one POST; without `Content-Type`, the body is JSON."""

    headers: Mapping[str, str] = {}
    body: bytes


MessageEncoder: TypeAlias = Callable[[OutgoingMessage], RequestContent]


def standard(outgoing: OutgoingMessage) -> RequestContent:
    """Return signed JSON, as Standard Webhooks specifies."""
    webhook = outgoing.webhook
    body = encode_message(message(outgoing.event, outgoing.public_url, webhook.metadata))
    keys = webhook.signing(outgoing.now)
    headers = sign_body(outgoing.delivery.id, outgoing.wall, body, keys)
    return RequestContent(headers=headers, body=body)


def firecrawl(kind: str, outgoing: OutgoingMessage) -> RequestContent:
    """Return JSON as Firecrawl's API sends it about a *kind* of job, with its signature as well.

    The job is "failed" if it was cancelled: receivers know no other end.
    """
    webhook, event = outgoing.webhook, outgoing.event
    word = event.name.partition(".")[2]
    is_failure = event.name in {EventName.FAILED, EventName.CANCELLED}
    content = {
        "success": not is_failure,
        "type": f"{kind}.{'failed' if is_failure else word}",
        "id": event.job_id or event.subject,
        "webhookId": outgoing.delivery.id,
        "data": [],
        "metadata": dict(webhook.metadata),
    }
    if is_failure:
        content["error"] = f"{word}: {event.data['detail'] or event.data['reason']}"[:_MAX_ERROR]
    return _signed_for_firecrawl(outgoing, _compact(content))


_MAX_ERROR = 2_000  # characters

MAX_DOCUMENT_BODY = 5_000_000
"""Bytes of a message with a document; the largest parts of a larger document are left out."""


class OutgoingPage(Struct, frozen=True, kw_only=True):
    """A page on its way to a webhook of its job."""

    webhook: Webhook
    delivery: Delivery
    document: Mapping[str, Any]  # the page as the format has it
    now: datetime
    wall: datetime  # as in `OutgoingMessage`


def firecrawl_page(kind: str, outgoing: OutgoingPage) -> RequestContent:
    """Return JSON as Firecrawl's API sends it about a page of a *kind* of job."""
    webhook = outgoing.webhook
    content = {
        "success": True,
        "type": f"{kind}.{PAGE}",
        "id": webhook.job_id,
        "webhookId": outgoing.delivery.id,
        "data": [outgoing.document],
        "metadata": dict(webhook.metadata),
    }
    body = _compact(content)
    if len(body) > MAX_DOCUMENT_BODY:
        excess = len(body) - MAX_DOCUMENT_BODY
        body = _compact(content | {"data": [_without_largest(outgoing.document, excess)]})
    return _signed_for_firecrawl(outgoing, body)


def _without_largest(document: Mapping[str, Any], excess: int) -> Mapping[str, Any]:
    """Return a document without its largest parts, at least *excess* bytes shorter as JSON."""
    sizes = {name: len(_compact(part)) for name, part in document.items() if name != "metadata"}
    omitted: list[str] = []
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess + _WARNING <= 0:
            break
        omitted.append(name)
        excess -= sizes[name]
    named = ", ".join(name for name in omitted if name != "warning")
    warning = f"{named} left out: with it, the message is longer than {MAX_DOCUMENT_BODY:,} bytes"
    rest = {name: part for name, part in document.items() if name not in omitted}
    return rest | {"warning": "; ".join(filter(None, (rest.get("warning", ""), warning)))}


_WARNING = 300  # bytes, more than the warning has


def _compact(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _signed_for_firecrawl(outgoing: OutgoingMessage | OutgoingPage, body: bytes) -> RequestContent:
    keys = outgoing.webhook.signing(outgoing.now)
    signature = hmac.digest(keys[0].encode(), body, "sha256").hex()
    headers = sign_body(outgoing.delivery.id, outgoing.wall, body, keys)
    return RequestContent(
        headers={**headers, "X-Firecrawl-Signature": f"sha256={signature}"}, body=body
    )


# --- messages for people


SLACK_TEXT = 35_000
"""Characters of a message to Slack, which cuts longer ones at 40,000."""

SLACK_SECTION = 3_000
SLACK_BLOCKS = 50
"""Source: Slack, "Block Kit", section block and "Blocks"."""

DISCORD_TEXT = 2_000
"""Characters of `content`. Source: Discord, "Execute Webhook"."""

NTFY_BYTES = 4_096
"""Bytes of a message; ntfy turns longer ones into attachments."""

TEAMS_BYTES = 25_000
"""Bytes of a message to Teams, which accepts 28 KB."""


def plain_text(summary: Summary, longest: int, *, size: Callable[[str], int] = len) -> str:
    """Return the items of a message as text of at most *longest* characters.

    *size* measures a text, in bytes for example. Items that do not fit are counted.
    """
    return _fit(summary, [_plain_item(item) for item in summary.items], longest, size)


def _fit(
    summary: Summary, items: Sequence[str], longest: int, size: Callable[[str], int] = len
) -> str:
    """Return as many of the *items* as fit, and how many more there are."""

    def text(count: int) -> str:
        return "\n\n".join((*items[:count], *_more(summary, len(items) - count)))

    count = _most(len(items), lambda count: size(text(count)) <= longest)
    return text(count) if count else _cut_to(items[0], longest, size)


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to *most* that *fits*, by binary search; 0 if none does."""
    if fits(most):
        return most
    return bisect_left(range(1, most + 1), 1, key=lambda count: not fits(count))


def _more(summary: Summary, count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"… and {count:,} more{f': {summary.url}' if summary.url else ''}",)


def _cut_to(text: str, longest: int, size: Callable[[str], int]) -> str:
    while size(text) > longest:
        text = f"{text[: len(text) * 9 // 10 - 1]}…"
    return text


def _plain_item(item: SummaryItem) -> str:
    return "\n".join((item.title, *item.lines, *((item.url,) if item.url else ())))


def slack(outgoing: OutgoingMessage) -> RequestContent:
    """Return a message for an incoming webhook of Slack: `text` and blocks."""
    summary = _summary(outgoing)
    texts = [_slack_item(item) for item in summary.items]

    def blocks(count: int) -> list[dict[str, Any]]:
        sections = [_cut_to(text, SLACK_SECTION, len) for text in texts[:count]]
        more = _more(summary, len(texts) - count)
        return [_slack_section(text) for text in (*sections, *more)]

    def fits(count: int) -> bool:
        size = len(json.dumps(blocks(count), ensure_ascii=False))
        return size <= SLACK_TEXT and len(blocks(count)) <= SLACK_BLOCKS

    text = _fit(summary, texts, SLACK_TEXT)
    heading = _escape_slack(summary.title)
    if len(summary.items) > 1:
        text = _cut_to(f"{heading}\n\n{text}", SLACK_TEXT, len)
    count = max(1, _most(len(texts), fits))
    return _json({"text": text, "blocks": blocks(count), "unfurl_links": False})


def _slack_section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _slack_item(item: SummaryItem) -> str:
    link = (f"<{item.url}|Open in Crawlyard>",) if item.url else ()
    lines = (f"*{_escape_slack(item.title)}*", *map(_escape_slack, item.lines), *link)
    return "\n".join(lines)


def _escape_slack(text: str) -> str:
    """Return *text* without mentions, links and formatting.

    Source: Slack, "Formatting text", escaping.
    """
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([*_~`])", "\u200b\\1", escaped)


def discord(outgoing: OutgoingMessage) -> RequestContent:
    """Return a message for a webhook of Discord; it mentions no user or role."""
    summary = _summary(outgoing)
    items = [_discord_item(item) for item in summary.items]
    return _json({"content": _fit(summary, items, DISCORD_TEXT), "allowed_mentions": {"parse": []}})


def _discord_item(item: SummaryItem) -> str:
    link = (f"<{item.url}>",) if item.url else ()
    lines = (f"**{_escape_markdown(item.title)}**", *map(_escape_markdown, item.lines), *link)
    return "\n".join(lines)


_MARKDOWN = re.compile(r"([\\*_~`|>#\[\]<])")


def _escape_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def ntfy(outgoing: OutgoingMessage) -> RequestContent:
    """Return a message for a topic of ntfy: text, and headers for its title and link."""
    summary = _summary(outgoing)
    link = summary.items[0].url if len(summary.items) == 1 else summary.url
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": _header(summary.title),
        "Priority": "high" if summary.urgent else "default",
        "Tags": "warning" if summary.urgent else "white_check_mark",
    }
    if link:
        headers["Click"] = link
    if len(summary.items) == 1:
        body = "\n".join(summary.items[0].lines) or summary.title
        body = _cut_to(body, NTFY_BYTES, _bytes_of)
    else:
        body = plain_text(summary, NTFY_BYTES, size=_bytes_of)
    return RequestContent(headers=headers, body=body.encode())


def _bytes_of(text: str) -> int:
    return len(text.encode())


def _header(text: str) -> str:
    """Return *text* for a header: ASCII as it is, else encoded as RFC 2047 defines."""
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=100_000).encode()


def teams(outgoing: OutgoingMessage) -> RequestContent:
    """Return an adaptive card for a workflow of Microsoft Teams."""
    summary = _summary(outgoing)
    count = _most(
        len(summary.items), lambda count: len(_json(_card(summary, count)).body) <= TEAMS_BYTES
    )
    return _json(_card(summary, count))


def _card(summary: Summary, count: int) -> dict[str, Any]:
    """Return a message with the first *count* items."""
    body: list[dict[str, Any]] = []
    if len(summary.items) > 1:
        body.append(_text_block(summary.title, weight="Bolder", size="Medium"))
    for item in summary.items[:count]:
        body.append(_text_block(item.title, weight="Bolder", separator=bool(body)))
        body += [_text_block(line, spacing="Small") for line in item.lines]
    body += [_text_block(text) for text in _more(summary, len(summary.items) - count)]
    link = summary.items[0].url if len(summary.items) == 1 else summary.url
    actions = [{"type": "Action.OpenUrl", "title": "Open in Crawlyard", "url": link}]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions if link else [],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _text_block(text: str, **style: object) -> dict[str, Any]:
    return {"type": "TextBlock", "text": _escape_markdown(text), "wrap": True, **style}


def _summary(outgoing: OutgoingMessage) -> Summary:
    return summarize(outgoing.entries, outgoing.public_url)


def _json(message: Mapping[str, Any]) -> RequestContent:
    return RequestContent(body=json.dumps(message).encode())


FORMATS: Mapping[MessageFormat, MessageEncoder] = {
    MessageFormat.STANDARD: standard,
    MessageFormat.FIRECRAWL_CRAWL: partial(firecrawl, "crawl"),
    MessageFormat.FIRECRAWL_BATCH: partial(firecrawl, "batch_scrape"),
    MessageFormat.SLACK: slack,
    MessageFormat.DISCORD: discord,
    MessageFormat.NTFY: ntfy,
    MessageFormat.TEAMS: teams,
}
"""All formats of requests; mail is not sent over HTTP."""

PAGE_ENCODERS: Mapping[MessageFormat, Callable[[OutgoingPage], RequestContent]] = {
    MessageFormat.FIRECRAWL_CRAWL: partial(firecrawl_page, "crawl"),
    MessageFormat.FIRECRAWL_BATCH: partial(firecrawl_page, "batch_scrape"),
}
"""The encoders of `PAGE_FORMATS`."""
