"""Reference page about event streams: messages, reconnecting and limits."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from crawlyard.core.answer import Wire
from crawlyard.core.endpoints.stream_messages import (
    ByeOut,
    HappenedOut,
    HelloOut,
    JobPagesOut,
    JobsProgressOut,
    LogEndedOut,
    LogHelloOut,
    LogLinesOut,
    PingOut,
    ResyncOut,
    StateCountsOut,
    WorkersOut,
)
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job_log import MOST_LINES
from crawlyard.services.jobs.follow import PORTION
from crawlyard.web.live.catch_up import MAX_REPLAY_AGE, MAX_REPLAYED
from crawlyard.web.live.hub import (
    MAX_STREAMS,
    MAX_STREAMS_EACH,
    PING_EVERY,
    POLL_EVERY,
    RELAY_EVERY,
    SNAPSHOT_EVERY,
)
from crawlyard.web.live.sse import RETRY, event_word
from crawlyard.web.live.stream import MAX_QUEUED

Table = Callable[[list[str], list[list[str]]], str]

_EVENTS: Mapping[str, tuple[str, type[Wire]]] = {
    "hello": ("", HelloOut),
    "jobs.progress": ("", JobsProgressOut),
    "job.pages": ("", JobPagesOut),
    "counts": ("", StateCountsOut),
    "workers": ("", WorkersOut),
    "ping": ("", PingOut),
    "resync": ("where to continue", ResyncOut),
    "bye": ("", ByeOut),
}
_LOG: Mapping[str, tuple[str, type[Wire]]] = {
    "hello": ("", LogHelloOut),
    "job.log": ("`n` of its last line", LogLinesOut),
    "ping": ("", PingOut),
    "resync": ("where to continue", ResyncOut),
    "end": ("", LogEndedOut),
    "bye": ("", ByeOut),
}

_INTRO = (
    "Streams are server-sent events (`text/event-stream`). The data of each message is one line of "
    "JSON. Programs authenticate with a token, browsers with their session. To reconnect after a "
    "lost connection, send the last id in `Last-Event-ID` or in `?after=`; the stream continues "
    "after it. Browsers do this by themselves after {retry} s. Messages without an id are not sent "
    "again."
)
_EVENT_STREAM = (
    "`GET /api/v1/events/stream` streams all events that you may see, `GET "
    "/api/v1/jobs/{job_id}/events/stream` those of one job. To miss nothing between a list and its "
    "stream, start the stream after the number in the `X-Event-Seq` header of the list."
)
_DELAYS = (
    "The server reads new events every {look} ms, whichever process has written them, and sends "
    "changes of the current state every {pulse} ms. Changes made through the same server and the "
    "progress of jobs in its process are sent at once, at most {hz} times a second; with Redis, "
    "those of other processes are too. After a lost connection, up to {replayed:,} events of the "
    "last {minutes} minutes are sent again. If there were more, or if {room} messages wait for a "
    "slow client, the server sends `resync` instead: reload the lists."
)
_LOG_STREAM = (
    "`GET /api/v1/jobs/{job_id}/log/stream` streams the log lines of a job of at least the given "
    "`level`: first the stored lines, from the oldest or after the line number `after`, then new "
    "ones."
)
_LINES = (
    "A message has at most {portion} lines. Stored lines are sent at once, new lines at most {hz} "
    "times a second. The server does not queue lines for a slow client: it sends the next ones "
    "when the client has read the previous ones. The newest {kept:,} lines of a log are kept. "
    "After `end`, no lines follow unless the job is resumed or retried. Close the stream then; "
    "otherwise a browser opens it again."
)
_ENDS = (
    "A token or session can have {own} open streams, and a server {most:,}. Further ones are "
    "refused with 429 and 503. After `bye`, the credential is no longer valid: it was revoked, it "
    "has expired, or the role of its user has changed. A server that shuts down closes its streams "
    "without a message; reconnect."
)
_PROXIES = (
    "A `ping` is sent every {ping} s, and when the database becomes unavailable or available again "
    "(`stale`). A reverse proxy must not compress `text/event-stream`, and its read timeout "
    "(`proxy_read_timeout` of nginx) must be longer than that. The header `X-Accel-Buffering: no` "
    "turns off buffering in nginx."
)
_HEAD = ["Message", "Id", "Description", "Fields"]


def blocks(table: Table) -> list[str]:
    """Return the blocks of the page."""
    words = sorted({event_word(name) for name in EventName if name.kind == "job"})
    hello, *rows = (_row(f"`{name}`", *texts) for name, texts in _EVENTS.items())
    happened = [
        _row(" ".join(f"`{word}`" for word in words), "`seq`", HappenedOut),
        _row("name of any other event", "`seq`", HappenedOut),
    ]
    log = [_row(f"`{name}`", *texts) for name, texts in _LOG.items()]
    resync = next(row for row in log if row[0] == "`resync`")
    resync[2] = "lines up to this one are no longer stored"
    delays = _DELAYS.format(
        look=_ms(POLL_EVERY),
        pulse=_ms(SNAPSHOT_EVERY),
        hz=1000 // _ms(RELAY_EVERY),
        replayed=MAX_REPLAYED,
        minutes=_s(MAX_REPLAY_AGE) // 60,
        room=MAX_QUEUED,
    )
    return [
        _INTRO.format(retry=_s(RETRY)),
        "## Events",
        _EVENT_STREAM,
        table(_HEAD, [hello, *happened, *rows]),
        delays,
        "## Job logs",
        _LOG_STREAM,
        table(_HEAD, log),
        _LINES.format(portion=PORTION, hz=1000 // _ms(POLL_EVERY), kept=MOST_LINES),
        "## Limits and disconnects",
        _ENDS.format(own=MAX_STREAMS_EACH, most=MAX_STREAMS),
        _PROXIES.format(ping=_s(PING_EVERY)),
    ]


def _row(name: str, number: str, shape: type[Wire]) -> list[str]:
    text = (shape.__doc__ or "").splitlines()[0].rstrip(".")
    fields = ", ".join(f"`{field}`" for field in shape.__struct_fields__)
    return [name, number, text[:1].lower() + text[1:], fields]


def _s(duration: timedelta) -> int:
    return round(duration.total_seconds())


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
