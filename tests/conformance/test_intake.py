"""Jobs that are let in together: judged by what holds, each for himself, in their order."""

import asyncio
from functools import partial

import pytest
from msgspec.structs import replace

from crawlyard.core.access.policy import Section, SectionName, grants_of
from crawlyard.core.access.user import NO_QUOTA, Quota
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.errors import Conflict, Forbidden, QuotaExceeded
from crawlyard.store.queries import Entered, Entrant, IntakeRules, JobQuery, WebhookQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, a_spec, its_event
from tests.builders_serve import quoted
from tests.conformance.conftest import Backend
from tests.conformance.purging import deleted
from tests.conformance.steps import added, claimed, in_state

OLDEST = JobQuery(oldest_first=True)
GRANTED_NONE = grants_of({})


def let_in(job: Job, rules: IntakeRules) -> tuple[Job, Event]:
    """Let a job in if as many may wait as there are then."""
    most = rules.quota.pending
    if most is not None and rules.waiting >= most:
        raise QuotaExceeded("pending", f"{rules.waiting} wait")
    return job, its_event(job)


def entrant(job: Job, like: Job | None = None) -> Entrant:
    return Entrant(owner=job.owner, level=job.level, judge=partial(let_in, job), like=like)


def refused(job: Job) -> Entrant:
    def judge(_: IntakeRules) -> tuple[Job, Event]:
        raise Forbidden("not you")

    return Entrant(owner=job.owner, level=job.level, judge=judge)


async def entered(store: Store, *jobs: Job) -> list[Entered]:
    return await store.intake.enter([entrant(job) for job in jobs])


async def stored(store: Store, query: JobQuery = OLDEST) -> list[Job]:
    return [standing.job for standing in await store.jobs.find(query, 1000)]


async def test_all_are_there_with_their_events_in_the_order_of_the_calls(store: Store) -> None:
    jobs = [a_job(owner=f"user-{n % 3}", priority=Priority.from_rank(n % 4)) for n in range(12)]

    answers = await entered(store, *jobs)

    assert answers == jobs == await stored(store)
    assert [e.subject for e in await store.events.events()] == [job.id for job in jobs]


async def test_they_are_queued_as_if_they_had_come_one_by_one(store: Store) -> None:
    await added(store, owner="bob")

    await entered(store, *(a_job(owner=o) for o in ("ada", "ada", "bob", "ada", "cleo", "bob")))

    owners = ""
    while claim := await store.leases.claim(Asker("w1"), NOW, LEASE):
        owners += claim.job.owner[0]
    assert owners == "bacabab"


async def test_a_job_has_its_tags_and_webhooks(store: Store) -> None:
    hook = JobWebhook(url="https://example.com/hook", secret="whsec_" + "a" * 32)
    plain, tagged = a_job(), a_job(spec=a_spec(tags=("b", "a"), webhooks=(hook,)))

    await entered(store, plain, tagged)

    assert await stored(store, JobQuery(tags=frozenset({"a", "b"}))) == [tagged]
    [webhook] = await store.webhooks.find(WebhookQuery(job_id=tagged.id), 10)
    assert webhook.url == hook.url


async def test_text_that_no_database_takes_is_made_fit_and_all_other_kept(store: Store) -> None:
    odd = "ü\"\\,{}'%s \n\t\x00\ud800\U0001f600"
    fit = odd.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    job = a_job(owner=odd, spec=a_spec(name=odd, tags=(odd,)))

    await store.intake.enter([entrant(job)])

    [job_id] = await stored(store, JobQuery(tags=frozenset({fit}), text=fit))
    assert (job_id.owner, job_id.spec.name, job_id.spec.tags) == (fit, fit, (fit,))
    [event] = await store.events.events()
    assert (event.owner, event.subject) == (fit, job.id)


class TestWhoIsRefused:
    async def test_a_quota_used_up_mid_batch_refuses_only_later_jobs_of_that_owner(
        self, store: Store
    ) -> None:
        await quoted(store, pending=3)
        await added(store, owner="ada")
        jobs = [a_job(owner=owner) for owner in ("ada", "bob", "ada", "ada", "bob", "ada")]

        answers = await entered(store, *jobs)

        admitted = [isinstance(answer, Job) for answer in answers]
        assert admitted == [True, True, True, False, True, False]
        assert [str(answers[n]) for n in (3, 5)] == ["3 wait", "3 wait"]
        assert [job.id for job in (await stored(store))[1:]] == [
            job.id for job, is_in in zip(jobs, admitted, strict=True) if is_in
        ]

    async def test_only_what_waits_counts(self, store: Store) -> None:
        await quoted(store, pending=2)
        await claimed(store, await added(store, owner="ada"))
        await added(store, in_state(State.COMPLETED, owner="ada"))
        await deleted(store, await added(store, in_state(State.PAUSED, owner="ada")))

        answers = await entered(store, *(a_job(owner="ada") for _ in range(3)))

        assert [isinstance(answer, Job) for answer in answers] == [True, True, False]

    async def test_a_refused_job_stores_nothing_and_does_not_affect_the_rest(
        self, store: Store
    ) -> None:
        first, second, third = (a_job() for _ in range(3))

        answers = await store.intake.enter([entrant(first), refused(second), entrant(third)])

        assert isinstance(answers[1], Forbidden)
        assert (answers[0], answers[2]) == (first, third)
        assert await stored(store) == [first, third]
        assert [e.subject for e in await store.events.events()] == [first.id, third.id]

    async def test_one_like_a_job_that_has_changed_is_answered_by_itself(
        self, store: Store
    ) -> None:
        unchanged, changed = await added(store), await added(store)
        await claimed(store, changed)
        deleted = a_job()
        news = [a_job() for _ in range(4)]

        likes = (unchanged, changed, deleted, None)
        answers = await store.intake.enter(
            [entrant(job, like) for job, like in zip(news, likes, strict=True)]
        )

        assert [type(answer) for answer in answers] == [Job, Conflict, Conflict, Job]
        assert (await stored(store))[2:] == [news[0], news[3]]

    async def test_an_id_that_is_taken_fails_all_and_nothing_is_written(self, store: Store) -> None:
        there = await added(store)

        with pytest.raises(Conflict, match=there.id):
            await entered(store, a_job(), a_job(id=there.id))

        assert await stored(store) == [there]
        assert len(await store.events.events()) == 1


class TestWhatTheyAreJudgedBy:
    async def rules_for(self, store: Store, owner: str) -> IntakeRules:
        """Return the rules that apply to a new job of *owner*."""
        rules_seen: list[IntakeRules] = []

        def judge(rules: IntakeRules) -> tuple[Job, Event]:
            rules_seen.append(rules)
            raise Forbidden("only looking")

        await store.intake.enter([Entrant(owner=owner, level=Priority.NORMAL, judge=judge)])
        return rules_seen[-1]

    async def test_an_unconfigured_owner_has_default_rules(self, store: Store) -> None:
        rules = await self.rules_for(store, "nobody")

        assert rules == IntakeRules(ceilings=Limits(), grants=GRANTED_NONE, quota=NO_QUOTA)

    async def test_the_settings_and_the_quota_as_they_are_now(self, store: Store) -> None:
        await quoted(store, pending=5, ceilings=Limits(pages=7))
        for name, value in (
            (SectionName.CEILINGS, {"pages": 9}),
            (SectionName.GRANTS, {"private": True}),
        ):
            section = Section(name=name.value, value=value, version=1, updated_at=NOW)
            await store.settings.save(section)
        await added(store, owner="ada")

        rules = await self.rules_for(store, "ada")

        assert rules.quota == Quota(pending=5, ceilings=Limits(pages=7))
        assert (rules.ceilings, rules.waiting) == (Limits(pages=9), 1)
        assert rules.grants == replace(GRANTED_NONE, private=True)


async def test_no_two_yards_let_in_more_than_a_quota_says(backend: Backend) -> None:
    yards = [await backend.open() for _ in range(3)]
    await quoted(yards[0], pending=7)

    answers = await asyncio.gather(
        *(entered(yards[n % 3], *(a_job(owner="ada") for _ in range(2))) for n in range(12))
    )

    admitted = [answer for group in answers for answer in group if isinstance(answer, Job)]
    assert len(admitted) == len(await stored(yards[0])) == 7
    for yard in yards:
        await yard.close()
