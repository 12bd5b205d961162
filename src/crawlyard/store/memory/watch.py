"""`WorkerStore` and `JournalStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.event import Event
from crawlyard.core.page import TargetState
from crawlyard.core.queue import claimable
from crawlyard.core.watch import Course, Level, LogEnd, LogLine, Wish, WorkerReport
from crawlyard.errors import Conflict
from crawlyard.store.base import KnownURL
from crawlyard.store.memory.shelf import Known, Record, Shelf
from crawlyard.store.text import scrubbed


class MemoryWorkers(Struct, frozen=True):
    """`WorkerStore` in memory."""

    _shelf: Shelf
    _reports: dict[str, WorkerReport] = field(default_factory=dict)

    async def beat(self, report: WorkerReport) -> Wish:
        wish = await self.wish(report.id)
        self._reports[report.id] = scrubbed(replace(report, wish=wish))
        return wish

    async def wish(self, worker_id: str) -> Wish:
        known = self._reports.get(worker_id)
        return known.wish if known is not None else Wish.NONE

    async def ask(self, worker_id: str, wish: Wish, was: Wish, event: Event) -> None:
        known = self._reports.get(worker_id)
        if known is None or known.wish is not was:
            raise Conflict(f"of worker {worker_id} something else is wanted by now")
        self._reports[worker_id] = replace(known, wish=wish)
        self._shelf.tell(event)

    async def find(self) -> list[WorkerReport]:
        return sorted(self._reports.values(), key=lambda r: (r.started_at, r.id))

    async def forget(self, worker_id: str) -> bool:
        return self._reports.pop(worker_id, None) is not None

    async def sweep(self, before: datetime) -> int:
        gone = [report.id for report in self._reports.values() if report.beat_at < before]
        for worker_id in gone:
            del self._reports[worker_id]
        return len(gone)


class MemoryJournal(Struct, frozen=True):
    """`JournalStore` in memory."""

    _shelf: Shelf

    async def lines(
        self, job_id: str, least: Level, after: int, limit: int, text: str = ""
    ) -> list[LogLine]:
        record, part = self._shelf.find(job_id), text.lower()
        asked = (
            line
            for line in (record.log.values() if record else ())
            if line.n > after
            and line.level >= least
            and (part in line.message.lower() or part in line.url.lower())
        )
        return list(islice(asked, limit))

    async def last(self, job_id: str) -> int:
        record = self._shelf.find(job_id)
        return record.last_line if record else 0

    async def ends(self, job_ids: Collection[str]) -> Mapping[str, LogEnd]:
        found = ((job_id, self._shelf.find(job_id)) for job_id in job_ids)
        return {job_id: _end(record) for job_id, record in found if record is not None}

    async def course(self, job_id: str) -> Course:
        record = self._shelf.find(job_id)
        return record.course if record else Course()

    async def known(self, job_id: str, fp: int) -> KnownURL | None:
        record = self._shelf.find(job_id)
        known = record.frontier.get(fp) if record else None
        return _told(record, known) if record and known else None

    async def upcoming(
        self, job_id: str, after: int, limit: int, states: Sequence[TargetState]
    ) -> list[KnownURL]:
        asked = (k for k in self._known(job_id) if k.key > after and k.state in states)
        return list(islice(asked, limit))

    async def waits(self, now: datetime) -> timedelta:
        due = (r.job.due_at for r in self._shelf.there() if claimable(r.job, now))
        return now - min(due, default=now)

    def _known(self, job_id: str) -> Iterator[KnownURL]:
        """Yield the URLs of a job in the order of finding."""
        record = self._shelf.find(job_id)
        if record is not None:
            yield from (_told(record, known) for known in record.frontier.values())


def _end(record: Record) -> LogEnd:
    leases = (shard.lease_until for shard in (record.shard, *record.parts.values()))
    held_until = max((until for until in leases if until is not None), default=None)
    return LogEnd(n=record.last_line, state=record.job.state, held_until=held_until)


def _told(record: Record, known: Known) -> KnownURL:
    target = known.target
    named_by = record.frontier.get(target.parent) if target.parent is not None else None
    return KnownURL(
        key=known.id,
        url=target.url,
        host=target.host,
        depth=target.depth,
        via=target.via,
        state=known.state,
        rule=known.rule,
        tries=target.tries,
        due_at=target.due_at,
        parent=named_by.target.url if named_by else None,
    )
