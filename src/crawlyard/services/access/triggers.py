"""Triggers: addresses that other programs call to start a schedule or a template."""

import re
import secrets
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from crawlyard.core.access.answers import NewTriggerOut, TriggeredOut, TriggerOut
from crawlyard.core.access.credential import (
    MAX_LABEL,
    SECRET_BYTES,
    Caller,
    CredentialKind,
    CredentialTarget,
    IssuedCredential,
)
from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import (
    LONGEST_REF,
    OWN_ACCOUNT,
    Cursor,
    IdempotencyKey,
    Limit,
    Slice,
    endpoint,
    make_slice,
)
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.scope import Boundary
from crawlyard.errors import Forbidden, Invalid
from crawlyard.ids import new_id
from crawlyard.services.access.tokens import IssuedCredentials, Lifetime
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.services.schedules.lookup import find_schedule
from crawlyard.services.schedules.schedules import Schedules
from crawlyard.services.templates.lookup import find_template
from crawlyard.services.templates.rendering import render_template

if TYPE_CHECKING:
    from crawlyard.services.services import Services

_NOTHING: Mapping[str, Any] = {}
_NO_MAPPING: Mapping[str, str] = {}

_POINTER = re.compile(r"(/([^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

Name = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL, examples=["CMS"])]
Ref = Annotated[str, Meta(max_length=LONGEST_REF, description="Id or name.")]


class Triggers(IssuedCredentials):
    """Creates, lists and revokes triggers; their tokens are not stored."""

    _kind = CredentialKind.TRIGGER

    @endpoint("GET /triggers", Permit.TOKENS_READ)
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[TriggerOut]:
        """List your triggers, newest first; with the permit `admin`, those of all users."""
        triggers = await self._find(limit, cursor)
        return make_slice(triggers, limit, TriggerOut.of, lambda trigger: trigger.id)

    @endpoint(
        "POST /triggers",
        OWN_ACCOUNT,
        "404",  # there is no such schedule or template
        status=201,
        example={
            "name": "CMS",
            "template": "docs",
            "params": {"start_url": "https://docs.example.org/"},
            "mapping": {"start_url": "/page/url"},
        },
    )
    async def create(
        self,
        name: Name,
        *,
        schedule: Annotated[Ref | None, Meta(description="Start this schedule.")] = None,
        template: Annotated[Ref | None, Meta(description="Submit a job of this template.")] = None,
        params: Annotated[
            Mapping[str, Any], Meta(description="Values of the template's parameters.")
        ] = _NOTHING,
        mapping: Annotated[
            Mapping[str, str],
            Meta(
                description="Parameters that the body of a request sets: "
                "the JSON Pointer of each value in it."
            ),
        ] = _NO_MAPPING,
        expires_in_s: Annotated[
            Lifetime | None, Meta(description="Null: it does not expire.")
        ] = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> NewTriggerOut:
        """Create a trigger; its token is only in this response.

        `POST /hooks/TOKEN` then starts the schedule, or submits a job of the template, with the
        permissions that you have at that time. Start URLs that the request sets must be in the
        scope of the template with *params* alone. The credential used must have no scopes; if it
        expires, the trigger expires no later.
        """
        if not name.strip():
            raise Invalid("name", "expected a name that says what calls it, got nothing")
        target = await self._target(schedule, template, params, mapping)
        issued = IssuedCredential.issue(
            CredentialKind.TRIGGER,
            secrets.token_bytes(SECRET_BYTES),
            self._services.clock.now(),
            self._lifetime(expires_in_s),
            id=new_id(),
            user_id=self._actor.id,
            label=name,
            permits=frozenset({_needed(target)}),
            target=target,
        )
        await self._add(issued)
        return NewTriggerOut.with_secret(issued)

    @endpoint("GET /triggers/{trigger_id}", Permit.TOKENS_READ)
    async def get(self, trigger_id: str) -> TriggerOut:
        """Return a trigger without its token."""
        return TriggerOut.of(await self._get(trigger_id))

    @endpoint("DELETE /triggers/{trigger_id}", Permit.TOKENS_WRITE, status=204)
    async def revoke(self, trigger_id: str) -> None:
        """Revoke a trigger at once: its address is unknown from now on."""
        await self._revoke(trigger_id)

    async def _target(
        self,
        schedule: str | None,
        template: str | None,
        params: Mapping[str, Any],
        mapping: Mapping[str, str],
    ) -> CredentialTarget:
        store, actor = self._services.store, self._actor
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may view jobs, but not start them")
        if (schedule is None) is (template is None):
            raise Invalid("schedule", "expected either a schedule or a template")
        if schedule is not None:
            for name, value in (("params", params), ("mapping", mapping)):
                if value:
                    raise Invalid(name, "expected nothing beside a schedule, which has its own")
            startable = await find_schedule(store, actor, schedule)
            if not actor.may_change(startable.owner):
                raise Forbidden(f"{actor.id} may see schedule {schedule}, but not start it")
            return CredentialTarget(schedule_id=startable.id)
        usable = await find_template(store, actor, template or "")
        _check_mapping(mapping, [parameter.name for parameter in usable.parameters])
        await render_template(store, actor, usable.id, params)  # it could be submitted now
        return CredentialTarget(template_id=usable.id, params=dict(params), mapping=dict(mapping))


async def start(services: "Services", caller: Caller, body: Mapping[str, Any]) -> TriggeredOut:
    """Start what the trigger of *caller* is for; *body* is that of the request.

    Raises:
        Forbidden: its user may no longer do so.
        Invalid: *body* lacks a mapped value, or sets a start URL out of scope.
        NotFound: the schedule or template is gone.
    """
    target = caller.credential.target or CredentialTarget()
    if target.schedule_id is not None:
        schedules = Schedules(services, caller.actor, caller.permits)
        job = await schedules.run(target.schedule_id)
    else:
        job = await _submit(services, caller, target, body)
    return TriggeredOut(job_id=job.id, state=job.state)


async def _submit(
    services: "Services", caller: Caller, target: CredentialTarget, body: Mapping[str, Any]
) -> JobOut:
    template_id = target.template_id or ""
    params = {**target.params}
    for name, pointer in target.mapping.items():
        params[name] = _value_at(body, pointer)
    if target.mapping:
        render = partial(render_template, services.store, caller.actor, template_id)
        _check_scope((await render(target.params)).spec, (await render(params)).spec)
    jobs = Jobs(services, caller.actor, caller.permits)
    return await jobs.create(template=template_id, params=params)


def _needed(target: CredentialTarget) -> Permit:
    return Permit.JOBS_WRITE if target.schedule_id is None else Permit.SCHEDULES_WRITE


def _check_mapping(mapping: Mapping[str, str], names: Collection[str]) -> None:
    for name, pointer in mapping.items():
        if name not in names:
            has = ", ".join(names) or "none"
            raise Invalid(f"mapping.{name}", f"the template has no such parameter; it has: {has}")
        if not _POINTER.fullmatch(pointer):
            message = f"expected a JSON Pointer such as /page/url, got {pointer!r}"
            raise Invalid(f"mapping.{name}", message)


def _value_at(body: object, pointer: str) -> Any:
    """Return the value at a JSON Pointer.

    Source: RFC 6901.
    """
    value: Any = body
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and _INDEX.fullmatch(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            raise Invalid(pointer.lstrip("/"), "expected a value here, which this trigger maps")
    return value


def _check_scope(base: JobSpec, spec: JobSpec) -> None:
    """Check that the start URLs of *spec* are in the scope of *base*.

    Raises:
        Invalid: one is not.
    """
    own = base.urls + base.sitemaps
    boundary = Boundary(base, own)
    for url in spec.urls + spec.sitemaps:
        if url not in own and (rule := boundary.verdict(url, 0)) is not None:
            raise Invalid("urls", f"{url} is outside the scope of the template ({rule})")
