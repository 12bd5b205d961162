"""Jobs, as one user submits, finds and changes them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict, Unpack

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.page_answers import StoredPageOut
from crawlyard.core.endpoints.endpoint import (
    LONGEST_REF,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Instant,
    Limit,
    Rest,
    Slice,
    Words,
    composed,
    endpoint,
    every,
    reply,
    sliced,
    split_words,
)
from crawlyard.core.jobs.answers import (
    JOB_LISTED,
    BatchOut,
    JobOut,
    JobPlanOut,
    RetriedOut,
)
from crawlyard.core.jobs.checkpoint import Shard, Standing
from crawlyard.core.jobs.detail_answers import CountsOut, DeletionOut, QueueOut
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import ENDED, State
from crawlyard.core.jobs.order import SORTED_MOST, GroupKey, JobOrder, SortKey
from crawlyard.core.jobs.preview_answers import PreviewOut
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.jobs.spec import MAX_URL, Priority
from crawlyard.core.jobs.spec_json import JobRequest, changes_of, read_request
from crawlyard.core.jobs.waiting import Wait, WaitReason
from crawlyard.core.operations.answers import BulkOut
from crawlyard.core.operations.bulk import MOST_IDS, BulkAction, Chosen, JobAction, RetryScope
from crawlyard.errors import Forbidden, Invalid, Refused, Unavailable
from crawlyard.lazy import lazily
from crawlyard.services.jobs.crawl_form import Crawl, form_with
from crawlyard.services.jobs.job_looks import LONGEST_WAIT_S, JobLooks
from crawlyard.services.jobs.terms import JobTerms, SearchTerms, conditions_of
from crawlyard.store.queries import COUNTED_TO, JobQuery

# it loads the engine, which a remote call does not need
with lazily():
    from crawlyard.services.webhooks import receivers

READ, WRITE = Permit.JOBS_READ, Permit.JOBS_WRITE

MAX_REASON = 500
MAX_VERSION = 2**31 - 1
MOST_TESTED = 200
"""URLs that one `preview` tests."""

MOST_TAGS = 50
"""Tags that one `bulk` adds or removes."""

MOST_JOBS = 1_000
"""Jobs in one `submit_many`."""

Sort = Literal[
    "-created_at", "created_at", "-started_at", "started_at", "-ended_at", "ended_at",
    "-duration", "duration", "-pages", "pages", "name", "-name",
]  # fmt: skip
"""A `SortKey`, and whether it descends."""

Form = Annotated[Mapping[str, Any], Rest("job")]
Changes = Annotated[Mapping[str, Any], Rest("change")]
Reason = Annotated[str, Meta(max_length=MAX_REASON)]
TemplateRef = Annotated[
    str,
    Meta(min_length=1, max_length=LONGEST_REF, description="A template's id, name, or OWNER/NAME."),
]
TemplateVersion = Annotated[int, Meta(ge=1, le=MAX_VERSION)]
Params = Annotated[dict[str, Any], Meta(description="Values of the template's parameters.")]
Kinds = Annotated[
    tuple[ErrorKind, ...], Meta(max_length=50, description="Of `failed`: only these.")
]

_WORKER_WITHIN_S = 1.0
"""How long `wait` goes on without a worker."""

JobId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{1,64}$")]

_NO_FORM: Mapping[str, Any] = {}
_WITH_REASON = {"reason": "the site is being moved"}


class Asked(TypedDict, total=False):
    """What a request for a job has beside its form."""

    template: TemplateRef | None
    template_version: TemplateVersion | None
    params: Params | None
    start_at: Instant | None
    grant: Annotated[
        bool,
        Meta(description="Let this job have what the settings do not grant. Admins may."),
    ]


class Jobs(JobLooks):
    """Makes, finds, moves, changes and deletes jobs, as far as one user may.

    A job that they may not see raises `NotFound`, and one that they may not change `Forbidden`.
    With *version*, only that version is changed: else `Stale` is raised and nothing is written.
    """

    @endpoint("GET /jobs", READ, "seq", listed=JOB_LISTED)
    async def list(
        self,
        *,
        id: Annotated[  # noqa: A002 - the name of the parameter
            str,
            Meta(max_length=64, description="A whole id, or what one begins or ends with."),
        ] = "",
        sort: Annotated[
            Sort,
            Meta(
                description="`-`: descending, as newest first. By anything but `created_at`, "
                f"`ended_at` and `pages`, at most {SORTED_MOST:,} jobs are sorted: 422 if more "
                "match. Those without a value, such as a start, come last."
            ),
        ] = "-created_at",
        group: Annotated[
            GroupKey | None,
            Meta(
                description="Sorts by this first. By `state`: what runs, then what waits or is "
                "paused, then what has ended. By `schedule` and `host`, at most "
                f"{SORTED_MOST:,} jobs; by `owner`, so many of each if the sort has that limit."
            ),
        ] = None,
        count: Annotated[
            Literal["exact", "estimate"] | None,
            Meta(
                description="Adds `total`: how many there are in all. An `estimate` counts to "
                f"{COUNTED_TO:,} and no further: a total of {COUNTED_TO:,} means that many or more."
            ),
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        **terms: Unpack[JobTerms],
    ) -> Slice[JobOut]:
        """List jobs, newest first unless asked otherwise.

        A walk along the cursor yields each job once, whatever is submitted meanwhile. Over HTTP,
        jobs have the fields that lists show; `fields` names others.
        """
        query = JobQuery(where=conditions_of(terms), id_part=id.lower())
        by, descending = SortKey(sort.removeprefix("-")), sort.startswith("-")
        order = JobOrder(by=by, descending=descending, group=group)
        places = await self._services.jobs.find_ordered(
            self._actor, query, order, limit + 1, cursor
        )
        found, position = [one for one, _ in places], {one.job.id: at for one, at in places}
        total = None
        if count is not None:
            most = COUNTED_TO if count == "estimate" else None
            counts = await self._services.jobs.counts(self._actor, query, most)
            total = min(most or sum(counts.values()), sum(counts.values()))
        shown = dict(zip((s.job.id for s in found), await self._shown(found[:limit]), strict=False))
        return sliced(found, limit, lambda s: shown[s.job.id], lambda s: position[s.job.id], total)

    @endpoint("GET /jobs/counts", READ)
    async def counts(self, **terms: Unpack[JobTerms]) -> CountsOut:
        """Count jobs by state and by priority; the filters are those of the list.

        Counts by owner, state and priority alone are exact. By anything else, a count stops at
        10,000: such a total means that many or more, in each state and priority as well.
        `GET /jobs?count=exact` counts all.
        """
        query = JobQuery(where=conditions_of(terms))
        most = query.counted_to
        return CountsOut.of(await self._services.jobs.counts(self._actor, query, most), most)

    @endpoint("GET /jobs/queue", READ)
    async def queue(self, *, limit: Limit = 50) -> QueueOut:
        """List the jobs that are claimed next, in order, with what each waits for.

        Jobs that are due come first, in the order of claims: by priority (risen by waiting), then
        in turn between users, then by age. The others follow by when they are due. `waits_for` has
        the place in the queue of all users and what holds a job back, such as a quota, worker tags
        or its time; what is held back is passed over. There are no further parts of the list:
        200 jobs are the most.
        """
        now = self._services.clock.now()
        found = await self._services.jobs.queue(self._actor, now, limit + 1)
        query = JobQuery(states=frozenset({State.PENDING}))
        counts = await self._services.jobs.counts(self._actor, query)
        return QueueOut(
            items=await self._shown(found[:limit]),
            has_more=len(found) > limit,
            priorities=CountsOut.of(counts).priorities,
        )

    @composed
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

        *crawl* is a URL, a list of them, a `JobSpec`, or a mapping as the HTTP API takes it.
        *options* are the fields of a spec, also under the names of the command line:
        ``create("https://docs.example.org", max_pages=500, tags=["docs"])``. With a *template*,
        *params* are the values of its parameters, and the rest is what differs from it.
        It starts now or at *start_at*. An admin may *grant* it what the settings do not.

        If you have a job with the same `unique_key`, that job is returned instead.

        Raises:
            Invalid: an option is unknown, or a value is out of range; all faults are named.
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
        given = {name: value for name, value in terms.items() if value is not None}
        return await self._create(form_with(crawl, options), **given)

    @composed
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

    @composed
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
        waited_s = 0.0
        while True:
            longest_s = LONGEST_WAIT_S if waited_s or without_worker else _WORKER_WITHIN_S
            left_s = longest_s if timeout_s is None else min(timeout_s - waited_s, longest_s)
            job = await self._wait(job_id, timeout_s=left_s, states=named)
            waited_s += left_s
            done = job.state in named if named else job.state != before
            if done or job.state in ENDED or (timeout_s is not None and waited_s >= timeout_s):
                return job
            if not without_worker:
                _check_worker(job, here=self._here)

    @composed
    async def pages(
        self,
        job_id: str,
        *,
        include: Words = "text",
        limit: int | None = None,
        **terms: Unpack[SearchTerms],
    ) -> AsyncGenerator[StoredPageOut]:
        """Yield the pages of a job in the order they came, with the text that the job kept.

        They are read part by part; of a job that runs, those that there are by now. The filters
        are those of `list_pages`, which returns one part. Without *include*, the records come
        without text. At most *limit* pages; ``None``: all.
        """
        async for page in every(self.list_pages, job_id, include=include, limit=limit, **terms):
            yield page

    @endpoint("POST /jobs", WRITE, "200", status=201)
    async def _create(
        self,
        form: Form = _NO_FORM,
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
        **asked: Unpack[Asked],
    ) -> JobOut:
        """Submit a job: a spec of your own, or a template with parameters and what differs.

        A *form* is a spec as JSON has it: ``{"urls": [...], "limits": {"pages": 500}}``. With a
        *template*, it has only what differs from it.

        If you have a job with the same `unique_key`, that job is the answer, with 200 instead of
        201, whatever else the form says.
        """
        services = self._services
        request = await services.requests.prepare(self._actor, self._request(form, asked))
        draft = await services.jobs.draft(self._actor, request)
        # read before it is stored: no failure after that may turn a stored job into an error
        waits = await self._waits_of_new(draft.unstored(services.clock.now()))
        job = await services.jobs.enter(draft)
        if job.id != draft.id:  # it has the same unique key
            reply().unchanged = True
            return (await self._shown([await services.jobs.get(self._actor, job.id)]))[0]
        new = Standing(job=job, shard=Shard())
        return JobOut.of(new, progress_of_standing(new), services.clock.now(), waits)

    @endpoint("POST /jobs/plan", WRITE)
    async def plan(
        self,
        form: Form = _NO_FORM,
        **asked: Unpack[Asked],
    ) -> JobPlanOut:
        """Return the job that `create` would make: its settings, limits and what it waits for.

        What `create` would refuse is refused; nothing is written, and no host is asked.
        """
        request = self._request(form, asked)
        plan = await self._services.requests.plan(self._actor, request)
        waits = await self._waits_of_new(plan.job)
        reply().dry_run = True
        shape = JobPlanOut.of(plan.job, waits, plan.form, plan.sources, plan.cut)
        return replace(shape, existing_id=plan.existing_id)

    @endpoint("POST /jobs/preview", WRITE)
    async def preview(
        self,
        form: Form = _NO_FORM,
        *,
        test_urls: Annotated[
            tuple[Annotated[str, Meta(max_length=MAX_URL)], ...],
            Meta(
                max_length=MOST_TESTED,
                description="URLs to say of whether they would be fetched, and why not.",
            ),
        ] = (),
        **asked: Unpack[Asked],
    ) -> PreviewOut:
        """Say what a job would do: its settings, robots.txt, sitemaps, and which URLs are in.

        It estimates pages, time and data as well, and says whether a limit would stop the job.
        Takes ten seconds at most; no page is fetched, and nothing is written.
        """
        request = self._request(form, asked)
        return await self._services.preview.of(self._actor, request, test_urls)

    @endpoint(
        "POST /jobs/batch", WRITE, example={"jobs": [{"urls": ["https://docs.example.org/"]}]}
    )
    async def submit_many(
        self,
        jobs: Annotated[
            Sequence[dict[str, Any]],
            Meta(
                min_length=1,
                max_length=MOST_JOBS,
            ),
        ],
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> BatchOut:
        """Submit many jobs; each has an answer, and one that is refused harms no other."""
        requests = [_read(body) for body in jobs]
        return BatchOut.of(await self._services.requests.submit_many(self._actor, requests))

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
        ids: Annotated[tuple[JobId, ...], Meta(max_length=MOST_IDS)] | None = None,
        filter: JobTerms | None = None,  # noqa: A002 - the name of the member
        reason: Reason = "",
        priority: Annotated[Priority | None, Meta(description="Of `set_priority`.")] = None,
        tags: Annotated[
            tuple[Annotated[str, Meta(max_length=MAX_URL)], ...],
            Meta(max_length=MOST_TAGS, description="Of `add_tags` and `remove_tags`."),
        ] = (),
        scope: Annotated[RetryScope, Meta(description="Of `retry`.")] = RetryScope.ALL,
        kinds: Kinds = (),
        expected_count: Annotated[
            Annotated[int, Meta(ge=0, le=10**9)] | None,
            Meta(description="409 if there are a tenth more or less by now."),
        ] = None,
        dry_run: Annotated[bool, Meta(description="Only say what would be done.")] = False,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> BulkOut:
        """Do something to many jobs: up to 200 at once, more by an operation (202)."""
        asked = BulkAction(
            action=action,
            reason=reason,
            priority=priority,
            tags=tags,
            scope=scope,
            kinds=frozenset(kinds),
        )
        done = await self._services.bulk.act(
            self._actor, asked, _chosen(ids, filter), expected=expected_count, dry_run=dry_run
        )
        if done.operation is not None:
            reply().status = 202
            reply().location = f"/api/v1/operations/{done.operation.id}"
        reply().dry_run = dry_run
        return BulkOut.filled(done)

    @endpoint("PATCH /jobs/{job_id}", WRITE)
    async def edit(self, job_id: str, changes: Changes, *, version: IfMatch = None) -> JobOut:
        """Change a job; a running one takes it up within a second.

        The body is a JSON Merge Patch (RFC 7396) of the form of a job: null is the default,
        which is no ceiling for limits.
        """
        values = changes_of(changes, receivers.check_job_spec)
        return await self._now(await self._services.jobs.edit(self._actor, job_id, values, version))

    @endpoint("DELETE /jobs/{job_id}", WRITE, status=204)
    async def delete(self, job_id: str, *, version: IfMatch = None) -> None:
        """Delete a job that has ended, or is paused, with its pages; their space is freed later."""
        await self._services.jobs.delete(self._actor, job_id, version)
        self._services.janitor.wake()

    @endpoint("GET /jobs/{job_id}/deletion", WRITE)
    async def deletable(self, job_id: str, *, version: IfMatch = None) -> DeletionOut:
        """Return what deleting a job would delete, or refuse as that would be."""
        standing = await self._services.jobs.deletable(self._actor, job_id, version)
        return DeletionOut.of(standing)

    @endpoint("POST /jobs/{job_id}/pause", WRITE, status=202, example=_WITH_REASON)
    async def pause(self, job_id: str, reason: Reason = "", *, version: IfMatch = None) -> JobOut:
        """Hold a job: what is in flight is finished, its frontier is kept."""
        job = await self._services.jobs.pause(self._actor, job_id, reason, version=version)
        return await self._now(job)

    @endpoint("POST /jobs/{job_id}/cancel", WRITE, status=202, example=_WITH_REASON)
    async def cancel(self, job_id: str, reason: Reason = "", *, version: IfMatch = None) -> JobOut:
        """End a job; its pages are kept."""
        job = await self._services.jobs.cancel(self._actor, job_id, reason, version=version)
        return await self._now(job)

    @endpoint("POST /jobs/{job_id}/resume", WRITE, status=202)
    async def resume(self, job_id: str, *, version: IfMatch = None) -> JobOut:
        """Queue a paused job, or an ended one that has something left; nothing is refetched."""
        return await self._now(
            await self._services.jobs.resume(self._actor, job_id, version=version)
        )

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
        scope: Annotated[
            RetryScope,
            Meta(
                description="`all`: a new job with the same spec; `failed`: the same job, its "
                "failed URLs; `now`: end the wait of a pending one."
            ),
        ] = RetryScope.ALL,
        kinds: Kinds = (),
        version: IfMatch = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> RetriedOut:
        """Try a job again: as a new one, or the same with its failed URLs, or now."""
        manager, actor, urls = self._services.jobs, self._actor, None
        match scope:
            case RetryScope.FAILED:
                job, urls = await manager.retry_failed(actor, job_id, kinds, version=version)
            case RetryScope.NOW:
                job = await manager.retry_now(actor, job_id, version=version)
            case _:
                job = await manager.retry(actor, job_id, version=version)
                reply().location = f"/api/v1/jobs/{job.id}"
        shown = await self._now(job)
        return RetriedOut.filled(shown, urls=urls).at_beat(shown.beat)

    def _request(self, form: Mapping[str, Any], asked: Asked) -> JobRequest:
        grant = asked.get("grant", False)
        if grant and Permit.ADMIN not in self._permits:
            raise Forbidden(
                f"{self._actor.id} may not grant what the settings do not: ask an admin"
            )
        return JobRequest(
            form=form,
            template=asked.get("template"),
            template_version=asked.get("template_version"),
            params=asked.get("params") or {},
            start_at=asked.get("start_at"),
            grant=grant,
        )

    async def _waits_of_new(self, job: Job) -> Sequence[Wait]:
        """Return what *job* waits for once it is stored."""
        new = Standing(job=job, shard=Shard())
        return (await self._services.why.waits([new], new=True)).get(job.id, ())


def _check_worker(job: JobOut, *, here: bool) -> None:
    """Check that a queued job can be run: some worker is alive.

    Raises:
        Unavailable: none is.
    """
    if all(wait.reason != WaitReason.NO_WORKER for wait in job.waits_for):
        return
    hint = "run `crawlyard work` for its instance"
    if here:
        hint = "run `crawlyard work`, or call `jobs.run`, which crawls in this process"
    raise Unavailable(f"job {job.id} is queued, but no worker is alive: {hint}")


def _read(body: Mapping[str, Any]) -> JobRequest | Refused:
    try:
        return read_request(body)
    except Refused as refusal:
        return refusal


def _chosen(ids: Sequence[str] | None, terms: JobTerms | None) -> Chosen:
    if (ids is None) is (terms is None):
        raise Invalid("ids", "expected ids or a filter, one of the two")
    if terms is None:
        return Chosen(ids=tuple(ids or ()))
    try:
        return Chosen(where=conditions_of(terms))
    except Invalid as error:
        raise Invalid(f"filter.{error.field}", error.message, error.position) from None
