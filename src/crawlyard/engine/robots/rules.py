"""robots.txt parser and rules.

Source: RFC 9309; where it leaves room (misspelt keys, crawl-delay), practice of large crawlers.
"""

import codecs
import math
from collections.abc import Iterable, Iterator
from string import ascii_letters, digits, hexdigits

from msgspec import Struct, field

MAX_PARSED = 500 * 1024
"""Bytes read of a file: the minimum that RFC 9309 §2.5 requires."""

_USER_AGENT = {b"user-agent", b"useragent", b"user agent"}
_ALLOW = {b"allow"}
_DISALLOW = {b"disallow", b"dissallow", b"dissalow", b"disalow", b"diasllow", b"disallaw"}
_CRAWL_DELAY = {b"crawl-delay", b"crawldelay"}
_SITEMAP = {b"sitemap", b"site-map"}

_ANY_AGENT = "*"
_TOKEN = frozenset((ascii_letters + digits + "_-.").encode())
_HEX = frozenset(hexdigits.encode())
_UNRESERVED = frozenset((ascii_letters + digits + "-._~").encode())
_PLAIN = _UNRESERVED | frozenset(b":/?#[]@!&'()+,;=")  # without "*" and "$", which are special


def token_of(agent: str) -> str:
    """Return the robots.txt product token of *agent*, a whole User-Agent value, in lower case.

    It is the first product; for «Mozilla/5.0 (compatible; Name/1.0; …)» it is Name.
    """
    if agent[:8].lower() == "mozilla/":
        _, separator, rest = agent.partition("compatible;")
        if separator:
            agent = rest
    return _token(agent.strip().encode("utf-8", "replace"))


class _Rule(Struct, frozen=True):
    """Path pattern, prepared for matching in one pass over the path."""

    allow: bool
    value: bytes  # as written in the file
    octets: int  # length of the pattern; the longest match wins
    parts: tuple[str, ...]  # the text between the asterisks
    anchored: bool  # it ends with "$"

    @property
    def line(self) -> str:
        """The line of the file, for display."""
        key = "Allow" if self.allow else "Disallow"
        return f"{key}: {self.value.decode('utf-8', 'replace')}"

    def matches(self, path: str) -> bool:
        """Return whether the normalised *path* matches, in time linear in its length.

        The first position where a part matches is as good as any later one, so there is no
        backtracking.
        """
        head, *rest = self.parts
        if not path.startswith(head):
            return False
        at = len(head)
        if not rest:
            return not self.anchored or at == len(path)
        *middle, tail = rest
        for part in middle:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
        if self.anchored:
            return len(path) - len(tail) >= at and path.endswith(tail)
        return path.find(tail, at) >= 0


class RobotsRules:
    """Rules of one site for one agent.

    *delay_s* is the crawl-delay in seconds, ``None`` if there is none; *sitemaps* are the
    values as written, in file order.
    """

    def __init__(
        self,
        rules: Iterable[_Rule] = (),
        delay_s: float | None = None,
        sitemaps: tuple[str, ...] = (),
    ) -> None:
        self.delay_s = delay_s
        self.sitemaps = sitemaps
        # Most rules are plain prefixes. One look-up per length instead of one test per
        # rule keeps a file of 40,000 rules from costing milliseconds per URL.
        self._prefixes: dict[str, _Rule] = {}
        wild = []
        for rule in rules:
            if len(rule.parts) > 1 or rule.anchored:
                wild.append(rule)
            elif rule.allow or rule.parts[0] not in self._prefixes:
                self._prefixes[rule.parts[0]] = rule
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)
        # in order of precedence: longest first; of equal length, Allow first
        self._wild = sorted(wild, key=lambda rule: (-rule.octets, not rule.allow))

    def verdict(self, path: str) -> str | None:
        """Return the line that disallows *path* (with its query), ``None`` if it is allowed."""
        if path == "/robots.txt" or not (self._lengths or self._wild):
            return None
        path = _normalise(path.encode("utf-8", "replace"))
        best: _Rule | None = None
        size = len(path)
        for length in self._lengths:
            if length <= size and (best := self._prefixes.get(path[:length])):
                break
        for rule in self._wild:
            if best and (rule.octets, rule.allow) <= (best.octets, best.allow):
                break
            if rule.matches(path):
                best = rule
                break
        return None if best is None or best.allow else best.line


ALLOW_ALL = RobotsRules()
"""Rules of a site without robots.txt."""


def parse(body: bytes, agent: str) -> RobotsRules:
    """Parse *body*, a robots.txt file, for *agent* (a whole User-Agent value).

    Nothing in it is an error: unknown lines are ignored, and so is a line that is cut at
    `MAX_PARSED`.
    """
    reader = _Reader(token_of(agent))
    sitemaps: list[str] = []
    for key, value in _records(body):
        if key in _USER_AGENT:
            reader.agent(value)
        elif key in _ALLOW or key in _DISALLOW:
            reader.rule(value, allow=key in _ALLOW)
        elif key in _CRAWL_DELAY:
            reader.delay(value)
        elif key in _SITEMAP and value:
            sitemaps.append(value.decode("utf-8", "replace"))
    section = reader.section()
    return RobotsRules(section.rules, section.delay_s, tuple(sitemaps))


class _Section(Struct):
    """Rules for one agent, merged from all its groups."""

    rules: list[_Rule] = field(default_factory=list)
    delay_s: float | None = None


class _Reader:
    """Tracks the groups of a file that apply to one agent.

    A rule ends the list of agents before it; other records may stand between the agents
    (RFC 9309 §2.2.1). A crawl-delay is such a record, but an agent listed after it does not
    inherit it, as each agent may have its own.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._sections: dict[str, _Section] = {}
        self._group: set[str] = set()  # names that the next rule applies to
        self._paced: set[str] = set()  # names that the next crawl-delay applies to
        self._ruled = self._delayed = False

    def agent(self, value: bytes) -> None:
        if self._ruled:
            self._group = set()
        if self._ruled or self._delayed:
            self._paced = set()
        self._ruled = self._delayed = False
        name = _ANY_AGENT if value.split()[:1] == [b"*"] else _token(value)
        if name in {self._token, _ANY_AGENT}:
            self._sections.setdefault(name, _Section())
            self._group.add(name)
            self._paced.add(name)

    def rule(self, value: bytes, *, allow: bool) -> None:
        self._ruled = True
        if self._group and value:
            rule = _rule(value, allow=allow)
            for name in self._group:
                self._sections[name].rules.append(rule)

    def delay(self, value: bytes) -> None:
        self._delayed = True
        for name in self._paced:
            section = self._sections[name]
            section.delay_s = _longer_delay(section.delay_s, value)

    def section(self) -> _Section:
        """Return the section of the agent's name, else the one of "*", else an empty one."""
        return self._sections.get(self._token) or self._sections.get(_ANY_AGENT) or _Section()


def _records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the key (in lower case) and the value of each line of *body*."""
    cut = len(body) > MAX_PARSED
    body = body[:MAX_PARSED]
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        body = body.decode("utf-16", "replace").encode("utf-8", "replace")
    lines = body.removeprefix(codecs.BOM_UTF8).splitlines()
    for line in lines[:-1] if cut else lines:
        key, colon, value = line.partition(b"#")[0].partition(b":")
        if colon:
            yield key.strip().lower(), value.strip(b" \t\0\v\f")


def _token(value: bytes) -> str:
    """Return the product token that *value* begins with, in lower case; it may be empty."""
    end = next((i for i, octet in enumerate(value) if octet not in _TOKEN), len(value))
    return value[:end].decode("ascii").lower()


def _rule(value: bytes, *, allow: bool) -> _Rule:
    if _PLAIN.issuperset(value):  # nearly always true, and twice as fast
        return _Rule(allow, value, len(value), (value.decode("ascii"),), anchored=False)
    anchored = value.endswith(b"$")
    head, *rest = [_normalise(part) for part in value.removesuffix(b"$").split(b"*")]
    # "a**b" equals "a*b", and a final asterisk has no effect, with "$" or without:
    # "/a*" equals "/a" and has the same length
    if rest and not rest[-1]:
        anchored = False
    *middle, tail = [part for part in rest if part] or [""]
    parts = (head, *middle, tail) if tail else (head,)
    octets = sum(map(len, parts)) + len(parts) - 1 + anchored
    return _Rule(allow, value, octets, parts, anchored)


def _normalise(text: bytes) -> str:
    """Return *text* with each octet in one canonical spelling.

    Escaped unreserved characters are decoded; all other octets without a meaning in URLs
    are escaped in upper-case hex. So "%7e" becomes "~" and "ä" becomes "%C3%A4", but "%2F"
    does not become "/".
    """
    if _PLAIN.issuperset(text):  # nearly always
        return text.decode("ascii")
    out = []
    at = 0
    while at < len(text):
        octet = text[at]
        if octet == 0x25 and len(text) > at + 2 and _HEX.issuperset(text[at + 1 : at + 3]):
            octet = int(text[at + 1 : at + 3], 16)
            at += 2
            plain = octet in _UNRESERVED
        else:
            plain = octet in _PLAIN or octet == 0x25
        out.append(chr(octet) if plain else f"%{octet:02X}")
        at += 1
    return "".join(out)


def _longer_delay(current: float | None, value: bytes) -> float | None:
    """Return the longer of *current* and the crawl-delay in *value*; ignore an invalid *value*."""
    try:
        delay_s = float(value)
    except ValueError:
        return current
    if not math.isfinite(delay_s) or delay_s < 0:
        return current
    return delay_s if current is None else max(current, delay_s)
