"""Effective configuration: the settings of a job, and where each value comes from."""

from collections.abc import Iterator, Mapping

from crawlyard.core.access.job_parts import OWNERS_FIELDS, JobPart
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import Actor
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.detail_answers import ConfigOut, DifferenceOut, MadeOfOut
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import FIELDS, at, form_of
from crawlyard.core.templates.secrets import hide_credentials
from crawlyard.core.templates.template import PLACEHOLDER, CrawlTemplate
from crawlyard.errors import NotFound
from crawlyard.services.access.policy import CEILING, SETTINGS, Policy
from crawlyard.services.jobs.lookup import find_job, read_all_events
from crawlyard.services.templates.lookup import find_template
from crawlyard.services.templates.rendering import DEFAULT, THIS_JOB
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store

_DEFAULTS = {**form_of(JobSpec(urls=("https://example.com/",))), "urls": []}


class Configs:
    """Determines the effective settings of jobs and their sources."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
    ) -> None:
        self._store = store
        self._policy = policy

    async def of(self, actor: Actor, job_id: str) -> ConfigOut:
        """Return the settings of a job and their sources.

        Raises:
            NotFound: no job has that id, or the actor may not see it.
        """
        job = (await find_job(self._store, actor, job_id, JobPart.STATE)).job
        unseen = frozenset[str]() if actor.may_see(job.owner) else OWNERS_FIELDS
        template = await self._template(actor, job)
        own, cut = await self._changed_paths(job)
        form, defaults = form_of(job.spec), await self._defaults()
        template_values = {} if template is None else _flat(template.spec)
        sources: dict[str, str] = {}
        for path in (path for path in FIELDS if path not in unseen):
            value = at(form, path)
            if path in cut:
                sources[path] = CEILING
            elif path in own:
                sources[path] = THIS_JOB
            elif path in template_values and (
                _is_open(template_values[path]) or value == template_values[path]
            ):
                sources[path] = f"template v{job.origin.template_version}"
            elif path in defaults and value == defaults[path]:
                sources[path] = SETTINGS
            elif value == at(_DEFAULTS, path):
                sources[path] = DEFAULT
            else:
                sources[path] = _unless_gone(job, template)
        return ConfigOut(
            job_id=job.id,
            config={n: v for n, v in hide_credentials(form).items() if n not in unseen},
            sources=sources,
            template=None if template is None else MadeOfOut.filled(template),
            differences=()
            if template is None
            else tuple(d for d in _differences(form, template.spec) if d.path not in unseen),
        )

    async def _template(self, actor: Actor, job: Job) -> CrawlTemplate | None:
        if job.origin.template_id is None:
            return None
        try:
            made_of, version = job.origin.template_id, job.origin.template_version
            return await find_template(self._store, actor, made_of, version)
        except NotFound:
            return None

    async def _changed_paths(self, job: Job) -> tuple[frozenset[str], frozenset[str]]:
        """Return the paths that the job sets itself, and the paths of limits that were cut."""
        names = frozenset({EventName.CREATED, EventName.EDITED})
        events = await read_all_events(self._store.events, EventQuery(subject=job.id, names=names))
        own, cut = set(job.origin.given), set[str]()
        for event in events:
            changed = {path for name in _names(event, "changed") for path in _paths_of(name)}
            own |= changed
            cut = (cut - changed) | set(_names(event, "cut"))
        return frozenset(own), frozenset(cut)

    async def _defaults(self) -> Mapping[str, object]:
        return _flat(await self._policy.section(SectionName.DEFAULTS))


def _unless_gone(job: Job, template: CrawlTemplate | None) -> str:
    """Return the source of a value that is neither the job's own nor a default.

    That is a deleted template, or else the job.
    """
    template_is_gone = job.origin.template_id is not None and template is None
    return f"template v{job.origin.template_version}" if template_is_gone else THIS_JOB


def _flat(form: Mapping[str, object]) -> dict[str, object]:
    """Return the values of *form* by path of `FIELDS`, canonical unless they have placeholders."""
    fields = ((_BY_NAME[path], value) for path, value in _pairs(form))
    return {f.path: v if _is_open(v) else f.write(f.read(v)) for f, v in fields}


_BY_NAME = {name: f for f in FIELDS.values() for name in (f.path, f.also) if name}


def _pairs(form: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in form.items():
        if name in _BY_NAME or not isinstance(value, Mapping):
            yield name, value
        else:
            yield from ((f"{name}.{inner}", inner_value) for inner, inner_value in value.items())


def _is_open(value: object) -> bool:
    """Return whether *value* has placeholders for parameters."""
    if isinstance(value, str):
        return PLACEHOLDER.search(value) is not None
    if isinstance(value, Mapping):
        return any(_is_open(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(_is_open(element) for element in value)


def _differences(
    form: Mapping[str, object], template: Mapping[str, object]
) -> tuple[DifferenceOut, ...]:
    values = {path: at(_DEFAULTS, path) for path in FIELDS} | _flat(template)
    shown_values = {
        _BY_NAME[name].path: value for name, value in _pairs(hide_credentials(template))
    }
    job_form = hide_credentials(form)
    return tuple(
        DifferenceOut(
            path=path, template=shown_values.get(path, values[path]), job=at(job_form, path)
        )
        for path in FIELDS
        if values[path] != at(form, path)
    )


def _names(event: Event, member: str) -> list[str]:
    changes = event.data.get(member)
    return [str(name) for name in changes] if isinstance(changes, Mapping) else []


def _paths_of(name: str) -> list[str]:
    """Return the paths that an edit of the `JobSpec` field *name* has changed."""
    return [p for p in FIELDS if p in (name, f"{name}_s") or p.startswith(f"{name}.")]
