"""`crawlyard audit …`: what users did, from which address and when."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, cast

from crawlyard.cli.invoke import action
from crawlyard.cli.options import Limit, OutFormat, group, option
from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View, at, column, id_of
from crawlyard.cli.when import When
from crawlyard.core.endpoints.endpoint import every
from crawlyard.errors import Invalid
from crawlyard.export.base import Format
from crawlyard.lazy import lazily

# only an export needs it
with lazily():
    from crawlyard.cli.jobs import exports
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.access.audit import AuditOut
    from crawlyard.services.access.audit import AuditTerms

app = group(
    """List or export what users did: who, what, on what, from which address, when.

    crawlyard audit list --action 'user.*'
    crawlyard audit export --out audit.csv
    """
)

Actor = Annotated[
    str | None,
    option(str, "--actor", "USER", "Only actions of USER: me, or unknown for refused credentials."),
]
Actions = Annotated[
    list[str] | None,
    option(str, "--action", "NAME", "Only this action or pattern, such as token.*. Repeatable."),
]
Subject = Annotated[
    str | None, option(str, "--subject", "ID", "Only actions on this job, token, user or the like.")
]
Since = Annotated[
    When | None,
    option(When.of, "--since", "WHEN", "Only actions since WHEN: 2h, 7d or 2026-11-24T16:30."),
]
Until = Annotated[When | None, option(When.of, "--until", "WHEN", "Only actions before WHEN.")]
Out = Annotated[str, option(str, "--out", "FILE", "Output file; '-' for stdout (default).")]


@app.command("list")
@action(empty=True, action="--action")
async def list_actions(
    session: "Session",
    *,
    actor: Actor = None,
    action: Actions = None,
    subject: Subject = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
) -> None:
    """List what users did, newest first.

    crawlyard audit list --since 24h
    crawlyard audit list --actor unknown --json
    """
    now = session.clock.now()
    terms = _terms(now, actor, action, subject, since, until)
    entries = every(session.surface.audit.list, limit=session.list_limit(limit), **terms)
    count = await session.write_list(entries, _view(now))
    none = "no matching actions" if terms else "no actions yet"
    session.tell_list_end(count, limit, none, "newest")


@app.command("export")
@action(action="--action")
async def export_actions(
    session: "Session",
    *,
    out: Out = "-",
    format: OutFormat = None,  # noqa: A002 - the name of the option
    actor: Actor = None,
    action: Actions = None,
    subject: Subject = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Export what users did as JSON Lines or CSV, newest first.

    crawlyard audit export --out audit.jsonl
    crawlyard audit export --format csv --since 7d > week.csv
    """
    export = exports.Export.of(out, format)
    if not export.format.is_text:
        raise Invalid("--format", f"expected {Format.JSONL} or {Format.CSV}, got {export.format}")
    terms = _terms(session.clock.now(), actor, action, subject, since, until)
    portions = await session.surface.audit.export(
        format_="csv" if export.format is Format.CSV else "jsonl", **terms
    )
    written = await exports.save_pieces(portions, out)
    session.tell(
        f"{words.amount(written.bytes)}, written to {'stdout' if export.to_stdout else out}"
    )


def _terms(
    now: datetime,
    actor: str | None,
    actions: list[str] | None,
    subject: str | None,
    since: When | None,
    until: When | None,
) -> "AuditTerms":
    terms = {
        "actor": actor,
        "action": tuple(actions or ()) or None,
        "subject": subject,
        "since": since and since.instant(now),
        "until": until and until.instant(now),
    }
    return cast("AuditTerms", {name: value for name, value in terms.items() if value is not None})


def _view(now: datetime) -> "View[AuditOut]":
    return View(
        key=lambda entry: str(entry.seq),
        columns=(
            at("AT", "at", now),
            column("ACTOR"),
            column("ACTION"),
            id_of(lambda e: e.subject, "SUBJECT"),
            column("ADDRESS"),
            Column(name="DETAIL", value=_detail, wide=True),
        ),
    )


def _detail(entry: "AuditOut") -> str:
    """Return the details that a table has room for."""
    names = ("name", "by", "kind", "reason", "session", "section", "host")
    return " · ".join(str(entry.data[name]) for name in names if entry.data.get(name))
