"""The session of a job, and the rules by which an answer shows that it is logged out."""

import re
from collections.abc import Sequence
from typing import Annotated, TypeAlias

from msgspec import Struct

from crawlyard.core.crawl.page import parse_status
from crawlyard.core.fields import Panel, about
from crawlyard.errors import Invalid

MAX_SESSION_NAME = 64
_MOST_RULES = 10

SessionName: TypeAlias = Annotated[
    str,
    about(
        "name of one of your sessions; the crawl uses its credentials",
        help="Use the credentials of this session (crawlyard sessions).",
        panel=Panel.ACCESS,
        metavar="NAME",
        longest=MAX_SESSION_NAME,
    ),
]

LoggedOutWords: TypeAlias = Annotated[
    tuple[str, ...],
    about(
        "responses that show that the session is logged out: status:401, redirect:GLOB, "
        "selector:CSS, or never; empty: status 401, a redirect to the login page, or its form",
        label="Logged out if",
        help="Pause if a response shows a logout: status:401, redirect:GLOB or selector:CSS. "
        "Repeatable.",
        panel=Panel.ACCESS,
        metavar="RULE",
        of="rules",
        editable=True,
        longest=_MOST_RULES,
    ),
]

NEVER = "never"
_KINDS = "status:401, redirect:GLOB, selector:CSS or never"

LOGIN_PATH = re.compile(r"(?:^|[/._-])(?:log|sign)[-_]?[io]n(?:[/._?&;-]|$)", re.IGNORECASE)
"""The path of a login page: /login, /users/sign_in, /wp-login.php, /sign-on/…"""


class LoggedOutRules(Struct, frozen=True, kw_only=True):
    """When an answer to a request with a session's credentials counts as logged out."""

    statuses: tuple[int, ...] = ()  # below 10: a class, such as 4 for 4xx
    redirects: tuple[str, ...] = ()  # patterns of where they lead
    selectors: tuple[str, ...] = ()  # CSS of what only a logged-out page has
    guesses: bool = False  # also redirects to a likely login page, and pages with its form


GUESSED = LoggedOutRules(statuses=(401,), guesses=True)


def rules_of(words: Sequence[str]) -> LoggedOutRules:
    """Return the rules that the words of a spec stand for; without words, `GUESSED`.

    Raises:
        Invalid: a word is no rule; the message quotes it.
    """
    if not words:
        return GUESSED
    if NEVER in words:
        if len(words) > 1:
            raise Invalid("logged_out", f"expected {NEVER!r} alone, got other rules beside it")
        return LoggedOutRules()
    values: dict[str, list[str]] = {"status": [], "redirect": [], "selector": []}
    for word in words:
        kind, colon, value = word.partition(":")
        if kind not in values or not colon or not value.strip():
            raise Invalid("logged_out", f"expected {_KINDS}, got {word[:100]!r}")
        values[kind].append(value.strip())
    return LoggedOutRules(
        statuses=tuple(map(_status, values["status"])),
        redirects=tuple(values["redirect"]),
        selectors=tuple(values["selector"]),
    )


def _status(word: str) -> int:
    try:
        return parse_status(word)
    except ValueError as error:
        raise Invalid("logged_out", f"status: {error}") from None
