"""Cookie files: browser exports (cookies.txt) and Playwright storage states.

Sources: the format that Netscape wrote and curl describes (https://curl.se/docs/http-cookies.html),
and `storageState` of Playwright.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from crawlyard.core.crawl.cookie import Cookie
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Invalid

_HTTP_ONLY = "#HttpOnly_"
_FAR = datetime(9999, 1, 1, tzinfo=UTC)


def cookies_in(text: str, now: datetime) -> tuple[Cookie, ...]:
    """Return the cookies in the *text* of a cookies.txt or a storage state, without expired ones.

    Raises:
        Invalid: it is neither, or all its cookies have expired; no value is quoted.
    """
    text = text.removeprefix("\ufeff")
    read = _of_json if text.lstrip()[:1] in ("{", "[") else _of_lines
    cookies = list(read(text, now))
    if not cookies:
        raise Invalid("cookies", "expected at least one cookie, found none")
    unexpired = tuple(c for c in cookies if c.expires is None or c.expires > now)
    if not unexpired:
        raise Invalid(
            "cookies", f"expired: {count_noun(len(cookies), 'cookie')}; export them again"
        )
    return unexpired


def _of_lines(text: str, now: datetime) -> Iterator[Cookie]:
    for number, whole in enumerate(text.splitlines(), 1):
        line = whole.removeprefix(_HTTP_ONLY)
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) == 6:  # an empty value whose trailing tab an editor removed
            fields.append("")
        if len(fields) != 7 or not fields[0] or not fields[5]:
            expected = "domain, subdomains, path, secure, expiry, name and value between tabs"
            raise Invalid("cookies", f"line {number}: expected {expected}")
        domain, below, path, secure, expires, name, value = fields
        yield _cookie(
            f"line {number}",
            name=name,
            value=value,
            domain=domain,
            host_only=below.upper() != "TRUE",
            path=path,
            secure=secure.upper() == "TRUE",
            expires=_instant(expires, f"line {number}"),
            created=now,
        )


def _of_json(text: str, now: datetime) -> Iterator[Cookie]:
    try:
        read = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise Invalid("cookies", "expected a cookies.txt or JSON, got JSON that is cut") from None
    listed = read.get("cookies") if isinstance(read, dict) else read
    if not isinstance(listed, list):
        raise Invalid("cookies", "expected a storage state, whose cookies are a list")
    for number, cookie in enumerate(listed, 1):
        where = f"cookie {number}"
        if not isinstance(cookie, dict) or not all(
            isinstance(cookie.get(name), str) for name in ("name", "value", "domain")
        ):
            raise Invalid("cookies", f"{where}: expected an object with name, value and domain")
        yield _cookie(
            where,
            name=cookie["name"],
            value=cookie["value"],
            domain=cookie["domain"],
            host_only=bool(cookie.get("hostOnly", not cookie["domain"].startswith("."))),
            path=str(cookie.get("path") or "/"),
            secure=bool(cookie.get("secure")),
            expires=_instant(cookie.get("expires", cookie.get("expirationDate", -1)), where),
            created=now,
        )


def _cookie(where: str, *, domain: str, path: str, **fields: Any) -> Cookie:
    texts: Sequence[str] = (domain, path, fields["name"], fields["value"])
    if any(not text.isprintable() or ";" in text for text in texts):
        raise Invalid("cookies", f"{where}: expected printable characters without ;")
    domain = domain.lower().removeprefix(".")
    if not domain:
        raise Invalid("cookies", f"{where}: expected a domain")
    return Cookie(domain=domain, path=path if path.startswith("/") else "/", **fields)


def _instant(value: object, where: str) -> datetime | None:
    """Return an expiry in seconds since 1970; 0 and less mean the end of the browser's session."""
    try:
        seconds = float(str(value))
        return None if seconds <= 0 else datetime.fromtimestamp(seconds, UTC)
    except ValueError:
        raise Invalid("cookies", f"{where}: expected an expiry in seconds") from None
    except (OverflowError, OSError):
        return _FAR
