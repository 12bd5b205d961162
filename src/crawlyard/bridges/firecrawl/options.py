"""Options of Firecrawl's requests, and the options of a job that they stand for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from crawlyard.errors import Invalid

CHANGES = "changeTracking"
GIT_DIFF = "git-diff"
SCREENSHOT = "screenshot"

LIMIT = 10_000
"""Pages of a crawl that names no limit, as at Firecrawl."""

Form = dict[str, Any]


class Option(Struct, frozen=True):
    """An option of a request, and its translation.

    A value out of *neutral*, or null, changes nothing. Another value is passed to *apply*, which
    returns fields of the form; without it, the request is refused.
    """

    neutral: tuple[object, ...] = ()
    apply: Callable[[Any], Form] | None = None
    kind: type | tuple[type, ...] = object  # of a value that is passed to *apply*
    expected: str = ""


_IGNORED = Option(apply=lambda _: {})
_REFUSED = Option()


def _number(field: Callable[[Any], Form], neutral: tuple[object, ...] = ()) -> Option:
    return Option(neutral, field, (int, float), "a number")


def _regex(name: str, *, whole_url: bool) -> Callable[[list[str]], Form]:
    def patterns(values: list[str]) -> Form:
        return {name: [f"re:{_on_path(value, whole_url=whole_url)}" for value in values]}

    return patterns


_PATTERNS = "a list of regular expressions"


def _on_path(pattern: str, *, whole_url: bool) -> str:
    """Return a regular expression for URLs that does what *pattern* does for their paths."""
    if not pattern or not isinstance(pattern, str):
        raise ValueError(_PATTERNS)
    if whole_url:
        return pattern
    host = r"^https?://[^/?#]+"
    if not pattern.startswith("^"):
        return rf"{host}[^?#]*(?:{pattern})"
    if "|" in pattern:
        raise ValueError("a pattern for each alternative instead of '^' with '|'")
    return host + pattern[1:]


_COLLECTED = {"tags", "actions", "headers"}

_LONGEST_WAIT_MS = 60_000


def _wait(ms: float) -> Form:
    if not 0 < ms <= _LONGEST_WAIT_MS:
        raise ValueError(f"milliseconds, at most {_LONGEST_WAIT_MS}")
    return {"render": "always", "actions": [f"wait {ms / 1000:g}s"]}


def _actions(values: list[Any]) -> Form:
    """Return the actions of a job for those that mean the same there."""
    form: Form = {"render": "always", "actions": []}
    for value in values:
        match value:
            case {"type": "wait", "milliseconds": int(ms), **more} if not more:
                form = _add(form, _wait(ms))
            case {"type": "wait" | "click" as word, "selector": str(css), **more} if not more:
                form["actions"] = [*form["actions"], f"{word} {css}"]
            case _:
                raise ValueError("wait with milliseconds or selector, or click with selector")
    return form


def _languages(location: dict[str, Any]) -> Form:
    match location:
        case {"languages": [*words], **more} if not more and all(isinstance(w, str) for w in words):
            return {"headers": {"Accept-Language": ", ".join(words)}} if words else {}
    raise ValueError("languages alone, as this server requests from one place")


def _modes(values: list[str]) -> Form:
    for mode in values:
        if mode != GIT_DIFF:
            raise ValueError(
                f"{GIT_DIFF}; json needs a language model, which this server does not have"
            )
    return {"tags": [format_tag(GIT_DIFF)] if values else []}


def _tracking_tag(tag: str) -> Form:
    return {"tags": [f"firecrawl:changes:{tag[:100]}"]}


def format_tag(name: str) -> str:
    """Return the tag of a job whose documents have a format."""
    return f"firecrawl:{name}"


_HTML: Form = {"keep_html": True}
_PICTURE: Form = {"render": "always", "screenshot": "png"}

FORMATS: Mapping[str, Form] = {
    "markdown": {},
    "html": _HTML,
    "rawHtml": _HTML,
    "links": {},
    "images": _HTML,
    SCREENSHOT: _PICTURE | {"full_page": False},
    f"{SCREENSHOT}@fullPage": _PICTURE | {"full_page": True},
    CHANGES: {},
}
"""Formats of a document that are supported, and the fields of the job that they need."""

FORMAT_OPTIONS: Mapping[str, Mapping[str, Option]] = {
    SCREENSHOT: {
        "fullPage": Option((False,), lambda _: {"full_page": True}, bool, "true or false"),
        "quality": _REFUSED,
        "viewport": _REFUSED,
    },
    CHANGES: {
        "modes": Option((), _modes, list, "a list of modes"),
        "tag": Option(("",), _tracking_tag, str, "a text"),
        "schema": _REFUSED,
        "prompt": _REFUSED,
    },
}
"""Options of formats, beside their `type`."""

SCRAPE: dict[str, Option] = {
    "onlyMainContent": Option((True,), lambda _: {"text": "page-markdown"}, bool, "true or false"),
    "headers": Option(({},), lambda value: {"headers": value}, dict, "an object"),
    "timeout": _number(lambda ms: {"timeout_s": max(0.001, ms / 1000)}),
    "maxAge": _number(lambda _: {}),  # of a single scrape; a crawl always fetches
    "waitFor": Option((0,), _wait, (int, float), "milliseconds"),
    "mobile": Option((False,)),
    "skipTlsVerification": Option((False,)),
    "removeBase64Images": Option((True,)),
    "fastMode": Option((False,)),
    "blockAds": Option((True,)),
    "storeInCache": Option((True,)),
    "proxy": Option(("basic", "auto")),
    "parsers": Option(([], ["pdf"], [{"type": "pdf"}])),
    "actions": Option(([],), _actions, list, "a list of actions"),
    "includeTags": Option(([],)),
    "excludeTags": Option(([],)),
    "lockdown": Option((False,)),
    "redactPII": Option((False,)),
    "checkPromptInjection": Option((False,)),
    "domainTools": Option((False,)),
    "zeroDataRetention": Option((False,)),
    "minAge": _REFUSED,
    "location": Option(({},), _languages, dict, "an object"),
    "useMock": _REFUSED,
    "profile": _REFUSED,
    "threatProtection": _REFUSED,
    "toolDetail": _REFUSED,
    "origin": _IGNORED,
    "integration": _IGNORED,
    "auditMetadata": _IGNORED,
}
"""Options of what is made of each page."""

_SITEMAPS: Mapping[str, Form] = {
    "skip": {"sitemaps": []},
    "only": {"max_depth": 0},  # and the start URL, as at Firecrawl
}
_MOST_WORKERS = 1_024


def _workers(count: int) -> Form:
    if not 1 <= count <= _MOST_WORKERS:
        raise ValueError(_COUNT_OF_WORKERS)
    return {"per_host": min(count, 256), "concurrency": count}


_COUNT_OF_WORKERS = f"1 to {_MOST_WORKERS:,}"
_WORKERS = Option((), _workers, int, _COUNT_OF_WORKERS)

BATCH: Mapping[str, Option] = SCRAPE | {
    "maxConcurrency": _WORKERS,
    "ignoreInvalidURLs": Option((True, False)),  # see `routes`
    "appendToId": _REFUSED,
}

CRAWL: Mapping[str, Option] = {
    "limit": Option((), lambda count: {"limits": {"pages": count}}, int, "a whole number"),
    "maxDiscoveryDepth": Option((), lambda depth: {"max_depth": depth}, int, "a whole number"),
    "sitemap": Option(
        ("include",),
        lambda word: _SITEMAPS[word],
        str,
        "include, skip or only",
    ),
    "crawlEntireDomain": Option((False,), lambda _: {"scope": "host"}, bool, "true or false"),
    "allowSubdomains": Option((False,), lambda _: {"scope": "domain"}, bool, "true or false"),
    "allowExternalLinks": Option((False,), lambda _: {"scope": "any"}, bool, "true or false"),
    "ignoreRobotsTxt": Option((False,), lambda _: {"ignore_robots": True}, bool, "true or false"),
    "delay": _number(lambda seconds: {"delay_s": seconds}),
    "maxConcurrency": _WORKERS,
    "ignoreQueryParameters": Option(
        (False,), lambda _: {"ignore_query": True}, bool, "true or false"
    ),
    "deduplicateSimilarURLs": Option((True,)),
    "zeroDataRetention": Option((False,)),
    "regexOnFullURL": Option((True, False)),  # of the patterns
    "prompt": Option(("",)),
    "robotsUserAgent": _REFUSED,
    "auditMetadata": _IGNORED,
    "origin": _IGNORED,
    "integration": _IGNORED,
}
"""Options of a crawl; a later one takes precedence over an earlier one."""

MAP: Mapping[str, Option] = {
    "limit": Option((), lambda _: {}, int, "a whole number"),
    "timeout": _number(lambda _: {}),
    "sitemap": CRAWL["sitemap"],
    "includeSubdomains": Option((True,), lambda _: {"scope": "host"}, bool, "true or false"),
    "ignoreQueryParameters": Option((True, False)),
    "useIndex": Option((True, False)),
    "ignoreCache": Option((True, False)),
    "search": Option(("",)),
    "location": _REFUSED,
    "threatProtection": _REFUSED,
    "auditMetadata": _IGNORED,
    "origin": _IGNORED,
    "integration": _IGNORED,
}


def form_of(options: Mapping[str, Any], table: Mapping[str, Option], prefix: str = "") -> Form:
    """Return the fields of a job's form for *options*.

    Raises:
        Invalid: an option is unknown, not supported, or has an invalid value.
    """
    unknown = [name for name in options if name not in table]
    if unknown:
        raise Invalid(prefix + unknown[0], "not supported by this server; leave it out")
    form: Form = {}
    for name, option in table.items():
        value = options.get(name)
        if value is None or any(_is_same(value, each) for each in option.neutral):
            continue
        if option.apply is None:
            allowed = " or ".join(map(repr, option.neutral)) or "nothing"
            raise Invalid(prefix + name, f"not supported; expected {allowed}, got {value!r:.80}")
        if option.kind is not object and (
            not isinstance(value, option.kind)
            or (isinstance(value, bool) and option.kind is not bool)
        ):
            raise Invalid(prefix + name, f"expected {option.expected}, got {value!r:.80}")
        try:
            form = _add(form, option.apply(value))
        except (KeyError, ValueError) as error:
            expected = option.expected if isinstance(error, KeyError) else error
            raise Invalid(prefix + name, f"expected {expected}, got {value!r:.80}") from None
    return form


def _add(form: Form, fields: Form) -> Form:
    """Return *form* with more fields; several options may add to one of `_COLLECTED`."""
    added = {
        name: form[name] | fields[name] if name == "headers" else [*form[name], *fields[name]]
        for name in _COLLECTED & form.keys() & fields.keys()
    }
    return form | fields | added


def _is_same(value: object, other: object) -> bool:
    return value == other and isinstance(value, bool) is isinstance(other, bool)


def crawl_form(options: Mapping[str, Any]) -> Form:
    """Return the form of a job for the options of a crawl.

    Raises:
        Invalid: an option is unknown, not supported, or has an invalid value.
    """
    options = dict(options)
    scrape = options.pop("scrapeOptions", None)
    whole_url = options.get("regexOnFullURL") is True
    table = {
        name: Option(([],), _regex(field, whole_url=whole_url), list, _PATTERNS)
        for name, field in {"includePaths": "include", "excludePaths": "exclude"}.items()
    }
    form: Form = {
        "urls": [url_of(options)],
        "sitemaps": ["robots"],
        "scope": "prefix",
        "limits": {"pages": LIMIT},
    }
    form |= scrape_form({} if scrape is None else scrape, SCRAPE, "scrapeOptions.")
    return form | form_of(options, {**CRAWL, **table})


def scrape_form(options: Mapping[str, Any], table: Mapping[str, Option], prefix: str = "") -> Form:
    """Return the fields of a job's form for the options of a page, with its formats as tags.

    Raises:
        Invalid: an option is unknown, not supported, or has an invalid value.
    """
    if not isinstance(options, Mapping):
        raise Invalid(prefix.strip(".") or "options", "expected an object")
    options = dict(options)
    form = {"text": "markdown", **_formats(options.pop("formats", None), prefix)}
    return form | form_of(options, table, prefix)


def _formats(formats: object, prefix: str) -> Form:
    """Return the fields of a job for the formats of its documents."""
    form: Form = {}
    tags: list[str] = []
    for each in ["markdown"] if not formats else formats if isinstance(formats, list) else [None]:
        options = dict(each) if isinstance(each, Mapping) else {"type": each}
        name = options.pop("type", None)
        if not isinstance(name, str) or name not in FORMATS:
            raise Invalid(f"{prefix}formats", f"expected {', '.join(FORMATS)}, got {each!r:.80}")
        more = form_of(options, FORMAT_OPTIONS.get(name, {}), f"{prefix}formats.{name}.")
        tags += [format_tag(name.partition("@")[0]), *more.pop("tags", ())]
        form |= FORMATS[name] | more
    return {**form, "tags": list(dict.fromkeys(tags))}


def formats_in(tags: Iterable[str]) -> list[str]:
    """Return the formats of the documents of a job with these *tags*."""
    return [name for name in FORMATS if format_tag(name) in tags]


def shows_diff(tags: Iterable[str]) -> bool:
    """Return whether the documents of a job with these *tags* have a diff of what changed."""
    return format_tag(GIT_DIFF) in tags


def url_of(options: dict[str, Any]) -> str:
    """Remove the URL from *options* and return it.

    Raises:
        Invalid: it is missing or no text.
    """
    url = options.pop("url", None)
    if not isinstance(url, str) or not url.strip():
        raise Invalid("url", f"expected a URL, got {url!r:.80}")
    return url.strip() if "://" in url else f"https://{url.strip()}"
