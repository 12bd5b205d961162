"""The page of the reference that says how much of everything a request may have."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from crawlyard.core.endpoints.idempotency import MAX_KEY, REPLIES_LAST
from crawlyard.core.jobs.filter import MAX_WORD, MOST_TERMS, MOST_VALUES
from crawlyard.core.jobs.spec import MAX_PATTERN, MAX_PATTERNS, MAX_SEEDS, MAX_URL, MAX_WEBHOOKS
from crawlyard.core.operations.bulk import MOST_IDS
from crawlyard.core.schedules.schedule import MOST_CATCH_UP
from crawlyard.core.search.search import BOUNDS, MOST_WORDS
from crawlyard.core.search.search import MAX_WORD as MAX_SOUGHT
from crawlyard.core.templates.template import MAX_CONTENT_BYTES, MAX_PARAMETERS
from crawlyard.services.access.views import MOST_VIEWS
from crawlyard.services.jobs.follow import LONGEST as LONGEST_WAIT
from crawlyard.services.jobs.parameters import MOST_JOBS, MOST_TESTED
from crawlyard.services.jobs.preview import LONGEST as LONGEST_PREVIEW
from crawlyard.services.schedules.backfill import MOST_INSTANTS
from crawlyard.web.live.catch_up import MAX_REPLAYED
from crawlyard.web.live.hub import MAX_STREAMS_EACH
from crawlyard.web.paging import DEFAULT, MOST
from crawlyard.web.rates import PER_MINUTE
from crawlyard.web.routes import DEEPEST
from crawlyard.web.server import IDLE_S, LINGER_S, REQUEST_S
from crawlyard.web.site import MAX_BODY_BYTES, MAX_FILE_BYTES, MAX_HEAD_BYTES
from tests.openapi import Document, document_now, operations, referred

Table = Callable[[list[str], list[list[str]]], str]

_COUNTED = (
    "What comes is counted before it is kept, and refused beyond these bounds with a problem "
    "that names its `code`. `GET /api/v1/meta` tells the more important ones to programs."
)
_MALFORMED = (
    "NUL, half characters (lone surrogates) and numbers that no JSON has are `malformed` "
    "wherever they stand. Expressions of users run in an engine whose time grows with the "
    "length of the text alone."
)
_RATED = (
    "Nothing is counted while all names of the server are loopback and no proxy is trusted "
    "([which are](../howto/reverse-proxy.md#who-is-counted)); else `serve` counts, and the answers "
    "say in `RateLimit` what is left."
)
_RATES = {
    "read": "GET, by token or session",
    "write": "all other methods, by token or session",
    "export": "exports and checks of links, by token or session",
    "preview": "previews of crawls and logins at sites, by token or session",
    "login": "signing in, by address",
}


def blocks(table: Table) -> list[str]:
    """Return the parts of the page, in their order."""
    document = asyncio.run(document_now())
    return [
        _COUNTED,
        "## A request",
        table(["what", "most", "beyond"], _request()),
        _MALFORMED,
        "## How often",
        _RATED,
        table(["requests", "a minute"], [[_RATES[b], f"{n:,}"] for b, n in PER_MINUTE.items()]),
        "## What is made and asked",
        table(["what", "most"], _things()),
        "## Fields of bodies",
        table(["body", "field", "bounds"], sorted(_fields(document))),
        "## Parameters of URLs",
        table(["parameter", "bounds", "of"], _parameters(document)),
    ]


def _request() -> list[list[str]]:
    hours = int(REPLIES_LAST.total_seconds()) // 3600
    return [
        ["URL and headers", f"{MAX_HEAD_BYTES:,} bytes", "431 `head_too_large`"],
        ["body", f"{MAX_BODY_BYTES:,} bytes", "413 `payload_too_large`"],
        [
            "body of `templates/import` and `/validate`",
            f"{MAX_FILE_BYTES:,} bytes",
            "413 `payload_too_large`",
        ],
        ["levels of JSON", str(DEEPEST), "400 `malformed`"],
        ["time to come whole", f"{REQUEST_S} s", "408 `too_slow`"],
        ["what comes after its answer", f"{LINGER_S} s", "the connection is closed"],
        ["a connection that asks nothing", f"{IDLE_S} s", "it is closed"],
        ["`Idempotency-Key`", f"{MAX_KEY} characters", "400 `malformed`"],
        ["an answer is kept for its key", f"{hours} h", "the request is done anew"],
    ]


def _things() -> list[list[str]]:
    things: Mapping[str, object] = {
        "start URLs of a job": MAX_SEEDS,
        "characters of a URL": MAX_URL,
        "patterns of a job, for each of `include` and `exclude`": MAX_PATTERNS,
        "characters of a pattern": MAX_PATTERN,
        "webhooks of a job": MAX_WEBHOOKS,
        "conditions of a filter": MOST_TERMS,
        "values of a condition": MOST_VALUES,
        "characters of a value": MAX_WORD,
        "words of a search of pages": MOST_WORDS,
        "characters of one of them": MAX_SOUGHT,
        "pages that one search looks at": BOUNDS.pages,
        "seconds of one search": BOUNDS.time.total_seconds(),
        "jobs of a bulk request by their ids": MOST_IDS,
        "jobs that one request submits": MOST_JOBS,
        "bytes of the file of a template": MAX_CONTENT_BYTES,
        "parameters of a template": MAX_PARAMETERS,
        "instants that a schedule catches up on": MOST_CATCH_UP,
        "instants of a backfill": MOST_INSTANTS,
        "items of a page": f"{MOST}, {DEFAULT} if nothing is asked",
        "URLs that a preview judges": MOST_TESTED,
        "seconds of a preview": int(LONGEST_PREVIEW.total_seconds()),
        "seconds of `jobs/{job_id}/wait`": int(LONGEST_WAIT.total_seconds()),
        "saved views of a user": MOST_VIEWS,
        "streams of a token or session at once": MAX_STREAMS_EACH,
        "events that a stream makes up for": MAX_REPLAYED,
    }
    return [
        [thing, f"{most:,}" if isinstance(most, int) else str(most)]
        for thing, most in things.items()
    ]


def _fields(document: Document) -> Iterator[list[str]]:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        if not name.endswith(("Ask", "Patch")):
            continue
        for field, inner in schema.get("properties", {}).items():
            if bounds := ", ".join(_bounds(document, inner)):
                yield [name.removesuffix("Ask"), f"`{field}`", bounds]


def _parameters(document: Document) -> list[list[str]]:
    parameters: dict[tuple[str, str], list[str]] = {}
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            bounds = ", ".join(_bounds(document, parameter["schema"]))
            # several values may stand in one item, between commas
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
        yield f"{schema['maxItems']:,} items"
    if "items" in schema:
        yield from (f"each {bound}" for bound in _bounds(document, schema["items"]))


def _number(value: float) -> str:
    return f"{value:,g}" if value < 10**6 else f"{int(value):,}"
