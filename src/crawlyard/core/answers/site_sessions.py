"""Answers about sessions at sites."""

from datetime import datetime
from typing import Literal

from crawlyard.core.access.site_session import SiteSession
from crawlyard.core.answers.base import Wire


class SessionOut(Wire, frozen=True, kw_only=True):
    """A session, without its credentials."""

    id: str
    object: Literal["session"] = "session"
    name: str
    version: int  # rises with each login
    kind: str
    url: str  # where the login is
    user: str
    submit: str
    fields: tuple[str, ...]  # names of further fields of the form
    origins: tuple[str, ...]  # where its credentials are sent: origins, and domains of cookies
    cookies: int
    made_at: datetime  # the last login
    used_at: datetime | None  # when a worker began a job with it last
    used_by: str | None  # the id of that job
    created_at: datetime

    @classmethod
    def of(cls, session: SiteSession) -> "SessionOut":
        """Return the shape of *session*."""
        return cls.filled(session, object="session")
