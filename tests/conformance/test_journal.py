"""`JournalStore` and `WorkerStore`: what is there to be looked at, as checkpoints wrote it."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, func, make_url, select

from crawlyard.core.access.user import day_of
from crawlyard.core.crawl.page import KnownURL, Outcome, Skipped, TargetState, Via
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Batch, Claim
from crawlyard.core.jobs.job_log import MOST_LINES, Course, Level, LogEnd, LogLine, Point
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.limits import Usage
from crawlyard.store.store import Store
from crawlyard.store.tables.watch import courses, log_lines
from tests.builders import LEASE, NOW, a_batch, a_target, done, failed, fp_of
from tests.builders_serve import a_line, a_report, some_lines
from tests.conformance.conftest import Backend
from tests.conformance.purging import deleted, purged
from tests.conformance.steps import added, claimed, moved, recorded, requeued

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
TODAY = day_of(NOW)
ALL = tuple(TargetState)


async def logged(store: Store, job_id: str, after: int = 0, limit: int = 10_000) -> list[LogLine]:
    return await store.journal.lines(job_id, Level.DEBUG, after, limit)


def a_course(pages: int = 1) -> Course:
    point = Point(
        at=NOW - DAY,
        seconds=2.5,
        pages=pages,
        bytes=2**40,
        errors=3,
        statuses={"2xx": 9, "5xx": 1},
        latency_ms=1 / 3,
        waiting=7,
    )
    return Course(step_s=4.0, points=(point, Point(at=NOW)))


class TestTheLog:
    async def test_lines_come_back_as_they_were_and_numbered(self, store: Store) -> None:
        claim, other = await claimed(store), await claimed(store)
        first = a_line("»ü«\n", Level.ERROR, url="https://example.com/", at=NOW + SECOND)
        answer = await recorded(store, claim.lease, a_batch(log=(first, a_line("2"))))

        await recorded(store, answer.lease, a_batch(log=(a_line("3", n=77),)))
        await recorded(store, other.lease, a_batch(log=(a_line("other"),)))

        lines = await logged(store, claim.job.id)
        assert lines == [replace(first, n=1), a_line("2", n=2), a_line("3", n=3)]
        assert await logged(store, other.job.id) == [a_line("other", n=1)]

    async def test_lines_are_selected_by_level_text_and_number(self, store: Store) -> None:
        claim = await claimed(store)
        log = (
            a_line("Robots.txt says NO_", Level.DEBUG),
            a_line("slow", Level.WARNING, url="https://example.com/NO_"),
            a_line("no%", Level.WARNING),
            a_line("given up", Level.ERROR),
        )
        await recorded(store, claim.lease, a_batch(log=log))

        async def read_messages(
            least: Level = Level.DEBUG, after: int = 0, limit: int = 9, text: str = ""
        ) -> list[int]:
            lines = await store.journal.lines(claim.job.id, least, after, limit, text)
            return [line.n for line in lines]

        assert await read_messages() == [1, 2, 3, 4]
        assert await read_messages(Level.WARNING) == [2, 3, 4]
        assert await read_messages(after=2) == [3, 4]
        assert await read_messages(Level.WARNING, limit=2) == [2, 3]
        assert await read_messages(text="no_") == [1, 2]
        assert await read_messages(Level.ERROR, text="no") == []

    async def test_a_job_without_any_has_none(self, store: Store) -> None:
        job = await added(store)

        for job_id in (job.id, "0192"):
            assert await logged(store, job_id) == []
            assert await store.journal.course(job_id) == Course()

    async def test_the_newest_are_kept_and_their_numbers_go_on(self, store: Store) -> None:
        claim = await claimed(store)
        lease, count = claim.lease, 0
        for size in (3, MOST_LINES - 4, 1, 1, 300, 2 * MOST_LINES + 5, 1):
            batch = a_batch(log=some_lines(size, count + 1))
            lease, count = (await recorded(store, lease, batch)).lease, count + size

            lines = await logged(store, claim.job.id)

            first = max(1, count - MOST_LINES + 1)
            assert [line.n for line in lines] == list(range(first, count + 1))
            assert all(line.message == str(line.n) for line in lines)

    async def test_what_is_too_old_leaves_the_database(
        self, store: Store, backend: Backend
    ) -> None:
        claim = await claimed(store)
        lease = claim.lease
        for n in range(MOST_LINES // 100 + 10):
            batch = a_batch(log=some_lines(100, 100 * n + 1))
            lease = (await recorded(store, lease, batch)).lease

        lines, _ = await count_rows(backend, lease.job_no)

        assert lines <= MOST_LINES + 250

    async def test_what_databases_refuse_in_text_is_replaced(self, store: Store) -> None:
        claim = await claimed(store)

        await recorded(store, claim.lease, a_batch(log=(a_line("\x00", url="\ud800"),)))

        [line] = await logged(store, claim.job.id)
        assert (line.message, line.url) == ("\ufffd", "\ufffd")


class TestTheEndOfTheLog:
    async def test_log_ends_of_many_jobs_are_read_together(self, store: Store) -> None:
        waiting, claim, other = await added(store), await claimed(store), await claimed(store)
        await recorded(store, claim.lease, a_batch(log=some_lines(3)))
        absent = await claimed(store)
        await deleted(store, absent.job)
        running = (claim.job.id, other.job.id)

        ends = await store.journal.ends([waiting.id, absent.job.id, "0192", *running])

        until = NOW + LEASE
        assert ends == {
            waiting.id: LogEnd(n=0, state=State.PENDING, held_until=None),
            claim.job.id: LogEnd(n=3, state=State.RUNNING, held_until=until),
            other.job.id: LogEnd(n=0, state=State.RUNNING, held_until=until),
        }
        assert await store.journal.ends([]) == {}

    async def test_it_is_held_until_the_last_batch_of_a_job_that_was_cancelled(
        self, store: Store
    ) -> None:
        claim = await claimed(store)
        await moved(store, claim.job.id, Move.CANCEL)
        ends = await store.journal.ends([claim.job.id])

        await recorded(store, claim.lease, a_batch(log=some_lines(1), last=True))

        free = await store.journal.ends([claim.job.id])
        job_id = claim.job.id
        assert ends[job_id] == LogEnd(n=0, state=State.CANCELLED, held_until=NOW + LEASE)
        assert free[job_id] == LogEnd(n=1, state=State.CANCELLED, held_until=None)

    async def test_the_numbers_of_what_was_forgotten_are_counted(self, store: Store) -> None:
        claim = await claimed(store)
        await recorded(store, claim.lease, a_batch(log=some_lines(MOST_LINES + 300)))

        end = (await store.journal.ends([claim.job.id]))[claim.job.id]

        assert (end.n, end.forgotten) == (MOST_LINES + 300, 300)
        assert (await logged(store, claim.job.id))[0].n == end.forgotten + 1


class TestTheCourse:
    async def test_it_is_replaced_and_stays_without_a_new_one(self, store: Store) -> None:
        first, two = await claimed(store), await claimed(store)
        answers = await store.frontier.record(
            [(c.lease, Batch(course=a_course(n))) for n, c in enumerate((first, two))], NOW, LEASE
        )

        answer = await recorded(store, answers[0].lease, Batch(course=a_course(9)))
        await recorded(store, answer.lease, Batch())

        assert await store.journal.course(first.job.id) == a_course(9)
        assert await store.journal.course(two.job.id) == a_course(1)


class TestTheDay:
    async def test_what_was_used_adds_up_by_owner_and_day(self, store: Store) -> None:
        claims = [await claimed(store, await added(store, owner=o)) for o in ("bob", "ada", "ada")]
        usage = Usage(pages=2, bytes=2**40, errors=1, duration_s=1, done=3)
        batch = Batch(usage=usage)

        answers = await store.frontier.record([(c.lease, batch) for c in claims], NOW, LEASE)
        tomorrow = [(a.lease, Batch(usage=Usage(errors=1))) for a in answers[1:]]
        await store.frontier.record(tomorrow, NOW + DAY, LEASE)

        first_usage, two = (
            Usage(pages=2, bytes=2**40, errors=1),
            Usage(pages=4, bytes=2**41, errors=2),
        )
        assert await store.users.day("bob", TODAY) == first_usage
        assert await store.users.day("ada", TODAY) == two
        assert await store.users.day("ada", TODAY - DAY) == Usage()
        assert await store.users.days("ada", TODAY) == {TODAY: two, TODAY + DAY: Usage(errors=2)}
        every = await store.users.days(None, TODAY)
        assert every == {TODAY: first_usage.plus(two), TODAY + DAY: Usage(errors=2)}
        assert list(every) == [TODAY, TODAY + DAY]
        assert await store.users.days(None, TODAY + DAY) == {TODAY + DAY: Usage(errors=2)}

    async def test_a_day_begins_at_midnight_of_utc(self, store: Store) -> None:
        claim = await claimed(store)
        midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
        batch = a_batch([], [done(a_target())])

        answer = await recorded(store, claim.lease, batch, midnight - timedelta(microseconds=1))
        await recorded(store, answer.lease, batch, midnight)

        days = await store.users.days("local", TODAY - DAY)
        assert {day: used.pages for day, used in days.items()} == {TODAY - DAY: 1, TODAY: 1}

    async def test_days_of_long_ago_are_forgotten(self, store: Store) -> None:
        for owner in ("ada", "bob"):
            lease = (await claimed(store, await added(store, owner=owner))).lease
            for n in range(3):
                batch = Batch(usage=Usage(pages=n + 1))
                lease = (await recorded(store, lease, batch, NOW + n * DAY)).lease

        await store.upkeep.tidy()
        few = await store.users.forget_days(TODAY + 2 * DAY, 3)
        rest = await store.users.forget_days(TODAY + 2 * DAY)

        assert (few, rest, await store.users.forget_days(TODAY + 2 * DAY)) == (3, 1, 0)
        assert await store.users.days(None, TODAY) == {TODAY + 2 * DAY: Usage(pages=6)}

    async def test_a_heartbeat_uses_nothing(self, store: Store) -> None:
        claim = await claimed(store)

        await recorded(store, claim.lease, Batch(usage=Usage(duration_s=1, discovered=5)))

        assert await store.users.days(None, TODAY - DAY) == {}
        assert await store.users.day("local", TODAY) == Usage()

    async def test_workers_of_the_same_owners_at_once_lose_nothing(
        self, store: Store, backend: Backend
    ) -> None:
        other = await backend.open()
        owners = ["ada", "bob", "eve"]
        batch = a_batch([], [done(a_target())])

        async def crawled(where: Store, order: list[str]) -> None:
            claims = [await claimed(where, await added(where, owner=o)) for o in order]
            entries = [(c.lease, batch) for c in claims]
            for _ in range(5):
                answers = await where.frontier.record(entries, NOW, LEASE)
                entries = [(a.lease, batch) for a in answers]

        await asyncio.gather(
            *(crawled(where, o) for where in (store, other) for o in (owners, owners[::-1]))
        )
        if backend.sql:
            await other.close()

        assert [(await store.users.day(o, TODAY)).pages for o in owners] == [20, 20, 20]


def all_of_it() -> Batch:
    """Return a batch that writes a line, a course and a page."""
    return a_batch([], [done(a_target())], log=(a_line(),), course=a_course())


class TestRepeatedLogBatch:
    async def test_a_batch_that_was_written_is_not_written_again(self, store: Store) -> None:
        claim = await claimed(store)
        first = await recorded(store, claim.lease, all_of_it())
        await recorded(store, first.lease, Batch(course=a_course(5)))

        await recorded(store, claim.lease, all_of_it())

        assert len(await logged(store, claim.job.id)) == 1
        assert await store.journal.course(claim.job.id) == a_course(5)
        assert (await store.users.day("local", TODAY)).pages == 1

    async def test_a_batch_that_is_refused_writes_nothing(self, store: Store) -> None:
        old = await claimed(store)
        await store.leases.take_back(NOW + LEASE, [], requeued)
        await claimed(store, old.job, "w2")
        absent = await claimed(store)
        await deleted(store, absent.job)

        for claim in (old, absent):
            await recorded(store, claim.lease, all_of_it())

        assert await logged(store, old.job.id) == []
        assert await store.journal.course(old.job.id) == Course()
        assert await store.users.days(None, TODAY) == {}


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_a_deleted_job_takes_its_log_and_course_with_it(
    store: Store, backend: Backend, step: int
) -> None:
    claims = [await claimed(store) for _ in range(2)]
    for claim in claims:
        await recorded(store, claim.lease, a_batch(log=some_lines(20), course=a_course()))

    await deleted(store, claims[0].job)
    hidden = await logged(store, claims[0].job.id)
    rows = [freed.rows for freed in await purged(store, step)]

    assert hidden == []
    assert await store.journal.course(claims[0].job.id) == Course()
    assert max(rows) <= step
    assert sum(rows) >= 20 + 1
    assert len(await logged(store, claims[1].job.id)) == 20
    assert await store.journal.course(claims[1].job.id) == a_course()
    assert await count_rows(backend, claims[0].lease.job_no) == (0, 0)


async def count_rows(backend: Backend, no: int) -> tuple[int, int]:
    """Return how many rows a job has in the tables of logs and courses."""
    if not backend.sql:
        return 0, 0
    url = make_url(backend.where) if "://" in backend.where else None
    engine = create_engine(
        url.set(drivername="postgresql+psycopg") if url else f"sqlite:///{backend.where}"
    )
    with engine.connect() as conn:
        lines, rows = (
            conn.scalar(select(func.count()).where(table.c.job_no == no)) or 0
            for table in (log_lines, courses)
        )
    engine.dispose()
    return lines, rows


async def with_urls(store: Store) -> Claim:
    """Return the claim of a job that knows a URL in each state, "seed" naming the others."""
    claim = await claimed(store)
    seed = a_target("seed")
    targets = [a_target(p, depth=1, via=Via.LINK, parent=seed.fp) for p in ("a", "b", "c", "d")]
    tried = replace(targets[0], tries=2, due_at=NOW + SECOND)
    outcomes = [
        done(seed),
        Outcome(tried, TargetState.WAITING),
        failed(targets[1]),
        Outcome(targets[2], TargetState.REDIRECTED, rule="301"),
    ]
    skipped = [Skipped(a_target("e", depth=2, parent=targets[1].fp), "robots")]
    await recorded(store, claim.lease, a_batch([seed, *targets], outcomes, skipped))
    return claim


class TestKnown:
    async def test_a_url_is_returned_with_its_parent_page(self, store: Store) -> None:
        claim = await with_urls(store)

        url = await store.frontier.find(claim.job.id, fp_of("https://example.com/a"))

        assert url is not None
        assert url == KnownURL(
            key=url.key,
            url="https://example.com/a",
            host="example.com",
            depth=1,
            via=Via.LINK,
            state=TargetState.WAITING,
            rule="",
            tries=2,
            due_at=NOW + SECOND,
            parent="https://example.com/seed",
        )

    @pytest.mark.parametrize(
        ("path", "state", "rule"),
        [
            ("seed", TargetState.DONE, ""),
            ("b", TargetState.FAILED, ""),
            ("c", TargetState.REDIRECTED, "301"),
            ("d", TargetState.WAITING, ""),
            ("e", TargetState.SKIPPED, "robots"),
        ],
    )
    async def test_it_says_what_became_of_it(
        self, store: Store, path: str, state: TargetState, rule: str
    ) -> None:
        claim = await with_urls(store)

        url = await store.frontier.find(claim.job.id, fp_of(f"https://example.com/{path}"))

        assert url is not None
        assert (url.state, url.rule) == (state, rule)

    async def test_what_was_never_found_is_not_known(self, store: Store) -> None:
        claim, other = await with_urls(store), await claimed(store)

        assert await store.frontier.find(claim.job.id, fp_of("https://example.com/z")) is None
        assert await store.frontier.find(other.job.id, fp_of("https://example.com/a")) is None
        assert await store.frontier.find("0192", fp_of("https://example.com/a")) is None


class TestUpcoming:
    async def test_urls_come_in_the_order_of_finding(self, store: Store) -> None:
        claim = await with_urls(store)
        await with_urls(store)

        every = await store.frontier.upcoming(claim.job.id, 0, 10, ALL)
        rest = await store.frontier.upcoming(claim.job.id, every[1].key, 2, ALL)
        waiting = await store.frontier.upcoming(claim.job.id, 0, 10, [TargetState.WAITING])
        ended = (TargetState.FAILED, TargetState.SKIPPED)
        ended_urls = await store.frontier.upcoming(claim.job.id, 0, 10, ended)

        assert [k.url[-1] for k in every] == ["d", "a", "b", "c", "d", "e"]
        assert [k.parent for k in every][:2] == [None, "https://example.com/seed"]
        assert rest == every[2:4]
        assert [k.url[-1] for k in waiting] == ["a", "d"]
        assert [k.url[-1] for k in ended_urls] == ["b", "e"]
        assert await store.frontier.upcoming(claim.job.id, 0, 10, []) == []

    async def test_those_of_a_deleted_job_are_gone(self, store: Store) -> None:
        claim = await with_urls(store)

        await deleted(store, claim.job)

        assert await store.frontier.upcoming(claim.job.id, 0, 10, ALL) == []
        assert await store.frontier.find(claim.job.id, fp_of("https://example.com/a")) is None


class TestWaits:
    async def test_it_is_the_wait_of_the_job_that_is_due_longest(self, store: Store) -> None:
        await added(store, due_at=NOW - SECOND)
        await added(store, due_at=NOW - 2 * SECOND)
        await claimed(store, await added(store, due_at=NOW - 5 * SECOND))
        await deleted(store, await added(store, due_at=NOW - 9 * SECOND))

        assert await store.queue.longest_wait(NOW) == 2 * SECOND

    async def test_it_is_nothing_where_no_job_is_due(self, store: Store) -> None:
        await added(store, due_at=NOW + SECOND)

        assert await store.queue.longest_wait(NOW) == timedelta(0)


class TestWorkers:
    async def test_a_report_comes_back_and_takes_the_place_of_the_last(self, store: Store) -> None:
        hosts = (
            HostReport(
                host="exämple.com:8080",
                in_flight=2,
                at_once=3,
                delay_s=0.1,
                held_until=NOW + SECOND,
                refusals=4,
                jobs=("1", "2"),
            ),
        )
        report = a_report(
            running=("1", "2"),
            pages_per_s=1 / 3,
            memory_bytes=2**40,
            load=0.7,
            stopping=True,
            hosts=hosts,
            beat_at=NOW + SECOND,
        )
        await store.workers.save_heartbeat(a_report())

        await store.workers.save_heartbeat(report)

        assert await store.workers.find() == [report]

    async def test_the_one_that_began_first_is_in_front(self, store: Store) -> None:
        reports = [a_report(id=i, started_at=NOW - s * SECOND) for i, s in (("a", 0), ("b", 2))]
        twin = a_report(id="B", started_at=NOW - 2 * SECOND)

        for report in (*reports, twin):
            await store.workers.save_heartbeat(report)

        assert [r.id for r in await store.workers.find()] == ["B", "b", "a"]

    async def test_one_that_is_gone_is_forgotten_once(self, store: Store) -> None:
        await store.workers.save_heartbeat(a_report())

        assert await store.workers.forget("host:1:x")
        assert not await store.workers.forget("host:1:x")
        assert await store.workers.find() == []

    async def test_those_that_have_long_said_nothing_are_swept(self, store: Store) -> None:
        for n in range(3):
            await store.workers.save_heartbeat(a_report(id=str(n), beat_at=NOW + n * SECOND))

        assert await store.workers.sweep(NOW + SECOND) == 1
        assert await store.workers.sweep(NOW + SECOND) == 0
        assert [report.id for report in await store.workers.find()] == ["1", "2"]
