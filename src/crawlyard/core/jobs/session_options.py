"""Options of a job that crawls with a session at its site."""

from typing import Annotated, TypeAlias

from crawlyard.core.fields import Panel, about

MAX_SESSION_NAME = 64
_MOST_RULES = 10

SessionName: TypeAlias = Annotated[
    str,
    about(
        "name of a session of yours, with whose credentials the site is crawled",
        help="Crawl with this session of yours.",
        panel=Panel.ACCESS,
        metavar="NAME",
        longest=MAX_SESSION_NAME,
    ),
]

LoggedOutWords: TypeAlias = Annotated[
    tuple[str, ...],
    about(
        "answers that show that the session is logged out: status:401, redirect:GLOB, "
        "selector:CSS, or never; empty: 401 and redirects to a login page",
        label="Logged out if",
        help="An answer that pauses: status:401, redirect:GLOB, selector:CSS. Repeatable.",
        panel=Panel.ACCESS,
        metavar="RULE",
        of="rules",
        editable=True,
        longest=_MOST_RULES,
    ),
]
