"""Errors of the Python API as sentences that name an agent's next step."""

import re

from crawlyard.errors import (
    CrawlyardError,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    NotPublic,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
)

_ADVICE: tuple[tuple[type[CrawlyardError], str], ...] = (
    (Unauthenticated, "Ask the user for a valid token; another call with this one fails as well."),
    (QuotaExceeded, "Wait for a job to end, or cancel one with control."),
    (Forbidden, "This token may not do that: ask the user for one with the role and scope named."),
    (
        NotPublic,
        "These tools crawl public addresses only: ask the user to start this crawl themselves.",
    ),
    (Invalid, "Correct the argument, or ask the user."),
    (NotFound, "Check the id; search_pages finds pages of all jobs, schedules lists schedules."),
    (IllegalMove, "Call job to see its state and allowed_actions."),
    (RateLimited, "Wait as long as it says, then repeat the call."),
    (Unavailable, "Nothing is lost: repeat the call in a few seconds, with the same arguments."),
)


_ARGUMENTS = {"urls": "url", "limits.pages": "max_pages"}
"""Arguments by the fields of a job that they become."""


def _in_own_words(fault: Invalid) -> Invalid:
    """Return *fault* with the name of the argument, and without an option that no tool has."""
    message = re.sub(r"; allow it with allow_addresses=\S+", "", fault.message)
    return type(fault)(_ARGUMENTS.get(fault.field, fault.field), message)


def explain(error: CrawlyardError) -> str:
    """Return the message of *error*, and what to do next."""
    if isinstance(error, Invalid):
        error = error.map(_in_own_words)
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "")
    return f"{error}. {advice}".rstrip()
