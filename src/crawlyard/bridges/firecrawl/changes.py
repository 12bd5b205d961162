"""Change tracking: pages compared with those of the earlier job with the same options."""

import json
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from crawlyard.api.near import NearSurface
from crawlyard.bridges.firecrawl.options import Form, shows_diff
from crawlyard.core.crawl.change_answers import PageDiffOut
from crawlyard.core.crawl.changes import ChangeKind, PageFacts, compare_page
from crawlyard.core.crawl.page_answers import StoredPageOut
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.text.difference import DiffLine, Hunk
from crawlyard.errors import NotFound

_SERIES = "firecrawl:series:"
_PORTION = 50

_STATUSES = {
    ChangeKind.NEW: "new",
    ChangeKind.SAME: "same",
    ChangeKind.NOISE: "same",
    ChangeKind.CHANGED: "changed",
    ChangeKind.GONE: "removed",
}

_COMPARED = set(PageFacts.__struct_fields__) - {"fp", "error"}


async def digest_of(yard: NearSurface, form: Form) -> str:
    """Return a key for a form that does not reveal its headers."""
    return (await yard.digest(json.dumps(form, sort_keys=True).encode()))[:32]


async def series_tag(yard: NearSurface, form: Form) -> str:
    """Return the tag of the jobs that are compared with each other: those of the same form."""
    return _SERIES + await digest_of(yard, form)


class ChangeTracker(Struct, frozen=True):
    """Comparison of a job with an earlier one; ``None``: there is none."""

    yard: NearSurface
    job: JobOut
    earlier_id: str | None

    @classmethod
    async def of(cls, yard: NearSurface, job_id: str) -> "ChangeTracker":
        """Return the comparison of a job with the last completed one of its series before it."""
        job = await yard.jobs.get(job_id)
        series = next((tag for tag in job.spec.tags if tag.startswith(_SERIES)), None)
        cursor, more = None, series is not None
        while more:
            jobs = await yard.jobs.list(
                tag=series or "",
                owner=job.owner,
                state="completed",
                limit=_PORTION,
                cursor=cursor,
            )
            for other in jobs.items:
                if other.id < job.id:
                    return cls(yard, job, other.id)
            cursor, more = jobs.next_cursor, jobs.has_more
        return cls(yard, job, None)

    async def of_page(self, page: StoredPageOut) -> dict[str, Any]:
        """Return the fields of a document about what changed.

        If nothing is certain, it has a warning instead.
        """
        url, before = await self._find_before(page)
        kind, detail = _compare(before, page)
        diff = None
        if kind is ChangeKind.CHANGED and before is not None and shows_diff(self.job.spec.tags):
            diff = await self._diff(url)
            kind = ChangeKind(diff.kind) if diff is not None else kind
        if kind not in _STATUSES:
            return {"warning": f"changeTracking: not compared: {detail}"}
        tracking: dict[str, Any] = {
            "previousScrapeAt": None if before is None else before.fetched_at.isoformat(),
            "changeStatus": _STATUSES[kind],
            "visibility": "visible",  # a page to which nothing leads is not requested
        }
        if diff is not None and kind is ChangeKind.CHANGED:
            tracking["diff"] = diff_of(diff.hunks)
        return {"changeTracking": tracking}

    async def _find_before(self, page: StoredPageOut) -> tuple[str, StoredPageOut | None]:
        """Return the URL of a page, and what the earlier job had at it."""
        if self.earlier_id is not None:
            # a redirect is found by its end, a page that scripts left by its start
            for url in dict.fromkeys((page.final_url, page.url)):
                before = await self.yard.site.why(self.earlier_id, url)
                if before.page_id is not None:
                    return url, await self.yard.results.page(self.earlier_id, before.page_id)
        return page.url, None

    async def _diff(self, url: str) -> PageDiffOut | None:
        try:
            return await self.yard.results.page_diff(self.earlier_id or "", self.job.id, url)
        except NotFound:  # such as a picture, which has no text
            return None


def _compare(before: StoredPageOut | None, after: StoredPageOut) -> tuple[ChangeKind, str]:
    """Return the kind of change of a page, and why it is unknown."""
    new, old = _facts(after), None if before is None else _facts(before)
    if old is not None and old.is_whole:
        if new.is_whole:
            return compare_page(old, new)
        if new.is_absent:
            return ChangeKind.GONE, ""
    elif new.is_whole:
        return ChangeKind.NEW, ""
    return ChangeKind.UNKNOWN, new.failure_text


def _facts(page: StoredPageOut) -> PageFacts:
    fields = {name: value for name, value in asdict(page).items() if name in _COMPARED}
    return PageFacts(fp=0, error=None if page.error is None else str(page.error.kind), **fields)


def diff_of(hunks: tuple[Hunk, ...]) -> dict[str, Any]:
    """Return a unified diff, and the tree into which Firecrawl's clients parse one."""
    chunks = list(map(_chunk, hunks))
    lines = [line for chunk in chunks for line in (chunk, *chunk["changes"])]
    kinds = [change["type"] for chunk in chunks for change in chunk["changes"]]
    counts = {"additions": kinds.count("add"), "deletions": kinds.count("del")}
    return {
        "text": "\n".join(line["content"] for line in lines),
        "json": {"files": [{"from": None, "to": None, "chunks": chunks, **counts}]},
    }


def _chunk(hunk: Hunk) -> dict[str, Any]:
    old = [line.before for line in hunk if line.before is not None]
    new = [line.after for line in hunk if line.after is not None]
    old_start, new_start = (numbers[0] if numbers else 0 for numbers in (old, new))
    return {
        "content": f"@@ -{old_start},{len(old)} +{new_start},{len(new)} @@",
        "changes": list(map(_change, hunk)),
        "oldStart": old_start,
        "oldLines": len(old),
        "newStart": new_start,
        "newLines": len(new),
    }


def _change(line: DiffLine) -> dict[str, Any]:
    text = "".join(line.parts)
    if line.after is None:
        return {"type": "del", "del": True, "content": f"-{text}", "ln": line.before}
    if line.before is None:
        return {"type": "add", "add": True, "content": f"+{text}", "ln": line.after}
    lines = {"ln1": line.before, "ln2": line.after}
    return {"type": "normal", "normal": True, "content": f" {text}", **lines}
