"""Requests for jobs: from a form, perhaps over a template, to a draft or a plan."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.job import DIRECT, Job, Origin
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import FIELDS, JobRequest, form_of, spec_of, spec_with, values_of
from crawlyard.core.templates.secrets import hidden
from crawlyard.errors import Invalid, Refused
from crawlyard.services.access.policy import CEILING, SETTINGS, Policy, cut_of
from crawlyard.services.jobs.submission import JobDraft, JobSubmitter, Submission, Submitted
from crawlyard.services.templates.manager import DEFAULT, THIS_JOB, TemplateManager


class Prepared(Struct, frozen=True, kw_only=True):
    """A request turned into a spec, before it is submitted."""

    spec: JobSpec
    origin: Origin
    sources: Mapping[str, str]  # where each field comes from, by path of the form


class JobPlan(Struct, frozen=True, kw_only=True):
    """The job that a request would create, and where its settings would come from."""

    job: Job
    form: Mapping[str, object]  # the whole spec, credentials hidden
    sources: Mapping[str, str]  # where each field comes from
    cut: tuple[str, ...]  # paths of the limits that were cut to a ceiling


class Requests:
    """Turns requests into jobs."""

    def __init__(self, jobs: JobSubmitter, templates: TemplateManager, policy: Policy) -> None:
        self._jobs = jobs
        self._templates = templates
        self._policy = policy

    async def submit(self, actor: Actor, request: JobRequest) -> Job:
        """Submit a request.

        Raises:
            Invalid, NotFound, Forbidden, QuotaExceeded: it was refused.
        """
        return await self._jobs.enter(await self.draft(actor, request))

    async def draft(self, actor: Actor, request: JobRequest) -> JobDraft:
        """Turn a request into a checked draft; nothing is written.

        Raises:
            Invalid, NotFound, Forbidden: as for `submit`.
        """
        ready = await self.prepare(actor, request)
        return await self._jobs.draft(
            actor, ready.spec, start_at=request.start_at, origin=ready.origin
        )

    async def submit_many(
        self, actor: Actor, requests: Sequence[JobRequest | Refused]
    ) -> list[Submitted]:
        """Submit many requests; return the job of each, or why it was refused.

        An entry that could not be parsed as a request is passed as its error, and returned.

        Raises:
            Forbidden: the actor may only view.
            StoreUnavailable: the store cannot be written, or it is unknown whether it was.
        """
        answers: dict[int, Submitted] = {}
        wanted: dict[int, Submission] = {}
        defaults = await self._policy.section(SectionName.DEFAULTS)
        for number, request in enumerate(requests):
            if isinstance(request, Refused):
                answers[number] = request
                continue
            try:
                ready = await self._prepared(actor, request, defaults)
            except Refused as refusal:
                answers[number] = refusal
            else:
                wanted[number] = Submission(
                    spec=ready.spec, start_at=request.start_at, origin=ready.origin
                )
        submitted = await self._jobs.submit_many(actor, list(wanted.values()))
        answers |= dict(zip(wanted, submitted, strict=True))
        return [answers[number] for number in range(len(requests))]

    async def plan(self, actor: Actor, request: JobRequest) -> JobPlan:
        """Return the job that `submit` would create now; nothing is written.

        Raises:
            Invalid, NotFound, Forbidden, QuotaExceeded: as for `submit`.
        """
        ready = await self.prepare(actor, request)
        job, event = await self._jobs.rehearsed(
            actor, ready.spec, start_at=request.start_at, origin=ready.origin
        )
        cut = tuple(path for path in FIELDS if path in cut_of(event))
        return JobPlan(
            job=job,
            form=hidden(form_of(job.spec)),
            sources={**ready.sources, **dict.fromkeys(cut, CEILING)},
            cut=cut,
        )

    async def prepare(self, actor: Actor, request: JobRequest) -> Prepared:
        """Turn a request into a spec, on top of the defaults in the settings; nothing is written.

        Raises:
            Invalid, NotFound, Forbidden: as for `submit`.
        """
        defaults = await self._policy.section(SectionName.DEFAULTS)
        return await self._prepared(actor, request, defaults)

    async def _prepared(
        self, actor: Actor, request: JobRequest, defaults: Mapping[str, object]
    ) -> Prepared:
        if request.template is None:
            if request.params:
                raise Invalid("params", "expected a template that has them")
            spec, given = spec_of(request.form), values_of(request.form)
            sources = {path: THIS_JOB if path in given else DEFAULT for path in FIELDS}
            return _over(defaults, spec, sources, DIRECT)
        rendered = await self._templates.render(
            actor, request.template, request.params, request.form, request.template_version
        )
        return _over(defaults, rendered.spec, rendered.sources, rendered.origin)


def _over(
    defaults: Mapping[str, object], spec: JobSpec, sources: Mapping[str, str], origin: Origin
) -> Prepared:
    """Complete a spec with the defaults of the settings, in the fields that nothing has set."""
    under = {p: value for p, value in values_of(defaults).items() if sources[p] == DEFAULT}
    return Prepared(
        spec=spec_with(under, spec) if under else spec,
        origin=origin,
        sources={**sources, **dict.fromkeys(under, SETTINGS)},
    )
