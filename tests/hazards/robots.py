"""Sites whose robots.txt is absent, late, wrong, huge, elsewhere or odd."""

import asyncio
import gzip
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum, auto
from functools import cache

from crawlyard.demo.server import Raw
from crawlyard.demo.site import Answer
from tests.hazards.common import hang, location, page, reset

RULES = "User-agent: *\nDisallow: /closed\n"
MOST_HOPS = 5  # redirects that must be followed (RFC 9309, section 2.3.1.2)
LEAST_PARSED = 500 * 1024  # bytes that must be parsed (section 2.5)


class RobotsKind(StrEnum):
    """Defects of a robots.txt."""

    PLAIN = auto()  # nothing
    NOT_FOUND = auto()
    FORBIDDEN = auto()
    GONE = auto()
    UNAVAILABLE = auto()  # 503, always
    UNAVAILABLE_FIRST = auto()  # 503 once, then the rules
    SLOW = auto()  # no answer
    RESET = auto()
    HOPS = auto()  # three redirects, over the other host if there is one
    FIVE_HOPS = auto()
    SIX_HOPS = auto()  # one more than must be followed
    LOOP = auto()
    HUGE = auto()  # 3 MB; the rules are at the start
    HUGE_LATE = auto()  # the rules begin 490 KiB from the start
    CUT_RULE = auto()  # the end of what must be parsed falls within a rule for /open
    BOM = auto()
    GZIP = auto()
    LATIN1 = auto()  # a byte that is no UTF-8, before the rules
    UTF16 = auto()
    NUL = auto()
    CR = auto()  # lines that end in a carriage return alone
    HTML = auto()  # a page instead of rules
    EMPTY = auto()
    CRAWL_DELAY = auto()  # one second
    CRAWL_DELAY_DAY = auto()
    CRAWL_DELAY_ODD = auto()
    LONG_LINE = auto()  # a line of 1 MB in between
    STARS = auto()  # a pattern that costs a backtracking matcher years


@dataclass(frozen=True, slots=True)
class RobotsVerdict:
    """Which of the two pages may be fetched; None: both answers can be defended."""

    open: bool | None = True
    closed: bool | None = False


_ALL, _NONE, _RULES = RobotsVerdict(closed=True), RobotsVerdict(open=False), RobotsVerdict()

VERDICTS: dict[RobotsKind, RobotsVerdict] = {
    **dict.fromkeys(RobotsKind, _RULES),
    RobotsKind.NOT_FOUND: _ALL,
    RobotsKind.FORBIDDEN: _ALL,
    RobotsKind.GONE: _ALL,
    RobotsKind.UNAVAILABLE: _NONE,
    RobotsKind.SLOW: _NONE,
    RobotsKind.RESET: _NONE,
    RobotsKind.SIX_HOPS: RobotsVerdict(closed=None),  # may be taken as unavailable, which allows
    RobotsKind.LOOP: _ALL,
    RobotsKind.CUT_RULE: RobotsVerdict(closed=True),
    RobotsKind.UTF16: RobotsVerdict(closed=None),
    RobotsKind.HTML: _ALL,
    RobotsKind.EMPTY: _ALL,
}
"""What may be fetched where robots.txt is of each kind (RFC 9309)."""

_HOPS = {RobotsKind.HOPS: 3, RobotsKind.FIVE_HOPS: MOST_HOPS, RobotsKind.SIX_HOPS: MOST_HOPS + 1}
_STATUSES = {
    RobotsKind.NOT_FOUND: 404,
    RobotsKind.FORBIDDEN: 403,
    RobotsKind.GONE: 410,
    RobotsKind.UNAVAILABLE: 503,
}
_COMMENT = "# and so on, and so on\n"


@cache
def _texts() -> dict[RobotsKind, bytes]:
    late = _COMMENT * (490 * 1024 // len(_COMMENT))
    # so that the last whole byte that counts ends "Disallow: /": read so, it closes everything
    filler = LEAST_PARSED - len("User-agent: *\nDisallow: /")
    cut = f"#{'x' * (filler - 2)}\nUser-agent: *\nDisallow: /nothing-here\n"
    return {
        RobotsKind.PLAIN: RULES.encode(),
        RobotsKind.UNAVAILABLE_FIRST: RULES.encode(),
        RobotsKind.HUGE: (RULES + _COMMENT * (3_000_000 // len(_COMMENT))).encode(),
        RobotsKind.HUGE_LATE: (late + RULES + late).encode(),
        RobotsKind.CUT_RULE: cut.encode(),
        RobotsKind.BOM: f"\ufeff{RULES}".encode(),
        RobotsKind.GZIP: gzip.compress(RULES.encode()),
        RobotsKind.LATIN1: b"# caf\xe9\nDisallow: /\xe9\n"
        + RULES.encode()
        + b"Disallow: /\xe9t\xe9\n",
        RobotsKind.UTF16: RULES.encode("utf-16"),
        RobotsKind.NUL: b"\0\nUser-agent: x\0y\n" + RULES.encode(),
        RobotsKind.CR: RULES.replace("\n", "\r").encode(),
        RobotsKind.HTML: b"<!doctype html><title>Welcome</title><p>User-agents are welcome</p>",
        RobotsKind.EMPTY: b"",
        RobotsKind.CRAWL_DELAY: f"{RULES}Crawl-delay: 1\n".encode(),
        RobotsKind.CRAWL_DELAY_DAY: f"{RULES}Crawl-delay: 86400\n".encode(),
        RobotsKind.CRAWL_DELAY_ODD: (RULES + "Crawl-delay: -1\nCrawl-delay: 1e999\n").encode(),
        RobotsKind.LONG_LINE: b"Allow: /" + b"x" * 400_000 + b"\n" + RULES.encode(),
        RobotsKind.STARS: f"{RULES}Disallow: {'/*a' * 100}b$\n".encode(),
    }


class RobotsSite:
    """A site with two pages, /open and /closed, linked from /, and a robots.txt of *kind*.

    The paths of hops are closed, which does not matter to robots.txt itself.
    *other* is the host:port of a `RobotsSite` of the same kind, to hop over.
    """

    def __init__(self, kind: RobotsKind, *, other: str = "") -> None:
        self.kind = kind
        self.other = other
        self.requests: Counter[str] = Counter()
        self._texts = _texts()

    def answer(self, method: str, path: str, host: str) -> Answer | Raw:
        """Count the request and answer it."""
        self.requests[path] += 1
        if path == "/robots.txt":
            return self._robots()
        if path.startswith("/hop/"):
            return self._hop(int(path.removeprefix("/hop/")))
        if path == "/":
            return page("/open", "/closed", "/open" + "/a" * 300)
        if path == "/closed" or path.startswith("/open"):
            return page("/", title=path)
        return Answer(404)

    def _robots(self) -> Answer | Raw:
        if self.kind in _STATUSES:
            return Answer(_STATUSES[self.kind])
        if self.kind is RobotsKind.UNAVAILABLE_FIRST and self.requests["/robots.txt"] == 1:
            return Answer(503)
        if self.kind is RobotsKind.LOOP:
            return location("/robots.txt")
        if self.kind in _RAW:
            return _RAW[self.kind]
        return self._hop(_HOPS.get(self.kind, 0))

    def _hop(self, remaining: int) -> Answer:
        """Lead on while hops are *remaining*: the last but one goes over the other host."""
        if remaining == 0:
            return self._text()
        where = f"http://{self.other}" if self.other and remaining == 2 else ""
        return location(f"{where}/hop/{remaining - 1}")

    def _text(self) -> Answer:
        body = self._texts.get(self.kind, RULES.encode())
        if self.kind is RobotsKind.HTML:
            return Answer(200, (("Content-Type", "text/html"),), body)
        coding = (("Content-Encoding", "gzip"),) if self.kind is RobotsKind.GZIP else ()
        return Answer(200, (("Content-Type", "text/plain"), *coding), body)


async def _silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await hang(reader)


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


_RAW: dict[RobotsKind, Raw] = {RobotsKind.SLOW: _silence, RobotsKind.RESET: _reset}
