"""Reference page about limits of requests."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from crawlyard.core.endpoints.idempotency import MAX_KEY, REPLIES_LAST
from crawlyard.core.jobs.filter import MAX_WORD, MOST_TERMS, MOST_VALUES
from crawlyard.core.jobs.spec import MAX_PATTERN, MAX_PATTERNS, MAX_SEEDS, MAX_URL
from crawlyard.core.operations.bulk import MOST_IDS
from crawlyard.core.schedules.schedule import MOST_CATCH_UP
from crawlyard.core.search.search import BOUNDS, MOST_WORDS
from crawlyard.core.search.search import MAX_WORD as MAX_SOUGHT
from crawlyard.core.templates.template import MAX_CONTENT_BYTES, MAX_PARAMETERS
from crawlyard.core.webhooks.webhook import MAX_WEBHOOKS
from crawlyard.services.access.views import MOST_VIEWS
from crawlyard.services.jobs.follow import LONGEST as LONGEST_WAIT
from crawlyard.services.jobs.parameters import MOST_JOBS, MOST_TESTED
from crawlyard.services.jobs.preview import LONGEST as LONGEST_PREVIEW
from crawlyard.services.schedules.backfill import MAX_INSTANTS_PER_OPERATION
from crawlyard.web.live.catch_up import MAX_REPLAYED
from crawlyard.web.live.hub import MAX_STREAMS_EACH
from crawlyard.web.paging import DEFAULT, MOST
from crawlyard.web.rates import PER_MINUTE
from crawlyard.web.routes import DEEPEST
from crawlyard.web.server import IDLE_S, LINGER_S, REQUEST_S
from crawlyard.web.site import MAX_BODY_BYTES, MAX_FILE_BYTES, MAX_HEAD_BYTES
from tests.openapi import Document, document_now, operations, referred

Table = Callable[[list[str], list[list[str]]], str]

_INTRO = (
    "Requests beyond these limits are refused with a problem document, whose `code` names the "
    "cause. Sizes are checked while the request is received. `GET /api/v1/meta` returns the most "
    "important limits."
)
_MALFORMED = (
    "NUL characters, unpaired surrogates, and numbers that JSON does not allow (`NaN`, `Infinity`) "
    "are refused as `malformed`, anywhere in a request. Regular expressions of users run in an "
    "engine whose time is linear in the length of the text."
)
_RATED = (
    "`crawlyard serve` applies rate limits unless all its host names are loopback and no proxy is "
    "trusted ([details](../howto/reverse-proxy.md#rate-limits-and-client-addresses)). Responses "
    "report the remaining requests in the `RateLimit` header."
)
_RATES = {
    "read": "GET, per token or session",
    "write": "all other methods, per token or session",
    "export": "exports and link checks, per token or session",
    "preview": "crawl previews and logins at sites, per token or session",
    "login": "sign-ins, per IP address",
}


def blocks(table: Table) -> list[str]:
    """Return the blocks of the page."""
    document = asyncio.run(document_now())
    return [
        _INTRO,
        "## Size and time of a request",
        table(["Limit", "Maximum", "If exceeded"], _request()),
        _MALFORMED,
        "## Rate limits",
        _RATED,
        table(["Requests", "Per minute"], [[_RATES[b], f"{n:,}"] for b, n in PER_MINUTE.items()]),
        "## Objects and results",
        table(["Limit", "Maximum"], _objects()),
        "## Request bodies",
        "Bounds of the fields in JSON bodies. A body is named after its operation in OpenAPI.",
        table(["Field", "Bounds", "Bodies"], _fields(document)),
        "## URL parameters",
        table(["Parameter", "Bounds", "Operations"], _parameters(document)),
    ]


def _request() -> list[list[str]]:
    hours = int(REPLIES_LAST.total_seconds()) // 3600
    return [
        ["URL and headers", f"{MAX_HEAD_BYTES:,} bytes", "431 `head_too_large`"],
        ["body", f"{MAX_BODY_BYTES:,} bytes", "413 `payload_too_large`"],
        [
            "body of `/templates/import` and `/templates/validate`",
            f"{MAX_FILE_BYTES:,} bytes",
            "413 `payload_too_large`",
        ],
        ["nesting of JSON", str(DEEPEST), "400 `malformed`"],
        ["time to receive the whole request", f"{REQUEST_S} s", "408 `too_slow`"],
        ["time to read a request that was already answered", f"{LINGER_S} s", "connection closed"],
        ["idle time of a connection", f"{IDLE_S} s", "connection closed"],
        ["`Idempotency-Key`", f"{MAX_KEY} characters", "400 `malformed`"],
        ["age of a stored response for this key", f"{hours} h", "the request is processed again"],
    ]


def _objects() -> list[list[str]]:
    limits: Mapping[str, object] = {
        "start URLs per job": MAX_SEEDS,
        "characters per URL": MAX_URL,
        "patterns per job, in each of `include` and `exclude`": MAX_PATTERNS,
        "characters per pattern": MAX_PATTERN,
        "webhooks per job": MAX_WEBHOOKS,
        "conditions per filter": MOST_TERMS,
        "values per condition": MOST_VALUES,
        "characters per value": MAX_WORD,
        "words per page search": MOST_WORDS,
        "characters per word": MAX_SOUGHT,
        "pages read per search": BOUNDS.pages,
        "seconds per search": BOUNDS.time.total_seconds(),
        "job ids per bulk request": MOST_IDS,
        "jobs submitted per request": MOST_JOBS,
        "bytes per template file": MAX_CONTENT_BYTES,
        "parameters per template": MAX_PARAMETERS,
        "missed runs that a schedule catches up": MOST_CATCH_UP,
        "runs per backfill": MAX_INSTANTS_PER_OPERATION,
        "items per page of a list": f"{MOST} (default {DEFAULT})",
        "test URLs per preview": MOST_TESTED,
        "seconds per preview": int(LONGEST_PREVIEW.total_seconds()),
        "seconds per request to `/jobs/{job_id}/wait`": int(LONGEST_WAIT.total_seconds()),
        "saved views per user": MOST_VIEWS,
        "open streams per token or session": MAX_STREAMS_EACH,
        "missed events that a stream resends": MAX_REPLAYED,
    }
    return [
        [limit, f"{most:,}" if isinstance(most, int) else str(most)]
        for limit, most in limits.items()
    ]


def _fields(document: Document) -> list[list[str]]:
    bodies: dict[tuple[str, str], list[str]] = {}
    for name, schema in document["components"]["schemas"].items():
        if not name.endswith(("Ask", "Patch")):
            continue
        for field, inner in schema.get("properties", {}).items():
            if bounds := _alternatives(document, inner):
                bodies.setdefault((field, bounds), []).append(name.removesuffix("Ask"))
    return [
        [f"`{field}`", bounds, ", ".join(sorted(names))]
        for (field, bounds), names in sorted(bodies.items())
    ]


def _parameters(document: Document) -> list[list[str]]:
    parameters: dict[tuple[str, str], list[str]] = {}
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            bounds = _alternatives(document, parameter["schema"])
            # one item can hold several values, separated by commas
            bounds = bounds.replace(f"{MOST_VALUES * MAX_WORD:,} char", f"{MAX_WORD:,} char")
            if bounds and parameter["in"] != "header":
                parameters.setdefault((parameter["name"], bounds), []).append(
                    operation["operationId"]
                )
    return [
        [f"`{name}`", bounds, _some(users)] for (name, bounds), users in sorted(parameters.items())
    ]


def _some(users: list[str]) -> str:
    return ", ".join(users) if len(users) <= 3 else f"{users[0]} and {len(users) - 1} others"


def _alternatives(document: Document, schema: Mapping[str, Any]) -> str:
    return ", or ".join(sorted(_bounds(document, schema), key=len))


def _bounds(document: Document, schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema and "enum" not in referred(document, schema["$ref"]):
        return
    for choice in schema.get("anyOf", ()):
        yield from _bounds(document, choice)
    if "maxLength" in schema:
        yield f"{schema['maxLength']:,} characters"
    most = schema.get("maximum", schema.get("exclusiveMaximum", 1) - 1 or None)
    if most is not None and "exclusiveMinimum" in schema:
        yield f"more than {_number(schema['exclusiveMinimum'])}, at most {_number(most)}"
    elif most is not None:
        yield f"{_number(schema.get('minimum', 0))} to {_number(most)}"
    if "maxItems" in schema:
        each = _alternatives(document, schema["items"])
        yield f"{schema['maxItems']:,} items" + (f" of {each}" if each else "")


def _number(value: float) -> str:
    return f"{value:,g}" if value < 10**6 else f"{int(value):,}"
