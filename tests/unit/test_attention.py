"""Notices of trouble: each kind at its thresholds, and how many are listed."""

from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import PERMITS_OF, Permit, Role
from crawlyard.core.attention.attention import (
    DISMISSED_FOR,
    DISMISSED_FOR_NOW,
    LATE,
    MOST_OF_KIND,
    PAUSED_LONG,
    Disk,
    Facts,
    Notice,
    OwnerBacklog,
    Subject,
    attention,
    kinds_for,
)
from crawlyard.core.attention.lines import (
    IN_A_ROW,
    JobEnd,
    NoticeLine,
    SubjectKind,
    line_of,
    streak,
    suspects,
)
from crawlyard.core.attention.trouble import Trouble
from crawlyard.core.hosts.answers import HostOut
from crawlyard.core.jobs.job import Origin, Shard, Standing
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.schedules.schedule import BY_ITSELF
from tests.builders import NOW, a_job, a_spec
from tests.builders_schedules import a_schedule
from tests.builders_webhooks import a_webhook

MOMENT = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
GIB = 1 << 30
NOTHING = Facts(now=NOW, wall=NOW)
EVERY = frozenset(Trouble)
OF_SCHEDULES = {Trouble.SCHEDULE_OVERDUE, Trouble.SCHEDULE_PAUSED}
OF_WEBHOOKS = {Trouble.WEBHOOK_OFF, Trouble.WEBHOOK_FAILING}
OF_JOBS = EVERY - OF_SCHEDULES - OF_WEBHOOKS - {Trouble.DISK_FULL}
NIGHTLY = NoticeLine(kind=SubjectKind.SCHEDULE, key="s1", owner="ada")


def notices(**facts: Any) -> tuple[Notice, ...]:
    return attention(replace(NOTHING, **facts), EVERY).items


def about(notice: Notice) -> Subject:
    assert notice.subject is not None
    return notice.subject


def ends(*states: State) -> list[JobEnd]:
    """Return the ends of jobs, the latest first, a minute apart."""
    return [
        JobEnd(job_id=f"j{n}", state=state, ended_at=NOW - n * MINUTE)
        for n, state in enumerate(states)
    ]


def a_host(**fields: Any) -> HostOut:
    defaults: dict[str, Any] = {
        "host": "example.com",
        "state": "open",
        "version": 0,
        "rule": None,
        "in_flight": 0,
        "at_once": 1,
        "delay_s": 0.5,
        "delay_from": "job",
        "refusals": 0,
        "held_until": None,
        "booked_until": None,
        "jobs": ("j1", "j2"),
        "others": 0,
        "waiting": 0,
        "workers": (),
    }
    return HostOut(**(defaults | fields))


def a_paused_job(reason: StateReason, since: datetime, detail: str = "") -> Any:
    return a_job(
        state=State.PAUSED,
        state_reason=reason,
        since=since,
        detail=detail,
        spec=a_spec(name="news"),
    )


def test_a_healthy_yard_has_no_notices() -> None:
    well = Facts(
        now=NOW,
        wall=NOW,
        workers=[()],
        backlog=OwnerBacklog(count=5, oldest="j1", since=NOW),
        disk=Disk(folder="x", free=50 * GIB, total=100 * GIB),
        schedules=[a_schedule()],
        lines={NIGHTLY: ends(State.COMPLETED)},
        names={NIGHTLY: "nightly"},
        paused=[a_paused_job(StateReason.BY_USER, NOW)],
        hosts=[a_host()],
        webhooks=[a_webhook()],
    )
    needs = attention(well, EVERY)
    assert (needs.items, needs.counts, needs.at_least) == ((), {}, ())


class TestEnds:
    def test_failed_stopped_and_textless_jobs_are_notices(self) -> None:
        def ended(job_id: str, state: State, reason: StateReason, **usage: int) -> Standing:
            job = a_job(id=job_id, state=state, state_reason=reason, ended_at=NOW, detail="no DNS")
            return Standing(job=job, shard=Shard(usage=Usage(**usage)))

        listed = notices(
            ended=[
                ended("f", State.FAILED, StateReason.START_FAILED),
                ended("s", State.COMPLETED, StateReason.LIMIT_ERRORS, discovered=9, done=4),
                ended("wanted", State.COMPLETED, StateReason.LIMIT_PAGES, discovered=9, done=4),
                ended("last", State.COMPLETED, StateReason.LIMIT_PAGES, discovered=9, done=9),
                ended("n", State.COMPLETED, StateReason.EXHAUSTED, needs_scripts=2),
            ]
        )

        assert [(n.kind, n.job_id, n.detail) for n in listed] == [
            ("job_failed", "f", "no DNS"),
            ("job_stopped", "s", "Stopped at its error limit: 4 of 9 found"),
            ("needs_scripts", "n", "2 pages need scripts: the text is empty or partial"),
        ]
        assert [n.help.endpoint for n in listed if n.help] == [
            "POST /jobs/{job_id}/retry",
            "PATCH /jobs/{job_id}",
            "POST /jobs",
        ]

    def test_without_a_browser_a_notice_shows_how_to_install_one(self) -> None:
        job = a_job(state=State.COMPLETED, state_reason=StateReason.EXHAUSTED, ended_at=NOW)

        ended = [Standing(job=job, shard=Shard(usage=Usage(needs_scripts=2)))]

        [listed] = notices(ended=ended, install="apt install it")

        assert listed.help is None
        assert listed.detail.endswith("; no worker has a browser to run them (apt install it)")

    def test_only_the_last_run_of_a_schedule_is_a_notice(self) -> None:
        runs = [
            a_job(
                id=run,
                state=State.COMPLETED,
                state_reason=StateReason.LIMIT_ERRORS,
                origin=Origin(schedule_id=schedule),
            )
            for run, schedule in (("j4", "a"), ("j3", "b"), ("j2", "a"), ("j1", "a"))
        ]
        shard = Shard(usage=Usage(discovered=9, done=4))

        listed = notices(ended=[Standing(job=job, shard=shard) for job in runs])

        assert [n.job_id for n in listed] == ["j4", "j3"]

    def test_many_of_one_host_are_one_notice_the_last_ones_first(self) -> None:
        usage = Usage(discovered=9, done=4, needs_scripts=2)

        def stopped(n: int, host: str) -> Standing:
            job = a_job(
                id=f"j{n}",
                state=State.COMPLETED,
                state_reason=StateReason.LIMIT_ERRORS,
                ended_at=NOW - n * MINUTE,
                spec=a_spec(urls=(f"https://{host}/{n}",), name=f"crawl {n}"),
            )
            return Standing(job=job, shard=Shard(usage=usage))

        many = [stopped(n, "a.example:8080") for n in (1, 3, 5)]
        few = [stopped(n, "b.example") for n in (2, 4)]
        ended = sorted([*many, *few], key=lambda standing: standing.job.id)

        listed = notices(ended=ended)

        groups = [(notice.kind, about(notice).id, notice.jobs, notice.job_id) for notice in listed]
        assert groups == [
            (kind, *rest)
            for kind in ("job_stopped", "needs_scripts")
            for rest in (("a.example:8080", 3, None), ("j2", 1, "j2"), ("j4", 1, "j4"))
        ]
        assert listed[0].detail == "the last one, crawl 1: stopped at its error limit: 4 of 9 found"
        [first, *_] = notices(ended=ended[1:])  # now there are few of both
        assert first.jobs == 1
        again = attention(replace(NOTHING, ended=ended), EVERY, {listed[0].id: NOW - 2 * MINUTE})
        assert listed[0] in again.items  # one more has stopped since it was dismissed

    def test_twenty_failed_jobs_of_one_dead_site_are_one_notice(self) -> None:
        failed = [
            a_job(
                id=f"j{n}",
                state=State.FAILED,
                state_reason=StateReason.START_FAILED,
                ended_at=NOW - n * MINUTE,
                detail="no answer",
                spec=a_spec(urls=(f"https://dead.example/{n}",), name=f"crawl {n}"),
            )
            for n in range(20)
        ]

        needs = attention(
            replace(NOTHING, ended=[Standing(job=job, shard=Shard()) for job in failed]), EVERY
        )

        [notice] = needs.items
        assert (notice.kind, about(notice).id, notice.jobs) == ("job_failed", "dead.example", 20)
        assert notice.detail == "the last one, crawl 0: no answer"
        assert needs.counts == {"job_failed": 1}

    def test_a_damaged_job_is_not_offered_a_retry(self) -> None:
        job = a_job(state=State.FAILED, damaged="spec: not a JSON object")
        listed = notices(ended=[Standing(job=job, shard=Shard())], damaged=[job])
        assert [(n.kind, n.help and n.help.method) for n in listed] == [("job_damaged", "DELETE")]

    def test_a_crawl_that_never_renders_needs_no_browser(self) -> None:
        spec = a_spec(render="never")
        job = a_job(state=State.COMPLETED, state_reason=StateReason.EXHAUSTED, spec=spec)
        standing = Standing(job=job, shard=Shard(usage=Usage(needs_scripts=2)))
        assert notices(ended=[standing], install="apt install it") == ()

    def test_a_failure_within_a_series_is_one_notice(self) -> None:
        job = a_job(id="j0", state=State.FAILED, state_reason=StateReason.START_FAILED)
        listed = notices(
            lines={NIGHTLY: ends(*[State.FAILED] * IN_A_ROW)},
            names={NIGHTLY: "nightly"},
            ended=[Standing(job=job, shard=Shard())],
        )
        assert [n.kind for n in listed] == ["runs_failing"]


class TestWorkerTags:
    def test_jobs_that_no_worker_may_take_are_counted_by_what_they_need(self) -> None:
        jobs = [
            a_job(id=f"j{n}", due_at=NOW, spec=a_spec(worker_tags=tags))
            for n, tags in enumerate((("eu",), ("eu",), ("us",), ("us", "eu")))
        ]

        listed = notices(workers=[("us",)], tagged=jobs)

        assert [(n.job_id, n.detail) for n in listed] == [
            ("j0", "2 jobs wait for a worker with the tag eu; start one"),
            ("j3", "1 job waits for a worker with the tags eu, us; start one"),
        ]
        assert notices(tagged=jobs) == ()  # no worker at all: that is another notice


class TestNoWorker:
    def test_jobs_that_wait_for_one_are_counted(self) -> None:
        for workers, count, messages in [
            (0, 0, None),
            (1, 3, None),
            (0, 1, "1 job waits"),
            (0, 1200, "1,200 jobs wait"),
        ]:
            backlog = OwnerBacklog(count=count, oldest="j1" if count else None, since=NOW - MINUTE)
            listed = notices(workers=[()] * workers, backlog=backlog)
            assert [(about(n).id, n.job_id, n.since) for n in listed] == (
                [("j1", "j1", NOW - MINUTE)] if messages else []
            ), count
            assert all(
                n.detail.startswith(f"{messages}, and no worker takes any") for n in listed
            ), count


class TestDiskNotice:
    def test_it_is_nearly_full_below_its_share_within_bounds(self) -> None:
        for free, total, full in [
            (GIB, 10 * GIB, False),
            (GIB - 1, 10 * GIB, True),
            (5 * GIB, 100 * GIB, False),
            (5 * GIB - 1, 100 * GIB, True),
            (10 * GIB, 4000 * GIB, False),
            (10 * GIB - 1, 4000 * GIB, True),
        ]:
            listed = notices(disk=Disk(folder="/data", free=free, total=total))
            assert [n.kind for n in listed] == ([Trouble.DISK_FULL] if full else []), free
            assert all("/data" in n.detail and n.subject is None for n in listed), free

    def test_unknown_disk_space_is_no_notice(self) -> None:
        assert notices(disk=None) == ()


class TestScheduleNotices:
    def test_one_is_overdue_a_minute_after_its_time(self) -> None:
        for fire_at, paused, late in [
            (NOW - LATE, False, False),
            (NOW - LATE - MOMENT, False, True),
            (NOW - timedelta(hours=3), True, False),
            (None, False, False),
        ]:
            schedule = a_schedule(
                fire_at=fire_at, paused_at=NOW if paused else None, paused_by="ada", name="watch"
            )
            listed = notices(schedules=[schedule])
            assert [(n.kind, about(n).id, about(n).name, n.since) for n in listed] == (
                [(Trouble.SCHEDULE_OVERDUE, schedule.id, "watch", fire_at)] if late else []
            ), fire_at

    def test_how_late_it_is_goes_by_the_clock_on_the_wall(self) -> None:
        schedule = a_schedule(fire_at=NOW)
        assert notices(schedules=[schedule]) == ()
        [late] = notices(schedules=[schedule], wall=NOW + 6 * MINUTE)
        assert late.detail.startswith("it was due")

    def test_an_automatically_paused_schedule_is_a_notice(self) -> None:
        for by, is_listed in [(BY_ITSELF, True), ("ada", False)]:
            schedule = a_schedule(
                paused_at=NOW - MINUTE, paused_by=by, pause_reason="3 runs in a row have failed"
            )
            listed = notices(schedules=[schedule])
            assert [(n.kind, n.since, n.detail) for n in listed] == (
                [
                    (
                        Trouble.SCHEDULE_PAUSED,
                        NOW - MINUTE,
                        "it was paused: 3 runs in a row have failed",
                    )
                ]
                if is_listed
                else []
            ), by


class TestFailureLines:
    F, C = State.FAILED, State.COMPLETED

    def test_three_consecutive_failures_are_a_notice(self) -> None:
        for states, count in [
            ((), 0),
            ((self.F, self.F), 0),
            ((self.F, self.F, self.F), 3),
            ((self.C, self.F, self.F, self.F), 0),
            ((self.F, self.F, self.C, self.F), 0),
            ((self.F, self.F, self.F, self.C, self.F, self.F, self.F), 3),
            ((self.F, self.F, self.F, self.F, self.C), 4),
        ]:
            listed = notices(lines={NIGHTLY: ends(*states)}, names={NIGHTLY: "nightly"})

            assert len(streak(ends(*states))) >= count, states
            assert [(n.kind, about(n).type, about(n).id, about(n).name) for n in listed] == (
                [(Trouble.RUNS_FAILING, SubjectKind.SCHEDULE, "s1", "nightly")] if count else []
            ), states
            for notice in listed:
                assert notice.detail.endswith(f"{count} in a row"), states
                assert (notice.job_id, notice.since) == ("j0", NOW - (count - 1) * MINUTE), states
                assert ("at least" in notice.detail) is (len(states) == count), states

    def test_failing_jobs_of_one_name_are_a_notice_about_the_last(self) -> None:
        line = NoticeLine(kind=SubjectKind.JOB, key="news", owner="ada")
        [listed] = notices(lines={line: ends(*[self.F] * 3)}, names={line: "news"})
        assert listed.subject == Subject(type="job", id="j0", name="news", path="/api/v1/jobs/j0")

    def test_deleted_schedules_have_no_notice(self) -> None:
        assert notices(lines={NIGHTLY: ends(*[self.F] * 3)}) == ()

    def test_a_job_is_in_the_line_of_what_made_it(self) -> None:
        for schedule, template, name, kind, key in [
            ("s", "t", "n", SubjectKind.SCHEDULE, "s"),
            (None, "t", "n", SubjectKind.TEMPLATE, "t"),
            (None, None, "n", SubjectKind.JOB, "n"),
        ]:
            assert line_of("ada", schedule, template, name) == NoticeLine(
                kind=kind, key=key, owner="ada"
            ), kind
            assert line_of("ada", None, None, "") is None, kind

    def test_lines_with_enough_failures_are_looked_at_since_the_first_of_them(self) -> None:
        other = replace(NIGHTLY, key="s2")
        failed = ends(*[self.F] * 7)
        owners = [other, NIGHTLY, None, NIGHTLY, other, NIGHTLY, None]
        suspected = suspects(zip(owners, failed, strict=True))
        assert suspected == {NIGHTLY: NOW - 5 * MINUTE}
        assert len(failed) > IN_A_ROW


class TestPausedJobs:
    def test_a_paused_job_is_a_notice_after_a_day_or_if_paused_automatically(self) -> None:
        for reason, ago, is_listed in [
            (StateReason.BY_USER, PAUSED_LONG, False),
            (StateReason.BY_USER, PAUSED_LONG + MOMENT, True),
            (StateReason.DISK_FULL, timedelta(0), True),
            (StateReason.NOT_GRANTED, timedelta(0), True),
        ]:
            job = a_paused_job(reason, NOW - ago, "no room")
            listed = notices(paused=[job])
            assert [(n.kind, about(n).id, n.job_id, about(n).name, n.since) for n in listed] == (
                [(Trouble.JOB_PAUSED, job.id, job.id, "news", NOW - ago)] if is_listed else []
            ), (reason, ago)
            assert all(n.detail.endswith(": no room") for n in listed), (reason, ago)

    def test_one_that_is_logged_out_needs_a_login(self) -> None:
        job = a_paused_job(StateReason.LOGGED_OUT, NOW, "log in again")
        [notice] = notices(paused=[job])
        assert (notice.kind, notice.job_id) == (Trouble.LOGGED_OUT, job.id)
        assert notice.detail.endswith(": log in again")

    def test_one_that_goes_on_by_now_is_not(self) -> None:
        running = a_job(state=State.RUNNING, state_reason=StateReason.DISK_FULL)
        assert notices(paused=[running]) == ()


def test_a_repeatedly_refusing_host_is_a_notice_with_a_job() -> None:
    for refusals, is_listed in [(2, False), (3, True)]:
        listed = notices(hosts=[a_host(refusals=refusals)])
        assert [(n.kind, about(n).id, n.job_id) for n in listed] == (
            [(Trouble.HOST_REFUSING, "example.com", "j1")] if is_listed else []
        ), refusals
        assert all("3 requests" in n.detail for n in listed), refusals


def test_a_failing_or_automatically_disabled_webhook_is_a_notice() -> None:
    off = {"active": False, "disabled_reason": "the receiver answered 410 (gone)"}
    for fields, kind in [
        (off, Trouble.WEBHOOK_OFF),
        ({"active": False, "disabled_reason": "switched off by ada"}, None),
        ({"active": True, "failures": 1, "failing_since": NOW}, Trouble.WEBHOOK_FAILING),
        (off | {"failures": 5, "failing_since": NOW}, Trouble.WEBHOOK_OFF),
    ]:
        webhook = a_webhook(**fields)
        listed = notices(webhooks=[webhook])
        assert [(n.kind, about(n).id, about(n).name) for n in listed] == (
            [(kind, webhook.id, "hooks.example.org")] if kind else []
        ), fields


class TestDismissed:
    def test_a_dismissed_notice_is_hidden_for_90_days_or_until_it_recurs(self) -> None:
        late = a_schedule(fire_at=NOW - LATE - MINUTE)
        [notice] = notices(schedules=[late])
        began = NOW - LATE - MINUTE
        assert notice.since == began
        for at, now, hidden in [
            (None, NOW, False),
            (began, NOW, True),
            (began - MOMENT, NOW, False),
            (NOW, NOW + DISMISSED_FOR - MOMENT, True),
            (NOW, NOW + DISMISSED_FOR, False),
        ]:
            assert notice.is_dismissed(at, now) is hidden, (at, now)

    def test_a_dismissed_notice_without_a_start_is_hidden_for_a_day(self) -> None:
        [notice] = notices(disk=Disk(folder="/data", free=0, total=GIB))
        assert notice.is_dismissed(NOW, NOW + DISMISSED_FOR_NOW - MOMENT)
        assert not notice.is_dismissed(NOW, NOW + DISMISSED_FOR_NOW)

    def test_it_is_not_counted_as_what_needs_somebody(self) -> None:
        late = [a_schedule(fire_at=NOW - LATE - MINUTE) for _ in range(3)]
        facts = replace(NOTHING, schedules=late)
        first, *_ = attention(facts, EVERY).items

        needs = attention(facts, EVERY, {first.id: NOW, "gone": NOW})

        assert (len(needs.items), needs.counts, needs.dismissed) == (2, {first.kind: 2}, 1)
        assert first not in needs.items

    def test_the_next_failed_job_of_a_name_is_the_same_trouble(self) -> None:
        line = NoticeLine(kind=SubjectKind.JOB, key="http://u:pw@a/", owner="ada")
        failed = ends(*[State.FAILED] * 5)
        [notice] = notices(lines={line: failed}, names={line: "news"})
        [next_] = notices(lines={line: failed[1:]}, names={line: "news"})
        assert notice.job_id != next_.job_id
        assert notice.id == next_.id
        assert notice.id.isalnum()

    def test_no_two_things_and_no_two_troubles_have_the_same_id(self) -> None:
        late, other = (a_schedule(fire_at=NOW - LATE - MINUTE) for _ in range(2))
        full = Disk(folder="/data", free=0, total=GIB)
        listed = notices(schedules=[late, other], disk=full, hosts=[a_host(refusals=IN_A_ROW)])
        assert len({notice.id for notice in listed}) == len(listed) == 4


class TestTogether:
    MANY = MOST_OF_KIND + 5

    def test_of_each_kind_the_longest_are_shown_and_all_are_counted(self) -> None:
        hours = [timedelta(hours=n + 1) for n in range(self.MANY)]
        schedules = [a_schedule(fire_at=NOW - ago, name=f"{ago}") for ago in hours]
        needs = attention(replace(NOTHING, schedules=schedules), EVERY)
        assert needs.counts == {Trouble.SCHEDULE_OVERDUE: self.MANY}
        assert [n.since for n in needs.items] == [NOW - ago for ago in hours[:4:-1]]

    def test_kinds_come_in_the_order_of_their_urgency(self) -> None:
        listed = notices(
            backlog=OwnerBacklog(count=1, oldest="j1", since=NOW),
            hosts=[a_host(refusals=9)],
            paused=[a_paused_job(StateReason.DISK_FULL, NOW - timedelta(days=9))],
        )
        assert [n.kind for n in listed] == [
            Trouble.NO_WORKER,
            Trouble.JOB_PAUSED,
            Trouble.HOST_REFUSING,
        ]

    def test_a_notice_needs_permission_to_read_its_subject(self) -> None:
        facts = replace(
            NOTHING,
            schedules=[a_schedule(fire_at=NOW - timedelta(hours=1))],
            cut=frozenset({Trouble.SCHEDULE_OVERDUE, Trouble.JOB_PAUSED}),
        )
        needs = attention(facts, kinds_for({Permit.JOBS_READ}))
        assert (needs.items, needs.counts) == ((), {})
        assert needs.at_least == (Trouble.JOB_PAUSED,)

    def test_kinds_of_notices_depend_on_read_permissions(self) -> None:
        for permits, kinds in [
            (frozenset(), set()),
            (PERMITS_OF[Role.VIEWER], EVERY - {Trouble.DISK_FULL}),
            (PERMITS_OF[Role.OPERATOR], EVERY - {Trouble.DISK_FULL}),
            (PERMITS_OF[Role.ADMIN], EVERY),
            (
                frozenset({Permit.JOBS_READ}),
                EVERY - OF_SCHEDULES - OF_WEBHOOKS - {Trouble.DISK_FULL},
            ),
            (frozenset({Permit.WEBHOOKS_READ}), OF_WEBHOOKS),
        ]:
            assert kinds_for(permits) == kinds, permits
