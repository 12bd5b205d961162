"""Filter parameters of lists of pages."""

from typing import Annotated, TypedDict

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind, parse_status
from crawlyard.core.endpoints.endpoint import Instant, Words
from crawlyard.core.jobs.spec import MAX_URL, JobSpec
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily
from crawlyard.services.jobs.terms import ANY, MOST_Q, kind_of, words_of
from crawlyard.store.queries import PageQuery

# a client of a server needs none of it
with lazily():
    from crawlyard.engine import urls

_DEEPEST = 1_000_000

ChunkSize = Annotated[int, Meta(ge=50, le=100_000)]
PageId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
URLArgument = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_URL,
        description="An absolute http or https URL.",
        examples=["https://docs.example.org/a"],
    ),
]
Under = Annotated[
    str,
    Meta(
        max_length=MAX_URL,
        description="A host or folder, with or without a scheme: `docs.example.org/guide/`.",
    ),
]
Depth = Annotated[int, Meta(ge=0, le=_DEEPEST)]


class PageTerms(TypedDict, total=False):
    """Filters of lists of pages; a page must match all of them."""

    status: Annotated[Words, Meta(description=f"An HTTP status: `404`, or a class: `4xx`. {ANY}")]
    kind: Annotated[Words, Meta(description=f"Kinds of errors: `timeout`, `http_4xx`, … {ANY}")]
    failed: Annotated[bool | None, Meta(description="With an error, or without.")]
    needs_scripts: Annotated[
        bool | None,
        Meta(
            description="Whether the page needs scripts: without them its text is empty or partial."
        ),
    ]
    content_type: Annotated[Words, Meta(description=f"`text/html`, or `text/*`. {ANY}")]
    depth: Annotated[Words, Meta(description=f"Links from a start URL. {ANY}")]
    min_depth: Annotated[Depth | None, Meta(description="At least so many.")]
    max_depth: Annotated[Depth | None, Meta(description="At most so many.")]
    host: Annotated[Words, Meta(description=f"The host of the URL; without a port: on any. {ANY}")]
    links_to: Annotated[
        Annotated[str, Meta(max_length=MAX_URL)] | None,
        Meta(description="Pages with a link to this URL."),
    ]


class SearchTerms(PageTerms, total=False):
    """Filters for the pages of one job, with a text to search for."""

    q: Annotated[str, Meta(max_length=MOST_Q, description="A part of the URL or title.")]
    under: Under


class ArchiveTerms(PageTerms, total=False):
    """Filters for the pages of all jobs."""

    job: Annotated[Words, Meta(description=f"The whole id of a job. {ANY}")]
    template: Annotated[Words, Meta(description=f"Of jobs made from this template. {ANY}")]
    schedule: Annotated[Words, Meta(description=f"Of jobs of this schedule. {ANY}")]
    tag: Annotated[Words, Meta(description=f"Of jobs with this tag. {ANY}")]
    owner: Annotated[Words, Meta(description=f"Of jobs of a user; `me` is the caller. {ANY}")]
    since: Annotated[Instant | None, Meta(description="Fetched at this instant, or later.")]
    until: Annotated[Instant | None, Meta(description="Fetched before this instant.")]


def search_query(terms: SearchTerms) -> PageQuery:
    """Return the query of *terms* for the pages of one job; it raises what `page_query` does."""
    query = page_query(terms, terms.get("q", ""))
    return replace(query, under=place_of(terms.get("under", "")))


def place_of(under: str) -> str:
    """Return a host or folder without its scheme, the host in lower case and with its slash."""
    host, slash, path = (under.partition("://")[2] or under).partition("/")
    return f"{host.lower()}{slash or '/'}{path}" if host else ""


def page_query(terms: PageTerms, text: str = "") -> PageQuery:
    """Return the query of *terms*.

    Raises:
        Invalid: a value is not what its parameter takes; the error names the parameter.
    """
    return PageQuery(
        failed=terms.get("failed"),
        needs_scripts=terms.get("needs_scripts"),
        kinds=frozenset(kind_of("kind", word, ErrorKind) for word in words_of(terms.get("kind"))),
        statuses=frozenset(_status(word) for word in words_of(terms.get("status"))),
        content_types=frozenset(w.lower() for w in words_of(terms.get("content_type"))),
        depths=frozenset(_depth(word) for word in words_of(terms.get("depth"))),
        min_depth=terms.get("min_depth"),
        max_depth=terms.get("max_depth"),
        hosts=frozenset(word.lower() for word in words_of(terms.get("host"))),
        links_to=_target("links_to", terms.get("links_to")),
        text=text,
    )


def _target(parameter: str, url: str | None) -> int | None:
    return None if url is None else urls.fingerprint(canonical_of(parameter, url))


def check_links_kept(spec: JobSpec) -> None:
    """Check that a job stores the links of its pages.

    Raises:
        Invalid: it does not.
    """
    if not spec.keep_links:
        raise Invalid("job_id", "expected a job that keeps links (keep_links=true)")


def link_query(from_: str | None) -> PageQuery:
    """Return the query for the pages whose links are listed: all, or the one at a URL.

    Raises:
        Invalid: it is not an absolute URL.
    """
    if from_ is None:
        return PageQuery()
    url = canonical_of("from", from_)
    return PageQuery(page=(urls.fingerprint(url), url))


def canonical_of(parameter: str, url: str) -> str:
    """Return the canonical spelling of a URL, without its fragment.

    Raises:
        Invalid: it is not an absolute URL; the error names the parameter.
    """
    try:
        return urls.canonical(url)
    except Invalid as error:
        raise Invalid(parameter, error.message) from None


def _status(word: str) -> int:
    try:
        return parse_status(word)
    except ValueError as error:
        raise Invalid("status", str(error)) from None


def _depth(word: str) -> int:
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else -1
    if not 0 <= number <= _DEEPEST:
        raise Invalid("depth", f"expected a whole number, got {word[:100]!r}")
    return number
