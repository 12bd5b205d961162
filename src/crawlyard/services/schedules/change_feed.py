"""Feed of changes detected by runs of schedules, as far as one user may see them."""

from typing import Annotated

from msgspec import Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.change_answers import FeedChangeOut
from crawlyard.core.crawl.changes import NEWS_KINDS, ChangeKind
from crawlyard.core.endpoints.endpoint import (
    LONGEST_REF,
    Cursor,
    Limit,
    Slice,
    Words,
    endpoint,
    make_slice,
)
from crawlyard.core.parse import none_of
from crawlyard.errors import Invalid, NotFound
from crawlyard.services.jobs.terms import words_of
from crawlyard.services.noun import Noun
from crawlyard.services.schedules.lookup import find_schedule
from crawlyard.store.queries import ChangeQuery, visible_to

Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Of = Annotated[
    str, Meta(min_length=1, max_length=LONGEST_REF, description="A schedule's id or name.")
]


class ChangeFeed(Noun):
    """Lists changes that runs of schedules detected, as far as one user may see the pages."""

    @endpoint("GET /changes", Permit.RESULTS_READ, group="results", name="changes")
    async def list(
        self,
        *,
        schedule: Of | None = None,
        only: Annotated[Words, Meta(description="Kinds of changes: `changed`, `gone`, …")] = (),
        after: Annotated[Seq, Meta(description="Only those above this `seq`.")] = 0,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[FeedChangeOut]:
        """List the pages that changed between runs of schedules, in the order of detection.

        Pass the `seq` of the last one that you have as `after` to get the newer ones. Of each run,
        at most 10,000 are stored; all are counted.
        """
        schedule_id, store = None, self._services.store
        if schedule is not None:
            try:
                schedule_id = (await find_schedule(store, self._actor, schedule, shared=True)).id
            except NotFound as error:
                raise Invalid("schedule", str(error)) from None
        query = ChangeQuery(
            schedule_id=schedule_id,
            kinds=frozenset(_kind(word) for word in words_of(only)),
            after=max(after, int(cursor or 0)),
        )
        changes = await store.changes.changes(visible_to(self._actor, query), limit + 1)
        return make_slice(changes, limit, FeedChangeOut.filled, lambda change: change.seq)


def _kind(word: str) -> ChangeKind:
    if word not in NEWS_KINDS:
        raise Invalid("only", none_of(word, [kind for kind in ChangeKind if kind in NEWS_KINDS]))
    return ChangeKind(word)
