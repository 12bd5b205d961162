"""What each kind of problem means and what to do, for its page under ``/problems/``."""

import html
from collections.abc import Mapping

from crawlyard.core.answers.fleet.health import ProblemKindOut
from crawlyard.web.errors.problems import KINDS

MEANINGS: Mapping[str, str] = {
    "validation_failed": "A field or a parameter is not as it must be. `errors` names each one "
    "by its JSON pointer or its name. Mend them and send the request again.",
    "malformed": "The body is no JSON in UTF-8, is nested too deep, or a header cannot be read.",
    "invalid_cursor": "A cursor goes on with the list that it came from, with the same filters. "
    "Begin the list anew, without a cursor.",
    "unauthenticated": "Nobody knows who asks. Send 'Authorization: Bearer cyt_…' with a token "
    "that is neither expired nor revoked, or sign in.",
    "forbidden": "You may see the thing, but your role or the scopes of your token do not let you "
    "do this to it; or a page of another site asked in your name.",
    "not_found": "There is no such thing, or it belongs to somebody else.",
    "method_not_allowed": "The address is there, but not for this method; Allow names those "
    "that it takes.",
    "not_acceptable": "What Accept asks for is not made here; the document of the API names the "
    "formats.",
    "invalid_transition": "The state of the thing does not allow the action. `allowed_actions` "
    "has those that it does allow.",
    "conflict": "Somebody changed it at the same time, or the name is taken. Read it again, and "
    "decide anew.",
    "confirmation_required": "The change also affects the schedules listed in `schedules`. "
    "Nothing was changed; repeat the request with `confirm=true` to go ahead.",
    "idempotency_in_progress": "The first request with this key has not been answered yet. Wait "
    "as long as Retry-After says, and send it again.",
    "gone": "It was here, and has been deleted for good.",
    "precondition_failed": "If-Match names another version than the current one, which is in "
    "`current_version`. Read it again, and decide anew.",
    "too_slow": "The whole request must have come within a minute. Send it again, on a faster "
    "line or in smaller parts.",
    "payload_too_large": "The body has more bytes than are taken here.",
    "unsupported_media_type": "Send the body as application/json.",
    "idempotency_key_reused": "The key stands for another request, whose answer is kept for a "
    "day. Make a new key for a new request.",
    "misdirected": "The server was asked by a name that it does not know as its own. Whoever "
    "runs it can add one: crawlyard serve --allow-host NAME.",
    "precondition_required": "Send If-Match with the ETag of what you saw, so that nobody's "
    "change is lost; * changes it whatever it is.",
    "limit_exceeded": "You have as much as your quota allows, or as many streams. `quota` "
    "names which.",
    "rate_limited": "You ask too often. Wait as long as Retry-After says.",
    "refused": "It cannot be done as asked; the detail says why.",
    "head_too_large": "The URL and the headers together have more bytes than are taken. Send fewer "
    "parameters, or ask by POST where there is one.",
    "internal": "The server has made a mistake. Its log tells of it under the `request_id`.",
    "unavailable": "The store is away, the server is about to end, or has all it can take. "
    "Wait as long as Retry-After says, and send the request again.",
}
"""By code."""


def kind_of(code: str) -> ProblemKindOut:
    """Return what there is to say of the problems of a code.

    Raises:
        KeyError: there is none.
    """
    kind = KINDS[code]
    return ProblemKindOut(
        type=f"/problems/{code.replace('_', '-')}",
        code=code,
        status=kind.status,
        title=kind.title,
        detail=MEANINGS[code],
    )


def page_of(kind: ProblemKindOut) -> str:
    """Return the page of a kind, in HTML without anything to load."""
    title, detail = html.escape(kind.title), html.escape(kind.detail)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title} · Crawlyard</title></head>\n<body><main>\n<h1>{title}</h1>\n"
        f"<p>Status {kind.status}, code <code>{kind.code}</code></p>\n<p>{detail}</p>\n"
        "</main></body>\n</html>\n"
    )
