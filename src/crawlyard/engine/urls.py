"""One spelling for every URL, and what can be read off it."""

import re
from collections.abc import Iterable

import can_ada
import xxhash

from crawlyard.engine.link_cache import LinkCache, folder_of, is_simple
from crawlyard.errors import Invalid

MAX_URL = 8_192
"""Characters: what servers commonly take (Apache 8,190; nginx 8 kB a line). RFC 9110 §4.1
asks for 8,000 at least."""

_SCHEMES = ("http://", "https://")
_SHOWN = 200  # characters of a refused value in its message
_USERINFO = re.compile(r"//[^/?#\s]*@")
MAX_PORT = 65_535
_AUTHORITY = re.compile(
    r"\s*https?:[/\\]*(?:[^/\\?#]*@)?(?P<host>\[[^\]/]*\]?|[^:/\\?#]*)(?::(?P<port>[^/\\?#]*))?",
    re.IGNORECASE,
)
_NO_SCHEME = re.compile(
    r"(?P<host>[\w.-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d+))?(?:[/?#].*)?", re.IGNORECASE
)
_SIGN = 1 << 63
_JOINS = LinkCache()  # of all jobs: what a link leads to depends on nothing else
_NO_HOST = frozenset("/?#@\\*")  # what ends or precedes a host in a URL; and no host has a star


def canonical(url: str) -> str:
    """Return *url* in the one spelling that a browser would send, without its fragment.

    Only what the standard calls equal is merged: case of scheme and host, default
    ports, dot segments, the many spellings of an IPv4 address, IDNA. The case and the
    escapes of the path, a trailing slash and the order of the query stay. A user name
    and a password are dropped: credentials are never stored with URLs.

    The result is ASCII, has a path, and is its own canonical spelling.

    Raises:
        Invalid: it is not an absolute http or https URL, its host cannot be a name or
            an address, or its spelling is longer than `MAX_URL` characters.

    Source: WHATWG URL Standard.
    """
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):  # a lone surrogate is a TypeError
        raise Invalid("url", f"expected {_parts_expected(url)}") from None
    kept = _kept(parsed)
    if kept is None:
        raise Invalid("url", f"expected {_expected(parsed)}, got {_shown(url)}{_offer(url)}")
    return kept


def has_credentials(url: str) -> bool:
    """Tell whether *url*, as somebody wrote it, has a user name or a password in it.

    Raises:
        Invalid: it is not an absolute http or https URL.
    """
    canonical(url)
    return bool(can_ada.parse(url).has_credentials())


class Base:
    """What the links of one page are relative to: its URL, or what its <base href> says.

    As in a browser, *href* (of the first <base> that has one) counts if it is a URL,
    otherwise *url* does. `credentials` counts the joined links that had a user name or a
    password, which is dropped.

    Raises:
        Invalid: *url* is not an absolute URL.
    """

    __slots__ = ("_base", "credentials")

    def __init__(self, url: str, href: str | None = None) -> None:
        self.credentials = 0
        try:
            self._base = can_ada.parse(url)
        except (ValueError, TypeError):
            raise Invalid("url", f"expected an absolute URL, got {_shown(url)}") from None
        if href is not None:
            self._move(href)

    def _move(self, href: str) -> None:
        try:
            base = self._base + href
        except (ValueError, TypeError):
            return
        if base.protocol not in {"data:", "javascript:"}:
            self._base = base

    def join(self, href: str) -> str | None:
        """Return the canonical URL that *href* leads to, ``None`` if it is no http(s) URL."""
        try:
            url = self._base + href
        except (ValueError, TypeError):
            return None
        named = "@" in href and url.has_credentials()
        kept = _kept(url)
        self.credentials += named and kept is not None
        return kept

    def joined(self, hrefs: Iterable[str]) -> tuple[str, ...]:
        """Return what `join` makes of *hrefs*, each http(s) URL once, in their order."""
        # the fragment first: two thirds of all links differ from another by it alone
        bare = dict.fromkeys([h if "#" not in h else h[: h.index("#")] for h in hrefs])
        folder = folder_of(self._base.href)
        known, before = _JOINS.of(folder)
        had = len(known)
        # all at once, and then one by one those that were not found so: mostly there are few
        urls = list(map(known.get, bare))
        if None in urls:
            for place, href in enumerate(bare):
                if urls[place] is None:
                    url = before.get(href)
                    if url is None:
                        url = self.join(href) or ""
                    if folder and is_simple(href) and "@" not in href:  # credentials are counted
                        known[href] = url
                    urls[place] = url
            _JOINS.took(len(known) - had)
        return tuple(filter(None, dict.fromkeys(urls)))


def fingerprint(url: str) -> int:
    """Return the key of a canonical *url* in a job: its xxh3 hash as a signed 64-bit integer."""
    # the two operations give a hash's upper half its sign: databases know no unsigned integers
    return (xxhash.xxh3_64_intdigest(url.encode()) ^ _SIGN) - _SIGN


def fingerprints(urls: Iterable[str]) -> list[int]:
    """Return the `fingerprint` of each of *urls*; of many, in half the time."""
    digest = xxhash.xxh3_64_intdigest
    return [(digest(url.encode()) ^ _SIGN) - _SIGN for url in urls]


def host_of(url: str) -> str:
    """Return the host of a canonical *url*, with a port that is not the scheme's own.

    It is the key of all that is kept by host, so a dot at the end of the name is left out:
    "example.org." is the same name in the DNS, and would have a pace and rules of its own.
    The URL keeps it, as WHATWG has it: a server may tell the two apart.

    Source: RFC 1034 §3.1 (the dot stands for the root, above every name).
    """
    host = url[url.index("/") + 2 : url.index("/", 8)]
    return host if host[-1] != "." and ".:" not in host else _undotted(host)


def judged(url: str) -> str:
    """Return a canonical *url* as rules see it: its host is spelled as `host_of` writes it."""
    if "./" not in url and ".:" not in url:  # almost always, and every link is asked
        return url
    return origin_of(url) + path_of(url)


def _undotted(host: str) -> str:
    name, colon, port = host.partition(":")
    return f"{name.removesuffix('.')}{colon}{port}"


def host_named(text: str) -> str:
    """Return the host that *text* names, as `host_of` writes it: ``example.org:8080``.

    Ports 80 and 443 are taken for the schemes' own. A whole URL names its host as well.

    Raises:
        Invalid: it names none.
    """
    expected = f"expected a host such as example.org or example.org:8080, got {_shown(text)}"
    if "//" in text:
        try:
            return host_of(canonical(text))
        except Invalid:
            raise Invalid("host", expected) from None
    if not text or any(char in _NO_HOST or char.isspace() for char in text):
        raise Invalid("host", expected)
    scheme = "http" if text.endswith(":80") else "https"
    try:
        return host_of(canonical(f"{scheme}://{text}/"))
    except Invalid:
        raise Invalid("host", expected) from None


def origin_of(url: str) -> str:
    """Return scheme and host of a canonical *url*, as `host_of` writes it: a robots.txt is its."""
    return f"{url[: url.index('/')]}//{host_of(url)}"


def spelled_origin_of(url: str) -> str:
    """Return scheme, host and port of a canonical *url* as they stand: who may have a secret."""
    return url[: url.index("/", 8)]


def path_of(url: str) -> str:
    """Return path and query of a canonical *url*, as they are sent and as robots.txt sees them."""
    return url[url.index("/", 8) :]


def hostname_of(url: str) -> str:
    """Return the host of a canonical *url* without a port; an IPv6 address has no brackets."""
    host = host_of(url)
    if host.startswith("["):
        return host[1 : host.index("]")]
    return host.partition(":")[0]


def port_of(url: str) -> int:
    """Return the port that a canonical *url* leads to, the scheme's own where it names none."""
    _, _, port = host_of(url).rpartition("]")[2].partition(":")
    if port:
        return int(port)
    return 443 if url.startswith("https:") else 80


def _kept(url: can_ada.URL) -> str | None:
    """Return the spelling of *url* that is kept, ``None`` if it is not to be crawled."""
    text: str = url.href
    # a host that no resolver takes ("a..b", a label of 64 characters) is refused here,
    # since some fail on it with an error that names no cause
    if not text.startswith(_SCHEMES) or not url.has_valid_domain():
        return None
    if "@" in text and url.has_credentials():
        url.username = url.password = ""
        text = url.href
    if "#" in text:  # it is escaped everywhere but before the fragment
        text = text[: text.index("#")]
    if "^" in text:  # the parser follows a standard without it among what a path escapes
        path, mark, query = text.partition("?")
        text = path.replace("^", "%5E") + mark + query
    return text if len(text) <= MAX_URL else None


def _expected(url: can_ada.URL) -> str:
    if not url.href.startswith(_SCHEMES):
        return "an http or https URL"
    if not url.has_valid_domain():
        return "a host name with labels of 1 to 63 characters, 253 in all"
    return f"a URL of at most {MAX_URL:,} characters"


def _parts_expected(url: str) -> str:
    """Return what was expected of a URL that cannot be parsed, and which part of it cannot be."""
    found = _AUTHORITY.match(url)
    if found is None or not url.isprintable():
        return f"an absolute http or https URL, got {_shown(url)}{_offer(url)}"
    host, port = found["host"], found["port"]
    if host and port and not (len(port) <= 5 and port.isdecimal() and int(port) <= MAX_PORT):
        return f"a port from 1 to {MAX_PORT}, got {_shown(port)} in {_shown(url)}"
    return f"a host name or an IP address, got {_shown(host)} in {_shown(url)}"


def _offer(url: str) -> str:
    """Return the question whether *url* was meant with a scheme in front, if that makes a URL."""
    found = _NO_SCHEME.fullmatch(url)
    if found is None or len(url) > _SHOWN:
        return ""
    host = found["host"]
    named = "." in host and not host.endswith(".localhost") and host.strip("0123456789.") != ""
    if "." not in host and host != "localhost" and not host.startswith("[") and not found["port"]:
        return ""  # any word could be a host
    try:
        whole = canonical(f"https://{url}" if named else f"http://{url}")
    except Invalid:
        return ""
    return f"; did you mean {whole}?"


def _shown(url: str) -> str:
    url = _USERINFO.sub("//***@", url)
    return repr(url if len(url) <= _SHOWN else url[:_SHOWN] + "…")
