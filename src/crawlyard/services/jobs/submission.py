"""Submission of jobs: from a request to a spec, to a checked draft, to a stored job."""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import Actor, Grant, Permit
from crawlyard.core.crawl.cookie import CookieMode
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import DIRECT, Job, Origin
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import (
    FIELDS,
    JobRequest,
    form_of,
    spec_of,
    spec_with,
    values_of,
)
from crawlyard.core.templates.secrets import hide_credentials
from crawlyard.engine.admission import check_spec
from crawlyard.engine.http.dns import addresses_of
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.proxy import check_proxies
from crawlyard.errors import Forbidden, Invalid, NotFound, StoreUnavailable
from crawlyard.ids import new_id
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.services.access.policy import (
    CEILING,
    SETTINGS,
    Clamped,
    Policy,
    check_grants,
    check_waiting,
    cut_of,
    within_ceilings,
)
from crawlyard.services.jobs.parameters import FormTerms
from crawlyard.services.templates.rendering import DEFAULT, THIS_JOB, render_template
from crawlyard.services.webhooks.receivers import (
    Resolve,
    check_job_spec,
    check_names,
    with_webhooks,
)
from crawlyard.store.jobs.intake import IntakeStore
from crawlyard.store.queries import Entered, Entrant, IntakeRules, WebhookQuery
from crawlyard.store.store import Store

PUBLIC = Guard()


class Submission(Struct, frozen=True, kw_only=True):
    """A job to submit."""

    spec: JobSpec
    start_at: datetime | None = None
    origin: Origin = DIRECT
    grant: bool = False  # an admin grants what the job needs, for this job alone
    reads_results: bool = False  # pages may be sent to its webhooks


async def prepare_job(
    policy: Policy, clock: Clock, actor: Actor, submission: Submission, *, by: str | None = None
) -> tuple[Job, Event]:
    """Return a new job owned by the actor, and its event.

    *by* is who submits it if that is not the actor, such as a schedule. Limits above the
    ceilings of the instance or of the actor are cut; the event names them.

    Raises:
        Invalid: the spec cannot be crawled as it is; the message names the field.
        Forbidden: the actor may not submit, or asks for something the settings do not grant.
    """
    draft = await draft_job(policy, actor, submission, by=by)
    await policy.check_granted(draft.needs, draft.doubt)
    return draft.create(await policy.clamp(draft.owner, draft.asked.spec), clock.now())


class JobDraft(Struct, frozen=True, kw_only=True):
    """A requested job whose spec was checked, but not yet against settings and quotas."""

    id: str
    owner: str
    asked: Submission
    needs: tuple[Grant, ...]  # grants that it needs in the settings
    doubt: str = ""  # as for `Policy.needed`
    by: str | None = None  # the submitter, if not its owner
    like: Job | None = None  # the job that it is a retry of
    granted: tuple[Grant, ...] = ()  # grants that an admin gave this job alone

    def create(self, within: Clamped, now: datetime) -> tuple[Job, Event]:
        """Return the job and its event, with the spec as cut to the ceilings."""
        job, event = Job.new(
            *(self.id, self.owner, within.spec, now),
            due_at=self.asked.start_at,
            origin=self.asked.origin,
            by_grant=self.needs,
            actor=self.by,
        )
        if self.granted:
            event = replace(event, data={**event.data, "granted": list(map(str, self.granted))})
        retry_of = self.like.id if self.like else None
        return (replace(job, retry_of=retry_of) if retry_of else job), within.with_cut_limits(event)

    def preview(self, now: datetime) -> Job:
        """Return the job as it would be without ceilings for its limits."""
        return self.create(Clamped(spec=self.asked.spec), now)[0]

    def admit(self, rules: IntakeRules, now: datetime) -> tuple[Job, Event]:
        """Return the job and its event if *rules* admit it.

        Raises:
            Forbidden: the settings do not grant what it needs.
            QuotaExceeded: the owner already has as many jobs waiting as the quota allows.
        """
        if self.needs:
            check_grants(self.needs, rules.grants, self.doubt)
        check_waiting(self.owner, rules.quota, rules.waiting)
        within = within_ceilings(self.asked.spec, rules.quota.ceilings, rules.ceilings)
        return self.create(within, now)

    def entrant(self, now: datetime) -> Entrant:
        """Return the entrant by which the store admits this job."""
        return Entrant(
            owner=self.owner,
            level=self.asked.spec.priority,
            judge=partial(self.admit, now=now),
            like=self.like,
            urls=len(self.asked.spec.urls),
            unique_key=self.asked.spec.unique_key,
        )


def check_maker(actor: Actor) -> None:
    """Check that *actor* may submit jobs at all.

    Raises:
        Forbidden: they may only view.
    """
    if not actor.may_change(actor.id):
        raise Forbidden(f"{actor.id} may view jobs, but not submit them")


async def draft_job(
    policy: Policy,
    actor: Actor,
    submission: Submission,
    *,
    by: str | None = None,
    like: Job | None = None,
) -> JobDraft:
    """Return the draft of a new job owned by the actor, checked without settings and quotas.

    *by* is as for `prepare_job`. With *like*, it is a retry of that job; if the actor is trusted,
    it needs the same grants as that job.

    Raises:
        Invalid: the spec cannot be crawled as it is; the message names the field.
        Forbidden: the actor may not submit.
    """
    check_maker(actor)
    if submission.spec.webhooks:
        check_job_spec(submission.spec)
        _check_pages_readable(submission)
        submission = replace(submission, spec=with_webhooks(submission.spec))
    else:
        check_spec(submission.spec)
    if like is not None and actor.trusted:
        needs, doubt = like.by_grant, ""
    else:
        needs, doubt = await policy.find_needed(actor, submission.spec, submission.origin)
    granted = needs if submission.grant else ()
    return JobDraft(
        id=new_id(),
        owner=actor.id,
        asked=submission,
        needs=() if granted else needs,
        doubt=doubt,
        by=by,
        like=like,
        granted=granted,
    )


def _check_pages_readable(submission: Submission) -> None:
    """Check that pages may be sent to the webhooks of a job.

    Raises:
        Forbidden: its request had no permit to read pages, or it is of a schedule or a group.
    """
    if not submission.reads_results and any(hook.pages for hook in submission.spec.webhooks):
        raise Forbidden(
            "a webhook that receives pages needs results:read, and a job that is submitted"
            " by itself, not by a schedule or in a group"
        )


class Prepared(Submission, frozen=True, kw_only=True):
    """A submission with the sources of its settings."""

    sources: Mapping[str, str]  # where each field of the spec comes from, by path of the form


class JobPlan(Struct, frozen=True, kw_only=True):
    """The job that a request would create, and where its settings would come from."""

    job: Job
    form: Mapping[str, object]  # the whole spec, credentials hidden
    sources: Mapping[str, str]  # where each field comes from
    cut: tuple[str, ...]  # paths of the limits that were cut to a ceiling
    existing_id: str | None = None  # the job with its unique key, which would be returned instead


MOST = 500
"""Maximum number of jobs in one transaction, which other writers wait for (50 ms on SQLite),
unless one caller has more."""

HEAVIEST = 20_000
"""Maximum number of start URLs in one transaction (0.1 s), unless one caller has more."""


class _Call(Struct, frozen=True):
    """The jobs of one caller, and the future on which they wait for the answers."""

    entrants: Sequence[Entrant]
    answer: "asyncio.Future[list[Entered]]"


class Intake:
    """Collects jobs submitted while a transaction is in progress, and stores them with the next.

    A single caller does not wait. Jobs are stored in the order of the calls. Each call gets its own
    answer, and an error in one does not affect the others.
    """

    def __init__(self, store: IntakeStore, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._waiting: deque[_Call] = deque()
        self._task: asyncio.Task[None] | None = None

    async def enter(self, entrants: Sequence[Entrant]) -> list[Entered]:
        """Store jobs, and return an answer to each; see `IntakeStore.enter`.

        The jobs share a transaction. If the caller is cancelled before it begins, nothing is
        stored; after that, the jobs may have been.

        Raises:
            StoreUnavailable: nothing was written, or it is unknown whether it was.
        """
        if not entrants:
            return []
        answer: asyncio.Future[list[Entered]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(entrants, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all())
        return await answer

    async def _write_all(self) -> None:
        while calls := self._next_portion():
            await self._write(calls)

    def _next_portion(self) -> list[_Call]:
        calls: list[_Call] = []
        room, urls = MOST, HEAVIEST
        while self._waiting:
            call = self._waiting[0]
            weight = sum(entrant.urls for entrant in call.entrants)
            if calls and (len(call.entrants) > room or weight > urls):
                break
            self._waiting.popleft()
            if not call.answer.done():
                calls.append(call)
                room -= len(call.entrants)
                urls -= weight
        return calls

    async def _write(self, calls: Sequence[_Call]) -> None:
        entrants = [entrant for call in calls for entrant in call.entrants]
        try:
            answers = await self._store.enter(entrants)
        except Exception as error:  # noqa: BLE001 - it is passed on to the callers
            if len(calls) > 1 and not isinstance(error, StoreUnavailable):
                for call in calls:  # a defect in one caller's jobs must not affect the others
                    await self._write([call])
                return
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(error)
            return
        self._announce(answers)
        rest = iter(answers)
        for call in calls:
            own = [next(rest) for _ in call.entrants]
            if not call.answer.done():
                call.answer.set_result(own)

    def _announce(self, answers: Sequence[Entered]) -> None:
        """Wake workers once per transaction; they find all due jobs by themselves."""
        dues = [answer.due_at for answer in answers if not isinstance(answer, Exception)]
        if dues:
            self._dispatcher.announce(min(dues))


class Submitter:
    """Creates jobs from requests and specs, for any actor."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        clock: Clock,
        policy: Policy | None = None,
        resolve: Resolve = addresses_of,
        proxies: Guard = PUBLIC,
    ) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy or Policy(store)
        self._resolve = resolve
        self._proxies = proxies  # judges the addresses of proxies
        self._intake = Intake(store.intake, dispatcher)

    @staticmethod
    def request_of(
        form: Mapping[str, Any], terms: FormTerms, actor: Actor, permits: Collection[Permit]
    ) -> JobRequest:
        """Return the request of a form and its terms.

        Raises:
            Forbidden: it grants something, and the actor is no admin.
        """
        if terms.get("grant") and Permit.ADMIN not in permits:
            raise Forbidden(
                f"{actor.id} may not grant what the settings do not allow; ask an admin"
            )
        return JobRequest(
            form=form,
            template=terms.get("template"),
            template_version=terms.get("template_version"),
            params=terms.get("params") or {},
            start_at=terms.get("start_at"),
            grant=terms.get("grant", False),
            reads_results=Permit.RESULTS_READ in permits,
        )

    async def preview(self, actor: Actor, submission: Submission) -> tuple[Job, Event]:
        """Return the job that `submit` would store now, and its event; nothing is written.

        Raises:
            Invalid, Forbidden, QuotaExceeded: as for `submit`.
        """
        draft = await self._draft(actor, submission)
        await self._policy.check_granted(draft.needs, draft.doubt)
        within = await self._policy.clamp(draft.owner, draft.asked.spec)
        job, event = draft.create(within, self._clock.now())
        await self.check_receivers(job.spec)
        if await self.existing(job.owner, job.spec.unique_key) is None:
            await self._policy.check_room(job.owner)
        return job, event

    async def draft(
        self,
        actor: Actor,
        submission: Submission,
        *,
        by: str | None = None,
        like: Job | None = None,
    ) -> JobDraft:
        """Return a checked draft of a new job, for `enter`; nothing is written.

        Raises:
            Invalid, Forbidden: as for `submit`.
        """
        draft = await self._draft(actor, submission, by=by, like=like)
        # check the grants first: a refused job causes no DNS lookups
        if submission.spec.webhooks or submission.spec.proxies:
            await self._policy.check_granted(draft.needs, draft.doubt)
            await self.check_receivers(draft.asked.spec)
        if submission.spec.notify:
            await self._check_channels(submission.spec.notify, actor.id)
        return draft

    async def existing(self, owner: str, unique_key: str | None) -> str | None:
        """Return the id of the job of *owner* with a unique key, ``None`` if there is none."""
        if unique_key is None:
            return None
        return await self._store.jobs.with_unique_key(owner, unique_key)

    async def _draft(
        self,
        actor: Actor,
        submission: Submission,
        *,
        by: str | None = None,
        like: Job | None = None,
    ) -> JobDraft:
        """Return the draft of a job; an error lists the faults of its spec and of its references.

        Raises:
            Invalid, Forbidden: as for `draft_job`.
        """
        spec = submission.spec
        since = None if like else spec.since  # the job that a retry is based on may be deleted
        wrong = await self.reference_faults(actor.id, since, spec.session, spec.cookies)
        try:
            draft = await draft_job(self._policy, actor, submission, by=by, like=like)
        except Invalid as error:
            raise Invalid.of([error, *wrong]) from None
        if wrong:
            raise Invalid.of(wrong)
        return draft

    async def reference_faults(
        self, owner: str, since: str | None, session: str, cookies: CookieMode
    ) -> list[Invalid]:
        """Return what is wrong with the earlier job and the session that a spec names."""
        faults: list[Invalid] = []
        if since and not await self._owns_job(owner, since):
            message = f"expected one of your jobs, and there is no job {since}"
            faults.append(Invalid("since", message))
        stored = await self._store.site_sessions.get_by_name(owner, session) if session else None
        if stored is not None and stored.cookies and cookies is CookieMode.OFF:
            faults.append(Invalid("cookies", f"expected job, as session {session} has cookies"))
        if session and stored is None:
            advice = f"log in to session {session} first"
            message = f"expected one of yours, and there is no {session}; {advice}"
            faults.append(Invalid("session", message))
        return faults

    async def _owns_job(self, owner: str, job_id: str) -> bool:
        try:
            return (await self._store.jobs.get(job_id)).job.owner == owner
        except NotFound:
            return False

    async def check_receivers(self, spec: JobSpec) -> None:
        """Resolve the webhooks and proxies of *spec*, and check that their addresses are allowed.

        Raises:
            Invalid: a webhook or a proxy has no address, or a forbidden one.
        """
        await check_names(spec, self._resolve)
        await check_proxies(spec, self._proxies, self._resolve)

    async def _check_channels(self, names: Sequence[str], owner: str) -> None:
        for name in names:
            query = WebhookQuery(owner=owner, name=name, channels=True)
            if not await self._store.webhooks.find(query, 1):
                raise Invalid("notify", f"{owner} has no notification channel {name}")

    async def enter(self, draft: JobDraft) -> Job:
        """Store the job of a draft, and return it; or the job that has its unique key already.

        Raises:
            Forbidden, QuotaExceeded: as for `submit`.
            Conflict: it is a retry of a job that has changed meanwhile.
        """
        [entered] = await self.enter_all([draft])
        if isinstance(entered, Exception):
            raise entered
        return entered

    async def enter_all(self, drafts: Sequence[JobDraft]) -> list[Entered]:
        """Store the jobs of drafts in one transaction; return each, or why it was refused."""
        now = self._clock.now()
        return await self._intake.enter([draft.entrant(now) for draft in drafts])

    async def plan(self, actor: Actor, request: JobRequest) -> JobPlan:
        """Return the job that `submit` would create now; nothing is written.

        Raises:
            Invalid, NotFound, Forbidden, QuotaExceeded: as for `submit`.
        """
        ready = await self.prepare(actor, request)
        job, event = await self.preview(actor, ready)
        cut = tuple(path for path in FIELDS if path in cut_of(event))
        return JobPlan(
            job=job,
            form=hide_credentials(form_of(job.spec)),
            sources={**ready.sources, **dict.fromkeys(cut, CEILING)},
            cut=cut,
            existing_id=await self.existing(actor.id, job.spec.unique_key),
        )

    async def defaults(self) -> Mapping[str, object]:
        """Return the fields of a spec that the settings set for all jobs."""
        return await self._policy.section(SectionName.DEFAULTS)

    async def prepare(
        self, actor: Actor, request: JobRequest, defaults: Mapping[str, object] | None = None
    ) -> Prepared:
        """Turn a request into a submission, on top of the *defaults* in the settings.

        Nothing is written; `draft` checks it further.

        Raises:
            Invalid, NotFound, Forbidden: as for `submit`.
        """
        if defaults is None:
            defaults = await self.defaults()
        try:
            return await self._complete(actor, request, defaults)
        except Invalid as error:
            wrong = {fault.field for fault in error.faults}
            since, session = (
                value
                if isinstance(value := request.form.get(name), str) and name not in wrong
                else ""
                for name in ("since", "session")
            )
            more = await self.reference_faults(actor.id, since, session, CookieMode.JOB)
            raise Invalid.of([error, *more]) from None

    async def _complete(
        self, actor: Actor, request: JobRequest, defaults: Mapping[str, object]
    ) -> Prepared:
        """Return the submission of a request, completed by its template and the settings."""
        if request.template is None:
            if request.params:
                raise Invalid("params", "expected a template that has them")
            spec = spec_of(request.form, check=check_job_spec)
            own_values = values_of(request.form)
            sources: Mapping[str, str] = {
                path: THIS_JOB if path in own_values else DEFAULT for path in FIELDS
            }
            origin = DIRECT
        else:
            rendered = await render_template(
                self._store,
                actor,
                request.template,
                request.params,
                request.form,
                request.template_version,
            )
            spec, sources, origin = rendered.spec, rendered.sources, rendered.origin
        # the settings complete it, in the fields that nothing has set
        under = {p: value for p, value in values_of(defaults).items() if sources[p] == DEFAULT}
        return Prepared(
            spec=spec_with(under, spec) if under else spec,
            start_at=request.start_at,
            origin=origin,
            grant=request.grant,
            reads_results=request.reads_results,
            sources={**sources, **dict.fromkeys(under, SETTINGS)},
        )
