"""Cookie jar of a crawl: which cookies it takes from responses, and which go with a request.

Source: RFC 6265, section 5, with what its successor (RFC 6265bis) adds for the sake of safety:
prefixes of names, Secure only from https, a longest life.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from crawlyard.core.crawl.cookie import (
    MAX_ATTRIBUTE,
    MAX_BYTES,
    MAX_OF_DOMAIN,
    MAX_OF_JAR,
    MAX_PAIR,
    Cookie,
)
from crawlyard.engine.scope import is_public_suffix, parents_of
from crawlyard.engine.urls import hostname_of, path_of

LONGEST_LIFE = timedelta(days=400)
MOST_OF_RESPONSE = 100  # Set-Cookie headers that are read of one response

_Place = tuple[str, str, str, bool]

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

    *begun* is called when the first cookie comes.
    """

    def __init__(self) -> None:
        self.begun: Callable[[], None] = lambda: None
        self._all: dict[_Place, Cookie] = {}  # the one used last at the end
        self._of: dict[str, dict[_Place, Cookie]] = {}  # by domain, the one set last at the end
        self._bytes = 0
        self._changed: dict[_Place, tuple[str, Cookie | None]] = {}

    @classmethod
    def of(cls, cookies: Iterable[Cookie]) -> "CookieJar":
        """Return a jar that begins with *cookies*, which are no changes."""
        jar = cls()
        for cookie in sorted(cookies, key=lambda cookie: cookie.created):
            jar._put(cookie)
        jar._changed.clear()
        return jar

    def renewed(self, login: Iterable[Cookie], at: datetime) -> "CookieJar":
        """Return a jar with the cookies of a *login* made at *at*, and those of ours since then."""
        own = (cookie for kept in self._of.values() for cookie in kept.values())
        return CookieJar.of([*login, *(cookie for cookie in own if cookie.created >= at)])

    def __len__(self) -> int:
        return len(self._all)

    def header(self, url: str, now: datetime, without: Collection[str] = ()) -> str:
        """Return the Cookie header for a canonical *url*, "" if no cookie goes with it.

        Cookies *without* which it is wanted are those of these names.
        """
        if not self._all:
            return ""
        found = [cookie for cookie in self._matching(url, now) if cookie.name not in without]
        for cookie in found:  # at a cap, those go first that were used longest ago
            self._all[cookie.place] = self._all.pop(cookie.place)
        # the order of section 5.4: some servers take the first of two cookies of one name
        found.sort(key=lambda cookie: (-len(cookie.path), cookie.created))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in found)

    def receive(self, url: str, set_cookie_values: Sequence[str], now: datetime) -> None:
        """Take the cookies that the response to a canonical *url* sets, and drop those it ends."""
        was_empty = not self._all
        for number, value in enumerate(set_cookie_values[:MOST_OF_RESPONSE]):
            cookie = parsed(value, url, now)
            if cookie is not None and not self._shields(cookie, url):
                # a microsecond apart, so that their order outlives the process
                at = now + timedelta(microseconds=number)
                self._take(replace(cookie, created=at), now)
        if was_empty and self._all:
            self.begun()

    def changes(self) -> Mapping[str, Cookie | None]:
        """Return what has changed since the last call, by `Cookie.key`; ``None``: it is gone."""
        if not self._changed:
            return {}
        changed, self._changed = dict(self._changed.values()), {}
        return changed

    def _matching(self, url: str, now: datetime) -> list[Cookie]:
        host, path, secure = hostname_of(url), _bare_path(url), url.startswith("https:")
        return [
            cookie
            for domain in _domains_of(host)
            for cookie in self._of.get(domain, {}).values()
            if (domain == host or not cookie.host_only)
            and (secure or not cookie.secure)
            and _lives(cookie, now)
            and path_matches(path, cookie.path)
        ]

    def _shields(self, cookie: Cookie, url: str) -> bool:
        """Return whether a Secure cookie stands where http would put another of its name."""
        if url.startswith("https:"):
            return False
        return any(
            kept.secure
            and kept.name == cookie.name
            and domain_matches(cookie.domain, kept.domain)
            and path_matches(cookie.path, kept.path)
            for domain in _domains_of(cookie.domain)
            for kept in self._of.get(domain, {}).values()
        )

    def _take(self, cookie: Cookie, now: datetime) -> None:
        before = self._all.get(cookie.place)
        if before is not None:
            cookie = replace(cookie, created=before.created)
        if cookie.expires is not None and cookie.expires <= now:
            if before is not None:
                self._drop(before)
            return
        self._put(cookie)
        self._make_room(cookie.domain, now)

    def _put(self, cookie: Cookie) -> None:
        place, kept = cookie.place, self._of.setdefault(cookie.domain, {})
        before = self._all.pop(place, None)
        kept.pop(place, None)
        self._all[place] = kept[place] = cookie
        if cookie != before:  # many sites set the same one with each page
            self._bytes += cookie.size - (before.size if before is not None else 0)
            self._changed[place] = cookie.key, cookie

    def _drop(self, cookie: Cookie) -> None:
        place, kept = cookie.place, self._of[cookie.domain]
        del self._all[place], kept[place]
        if not kept:
            del self._of[cookie.domain]
        self._bytes -= cookie.size
        self._changed[place] = cookie.key, None

    def _make_room(self, domain: str, now: datetime) -> None:
        """Drop what is over the caps: what has expired, then what was used longest ago."""
        mine = self._of[domain]
        if len(mine) > MAX_OF_DOMAIN:
            self._drop(next((c for c in mine.values() if not _lives(c, now)), _first(mine)))
        if self._is_over():
            for cookie in [c for c in self._all.values() if not _lives(c, now)]:
                self._drop(cookie)
        while self._is_over():
            self._drop(_first(self._all))

    def _is_over(self) -> bool:
        return len(self._all) > MAX_OF_JAR or self._bytes > MAX_BYTES


def parsed(text: str, url: str, now: datetime) -> Cookie | None:
    """Return the cookie that a Set-Cookie header of *url* sets, ``None`` if it is refused."""
    if _CONTROLS.search(text):
        return None
    pair, *attributes = text.split(";")
    name, sign, value = (part.strip(_SPACE) for part in pair.partition("="))
    if not sign or not name or len(name.encode()) + len(value.encode()) > MAX_PAIR:
        return None
    given = _attributes(attributes)
    placed = _domain(given.get("domain", ""), hostname_of(url))
    if placed is None:
        return None
    path = given.get("path", "")
    cookie = Cookie(
        name=name,
        value=value,
        domain=placed[0],
        host_only=placed[1],
        path=path if path.startswith("/") else default_path(url),
        secure="secure" in given,
        expires=_expires(given, now),
        created=now,
    )
    return cookie if _may_set(cookie, given, url) else None


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
        if time is None and (found := _TIME.match(token)):
            time = (int(found[1]), int(found[2]), int(found[3]))
        elif not day and (found := _DAY.match(token)):
            day = int(found[1])
        elif not month and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif not year and (found := _YEAR.match(token)):
            year = int(found[1])
            year += 1_900 if 70 <= year <= 99 else 2_000 if year <= 69 else 0
    if time is None or year < 1_601:
        return None
    try:
        return datetime(year, month, day, *time, tzinfo=UTC)
    except ValueError:
        return None


def _attributes(parts: Iterable[str]) -> dict[str, str]:
    """Return the attributes of a cookie by their names in lower case; the last of a name counts."""
    found: dict[str, str] = {}
    for part in parts:
        name, _, value = (piece.strip(_SPACE) for piece in part.partition("="))
        if len(value.encode()) <= MAX_ATTRIBUTE:
            found[name.lower()] = value
    return found


def _domain(asked: str, host: str) -> tuple[str, bool] | None:
    """Return the domain of a cookie of *host*, and whether it is the host's own alone.

    ``None``: it is another's, or one under which anybody can have a name, as com and co.uk are.
    """
    asked = asked.removeprefix(".").lower()
    if not asked:
        return host, True
    if not domain_matches(host, asked):
        return None
    if _is_address(host) or is_public_suffix(asked):
        return (host, True) if asked == host else None
    return asked, False


def _may_set(cookie: Cookie, given: Mapping[str, str], url: str) -> bool:
    """Return whether *url* may set a cookie that claims to be Secure, or has a prefix."""
    if cookie.secure and not url.startswith("https:"):
        return False
    name = cookie.name.lower()
    if name.startswith("__secure-"):
        return cookie.secure
    if name.startswith("__host-"):
        return cookie.secure and cookie.host_only and given.get("path") == "/"
    return True


def _expires(given: Mapping[str, str], now: datetime) -> datetime | None:
    latest = now + LONGEST_LIFE
    age = given.get("max-age", "")
    if _MAX_AGE.fullmatch(age):  # before Expires
        seconds = -1 if age.startswith("-") else min(int(age[:12]), LONGEST_LIFE.total_seconds())
        return now + timedelta(seconds=seconds)
    at = cookie_date(given["expires"]) if "expires" in given else None
    return None if at is None else min(at, latest)


def _bare_path(url: str) -> str:
    return path_of(url).partition("?")[0]


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()


def _domains_of(host: str) -> Iterable[str]:
    """Return the domains whose cookies may go to *host*."""
    return (host,) if _is_address(host) else parents_of(host)


def _lives(cookie: Cookie, now: datetime) -> bool:
    return cookie.expires is None or cookie.expires > now


def _first(kept: Mapping[_Place, Cookie]) -> Cookie:
    return next(iter(kept.values()))
