"""Spec validation that needs the engine, done before a job is created."""

from collections.abc import Sequence
from functools import partial

from crawlyard.core.access.logged_out import rules_of
from crawlyard.core.crawl.render_options import RenderRule
from crawlyard.core.crawl.rendering import actions_of
from crawlyard.core.fields import check_all
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.discovery import NAMED_BY_ROBOTS
from crawlyard.engine.http.guard import BlockedAddress, spec_guard
from crawlyard.engine.http.proxy import proxy_of
from crawlyard.engine.scope import Patterns, line_matcher, url_matcher
from crawlyard.engine.urls import address_in, canonical, has_credentials, hostname_of, port_of
from crawlyard.errors import MAX_FAULTS, Invalid, NotPublic
from crawlyard.lazy import lazily

# lazy because it loads the HTML parser, which few specs need at this point
with lazily():
    from crawlyard.engine.extract import page, selectors

_FORBIDDEN_HEADERS = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "user-agent",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
    }
)
"""Headers that the client sets itself; User-Agent has its own option."""


_CREDENTIALS = (
    "contains a user name or password, which Crawlyard does not send; use a header such as "
    "'Authorization: Basic …'"
)


def check_spec(spec: JobSpec) -> None:
    """Validate what only the engine can: URLs, patterns, addresses, selectors and headers.

    Raises:
        Invalid: the spec cannot be crawled as it is; the message names the field.
    """
    urls: list[str] = []
    check_all(
        lambda: urls.extend(_start_urls(spec)),
        partial(_check_patterns, spec),
        partial(_check_logged_out, spec),
        partial(_check_selectors, spec),
        partial(_check_ignored_text, spec),
        *(partial(proxy_of, proxy) for proxy in spec.proxies),
        partial(_check_rendering, spec),
        lambda: _check_addresses(spec, urls),
        *(partial(check_header, name, value) for name, value in spec.headers),
        partial(_check_user_agent, spec.user_agent),
    )


def _start_urls(spec: JobSpec) -> list[str]:
    named = [url for url in spec.sitemaps if url != NAMED_BY_ROBOTS]
    urls: list[str] = []
    check_all(
        lambda: urls.extend(_canonical("urls", spec.urls)),
        lambda: urls.extend(_canonical("sitemaps", named)),
    )
    if not urls:
        raise Invalid("urls", f"sitemap {NAMED_BY_ROBOTS!r} needs a start URL beside it")
    return urls


def _check_patterns(spec: JobSpec) -> None:
    if spec.include or spec.exclude:  # the rest of a boundary cannot be invalid
        check_all(
            partial(Patterns, "include", spec.include), partial(Patterns, "exclude", spec.exclude)
        )


def _check_logged_out(spec: JobSpec) -> None:
    if spec.logged_out:  # without words, the rules are ours
        Patterns("logged_out", rules_of(spec.logged_out).redirects)


def _check_selectors(spec: JobSpec) -> None:
    if spec.extract or spec.ignore_css or spec.logged_out:
        selectors.check_extract_options(page.extract_options_of(spec))


def _check_ignored_text(spec: JobSpec) -> None:
    if spec.ignore_text:
        line_matcher("ignore_text", spec.ignore_text)


def _check_user_agent(user_agent: str) -> None:
    if not user_agent.isprintable() or not user_agent.isascii():
        raise Invalid("user_agent", f"expected printable ASCII, got {user_agent!r}")


def _check_rendering(spec: JobSpec) -> None:
    """Check the pattern and the selectors of pages that are rendered."""
    actions = actions_of(spec.actions) if spec.actions else ()
    of_actions = [action.selector for action in actions if action.selector]
    check_all(
        partial(_check_render, spec.render),
        *(partial(Patterns, "chromium", patterns) for patterns in (spec.chromium,) if patterns),
        *(partial(selectors.check_css, "wait_for", css) for css in (spec.wait_for,) if css),
        *(partial(selectors.check_css, "actions", css) for css in of_actions),
    )


def _check_render(render: str) -> None:
    if render in frozenset(RenderRule):
        return
    try:
        url_matcher("render", render)
    except Invalid as error:
        message = f"expected {', '.join(RenderRule)} or a pattern: {error.message}"
        raise Invalid("render", message) from None


def _canonical(field: str, urls: Sequence[str]) -> list[str]:
    spelled: list[str] = []
    errors: list[Invalid] = []
    for url in urls:
        try:
            spelled.append(canonical(url))
            if "@" in url and has_credentials(url):
                errors.append(Invalid(field, f"{spelled[-1]} {_CREDENTIALS}"))
        except Invalid as error:
            errors.append(Invalid(field, error.message))
        if len(errors) == MAX_FAULTS:
            break
    if errors:
        raise Invalid.of(errors)
    return spelled


def _check_addresses(spec: JobSpec, urls: Sequence[str]) -> None:
    """Check the addresses that *spec* opens, and that it may connect to those *urls* spell."""
    spelled = [(url, address) for url in urls if (address := address_in(hostname_of(url)))]
    if not spelled and not spec.allow_addresses:
        return
    guard = spec_guard(spec)
    errors: list[Invalid] = []
    for url, address in spelled:
        try:
            guard.check(hostname_of(url), address, port_of(url))
        except BlockedAddress as blocked:
            errors.append(NotPublic("urls", f"{url}: {blocked}"))
    if errors:
        raise Invalid.of(errors)


def check_header(name: str, value: str) -> None:
    """Check that a request can have this header in addition to Crawlyard's own.

    Raises:
        Invalid: the name or the value is not valid, or Crawlyard sets this header itself.
    """
    token = name.replace("-", "").replace("_", "")
    if not token.isalnum() or not token.isascii():
        raise Invalid("headers", f"{name!r} is not a valid header name")
    if name.lower() in _FORBIDDEN_HEADERS:
        raise Invalid("headers", f"{name} is set by Crawlyard")
    if not value.isprintable() or not value.isascii():
        raise Invalid("headers", f"expected printable ASCII for {name}")
