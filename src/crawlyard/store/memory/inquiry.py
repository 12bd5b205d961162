"""`InquiryStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.page import KnownURL, StoredPage, TargetState, Via
from crawlyard.core.queue import claim_key, claimable
from crawlyard.core.stats import FailingHost, failing_hosts
from crawlyard.store.leasing import held
from crawlyard.store.memory.queue import parts_held_back
from crawlyard.store.memory.shelf import Shelf


class MemoryInquiries(Struct, frozen=True):
    """`InquiryStore` in memory."""

    _shelf: Shelf

    async def front(self, now: datetime, limit: int, without: Collection[str] = ()) -> list[str]:
        waiting = sorted(self._waiting(now, without), key=claim_key)
        return [job.id for job in waiting[:limit]]

    async def ahead(
        self, job: Job, now: datetime, limit: int, without: Collection[str] = ()
    ) -> int:
        place = claim_key(job)
        count = sum(claim_key(other) < place for other in self._waiting(now, without))
        return min(count, limit)

    async def held_back(self, now: datetime) -> Mapping[str, str]:
        return parts_held_back(self._shelf, now)

    async def page_of(self, job_id: str, fp: int) -> StoredPage | None:
        record = self._shelf.find(job_id)
        return record.listed(fp) if record is not None and fp in record.pages else None

    async def before(self, job_id: str, known: KnownURL, *, depth_first: bool) -> int:
        record = self._shelf.find(job_id)
        waiting = [
            (k.target.depth, k.id)
            for k in (record.frontier.values() if record else ())
            if k.state is TargetState.WAITING
        ]
        place = (known.depth, known.key)
        return sum(other > place if depth_first else other < place for other in waiting)

    async def roots(self, job_id: str) -> list[str]:
        record = self._shelf.find(job_id)
        targets = (k.target for k in (record.frontier.values() if record else ()))
        return [t.url for t in targets if t.via is Via.SEED and t.hops > 0]

    async def ended(
        self, owner: str | None, since: datetime, until: datetime, step: timedelta
    ) -> Mapping[tuple[int, State], int]:
        jobs = (r.job for r in self._shelf.there() if owner in (None, r.job.owner))
        return Counter(
            ((job.ended_at - since) // step, job.state)
            for job in jobs
            if job.ended_at is not None and since <= job.ended_at < until
        )

    async def failing(
        self, owner: str | None, since: datetime, until: datetime, most: int
    ) -> list[FailingHost]:
        failed = [
            (stored.page.fetched_at, record.frontier[fp].target.host, stored.page.error)
            for record in self._shelf.there()
            if owner in (None, record.job.owner)
            for fp, stored in record.pages.items()
            if since <= stored.page.fetched_at < until
        ]
        latest = sorted(((at, host, kind) for at, host, kind in failed if kind), reverse=True)
        return failing_hosts((host, kind, 1, at) for at, host, kind in latest[:most])

    def _waiting(self, now: datetime, without: Collection[str]) -> Iterator[Job]:
        for record in self._shelf.there():
            job = record.job
            if claimable(job, now) and not held(record.shard, now) and job.owner not in without:
                yield job
