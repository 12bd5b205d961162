"""Parts of jobs, and their visibility to users who neither own the job nor are admins."""

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING

from crawlyard.core.access.sharing import Sharing
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.crawl.page import Body
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.templates.secrets import has_credentials

if TYPE_CHECKING:
    from crawlyard.core.jobs.job import Job


class Hidden(IntEnum):
    """Hidden parts of a job, as stored in `jobs.hidden`."""

    NOTHING = 0
    PAGES = 1  # they were fetched with credentials, and are not shared
    JOB = 2


class JobPart(IntEnum):
    """A part of a job. Others see it if the `Hidden` of the job is below this number."""

    EVERYTHING = 0  # also what is never shown to others
    PAGES = 1
    STATE = 2  # its settings without credentials, its progress and its outcome


def hidden_by(spec: JobSpec) -> Hidden:
    """Return what a spec hides from other users."""
    if spec.shared is Sharing.PRIVATE:
        return Hidden.JOB
    return Hidden.PAGES if not spec.share_pages and has_login(spec) else Hidden.NOTHING


def has_login(spec: JobSpec) -> bool:
    """Return whether pages may be those of a signed-in visitor: by a session, or by headers.

    URLs with credentials are refused.
    """
    return bool(spec.session) or has_credentials({"headers": spec.headers})


def sees_job(actor: Actor, job: "Job", part: JobPart = JobPart.STATE) -> bool:
    """True for its owner and admins; for other users, if the settings and the job show it."""
    return actor.may_see(job.owner) or (actor.sees_shared and shows_others(job, part))


def shows_others(job: "Job", part: JobPart) -> bool:
    """Return whether a job shows a part to users who see jobs of others. A damaged one does not."""
    return not job.damaged and hidden_by(job.spec) < part


OWNERS_FIELDS: Mapping[str, object] = {
    "session": "",
    "unique_key": None,
    "webhooks": (),
    "notify": (),
}
"""Fields of a spec that only the owner and admins see, with the values that others get."""

RESPONSES = frozenset({Body.HTML, Body.RENDERED, Body.HEADERS, Body.SCREENSHOT})
"""What is stored of a response beside its text; others see it only if it is shared."""


def sees_responses(actor: Actor, job: "Job") -> bool:
    """Return whether the actor, who may see the pages of a job, may see `RESPONSES` too."""
    return job.spec.share_pages or actor.may_see(job.owner)


def may_change_job(actor: Actor, job: "Job") -> bool:
    """Return whether the actor may change and control a job; only owners and admins delete it."""
    if actor.may_change(job.owner):
        return True
    shared = job.spec.shared is Sharing.WRITE and actor.role is Role.OPERATOR
    return shared and sees_job(actor, job)
