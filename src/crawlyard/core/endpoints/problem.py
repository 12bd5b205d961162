"""Problem details: the JSON shape of every error."""

from crawlyard.core.answer import Wire
from crawlyard.core.templates.template import KeptTemplate


class FieldErrorOut(Wire, frozen=True, kw_only=True):
    """Error in one field: *pointer* into the body, or *parameter* of the URL."""

    pointer: str | None = None  # RFC 6901
    parameter: str | None = None
    code: str
    detail: str
    position: int | None = None  # of the offending character, if a text cannot be parsed


class ProblemOut(Wire, frozen=True, kw_only=True):
    """Why a request failed; *code* is for programs, *detail* for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    request_id: str
    errors: tuple[FieldErrorOut, ...] | None = None  # of validation_failed
    allowed_actions: tuple[str, ...] | None = None  # of invalid_transition
    quota: str | None = None  # of limit_exceeded
    current_version: int | None = None  # of precondition_failed
    schedules: tuple[KeptTemplate, ...] | None = None  # of confirmation_required
    violated_policies: tuple[str, ...] | None = None  # of rate_limited
