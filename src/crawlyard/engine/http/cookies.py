"""Cookie jar of a crawl: accepts cookies of responses and selects those of a request.

Source: RFC 6265, section 5, with the safety rules of its successor (RFC 6265bis): name prefixes,
Secure only from https, a maximum life.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from crawlyard.core.crawl.cookie import (
    MAX_ATTRIBUTE_BYTES,
    MAX_JAR_BYTES,
    MAX_PAIR_BYTES,
    MAX_PER_DOMAIN,
    MAX_PER_JAR,
    Cookie,
)
from crawlyard.engine.scope import is_public_suffix, parents_of
from crawlyard.engine.urls import hostname_of, path_of

MAX_LIFE = timedelta(days=400)
MOST_OF_RESPONSE = 100  # Set-Cookie headers read per response

_CookieId = tuple[str, str, str, bool]

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # or bytes that are not UTF-8
_SPACE = " \t"
_MAX_AGE = re.compile(r"-?[0-9]+")
_DELIMITERS = re.compile(r"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9]|$)")
_DAY = re.compile(r"([0-9]{1,2})(?:[^0-9]|$)")
_YEAR = re.compile(r"([0-9]{2,4})(?:[^0-9]|$)")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class CookieJar:
    """Cookies of one job; an empty jar costs a request nothing.

    *on_first* is called when the first cookie is added.
    """

    def __init__(self) -> None:
        self.on_first: Callable[[], None] = lambda: None
        self.by_id: dict[_CookieId, Cookie] = {}  # least recently used first
        self._by_domain: dict[str, dict[_CookieId, Cookie]] = {}  # least recently set first
        self._bytes = 0
        self._changed: dict[_CookieId, tuple[str, Cookie | None]] = {}

    @classmethod
    def of(cls, cookies: Iterable[Cookie]) -> "CookieJar":
        """Return a jar with *cookies*, which don't count as changes."""
        jar = cls()
        for cookie in sorted(cookies, key=lambda cookie: cookie.created):
            jar._store(cookie)
        jar._changed.clear()
        return jar

    def after_login(self, login: Iterable[Cookie], at: datetime) -> "CookieJar":
        """Return a jar with the cookies of a *login* made at *at* and newer ones of this jar."""
        own = self.by_id.values()
        return CookieJar.of([*login, *(cookie for cookie in own if cookie.created >= at)])

    def __len__(self) -> int:
        return len(self.by_id)

    def header(self, url: str, now: datetime, exclude: Collection[str] = ()) -> str:
        """Return the Cookie header for a canonical *url*, "" if no cookie matches.

        *exclude*: names of cookies to leave out.
        """
        if not self.by_id:
            return ""
        cookies = [cookie for cookie in self._matching(url, now) if cookie.name not in exclude]
        for cookie in cookies:  # at a cap, the least recently used are dropped first
            self.by_id[cookie.identity] = self.by_id.pop(cookie.identity)
        # the order of section 5.4: some servers take the first of two cookies of one name
        cookies.sort(key=lambda cookie: (-len(cookie.path), cookie.created))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies)

    def receive(self, url: str, set_cookie_values: Sequence[str], now: datetime) -> None:
        """Add the cookies that a response of a canonical *url* sets; remove those it expires."""
        was_empty = not self.by_id
        for number, value in enumerate(set_cookie_values[:MOST_OF_RESPONSE]):
            cookie = parse_cookie(value, url, now)
            if cookie is not None and not self._would_overwrite_secure(cookie, url):
                # a microsecond apart, so that their order outlives the process
                at = now + timedelta(microseconds=number)
                self._add(replace(cookie, created=at), now)
        if was_empty and self.by_id:
            self.on_first()

    def changes(self) -> Mapping[str, Cookie | None]:
        """Return the changes since the last call, by `Cookie.key`; ``None``: it was removed."""
        if not self._changed:
            return {}
        changed, self._changed = dict(self._changed.values()), {}
        return changed

    def _matching(self, url: str, now: datetime) -> list[Cookie]:
        host, path, secure = hostname_of(url), _bare_path(url), url.startswith("https:")
        return [
            cookie
            for domain in _domains_of(host)
            for cookie in self._by_domain.get(domain, {}).values()
            if (domain == host or not cookie.host_only)
            and (secure or not cookie.secure)
            and _is_valid(cookie, now)
            and path_matches(path, cookie.path)
        ]

    def _would_overwrite_secure(self, cookie: Cookie, url: str) -> bool:
        """Return whether an http response tries to replace a Secure cookie (RFC 6265bis)."""
        if url.startswith("https:"):
            return False
        return any(
            other.secure
            and other.name == cookie.name
            and domain_matches(cookie.domain, other.domain)
            and path_matches(cookie.path, other.path)
            for domain in _domains_of(cookie.domain)
            for other in self._by_domain.get(domain, {}).values()
        )

    def _add(self, cookie: Cookie, now: datetime) -> None:
        before = self.by_id.get(cookie.identity)
        if before is not None:
            cookie = replace(cookie, created=before.created)
        if cookie.expires is not None and cookie.expires <= now:
            if before is not None:
                self._drop(before)
            return
        self._store(cookie)
        self._evict(cookie.domain, now)

    def _store(self, cookie: Cookie) -> None:
        cookie_id, of_domain = cookie.identity, self._by_domain.setdefault(cookie.domain, {})
        before = self.by_id.pop(cookie_id, None)
        of_domain.pop(cookie_id, None)
        self.by_id[cookie_id] = of_domain[cookie_id] = cookie
        if cookie != before:  # many sites set the same cookie with each page
            self._bytes += cookie.size - (before.size if before is not None else 0)
            self._changed[cookie_id] = cookie.key, cookie

    def _drop(self, cookie: Cookie) -> None:
        cookie_id, of_domain = cookie.identity, self._by_domain[cookie.domain]
        del self.by_id[cookie_id], of_domain[cookie_id]
        if not of_domain:
            del self._by_domain[cookie.domain]
        self._bytes -= cookie.size
        self._changed[cookie_id] = cookie.key, None

    def _evict(self, domain: str, now: datetime) -> None:
        """Drop cookies above the caps: expired ones, then the least recently used."""
        of_domain = self._by_domain[domain]
        if len(of_domain) > MAX_PER_DOMAIN:
            expired = (c for c in of_domain.values() if not _is_valid(c, now))
            self._drop(next(expired, _first(of_domain)))
        if self._is_over():
            for cookie in [c for c in self.by_id.values() if not _is_valid(c, now)]:
                self._drop(cookie)
        while self._is_over():
            self._drop(_first(self.by_id))

    def _is_over(self) -> bool:
        return len(self.by_id) > MAX_PER_JAR or self._bytes > MAX_JAR_BYTES


def parse_cookie(text: str, url: str, now: datetime) -> Cookie | None:
    """Return the cookie that a Set-Cookie header of *url* sets, ``None`` if it is rejected."""
    if _CONTROLS.search(text):
        return None
    pair, *attributes = text.split(";")
    name, sign, value = (part.strip(_SPACE) for part in pair.partition("="))
    if not sign or not name or len(name.encode()) + len(value.encode()) > MAX_PAIR_BYTES:
        return None
    attribute_values = _attributes(attributes)
    scope = _domain_scope(attribute_values.get("domain", ""), hostname_of(url))
    if scope is None:
        return None
    path = attribute_values.get("path", "")
    cookie = Cookie(
        name=name,
        value=value,
        domain=scope[0],
        host_only=scope[1],
        path=path if path.startswith("/") else default_path(url),
        secure="secure" in attribute_values,
        expires=_expires(attribute_values, now),
        created=now,
    )
    return cookie if _may_set(cookie, attribute_values, url) else None


def domain_matches(host: str, domain: str) -> bool:
    """Return whether a cookie of *domain* goes to *host* (section 5.1.3)."""
    return host == domain or (host.endswith(f".{domain}") and not _is_address(host))


def path_matches(path: str, of: str) -> bool:
    """Return whether a cookie of the path *of* goes with a request of *path* (section 5.1.4)."""
    if not path.startswith(of):
        return False
    return len(path) == len(of) or of.endswith("/") or path[len(of)] == "/"


def default_path(url: str) -> str:
    """Return the path of a cookie that names none: the folder of *url* (section 5.1.4)."""
    path = _bare_path(url)
    return path[: path.rindex("/")] or "/"


def cookie_date(text: str) -> datetime | None:
    """Return the date of an Expires attribute, ``None`` if it is none (section 5.1.1)."""
    time: tuple[int, int, int] | None = None
    day = month = year = 0
    for token in _DELIMITERS.split(text):
        if time is None and (match := _TIME.match(token)):
            time = (int(match[1]), int(match[2]), int(match[3]))
        elif not day and (match := _DAY.match(token)):
            day = int(match[1])
        elif not month and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif not year and (match := _YEAR.match(token)):
            year = int(match[1])
            year += 1_900 if 70 <= year <= 99 else 2_000 if year <= 69 else 0
    if time is None or year < 1_601:
        return None
    try:
        return datetime(year, month, day, *time, tzinfo=UTC)
    except ValueError:
        return None


def _attributes(parts: Iterable[str]) -> dict[str, str]:
    """Return the attributes of a cookie by lower-case name; the last of a name counts."""
    attributes: dict[str, str] = {}
    for part in parts:
        name, _, value = (piece.strip(_SPACE) for piece in part.partition("="))
        if len(value.encode()) <= MAX_ATTRIBUTE_BYTES:
            attributes[name.lower()] = value
    return attributes


def _domain_scope(domain: str, host: str) -> tuple[str, bool] | None:
    """Return the domain of a cookie of *host*, and whether it is for that host only.

    ``None`` for a domain of another host, and for a public suffix such as com and co.uk.
    """
    domain = domain.removeprefix(".").lower()
    if not domain:
        return host, True
    if not domain_matches(host, domain):
        return None
    if _is_address(host) or is_public_suffix(domain):
        return (host, True) if domain == host else None
    return domain, False


def _may_set(cookie: Cookie, attributes: Mapping[str, str], url: str) -> bool:
    """Return whether *url* may set a cookie that is Secure or has a name prefix."""
    if cookie.secure and not url.startswith("https:"):
        return False
    name = cookie.name.lower()
    if name.startswith("__secure-"):
        return cookie.secure
    if name.startswith("__host-"):
        return cookie.secure and cookie.host_only and attributes.get("path") == "/"
    return True


def _expires(attributes: Mapping[str, str], now: datetime) -> datetime | None:
    latest = now + MAX_LIFE
    age = attributes.get("max-age", "")
    if _MAX_AGE.fullmatch(age):  # before Expires
        seconds = -1 if age.startswith("-") else min(int(age[:12]), MAX_LIFE.total_seconds())
        return now + timedelta(seconds=seconds)
    at = cookie_date(attributes["expires"]) if "expires" in attributes else None
    return None if at is None else min(at, latest)


def _bare_path(url: str) -> str:
    return path_of(url).partition("?")[0]


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()


def _domains_of(host: str) -> Iterable[str]:
    """Return the domains whose cookies may go to *host*."""
    return (host,) if _is_address(host) else parents_of(host)


def _is_valid(cookie: Cookie, now: datetime) -> bool:
    return cookie.expires is None or cookie.expires > now


def _first(cookies: Mapping[_CookieId, Cookie]) -> Cookie:
    return next(iter(cookies.values()))
