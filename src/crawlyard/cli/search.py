"""`crawlyard pages | attention`: pages of all jobs, and problems that need a person."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli.invoke import action
from crawlyard.cli.jobs import lookup
from crawlyard.cli.options import (
    Kinds,
    Limit,
    LinksTo,
    NeedsScripts,
    Only,
    OnlyRecords,
    argument,
    option,
)
from crawlyard.cli.render.advice import with_commands
from crawlyard.cli.render.output import Column, View, at, id_of
from crawlyard.cli.when import When
from crawlyard.core.crawl.page import parse_status
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.words import NOTICES, error_words
from crawlyard.lazy import lazily

# only a query with words needs it
with lazily():
    from crawlyard.core.search import search as page_search
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.attention.attention import AttentionOut, Notice
    from crawlyard.core.search.answers import FoundPageOut
    from crawlyard.services.results.terms import ArchiveTerms

Words = Annotated[
    list[str] | None,
    argument("WORD", "Words that must all appear in URL, title or text; quote a phrase."),
]
Jobs = Annotated[
    list[str] | None,
    option(
        str, "--job", "ID", "Only pages of this job: an id, part of an id, or last. Repeatable."
    ),
]
Templates = Annotated[
    list[str] | None,
    option(str, "--template", "NAME", "Only pages of jobs with this template. Repeatable."),
]
Hosts = Annotated[
    list[str] | None, option(str, "--host", "HOST", "Only pages of this host. Repeatable.")
]
Statuses = Annotated[
    list[int] | None,
    option(
        parse_status, "--status", "CODE", "Only pages with this status: 404 or 4xx. Repeatable."
    ),
]
Types = Annotated[
    list[str] | None,
    option(
        str.lower,
        "--type",
        "TYPE",
        "Only pages of this media type: text/html or image/*. Repeatable.",
    ),
]
Since = Annotated[
    When | None,
    option(
        When.of, "--since", "WHEN", "Only pages fetched since WHEN: 2h, 7d or 2026-11-24T16:30."
    ),
]
Until = Annotated[
    When | None, option(When.of, "--until", "WHEN", "Only pages fetched before WHEN.")
]


@action(empty=True, q="WORD")
async def pages(
    session: "Session",
    words: Words = None,
    *,
    job: Jobs = None,
    template: Templates = None,
    host: Hosts = None,
    status: Statuses = None,
    type: Types = None,  # noqa: A002 - the name of the option
    only: OnlyRecords = None,
    kind: Kinds = None,
    needs_scripts: NeedsScripts = False,
    links_to: LinksTo = "",
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
) -> None:
    """List or search the pages of all jobs, newest first.

    crawlyard pages --host docs.example.org --status 4xx
    crawlyard pages 'getting started' install --since 7d
    crawlyard pages -o jsonl > pages.jsonl

    The search index is a few seconds behind; newer pages are searched without it, one by one.
    """
    text = " ".join(map(_quote_phrase, words or ()))
    page_search.words_of(text)  # reports errors before anything is read
    now = session.clock.now()
    terms: ArchiveTerms = {
        "job": tuple([await lookup.job_id_of(session, word) for word in job or ()]),
        "template": tuple(template or ()),
        "failed": None if only is None else only is Only.FAILED,
        "needs_scripts": needs_scripts or None,
        "links_to": links_to or None,
        "kind": tuple(kind or ()),
        "status": tuple(f"{code}xx" if code < 10 else str(code) for code in status or ()),
        "content_type": tuple(type or ()),
        "host": tuple(host or ()),
        "since": None if since is None else since.instant(now),
        "until": None if until is None else until.instant(now),
    }
    page_list = every(session.surface.pages.find, text, limit=session.list_limit(limit), **terms)
    count = await session.write_list(page_list, _pages_view(now))
    is_filtered = text or any(terms.values())
    empty_text = "no page matches" if is_filtered else "there is no page yet"
    session.tell_list_end(count, limit, empty_text, "newest")


def _quote_phrase(argument: str) -> str:
    """Return *argument* in quotes if it has several words: the API takes them as a phrase."""
    return f'"{argument}"' if " " in argument and '"' not in argument else argument


@action()
async def attention(session: "Session") -> None:
    """List problems that need attention, each with a command that helps.

    crawlyard attention
    crawlyard attention --json

    Lists your own problems (admins: all); at most 20 of each kind.
    """
    notices = await session.surface.attention.get()
    await session.write_list(notices.items, _notices_view(session))
    if not notices.items:
        session.tell("no problems")
    for sentence in truncation_notes(notices):
        session.tell(sentence)


def truncation_notes(notices: "AttentionOut") -> list[str]:
    """Return a sentence for each kind with more notices than are listed."""
    sentences = []
    for kind, count in notices.counts.items():
        listed = sum(notice.kind == kind for notice in notices.items)
        total = f"at least {count:,}" if kind in notices.at_least else f"{count:,}"
        if count > listed:
            sentences.append(f"{NOTICES.get(kind, kind)}: {listed} of {total} are shown")
    return sentences


def _pages_view(now: datetime) -> "View[FoundPageOut]":
    return View(
        key=lambda page: page.url,
        columns=(
            Column(name="STATUS", value=lambda p: p.status, right=True),
            Column(
                name="ERROR",
                value=lambda p: p.error and p.error.kind,
                shown=lambda p: error_words(p.error.kind, p.status) if p.error else "",
            ),
            id_of(lambda p: p.job_id, "JOB"),
            at("FETCHED", "fetched_at", now),
            Column(name="URL", value=lambda p: p.url, wide=True),
            Column(name="TITLE", value=lambda p: p.title, wide=True, least=100),
            Column(name="TEXT", value=lambda p: p.excerpt, wide=True, least=140),
        ),
    )


HELP_COMMANDS: Mapping[str, str] = {
    "no_worker": "work",
    "job_damaged": "jobs delete {job}",
    "schedule_overdue": "schedules run {id}",
    "schedule_paused": "schedules resume {id}",
    "runs_failing": "jobs retry {job}",
    "job_failed": "jobs retry {job}",
    "job_paused": "jobs resume {job}",
    "logged_out": "jobs resume {job}",
    "host_refusing": "hosts set {id} --delay 2",
    "webhook_off": "webhooks enable {id}",
    "webhook_failing": "webhooks test {id}",
    "job_stopped": "jobs errors {job}",
    "needs_scripts": "jobs pages {job} --needs-scripts",
}
"""Command that helps, by kind of notice; for other kinds, the detail says what helps."""


def help_command(notice: "Notice") -> str:
    """Return the command that helps with *notice*; empty if none is known for its kind."""
    subject = shlex.quote(notice.subject.id) if notice.subject else ""
    if notice.jobs > 1:  # of one host
        return f"jobs list --host {subject}"
    return HELP_COMMANDS.get(notice.kind, "").format(job=notice.job_id, id=subject)


def _notices_view(session: "Session") -> "View[Notice]":
    def command(notice: "Notice") -> str:
        arguments = help_command(notice)
        return session.full_command(arguments) if arguments else ""

    now = session.clock.now()
    return View(
        key=lambda notice: notice.subject.id if notice.subject else notice.kind,
        columns=(
            Column(
                name="KIND", value=lambda n: n.kind, shown=lambda n: NOTICES.get(n.kind, n.kind)
            ),
            Column(name="WHAT", value=lambda n: n.subject and (n.subject.name or n.subject.id)),
            at("SINCE", "since", now),
            Column(name="DETAIL", value=lambda n: with_commands(n.detail), wide=True),
            Column(name="HELPS", value=command, least=120),
        ),
    )
