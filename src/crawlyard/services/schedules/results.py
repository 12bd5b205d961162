"""Results of schedules: changes between their runs, and the current state of their sites."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from crawlyard.core.access.job_parts import sees_responses
from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.change_answers import RunChangesOut
from crawlyard.core.endpoints.endpoint import Cursor, Limit, Ref, Slice, endpoint, make_slice
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.export import atom
from crawlyard.export.base import Format
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun
from crawlyard.services.results.terms import ChunkSize
from crawlyard.services.schedules.lookup import find_schedule
from crawlyard.store.queries import ChangeQuery, visible_to

# they load the engine
with lazily():
    from crawlyard.services.results import current, exporting

READ, RESULTS = Permit.SCHEDULES_READ, Permit.RESULTS_READ

_MOST_ENTRIES = 100  # of a feed


class ScheduleResults(Noun):
    """Shows what the runs of schedules found."""

    @endpoint("GET /schedules/{ref}/changes", READ)
    async def changes(
        self, ref: Ref, *, limit: Limit = 20, cursor: Cursor = None
    ) -> Slice[RunChangesOut]:
        """List the runs of a schedule, newest first, with the number of changed pages of each.

        An ended run is compared once, with the last completed run before it. `GET /changes` has the
        pages.
        """
        schedule = await self._find(ref)
        runs = await self._services.changes.runs(self._actor, schedule.id, limit + 1, cursor)
        return make_slice(runs, limit, lambda run: RunChangesOut.of(*run), lambda run: run[0].id)

    @endpoint("GET /schedules/{ref}/changes.atom", Permit.RESULTS_READ, "file", group="results")
    async def changes_feed(self, ref: Ref) -> str:
        """Return the newest 100 changed pages of a schedule as an Atom feed."""
        schedule = await self._find(ref)
        store = self._services.store.changes
        query = visible_to(self._actor, ChangeQuery(schedule_id=schedule.id, newest_first=True))
        changes = await store.changes(query, _MOST_ENTRIES)
        runs = await store.runs({change.job_id for change in changes})
        return atom.feed(schedule, changes, runs, self._services.settings.public_url)

    @endpoint("GET /schedules/{ref}/export", RESULTS, "file")
    async def export(
        self,
        ref: Ref,
        *,
        format_: Annotated[
            Format | None, Meta(description="Else as `Accept` says, else `jsonl`.")
        ] = None,
        changed: Annotated[
            bool, Meta(description="Only pages that are new, changed or moved in the last run.")
        ] = False,
        chunks: Annotated[
            ChunkSize | None,
            Meta(description="Records of at most so many words of text, in place of pages."),
        ] = None,
        gzip: Annotated[bool, Meta(description="JSON Lines or CSV as a gzip file.")] = False,
    ) -> AsyncIterator[bytes]:
        """Stream the current pages of a schedule as a file: the state after its last good run.

        Each page is in its newest form. Pages that the run proved to be gone are left out; those
        that it could neither reach nor prove to be gone come from the run that read them last, as
        long as that run is kept.
        """
        schedule = await self._find(ref)
        source = await current.find_pages(self._services, self._actor, schedule, changed=changed)
        return exporting.stream(
            source,
            format_ or Format.JSONL,
            chunks=chunks,
            gzip=gzip,
            html=sees_responses(self._actor, source.job),
        )

    async def _find(self, ref: str) -> CrawlSchedule:
        return await find_schedule(self._services.store, self._actor, ref, shared=True)
