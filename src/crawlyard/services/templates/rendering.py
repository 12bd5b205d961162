"""Rendering of templates into the specs of jobs."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from crawlyard.core.access.user import Actor
from crawlyard.core.fields import check_all
from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import EXAMPLE, FIELDS, Form, form_of, spec_with, values_of
from crawlyard.core.templates.render import RenderedTemplate, blame_parameter, fill
from crawlyard.errors import Invalid
from crawlyard.services.templates.lookup import find_template
from crawlyard.services.webhooks.receivers import check_job_spec
from crawlyard.store.store import Store

DEFAULT, THIS_JOB = "default", "this job"
"""Sources of values in a rendered spec, besides the template."""

_NOTHING: Form = {}


async def render_template(
    store: Store,
    actor: Actor,
    ref: str,
    params: Mapping[str, object] = _NOTHING,
    overrides: Form = _NOTHING,
    version: int | None = None,
) -> RenderedTemplate:
    """Return the whole spec of a job: defaults, then the template, then *overrides*.

    A value that a parameter fills in counts as the template's. Nothing is written.

    Raises:
        NotFound: no such template or version that the actor may use.
        Invalid: a parameter (``params.NAME``) or a field of the spec is unknown,
            missing or not valid, or the spec cannot be crawled.
    """
    template = await find_template(store, actor, ref, version)
    own: dict[str, Any] = {}
    filled: dict[str, Any] = {}

    def read_template() -> None:
        try:
            filled.update(values_of(fill(template, params)))
        except Invalid as error:
            raise error.map(lambda fault: blame_parameter(fault, template)) from None

    def whole(base: JobSpec | None = None) -> JobSpec:
        try:
            spec = spec_with(filled | own, base, check_job_spec)
            check_job_spec(spec)
        except Invalid as error:
            raise error.map(
                lambda fault: (
                    fault if _is_in(fault.field, own) else blame_parameter(fault, template)
                )
            ) from None
        return spec

    reads = (lambda: own.update(values_of(overrides, check_job_spec)), read_template)
    try:
        check_all(*reads)
    except Invalid:
        check_all(*reads, partial(whole, EXAMPLE))  # also report faults in the rest
    spec = whole()
    sources = dict.fromkeys(FIELDS, DEFAULT)
    sources |= dict.fromkeys(filled, f"template v{template.version}")
    sources |= dict.fromkeys(own, THIS_JOB)
    return RenderedTemplate(
        template=template,
        spec=spec,
        form=form_of(spec),
        sources=sources,
        origin=Origin(
            template_id=template.id,
            template_version=template.version,
            given=tuple(path for path in FIELDS if path in own),
        ),
    )


def _is_in(field: str, values: Mapping[str, object]) -> bool:
    """Return whether a field of a spec, or a part of it, is among *values*."""
    names = (field, f"{field}_s", field.partition(".")[0])
    return any(path in names or path.startswith(f"{field}.") for path in values)
