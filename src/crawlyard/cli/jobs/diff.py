"""`crawlyard diff`: changes between two runs."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crawlyard.cli.invoke import action
from crawlyard.cli.jobs.lookup import job_id_of
from crawlyard.cli.options import Limit, an_id, choice, option
from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View, at, id_of
from crawlyard.cli.stdout import write_line
from crawlyard.core.crawl.change_answers import ChangeOut, FeedChangeOut, RunChangesOut
from crawlyard.core.crawl.changes import ChangeKind
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.quantity import count_noun
from crawlyard.core.words import STATES
from crawlyard.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawlyard.cli.session import Session
    from crawlyard.core.crawl.change_answers import DiffOut

_JOB = "an id, last, SCHEDULE@last or SCHEDULE@previous."
Earlier = Annotated[
    str,
    typer.Argument(
        parser=an_id, metavar="EARLIER", help=f"The earlier job: {_JOB}", show_default=False
    ),
]
Later = Annotated[
    str,
    typer.Argument(
        parser=an_id, metavar="LATER", help="The later job, in the same forms.", show_default=False
    ),
]
Url = Annotated[str, option(str, "--page", "URL", "Show the text of this page, line by line.")]
OnlyKinds = Annotated[
    list[ChangeKind] | None,
    choice("--only", of=ChangeKind, text="Only changes of this kind", many=True),
]
IgnoreText = Annotated[str, option(str, "--ignore-text", "re:PATTERN", "Ignore lines that match.")]


@action(only="--only", ignore_text="--ignore-text", url="--page", other="LATER")
async def diff(
    session: "Session",
    earlier: Earlier,
    later: Later,
    *,
    page: Url = "",
    only: OnlyKinds = None,
    ignore_text: IgnoreText = "",
    limit: Limit = None,
) -> None:
    """List the pages that changed between two jobs, including new, moved and gone ones.

    crawlyard diff nightly@previous nightly@last
    crawlyard diff nightly@previous last --only gone --only moved
    crawlyard diff nightly@previous last --page https://docs.example.org/a
    crawlyard diff nightly@previous last --ignore-text 're:^Generated at'
    """
    if page and only:
        raise Invalid("--only", "excludes --page, which shows one page")
    results = session.surface.results
    base, other = await job_id_of(session, earlier), await job_id_of(session, later)
    if page:
        page_diff = await results.page_diff(base, other, page, ignore_text=ignore_text)
        if session.uses_api_format:
            session.write_record(page_diff)
            return
        for line in page_diff.text.splitlines():
            write_line(words.printable(line))
        lines = f"{count_noun(page_diff.added, 'line')} added, {page_diff.removed:,} removed"
        kind = kind_words(page_diff.kind)
        session.tell(": ".join(filter(None, (f"{kind}, {lines}", page_diff.detail))))
        return
    counts: dict[str, int] = {}

    async def fetch_slice(**position: Any) -> "DiffOut":
        kinds = tuple(only or ())
        diff_slice = await results.diff(
            base, other, only=kinds, ignore_text=ignore_text, **position
        )
        counts.update(diff_slice.counts)
        return diff_slice

    count = await session.write_list(every(fetch_slice, limit=session.list_limit(limit)), CHANGES)
    session.tell(summarize_counts(counts))
    session.tell_list_end(count, limit, "")


def summarize_counts(counts: "Mapping[str, int]") -> str:
    """Return the number of pages of each kind, in one sentence."""
    phrases = (f"{counts[kind]:,} {kind_words(kind)}" for kind in ChangeKind if counts.get(kind))
    return ", ".join(phrases) or "no pages to compare"


def kind_words(kind: str) -> str:
    """Format a `ChangeKind` for people: "seen first"."""
    return kind.replace("_", " ")


def _share_text(change: ChangeOut) -> str:
    if change.share is None:
        return ""
    return f"{change.share:.1%}" if change.share else "reordered"


def _url_text(change: ChangeOut) -> str:
    return change.url if change.moved_to is None else f"{change.url} → {change.moved_to}"


_COLUMNS: tuple[Column[Any], ...] = (
    Column(name="CHANGE", value=lambda c: c.kind, shown=lambda c: kind_words(c.kind)),
    Column(name="AMOUNT", value=lambda c: c.share, shown=_share_text, right=True),
    Column(name="ADDED", value=lambda c: c.added, right=True),
    Column(name="REMOVED", value=lambda c: c.removed, right=True),
    Column(name="URL", value=_url_text, wide=True),
    Column(name="DETAIL", value=lambda c: c.detail, wide=True, least=120),
)
CHANGES: View[ChangeOut] = View(key=lambda change: change.url, columns=_COLUMNS)
FEED: View[FeedChangeOut] = View(
    key=lambda change: change.url, columns=(id_of(lambda c: c.job_id, "JOB"), *_COLUMNS)
)


def runs_view(now: datetime) -> View[RunChangesOut]:
    """Return the view of runs of a schedule at *now*, with the pages that each changed."""
    return View(
        key=lambda run: run.job_id,
        columns=(
            id_of(lambda r: r.job_id, "JOB"),
            Column(
                name="STATE", value=lambda r: r.state, shown=lambda r: STATES.get(r.state, r.state)
            ),
            at("ENDED", "ended_at", now),
            id_of(lambda r: r.base_id, "COMPARED TO"),
            *(_count_column(kind) for kind in ChangeKind),
        ),
    )


_RARE_KINDS = frozenset(
    {ChangeKind.SEEN_FIRST, ChangeKind.BROKEN, ChangeKind.NOISE, ChangeKind.UNKNOWN}
)


def _count_column(kind: ChangeKind) -> Column[RunChangesOut]:
    def count_of(run: RunChangesOut) -> int | None:
        return None if not run.counts else run.counts.get(kind.value, 0)

    least = 110 if kind in _RARE_KINDS else 0
    return Column(name=kind_words(kind).upper(), value=count_of, right=True, least=least)
