"""Spec validation that needs the engine, done before a job is created."""

from collections.abc import Sequence

from crawlyard.core.crawl.rendering import actions_of
from crawlyard.core.jobs.logged_out import rules_of
from crawlyard.core.jobs.render_options import RenderRule
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.discovery import NAMED_BY_ROBOTS
from crawlyard.engine.http.guard import BlockedAddress, spec_guard
from crawlyard.engine.http.proxy import proxy_of
from crawlyard.engine.scope import Boundary, Patterns, line_pattern, url_pattern
from crawlyard.engine.urls import address_in, canonical, has_credentials, hostname_of, port_of
from crawlyard.errors import Invalid, NotPublic
from crawlyard.lazy import lazily

# lazy because it loads the HTML parser, which few specs need at this point
with lazily():
    from crawlyard.engine.extract import page

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


def check_spec(spec: JobSpec) -> None:
    """Validate what only the engine can: URLs, patterns, addresses, selectors and headers.

    Raises:
        Invalid: the spec cannot be crawled as it is; the message names the field.
    """
    urls = _canonical("urls", spec.urls)
    urls += _canonical("sitemaps", [url for url in spec.sitemaps if url != NAMED_BY_ROBOTS])
    if not urls:
        raise Invalid("urls", f"sitemap {NAMED_BY_ROBOTS!r} needs a start URL beside it")
    if spec.include or spec.exclude:  # only patterns can make a boundary invalid
        Boundary(spec, urls)
    Patterns("logged_out", rules_of(spec.logged_out).redirects)
    if spec.extract or spec.ignore_css or spec.logged_out:
        page.check_wanted(page.wanted_by(spec))
    line_pattern("ignore_text", spec.ignore_text)
    for proxy in spec.proxies:
        proxy_of(proxy)
    _check_rendering(spec)
    _check_addresses(spec, urls)
    for name, value in spec.headers:
        _check_header(name, value)
    if not spec.user_agent.isprintable() or not spec.user_agent.isascii():
        raise Invalid("user_agent", f"expected printable ASCII, got {spec.user_agent!r}")


def _check_rendering(spec: JobSpec) -> None:
    """Check the pattern and the selectors of pages that are rendered."""
    if spec.render not in frozenset(RenderRule):
        try:
            url_pattern("render", spec.render)
        except Invalid as error:
            said = f"expected {', '.join(RenderRule)} or a pattern: {error.message}"
            raise Invalid("render", said) from None
    Patterns("chromium", spec.chromium)
    if spec.wait_for:
        page.check_css("wait_for", spec.wait_for)
    for action in actions_of(spec.actions):
        if action.selector:
            page.check_css("actions", action.selector)


def _canonical(field: str, urls: Sequence[str]) -> list[str]:
    try:
        named = next((url for url in urls if "@" in url and has_credentials(url)), None)
        spelled = [canonical(url) for url in urls]
    except Invalid as error:
        raise Invalid(field, error.message) from None
    if named is not None:
        why = "contains a user name or password, which Crawlyard does not send"
        instead = "use a header such as 'Authorization: Basic …' (--header; headers in JSON)"
        raise Invalid(field, f"{canonical(named)} {why}; {instead}")
    return spelled


def _check_addresses(spec: JobSpec, urls: Sequence[str]) -> None:
    """Check the addresses that *spec* opens, and that it may connect to those *urls* spell."""
    spelled = [(url, address) for url in urls if (address := address_in(hostname_of(url)))]
    if not spelled and not spec.allow_addresses:
        return
    guard = spec_guard(spec)
    for url, address in spelled:
        try:
            guard.check(hostname_of(url), address, port_of(url))
        except BlockedAddress as blocked:
            raise NotPublic("urls", f"{url}: {blocked}") from None


def _check_header(name: str, value: str) -> None:
    token = name.replace("-", "").replace("_", "")
    if not token.isalnum() or not token.isascii():
        raise Invalid("headers", f"{name!r} is no header name")
    if name.lower() in _FORBIDDEN_HEADERS:
        raise Invalid("headers", f"{name} is set by Crawlyard itself")
    if not value.isprintable() or not value.isascii():
        raise Invalid("headers", f"expected printable ASCII for {name}, got {value!r}")
