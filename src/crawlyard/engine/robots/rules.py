"""What a site's robots.txt allows.

Source: RFC 9309, and where it leaves room (misspelt keys, crawl-delay) what large crawlers do.
"""

import codecs
import math
from collections.abc import Iterable, Iterator
from string import ascii_letters, digits, hexdigits

from msgspec import Struct, field

MAX_PARSED = 500 * 1024
"""Bytes that are read of a file, the least that RFC 9309 §2.5 asks for."""

_USER_AGENT = {b"user-agent", b"useragent", b"user agent"}
_ALLOW = {b"allow"}
_DISALLOW = {b"disallow", b"dissallow", b"dissalow", b"disalow", b"diasllow", b"disallaw"}
_CRAWL_DELAY = {b"crawl-delay", b"crawldelay"}
_SITEMAP = {b"sitemap", b"site-map"}

_ANYONE = "*"
_TOKEN = frozenset((ascii_letters + digits + "_-.").encode())
_HEX = frozenset(hexdigits.encode())
_UNRESERVED = frozenset((ascii_letters + digits + "-._~").encode())
_PLAIN = _UNRESERVED | frozenset(b":/?#[]@!&'()+,;=")  # "*" and "$" have a meaning of their own


def token_of(agent: str) -> str:
    """Return the name by which robots.txt knows *agent*, a whole User-Agent value, in lower case.

    It is the first product; of «Mozilla/5.0 (compatible; Name/1.0; …)» it is Name.
    """
    if agent[:8].lower() == "mozilla/":
        _, found, rest = agent.partition("compatible;")
        if found:
            agent = rest
    return _token(agent.strip().encode("utf-8", "replace"))


class _Rule(Struct, frozen=True):
    """One path pattern, ready to be matched in one pass over the path."""

    allow: bool
    value: bytes  # as it is written
    octets: int  # of the pattern: the longest wins
    parts: tuple[str, ...]  # what stood between the asterisks
    anchored: bool  # it ends with "$"

    @property
    def line(self) -> str:
        """Return the line of the file, as it is shown."""
        key = "Allow" if self.allow else "Disallow"
        return f"{key}: {self.value.decode('utf-8', 'replace')}"

    def matches(self, path: str) -> bool:
        """Tell whether the normalised *path* fits, in time linear in its length.

        The first place where a part fits is as good as any later one, so nothing is
        ever tried twice.
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
    """What one site lets one agent do.

    *delay_s* is the crawl-delay in seconds, ``None`` when there is none; *sitemaps*
    are the values as they are written, in the file's order.
    """

    def __init__(
        self,
        rules: Iterable[_Rule] = (),
        delay_s: float | None = None,
        sitemaps: tuple[str, ...] = (),
    ) -> None:
        self.delay_s = delay_s
        self.sitemaps = sitemaps
        # Most rules are plain prefixes: a look-up per length instead of a test per
        # rule keeps a file of 40,000 rules from costing milliseconds a URL.
        self._prefixes: dict[str, _Rule] = {}
        wild = []
        for rule in rules:
            if len(rule.parts) > 1 or rule.anchored:
                wild.append(rule)
            elif rule.allow or rule.parts[0] not in self._prefixes:
                self._prefixes[rule.parts[0]] = rule
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)
        # the winner first: the longest; of two that are equally long, the one that allows
        self._wild = sorted(wild, key=lambda rule: (-rule.octets, not rule.allow))

    def verdict(self, path: str) -> str | None:
        """Return the line that forbids *path* (with its query), ``None`` if it is allowed."""
        if path == "/robots.txt" or not (self._lengths or self._wild):
            return None
        path = _normalised(path.encode("utf-8", "replace"))
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
"""What a site without robots.txt says."""


def parse(body: bytes, agent: str) -> RobotsRules:
    """Return what *body*, a robots.txt file, says to *agent* (a whole User-Agent value).

    Nothing in it is an error: what is not understood is passed over, a line that
    `MAX_PARSED` cuts included.
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
    """What the file says to one agent, all its groups merged."""

    rules: list[_Rule] = field(default_factory=list)
    delay_s: float | None = None


class _Reader:
    """Follows the groups of a file, as far as they concern one agent.

    Rules end the list of agents before them; any other record may stand among the
    agents (RFC 9309 §2.2.1). A crawl-delay is such a record, but where each agent
    has one of its own, it is not the next agent's.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._sections: dict[str, _Section] = {}
        self._group: set[str] = set()  # names that the next rule is for
        self._paced: set[str] = set()  # and those that the next crawl-delay is for
        self._ruled = self._delayed = False

    def agent(self, value: bytes) -> None:
        if self._ruled:
            self._group = set()
        if self._ruled or self._delayed:
            self._paced = set()
        self._ruled = self._delayed = False
        name = _ANYONE if value.split()[:1] == [b"*"] else _token(value)
        if name in {self._token, _ANYONE}:
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
            section.delay_s = _slower(section.delay_s, value)

    def section(self) -> _Section:
        """Return what is said to the agent by name or else to anyone, or else nothing."""
        return self._sections.get(self._token) or self._sections.get(_ANYONE) or _Section()


def _records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys, in lower case, and the values of the lines of *body*."""
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
    """Return the product name that *value* begins with, in lower case; it may be empty."""
    end = next((i for i, octet in enumerate(value) if octet not in _TOKEN), len(value))
    return value[:end].decode("ascii").lower()


def _rule(value: bytes, *, allow: bool) -> _Rule:
    if _PLAIN.issuperset(value):  # nearly always, and twice as fast
        return _Rule(allow, value, len(value), (value.decode("ascii"),), anchored=False)
    anchored = value.endswith(b"$")
    head, *rest = [_normalised(part) for part in value.removesuffix(b"$").split(b"*")]
    # "a**b" is "a*b", and an asterisk at the end says nothing, with "$" or without:
    # "/a*" is "/a", and as long
    if rest and not rest[-1]:
        anchored = False
    *middle, tail = [part for part in rest if part] or [""]
    parts = (head, *middle, tail) if tail else (head,)
    octets = sum(map(len, parts)) + len(parts) - 1 + anchored
    return _Rule(allow, value, octets, parts, anchored)


def _normalised(text: bytes) -> str:
    """Return *text* with one spelling for each octet.

    Escapes of unreserved characters are undone, all other octets that mean nothing in
    a URL are escaped, by upper-case hex: so "%7e" is "~" and "ä" is "%C3%A4", but "%2F"
    is not "/".
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


def _slower(known: float | None, value: bytes) -> float | None:
    """Return the longer of two crawl-delays, *value* being the text of one."""
    try:
        delay_s = float(value)
    except ValueError:
        return known
    if not math.isfinite(delay_s) or delay_s < 0:
        return known
    return delay_s if known is None else max(known, delay_s)
