"""The page of the reference about what streams tell, and how to go on after a break."""

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
    "resync": ("where to go on", ResyncOut),
    "bye": ("", ByeOut),
}
_LOG: Mapping[str, tuple[str, type[Wire]]] = {
    "hello": ("", LogHelloOut),
    "job.log": ("*n* of its last line", LogLinesOut),
    "ping": ("", PingOut),
    "resync": ("where to go on", ResyncOut),
    "end": ("", LogEndedOut),
    "bye": ("", ByeOut),
}


_SENT = (
    "Server-sent events (`text/event-stream`), each with one line of JSON. Programs send their "
    "token, browsers their session. A stream that breaks off is opened again with "
    "`Last-Event-ID`, as browsers do by themselves after {retry} s, or with `?after=`: it goes on "
    "behind that id. Messages without an id are not repeated."
)
_HAPPENS = (
    "`GET /api/v1/events/stream` tells it of all that you may see, "
    "`GET /api/v1/jobs/{job_id}/events/stream` of one job. Lists say in `X-Event-Seq` where a "
    "stream has to begin so that nothing is missed between the two."
)
_LOOKED = (
    "Events are looked for every {look} ms, whichever process has written them; how things stand "
    "is told every {pulse} ms where it has changed. What is done through the same server, how far "
    "jobs in its process have come, and with Redis also what other processes say, is told at once, "
    "{hz} times a second at most. After a break, {replayed:,} events of the last "
    "{minutes} minutes are made up for; after more, and where {room} messages wait for a client "
    "that does not read, `resync` says that lists are to be read again."
)
_SAYS = (
    "`GET /api/v1/jobs/{job_id}/log/stream` tells the lines of its log, from the first that is "
    "kept or from `after` on, of `level` and above; then each new one."
)
_LINES = (
    "A message brings at most {portion} lines, and new ones come at most {hz} times a second; what "
    "has been said before comes at once. A client gets lines as fast as it reads, and nothing of "
    "them waits in the server; of a log, the newest {kept:,} are kept. After `end` nothing follows "
    "unless the job is resumed or retried: close the stream, else a browser opens it again."
)
_ENDS = (
    "A token or session has {own} streams at once, a server {most:,}; more are refused with 429 "
    "and 503. After `bye`, what opened the stream is good no more: it was revoked, has expired, "
    "or its user has another role. A server that ends closes its streams without a word; come "
    "again."
)
_PROXIES = (
    "A `ping` comes every {ping} s, and when the store goes away or is back (`stale`). A proxy "
    "must not compress `text/event-stream`, and must wait longer than that for a silent server "
    "(`proxy_read_timeout` of nginx); `X-Accel-Buffering: no` is sent, so that nginx gathers "
    "nothing."
)
_HEAD = ["message", "its id", "what it says", "fields"]


def blocks(table: Table) -> list[str]:
    """Return the parts of the page, in their order."""
    words = sorted({event_word(name) for name in EventName if name.kind == "job"})
    hello, *rows = (_row(f"`{name}`", *texts) for name, texts in _EVENTS.items())
    happened = [
        _row(" ".join(f"`{word}`" for word in words), "its `seq`", HappenedOut),
        _row("any other event, by its name", "its `seq`", HappenedOut),
    ]
    log = [_row(f"`{name}`", *texts) for name, texts in _LOG.items()]
    resync = next(row for row in log if row[0] == "`resync`")
    resync[2] = "lines up to this one are not kept any more"
    looked = _LOOKED.format(
        look=_ms(POLL_EVERY),
        pulse=_ms(SNAPSHOT_EVERY),
        hz=1000 // _ms(RELAY_EVERY),
        replayed=MAX_REPLAYED,
        minutes=_s(MAX_REPLAY_AGE) // 60,
        room=MAX_QUEUED,
    )
    return [
        _SENT.format(retry=_s(RETRY)),
        "## What happens",
        _HAPPENS,
        table(_HEAD, [hello, *happened, *rows]),
        looked,
        "## What a job says",
        _SAYS,
        table(_HEAD, log),
        _LINES.format(portion=PORTION, hz=1000 // _ms(POLL_EVERY), kept=MOST_LINES),
        "## How they end",
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
