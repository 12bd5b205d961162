"""Share links: addresses that show one job to people without an account."""

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from crawlyard.core.access.answers import NewShareOut, ShareOut
from crawlyard.core.access.credential import (
    MAX_LABEL,
    SECRET_BYTES,
    Caller,
    CredentialKind,
    CredentialTarget,
    IssuedCredential,
)
from crawlyard.core.access.job_parts import has_login
from crawlyard.core.access.policy import SectionName, shares_links
from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import (
    OWN_ACCOUNT,
    Cursor,
    IdempotencyKey,
    Limit,
    Slice,
    endpoint,
    make_slice,
)
from crawlyard.core.jobs.job import Job, Standing
from crawlyard.errors import Conflict, Forbidden, NotFound
from crawlyard.ids import new_id
from crawlyard.services.access.tokens import IssuedCredentials
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.jobs.verdicts import check_may_change

if TYPE_CHECKING:
    from crawlyard.services.services import Services

MOST_DAYS = 90
DEFAULT_DAYS = 7

JobId = Annotated[str, Meta(max_length=36)]
Days = Annotated[
    float, Meta(gt=0, le=MOST_DAYS, description=f"How long it works, at most {MOST_DAYS} days.")
]
Name = Annotated[str, Meta(max_length=MAX_LABEL, description="A note: who gets it.")]


class Shares(IssuedCredentials):
    """Creates, lists and revokes share links; their tokens are not stored."""

    _kind = CredentialKind.SHARE

    @endpoint("GET /shares", Permit.TOKENS_READ)
    async def list(
        self,
        *,
        job: Annotated[JobId | None, Meta(description="Only those of this job.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[ShareOut]:
        """List your share links, newest first; with the permit `admin`, those of all users."""
        owner = None if Permit.ADMIN in self._permits else self._actor.id
        find = self._services.store.credentials.find
        links = await find(owner, self._kind, cursor, limit + 1, job and job.lower())
        return make_slice(links, limit, ShareOut.of, lambda link: link.id)

    @endpoint(
        "POST /shares",
        OWN_ACCOUNT,
        "404",  # there is no such job
        "409",
        status=201,
        example={"job": "0195d9a1-6f3e-7c10-8d2a-3b5c7e9f1a24", "days": 7, "name": "the editors"},
    )
    async def create(
        self,
        job: Annotated[JobId, Meta(description="The job that it shows.")],
        *,
        days: Days = DEFAULT_DAYS,
        downloads: Annotated[
            bool, Meta(description="The pages can be downloaded as JSON Lines and CSV.")
        ] = False,
        name: Name = "",
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> NewShareOut:
        """Create a link that shows a job to anyone who has it; its token is only in this response.

        It shows progress, outcome, pages, problems and changes, but no header, log, owner or
        stored HTML; of a job that uses a session or credentials, only progress and outcome. It
        works until it expires or is revoked, the job is deleted, or you may no longer change the
        job. You must be allowed to change the job, and your credential must have no scopes.

        Raises:
            Conflict: the instance has no public URL, or its settings do not allow share links.
        """
        services, actor = self._services, self._actor
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may view jobs, but not share them")
        shared = (await find_job(services.store, actor, job)).job
        check_may_change(actor, shared)
        public_url = services.settings.public_url
        if not public_url:
            raise Conflict("a share link needs the address of the server: set public_url")
        await _check_allowed(services)
        issued = IssuedCredential.issue(
            CredentialKind.SHARE,
            secrets.token_bytes(SECRET_BYTES),
            services.clock.now(),
            self._lifetime(timedelta(days=days).total_seconds()),
            id=new_id(),
            user_id=actor.id,
            label=name,
            permits=frozenset({Permit.JOBS_READ, Permit.RESULTS_READ}),
            target=CredentialTarget(job_id=shared.id, downloads=downloads),
        )
        await self._add(issued)
        return NewShareOut.with_secret(issued, public_url)

    @endpoint("GET /shares/{share_id}", Permit.TOKENS_READ)
    async def get(self, share_id: str) -> ShareOut:
        """Return a share link without its token."""
        return ShareOut.of(await self._get(share_id))

    @endpoint("DELETE /shares/{share_id}", Permit.TOKENS_WRITE, status=204)
    async def revoke(self, share_id: str) -> None:
        """Revoke a share link at once: its address is unknown from now on."""
        await self._revoke(share_id)


class SharedJob(Struct, frozen=True, kw_only=True):
    """A job that a share link shows, and how far."""

    caller: Caller  # the creator of the link, with the permits to read
    standing: Standing
    downloads: bool
    hides_pages: bool  # only progress and outcome are shown

    @property
    def job(self) -> Job:
        """The job, without its usage and lease."""
        return self.standing.job


async def find_shared(services: "Services", token: str) -> SharedJob:
    """Return the job that the link with *token* shows.

    Raises:
        Unauthenticated: there is no such link, or it has ended.
        Forbidden: links are off, or who created it may no longer change the job.
        NotFound: the job is gone.
    """
    caller = await services.access.caller(token, CredentialKind.SHARE)
    await _check_allowed(services)
    target = caller.credential.target
    if target is None or target.job_id is None:
        raise NotFound("this link shows no job")
    standing = await find_job(services.store, caller.actor, target.job_id)
    check_may_change(caller.actor, standing.job)
    return SharedJob(
        caller=caller,
        standing=standing,
        downloads=target.downloads,
        hides_pages=standing.job.damaged != "" or has_login(standing.job.spec),
    )


async def _check_allowed(services: "Services") -> None:
    section = await services.store.settings.get(SectionName.SHARING)
    if not shares_links(section.value):
        raise Forbidden("the settings of this server do not allow share links")
