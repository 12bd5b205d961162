"""Jobs: submission, search and changes, for one user."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Unpack

from msgspec.structs import replace

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.page_answers import StoredPageOut
from crawlyard.core.endpoints.endpoint import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Slice,
    Words,
    composed_method,
    endpoint,
    every,
    make_slice,
    reply,
    split_words,
    wait_in_steps,
)
from crawlyard.core.jobs.answers import (
    JOB_LISTED,
    BatchOut,
    EventOut,
    JobOut,
    JobPlanOut,
    RetriedOut,
)
from crawlyard.core.jobs.detail_answers import (
    AttemptOut,
    ConfigOut,
    CountsOut,
    DeletionOut,
    ExclusionOut,
    ExpandedJobOut,
    JobProgressOut,
    QueueOut,
    ShardOut,
)
from crawlyard.core.jobs.job import Job, Standing
from crawlyard.core.jobs.job_log import Level, LevelWord
from crawlyard.core.jobs.lifecycle import ENDED, Move, State
from crawlyard.core.jobs.log_answers import CourseOut, LineOut
from crawlyard.core.jobs.order import JobOrder, SortKey
from crawlyard.core.jobs.preview_answers import PreviewOut
from crawlyard.core.jobs.spec_json import changes_of
from crawlyard.core.operations.answers import BulkOut
from crawlyard.core.operations.bulk import JobAction, RetryScope
from crawlyard.errors import Version
from crawlyard.lazy import lazily
from crawlyard.services.jobs import parameters
from crawlyard.services.jobs.crawl_form import Crawl, form_with
from crawlyard.services.jobs.parameters import LONGEST_WAIT_S, Changes, Form, FormTerms, Reason
from crawlyard.services.jobs.terms import (
    BulkTerms,
    JobTerms,
    bulk_action,
    choose_jobs,
    conditions_of,
    states_of,
)
from crawlyard.services.noun import Noun, parse_expand
from crawlyard.services.results.results import Results
from crawlyard.services.results.terms import SearchTerms
from crawlyard.store.queries import COUNTED_TO, EventQuery, JobQuery

# they load the engine and the store, which a remote call does not need
with lazily():
    from crawlyard.services.jobs import answers, batches, exclusions, follow, lookup, verdicts
    from crawlyard.services.webhooks import receivers

READ, WRITE = Permit.JOBS_READ, Permit.JOBS_WRITE


class Jobs(Noun):
    """Submits, finds, moves, changes and deletes jobs for one user.

    A job that they may not see raises `NotFound`, and one that they may not change `Forbidden`.
    With *version*, the change is made only if that version is current; otherwise `Stale` is raised.
    """

    results: Results  # of the same surface

    @endpoint("GET /jobs", READ, "seq", listed=JOB_LISTED)
    async def list(
        self,
        *,
        id: parameters.IdPart = "",  # noqa: A002 - the name of the parameter
        sort: parameters.SortBy = "-created_at",
        group: parameters.GroupBy = None,
        count: parameters.Count = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        **terms: Unpack[JobTerms],
    ) -> Slice[JobOut]:
        """List jobs, by default newest first.

        Following the cursor yields each job once, even if jobs are submitted meanwhile. Over HTTP,
        jobs have the fields that lists show; `fields` selects others.
        """
        query = JobQuery(where=conditions_of(terms), id_part=id.lower())
        by, descending = SortKey(sort.removeprefix("-")), sort.startswith("-")
        order = JobOrder(by=by, descending=descending, group=group)
        query, store = await self._visible(query), self._services.store
        places = await store.jobs.find_ordered(query, order, limit + 1, cursor)
        jobs = [standing for standing, _ in places]
        position = {s.job.id: at for s, at in places}
        total = None
        if count is not None:
            most = COUNTED_TO if count == "estimate" else None
            counts = await store.jobs.counts(query, most)
            total = min(most or sum(counts.values()), sum(counts.values()))
        by_id = {job.id: job for job in await self._jobs_out(jobs[:limit])}
        return make_slice(
            jobs, limit, lambda s: by_id[s.job.id], lambda s: position[s.job.id], total
        )

    @endpoint("GET /jobs/counts", READ)
    async def counts(self, **terms: Unpack[JobTerms]) -> CountsOut:
        """Count jobs by state and by priority; the filters are those of the list.

        Counts filtered only by owner, state and priority are exact. With other filters, counting
        stops at 10,000: such a total means that many or more, in each state and priority as well.
        `GET /jobs?count=exact` counts all.
        """
        query = JobQuery(where=conditions_of(terms))
        most, query = query.counted_to, await self._visible(query)
        return CountsOut.of(await self._services.store.jobs.counts(query, most), most)

    @endpoint("GET /jobs/queue", READ)
    async def queue(self, *, limit: Limit = 50) -> QueueOut:
        """List the jobs that are claimed next, in order, with the reasons why each waits.

        Jobs that are due come first, in the order of claims: by priority (risen by waiting), then
        in turn between users, then by age. The others follow by due time. `waits_for` has the
        position in the queue of all users and what holds a job back, such as a quota, worker tags
        or its start time; jobs that are held back are skipped. The list has one page of at most 200
        jobs.
        """
        store, now = self._services.store, self._services.clock.now()
        query = JobQuery(states=frozenset({State.PENDING}))
        query = await lookup.visible_query(store, self._actor, query)
        pending = await store.queue.pending(now, limit + 1, query.owner)
        counts = await store.jobs.counts(query)
        return QueueOut(
            items=await self._jobs_out(pending[:limit]),
            has_more=len(pending) > limit,
            priorities=CountsOut.of(counts).priorities,
        )

    @endpoint("GET /jobs/{job_id}", READ)
    async def get(self, job_id: str, *, expand: parameters.Expand = ()) -> ExpandedJobOut:
        """Return a job with its state, progress and waits."""
        standing = await self._standing(job_id)
        answer = (await self._jobs_out([standing]))[0]
        names = parse_expand(expand, answers.TIES, self._permits)
        made_of = await answers.ties_of(
            self._services.store, self._actor, standing.job.origin, names
        )
        return ExpandedJobOut.with_ties(answer, made_of)

    @composed_method
    async def create(
        self,
        crawl: Crawl = (),
        *,
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, Any] | None = None,
        start_at: datetime | None = None,
        grant: bool = False,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JobOut:
        """Submit a job, and return it; a worker runs it. `run` crawls at once instead.

        *crawl* is a URL, a list of them, a `JobSpec`, or a mapping in the form of the HTTP API.
        *options* are the fields of a spec, also under the names of the command line:
        ``create("https://docs.example.org", max_pages=500, tags=["docs"])``. With a *template*,
        *params* are the values of its parameters, and the rest overrides it. It starts now or at
        *start_at*. An admin may *grant* it what the settings do not.

        If you have a job with the same `unique_key`, that job is returned instead.

        Raises:
            Invalid: an option is unknown, or a value is out of range; the message lists all errors.
            Forbidden, QuotaExceeded: you may not submit it, or have too many jobs waiting.
        """
        terms: dict[str, Any] = {
            "template": template,
            "template_version": template_version,
            "params": params,
            "start_at": start_at,
            "grant": grant or None,
            "idempotency_key": idempotency_key,
        }
        values = {name: value for name, value in terms.items() if value is not None}
        return await self._create(form_with(crawl, options), **values)

    @composed_method
    async def run(
        self,
        crawl: Crawl = (),
        *,
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JobOut:
        """Crawl, and return the job once it has ended or is paused.

        On `crawlyard.open()`, a worker in this process runs this one job. On
        `crawlyard.connect()`, the job is submitted, and a worker of that instance runs it. The
        arguments are those of `create`. If this call is cancelled, the job is kept: it goes on in
        another worker, such as ``crawlyard work``.

        Raises:
            Unavailable: that instance has no worker; the job stays queued.
            Invalid, Forbidden, QuotaExceeded: as for `create`.
        """
        job = await self.create(
            crawl,
            template=template,
            template_version=template_version,
            params=params,
            idempotency_key=idempotency_key,
            **options,
        )
        if self._here:
            await self._services.run_job(job.id)
        return await self.wait(job.id, timeout_s=None, states=State.PAUSED)

    @composed_method
    async def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = 30.0,
        states: Words = (),
        without_worker: bool = False,
    ) -> JobOut:
        """Wait until a job has ended or its state has changed, and return it as it then is.

        With *states*, wait until it is in one of them, or has ended. After *timeout_s*, it is
        returned as it is; ``None``: never. *without_worker*: wait for a worker as well.

        Raises:
            Unavailable: after a second, the job is queued and no worker is alive to run it.
        """
        named = split_words((states,) if isinstance(states, str) else states)
        before = None if named else (await self.get(job_id)).state

        def is_over(job: JobOut) -> bool:
            done = job.state in named if named else job.state != before
            if not (done or job.state in ENDED or without_worker):
                answers.check_worker(job, here=self._here)
            return done or job.state in ENDED

        wait = partial(self._wait, job_id, states=named)
        first_s = None if without_worker else answers.WORKER_WITHIN_S
        return await wait_in_steps(wait, is_over, timeout_s, LONGEST_WAIT_S, first_s)

    @composed_method
    async def pages(
        self,
        job_id: str,
        *,
        include: Words = "text",
        limit: int | None = None,
        **terms: Unpack[SearchTerms],
    ) -> AsyncGenerator[StoredPageOut]:
        """Yield the pages of a job in the order they were fetched, with their stored text.

        They are read in portions; for a running job, those stored so far. The filters are those of
        `results.pages`, which returns one portion. Without *include*, the records have no text. At
        most *limit* pages; ``None``: all.
        """
        async for page in every(self.results.pages, job_id, include=include, limit=limit, **terms):
            yield page

    @endpoint("POST /jobs", WRITE, "200", status=201)
    async def _create(
        self,
        form: Form = parameters.NO_FORM,
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
        **terms: Unpack[FormTerms],
    ) -> JobOut:
        """Submit a job from a spec, or from a template with parameters and overrides.

        A *form* is a spec in JSON: ``{"urls": [...], "limits": {"pages": 500}}``. With a
        *template*, it has only the overrides.

        If you have a job with the same `unique_key`, that job is returned with 200 instead of 201,
        and the rest of the form is ignored.
        """
        services, submitter = self._services, self._services.submitter
        request = submitter.request_of(form, terms, self._actor, self._permits)
        draft = await submitter.draft(self._actor, await submitter.prepare(self._actor, request))
        # read before it is stored: no failure after that may turn a stored job into an error
        now = services.clock.now()
        waiting = await answers.waits_of_new(services.store, now, draft.preview(now))
        job = await submitter.enter(draft)
        if job.id != draft.id:  # it has the same unique key
            reply().unchanged = True
            return await self._now(job)
        return answers.new_job_out(job, services.clock.now(), waiting)

    @endpoint("POST /jobs/plan", WRITE)
    async def plan(self, form: Form = parameters.NO_FORM, **terms: Unpack[FormTerms]) -> JobPlanOut:
        """Return the job that `create` would submit: its settings, limits and waiting reasons.

        It fails where `create` would fail; nothing is written, and no request is sent.
        """
        submitter = self._services.submitter
        request = submitter.request_of(form, terms, self._actor, self._permits)
        plan = await submitter.plan(self._actor, request)
        now = self._services.clock.now()
        waiting = await answers.waits_of_new(self._services.store, now, plan.job)
        reply().dry_run = True
        shape = JobPlanOut.of(plan.job, waiting, plan.form, plan.sources, plan.cut)
        return replace(shape, existing_id=plan.existing_id)

    @endpoint("POST /jobs/preview", WRITE)
    async def preview(
        self,
        form: Form = parameters.NO_FORM,
        *,
        test_urls: parameters.TestURLs = (),
        **terms: Unpack[FormTerms],
    ) -> PreviewOut:
        """Preview a job: its settings, robots.txt, sitemaps, and which URLs are in scope.

        Also estimates pages, time and data, and whether a limit would stop the job. Takes at most
        ten seconds; no page is fetched, and nothing is written.
        """
        request = self._services.submitter.request_of(form, terms, self._actor, self._permits)
        return await self._services.preview.of(self._actor, request, test_urls)

    @endpoint(
        "POST /jobs/batch", WRITE, example={"jobs": [{"urls": ["https://docs.example.org/"]}]}
    )
    async def submit_many(
        self,
        jobs: parameters.Forms,
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> BatchOut:
        """Submit many jobs as a group, named by `group_id`; a refusal does not affect others."""
        return await batches.submit_batch(self._services.submitter, self._actor, jobs)

    @endpoint(
        "POST /jobs/bulk",
        WRITE,
        "202",  # an operation does it
        example={
            "action": "cancel",
            "filter": {"state": ["pending"], "tag": ["news"]},
            "dry_run": True,
        },
    )
    async def bulk(
        self,
        action: JobAction,
        *,
        expected_count: parameters.ExpectedCount = None,
        dry_run: parameters.DryRun = False,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
        **terms: Unpack[BulkTerms],
    ) -> BulkOut:
        """Apply an action to many jobs: up to 200 at once, more in an operation (202)."""
        bulk_request, jobs = bulk_action(action, terms), choose_jobs(terms)
        done = await self._services.bulk.act(
            self._actor, bulk_request, jobs, expected=expected_count, dry_run=dry_run
        )
        if done.operation is not None:
            reply().status = 202
            reply().location = f"/api/v1/operations/{done.operation.id}"
        reply().dry_run = dry_run
        return BulkOut.filled(done)

    @endpoint("PATCH /jobs/{job_id}", WRITE)
    async def edit(self, job_id: str, changes: Changes, *, version: IfMatch = None) -> JobOut:
        """Change a job; a running job applies the change within a second.

        The body is a JSON Merge Patch (RFC 7396) of the form of a job: null sets the default; for
        limits, that is no limit.
        """
        values = changes_of(changes, receivers.check_job_spec)
        job = await self._services.writer.edit(self._actor, job_id, values, version)
        return await self._now(job)

    @endpoint(
        "POST /jobs/{job_id}/exclusions",
        WRITE,
        status=202,
        example={"pattern": "*/print/*", "dry_run": True},
    )
    async def exclude(
        self,
        job_id: str,
        pattern: parameters.Pattern,
        *,
        dry_run: parameters.CountOnly = False,
        version: IfMatch = None,
    ) -> ExclusionOut:
        """Exclude URLs from a job that has not ended; return how many waiting ones will be skipped.

        A dry run only counts. The status is 200 for a dry run, and for a pattern the job already
        has.
        """
        writer = self._services.writer
        return await exclusions.exclude(
            writer, self._actor, job_id, pattern, dry_run=dry_run, version=version
        )

    @endpoint("DELETE /jobs/{job_id}", WRITE, status=204)
    async def delete(self, job_id: str, *, version: IfMatch = None) -> None:
        """Delete an ended or paused job with its pages; their space is freed later."""
        await self._services.writer.delete(self._actor, job_id, version)
        self._services.janitor.wake()

    @endpoint("GET /jobs/{job_id}/deletion", WRITE)
    async def deletable(self, job_id: str, *, version: IfMatch = None) -> DeletionOut:
        """Check that a job can be deleted, and return it."""
        standing = await self._services.writer.changeable(self._actor, job_id, version)
        verdicts.check_may_delete(self._actor, standing.job)
        return DeletionOut.of(standing)

    @endpoint("POST /jobs/{job_id}/pause", WRITE, status=202, example=parameters.WITH_REASON)
    async def pause(self, job_id: str, reason: Reason = "", *, version: IfMatch = None) -> JobOut:
        """Pause a job: requests in flight are finished, the queue is kept."""
        return await self._move(job_id, Move.PAUSE, version, reason)

    @endpoint("POST /jobs/{job_id}/cancel", WRITE, status=202, example=parameters.WITH_REASON)
    async def cancel(self, job_id: str, reason: Reason = "", *, version: IfMatch = None) -> JobOut:
        """Cancel a job; its pages are kept."""
        return await self._move(job_id, Move.CANCEL, version, reason)

    @endpoint("POST /jobs/{job_id}/resume", WRITE, status=202)
    async def resume(self, job_id: str, *, version: IfMatch = None) -> JobOut:
        """Queue a paused job, or an ended one with URLs left; nothing is fetched again."""
        return await self._move(job_id, Move.RESUME, version)

    @endpoint(
        "POST /jobs/{job_id}/retry",
        WRITE,
        status=202,
        example={"scope": "failed", "kinds": ["timeout", "http_5xx"]},
    )
    async def retry(
        self,
        job_id: str,
        *,
        scope: parameters.Scope = RetryScope.ALL,
        kinds: parameters.Kinds = (),
        version: IfMatch = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> RetriedOut:
        """Retry a job: as a new job, only its failed URLs, or a waiting job right away."""
        writer, actor, urls = self._services.writer, self._actor, None
        match scope:
            case RetryScope.FAILED:
                job, urls = await writer.retry_failed(actor, job_id, kinds, version=version)
            case RetryScope.NOW:
                job = await writer.move(actor, job_id, Move.RETRY_NOW, version=version)
            case _:
                job = await writer.retry(actor, job_id, version=version)
                reply().location = f"/api/v1/jobs/{job.id}"
        current = await self._now(job)
        return RetriedOut.filled(current, urls=urls).at_beat(current.beat)

    @endpoint("GET /jobs/{job_id}/progress", READ)
    async def progress(self, job_id: str) -> JobProgressOut:
        """Return the progress of a job: small, and 304 while nothing has changed."""
        return answers.progress_out(self._actor, await self._standing(job_id))

    @endpoint("GET /jobs/{job_id}/wait", READ)
    async def _wait(
        self,
        job_id: str,
        *,
        timeout_s: parameters.Timeout = 30.0,
        states: parameters.States = (),
    ) -> JobOut:
        """Wait until a job has ended or its state has changed, and return it as it then is.

        After `timeout_s`, it is returned as it is.
        """
        targets, at_most = frozenset(states_of(states)), timedelta(seconds=timeout_s)
        store, clock = self._services.store, self._services.clock
        standing = await follow.wait_for(
            store, clock, self._actor, job_id, targets, at_most, reply().gone
        )
        return (await self._jobs_out([standing]))[0]

    @endpoint("GET /jobs/{job_id}/config", READ)
    async def config(self, job_id: str) -> ConfigOut:
        """Return the effective settings of a job, their sources, and its template's differences."""
        return await self._services.configs.of(self._actor, job_id)

    @endpoint("GET /jobs/{job_id}/attempts", READ)
    async def attempts(self, job_id: str) -> Slice[AttemptOut]:
        """List the attempts of workers to run the job, the first one first."""
        standing = await self._standing(job_id)
        attempts = await answers.attempts_out(self._services.store, self._actor, standing)
        return Slice(items=attempts)

    @endpoint("GET /jobs/{job_id}/shards", READ)
    async def shards(self, job_id: str) -> Slice[ShardOut]:
        """List the shards of a job by number; empty if one worker runs all of it."""
        job = (await self._standing(job_id)).job
        shards = await self._services.store.spread.shards(job.id)
        return Slice(items=[ShardOut.of(number, shard) for number, shard in shards.items()])

    @endpoint("GET /jobs/{job_id}/events", READ)
    async def events(
        self, job_id: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[EventOut]:
        """List the events of a job, oldest first."""
        query, after = EventQuery(subject=(await self._standing(job_id)).job.id), int(cursor or 0)
        events = await self._services.events.list(self._actor, query, after, limit + 1)
        return make_slice(events, limit, EventOut.of, lambda event: event.seq)

    @endpoint("GET /jobs/{job_id}/log", READ)
    async def log(
        self,
        job_id: str,
        *,
        level: parameters.AtLeast = LevelWord.INFO,
        q: parameters.LogText = "",
        after: parameters.After = 0,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[LineOut]:
        """List lines of a job's log, oldest first; the newest 2,000 are kept."""
        job = (await self._standing(job_id, JobPart.PAGES)).job
        lines = await self._services.store.journal.lines(
            job.id, Level[level.name], int(cursor or after), limit + 1, q
        )
        return make_slice(lines, limit, LineOut.filled, lambda line: line.n)

    @endpoint("GET /jobs/{job_id}/log/stream", READ)
    async def log_stream(
        self,
        job_id: str,
        *,
        level: parameters.AtLeast = LevelWord.INFO,
        after: parameters.After = 0,
        last_event_id: parameters.LastId = None,
    ) -> AsyncGenerator[LineOut]:
        """Stream a job's log as server-sent events until the job has ended.

        `job.log` has up to 100 lines and the *n* of the last one as its id: a client that
        reconnects with `Last-Event-ID` (or `after`) gets each line once. `resync` means that missed
        lines are no longer kept. `end` means that the job has ended and its log is complete: close
        the stream then, or a browser reconnects.
        """
        begin = after if last_event_id is None else last_event_id
        store, clock = self._services.store, self._services.clock
        least = Level[level.name]
        async for line in follow.follow_log(
            store, clock, self._actor, job_id, least=least, after=begin
        ):
            yield LineOut.filled(line)

    @endpoint("GET /jobs/{job_id}/metrics", READ)
    async def metrics(self, job_id: str) -> CourseOut:
        """Return the metrics of a job over time: rate, responses, latency, bytes and queue."""
        job = (await self._standing(job_id)).job
        return CourseOut.filled(await self._services.store.journal.course(job.id))

    async def _visible(self, query: JobQuery) -> JobQuery:
        return await lookup.visible_query(self._services.store, self._actor, query, JobPart.STATE)

    async def _move(self, job_id: str, move: Move, version: Version, why: str = "") -> JobOut:
        job = await self._services.writer.move(self._actor, job_id, move, why, version=version)
        return await self._now(job)

    async def _standing(self, job_id: str, part: JobPart = JobPart.STATE) -> Standing:
        return await lookup.find_job(self._services.store, self._actor, job_id, part)

    async def _jobs_out(self, standings: Sequence[Standing]) -> Sequence[JobOut]:
        store, now = self._services.store, self._services.clock.now()
        return await answers.jobs_out(store, self._actor, now, standings)

    async def _now(self, job: Job) -> JobOut:
        """Return a job that was just changed, with its progress."""
        return (await self._jobs_out([await self._standing(job.id)]))[0]
