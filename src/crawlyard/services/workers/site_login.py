"""Site session of a job, looked up by name and opened when a run begins."""

from datetime import datetime

from crawlyard.core.access.site_session import LoginKind, SessionState, SiteSession
from crawlyard.core.jobs.job import Job
from crawlyard.engine.form_login import names_a_page
from crawlyard.engine.site_session import ActiveSession
from crawlyard.lazy import lazily
from crawlyard.services.access.cookies import Sealer
from crawlyard.store.store import Store

# most crawls have no session, and it loads a large library
with lazily():
    from crawlyard.services.access import sealing


class NoSession(Exception):
    """Unusable session of a job; the message says why, and what to do."""


async def session_of(store: Store, sealer: Sealer, job: Job, now: datetime) -> ActiveSession | None:
    """Return the session that a job uses, in its latest version; ``None`` if it uses none.

    Raises:
        NoSession: it was deleted, or encrypted with another key.
    """
    name = job.spec.session
    if not name:
        return None
    session = await store.site_sessions.get_by_name(job.owner, name)
    if session is None:
        raise NoSession(f"there is no session {name}; {how_to_go_on(name)}")
    try:
        opened = (await sealer.seal()).open(session.sealed)
    except sealing.NotOpened as error:
        raise NoSession(f"session {name}: {error}; {how_to_go_on(name)}") from None
    await store.site_sessions.record_use(session.id, job.id, now)
    return ActiveSession(
        label=session.label,
        made_at=session.made_at,
        login_url=_login_url(session),
        state=SessionState.decoded(opened),
    )


def how_to_go_on(name: str) -> str:
    """Return what to do about a session that is logged out."""
    return f"log in to session {name} again, then resume the job"


def _login_url(session: SiteSession) -> str:
    named = session.kind is LoginKind.FORM and names_a_page(session.url)
    return session.url if named else ""
