"""Jobs: submitted, found, changed, moved."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime

from crawlyard.client.asynchronous.looks import Looks
from crawlyard.client.asynchronous.results import Words
from crawlyard.client.transport import if_match, part, without_none
from crawlyard.core.answers.fleet.operations import BulkOut
from crawlyard.core.answers.jobs.batch import BatchOut
from crawlyard.core.answers.jobs.job_looks import CountsOut, DeletionOut
from crawlyard.core.answers.jobs.job_plan import JobPlanOut
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.answers.jobs.preview import PreviewOut

_JOBS = "jobs"
_NOTHING: Mapping[str, object] = {}


class Jobs(Looks):
    """Makes, finds, moves, changes and deletes jobs.

    *version*, where there is one, is that of the job as it was seen: if it has changed
    meanwhile, `Conflict` is raised and nothing is done.
    """

    def list(
        self,
        *,
        state: Words = None,
        priority: Words = None,
        tag: Words = None,
        host: Words = None,
        template: Words = None,
        schedule: Words = None,
        owner: Words = None,
        origin: Words = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        id: str | None = None,  # noqa: A002 - the name of the parameter
        q: str = "",
        sort: str = "-created_at",
        limit: int | None = None,
    ) -> AsyncGenerator[JobOut]:
        """Yield jobs, newest first unless *sort* is ``created_at``.

        *id* is a whole one, or what one begins or ends with.
        *q* is in the filter language: ``state:failed host:x -tag:y "free text"``.
        """
        asked = {
            "state": state,
            "priority": priority,
            "tag": tag,
            "host": host,
            "template": template,
            "schedule": schedule,
            "owner": owner,
            "origin": origin,
            "created_after": created_after,
            "created_before": created_before,
            "id": id,
            "q": q or None,
            "sort": sort,
        }
        return self._calls.every(JobOut, _JOBS, asked, limit)

    async def counts(self, *, q: str = "", **filters: Words) -> CountsOut:
        """Return how many jobs there are by state and by priority; filters as in `list`.

        Counts by more than owner, state and priority stop at 10,000: see `CountsOut`.
        """
        asked = {**filters, "q": q or None}
        return await self._calls.one(CountsOut, "GET", f"{_JOBS}/counts", params=asked)

    async def get(self, job_id: str) -> JobOut:
        """Return a job."""
        return await self._calls.one(JobOut, "GET", _path(job_id))

    async def create(
        self,
        form: Mapping[str, object] = _NOTHING,
        *,
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, object] | None = None,
        start_at: datetime | None = None,
    ) -> JobOut:
        """Submit a job of a form, such as ``{"urls": [...], "limits": {"pages": 500}}``.

        With a *template* (id, name or OWNER/NAME), the form says what differs from it.
        """
        body = _request(form, template, template_version, params, start_at)
        return await self._calls.one(JobOut, "POST", _JOBS, body=body)

    async def plan(
        self,
        form: Mapping[str, object] = _NOTHING,
        *,
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, object] | None = None,
        start_at: datetime | None = None,
    ) -> JobPlanOut:
        """Return the job that `create` would make: settings, limits after ceilings, its wait.

        What `create` would refuse is refused; nothing is written, and nobody is asked.
        """
        body = _request(form, template, template_version, params, start_at)
        return await self._calls.one(JobPlanOut, "POST", f"{_JOBS}/plan", body=body)

    async def preview(
        self,
        form: Mapping[str, object] = _NOTHING,
        *,
        test_urls: Sequence[str] = (),
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, object] | None = None,
    ) -> PreviewOut:
        """Return what a job would do; no page is fetched, and nothing is written."""
        body = _request(form, template, template_version, params, None)
        body["test_urls"] = [*test_urls]
        return await self._calls.one(PreviewOut, "POST", f"{_JOBS}/preview", body=body)

    async def edit(
        self, job_id: str, changes: Mapping[str, object], *, version: int | None = None
    ) -> JobOut:
        """Change a job by a JSON Merge Patch of its form; null is the default."""
        return await self._calls.one(
            JobOut, "PATCH", _path(job_id), body=changes, headers=if_match(version)
        )

    async def delete(self, job_id: str, *, version: int | None = None) -> None:
        """Delete a job that has ended, or is paused, with its pages."""
        await self._calls.send("DELETE", _path(job_id), headers=if_match(version))

    async def deletable(self, job_id: str, *, version: int | None = None) -> DeletionOut:
        """Return what deleting a job would delete."""
        path = f"{_path(job_id)}/deletion"
        return await self._calls.one(DeletionOut, "GET", path, headers=if_match(version))

    async def pause(self, job_id: str, reason: str = "", *, version: int | None = None) -> JobOut:
        """Hold a job and keep its frontier."""
        return await self._act(job_id, "pause", {"reason": reason}, version)

    async def resume(self, job_id: str, *, version: int | None = None) -> JobOut:
        """Queue a job again where it stands."""
        return await self._act(job_id, "resume", None, version)

    async def cancel(self, job_id: str, reason: str = "", *, version: int | None = None) -> JobOut:
        """End a job; its pages are kept."""
        return await self._act(job_id, "cancel", {"reason": reason}, version)

    async def retry(
        self,
        job_id: str,
        *,
        scope: str = "all",
        kinds: Sequence[str] = (),
        version: int | None = None,
    ) -> JobOut:
        """Try a job again, and return the one that is then pending.

        *scope* ``all`` makes a new job with the same spec; ``failed`` queues the same one
        with its failed URLs, only those of *kinds* if some are given; ``now`` ends the
        wait of a pending one.
        """
        return await self._act(job_id, "retry", {"scope": scope, "kinds": [*kinds]}, version)

    async def submit_many(self, forms: Sequence[Mapping[str, object]]) -> BatchOut:
        """Submit up to 1,000 jobs, each as the body of a request for one has it.

        Each has an answer, in the order asked; one that is refused harms no other.
        """
        body = {"jobs": [*forms]}
        return await self._calls.one(BatchOut, "POST", f"{_JOBS}/batch", body=body)

    async def bulk(self, action: Mapping[str, object]) -> BulkOut:
        """Do something to many jobs: of ``action`` and ``ids`` or a ``filter``."""
        return await self._calls.one(BulkOut, "POST", f"{_JOBS}/bulk", body=action)

    async def _act(
        self, job_id: str, verb: str, body: Mapping[str, object] | None, version: int | None
    ) -> JobOut:
        path = f"{_path(job_id)}/{verb}"
        return await self._calls.one(JobOut, "POST", path, body=body, headers=if_match(version))


def _path(job_id: str) -> str:
    return f"{_JOBS}/{part(job_id)}"


def _request(
    form: Mapping[str, object],
    template: str | None,
    template_version: int | None,
    params: Mapping[str, object] | None,
    start_at: datetime | None,
) -> dict[str, object]:
    """Return the body that asks for a job."""
    own = {
        "template": template,
        "template_version": template_version,
        "params": params,
        "start_at": None if start_at is None else start_at.isoformat(),
    }
    return {**form, **without_none(own)}
