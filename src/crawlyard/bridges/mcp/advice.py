"""Errors of the Python API as sentences that name an agent's next step."""

from crawlyard.errors import (
    CrawlyardError,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
)

_ADVICE: tuple[tuple[type[CrawlyardError], str], ...] = (
    (Unauthenticated, "Ask the user for a valid token; another call with this one fails as well."),
    (QuotaExceeded, "Wait for a job to end, or cancel one with control."),
    (Forbidden, "This token may not do that: ask the user for one with the role and scope named."),
    (Invalid, "Correct the argument, or ask the user."),
    (NotFound, "Check the id; search_pages finds pages of all jobs, schedules lists schedules."),
    (IllegalMove, "Call job to see its state and allowed_actions."),
    (RateLimited, "Wait as long as it says, then repeat the call."),
    (Unavailable, "Nothing is lost: repeat the call in a few seconds, with the same arguments."),
)


def explain(error: CrawlyardError) -> str:
    """Return the message of *error*, and what to do next."""
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "")
    return f"{error}. {advice}".rstrip()
