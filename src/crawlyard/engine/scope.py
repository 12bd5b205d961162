"""Crawl boundary: scope, include and exclude patterns, and depth."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from urllib.parse import quote

import re2  # type: ignore[import-untyped]  # it ships no types
from publicsuffixlist import PublicSuffixList

from crawlyard.core.crawl.page import Via
from crawlyard.core.jobs.spec import MAX_PATTERN, JobSpec, Scope
from crawlyard.engine import urls
from crawlyard.errors import Invalid

_REGEX = "re:"
_PATTERN_MEMORY = 256 << 10  # bytes for one pattern; one that needs more is a mistake
_LIST_MEMORY = 64 << 20  # bytes for a whole list; far above what 1,000 globs take (4 MB)
_SCHEMES = ("http://", "https://")

_LOGOUT = re.compile(r"(?:(?<!b)(?<!ata)log|(?<!de)sign)[-_]?(?:out|off)(?![a-z])", re.IGNORECASE)
"""Pattern of URLs that end a session: /logout, /users/sign_out, ?do=userLogOff.

A false match costs one page, a missed one ends the session: so only known words, such as blog-off
and design-out, are exempt.
"""

LOGOUT_RULE = "exclude: it logs out of the session"


class Boundary:
    """Set of URLs that *spec* allows, relative to the canonical URLs *seeds*.

    Seeds need not match `include`, since they may be the only way to the pages that it
    names. `exclude` applies to every URL, seeds included. In a job with a session, URLs that
    look like a logout are excluded, unless they are seeds or match an include pattern that
    looks like one itself.

    Raises:
        Invalid: a pattern is malformed; the message quotes it and says why.
    """

    def __init__(self, spec: JobSpec, seeds: Iterable[str]) -> None:
        self._scope = spec.scope
        self._max_depth = spec.max_depth
        self._include = Patterns("include", spec.include)
        self._exclude = Patterns("exclude", spec.exclude)
        self._keeps_session = bool(spec.session)
        logout_patterns = [pattern for pattern in spec.include if _LOGOUT.search(pattern)]
        self._included_logouts = Patterns("include", logout_patterns)
        self._seeds: set[str] = set()
        self._bases: set[str] = set()  # hosts, names, domains or folders, depending on the scope
        for url in seeds:
            self.add_seed(url)

    def add_seed(self, url: str) -> None:
        """Add a canonical *url* as a seed, for example the target of a seed's redirect."""
        url = urls.for_rules(url)
        self._seeds.add(url)
        self._bases.add(_base_of(self._scope, url))

    def verdict(self, url: str, depth: int) -> str | None:
        """Return the rule that excludes a canonical *url* at *depth*, ``None`` if none does.

        Scope, exclude, include and depth are checked in this order. The rule is a short
        text such as "exclude: */private/*".
        """
        url = urls.for_rules(url)
        rule = self._scope_rule(url)
        if rule is not None:
            return rule
        rule = self.exclude_rule(url)
        if rule is not None:
            return rule
        if self._include and url not in self._seeds and not self._include.match(url):
            return "include: no pattern matches"
        if self._max_depth is not None and depth > self._max_depth:
            return f"depth: beyond {self._max_depth}"
        return None

    def verdict_via(self, via: Via, url: str, depth: int) -> str | None:
        """Return the rule that excludes a URL, which depends on how it was found; see `verdict`."""
        if via is Via.SITEMAP:
            return None  # requested explicitly, so it is in scope anywhere
        if via is Via.EXTERNAL:
            return self.exclude_rule(url)
        return self.verdict(url, depth)

    def exclude_rule(self, url: str) -> str | None:
        """Return the exclude rule that matches *url*, ``None`` if none does."""
        url = urls.for_rules(url)
        pattern = self._exclude.first(url)
        if pattern is not None:
            return f"exclude: {pattern}"
        logs_out = self._keeps_session and _LOGOUT.search(urls.path_of(url)) is not None
        if logs_out and url not in self._seeds and not self._included_logouts.match(url):
            return LOGOUT_RULE
        return None

    def _scope_rule(self, url: str) -> str | None:
        match self._scope:
            case Scope.ANY:
                return None
            case Scope.HOST:
                return None if urls.host_of(url) in self._bases else "scope: other host"
            case Scope.SUBDOMAINS:
                inside = any(name in self._bases for name in parents_of(urls.hostname_of(url)))
                return None if inside else "scope: other host"
            case Scope.DOMAIN:
                inside = _registrable_domain(urls.hostname_of(url)) in self._bases
                return None if inside else "scope: other domain"
            case Scope.PREFIX:
                inside = any(folder in self._bases for folder in _parent_folders(url))
                return None if inside else "scope: outside the start folder"


def _base_of(scope: Scope, url: str) -> str:
    """Return the part of a seed that other URLs are compared with."""
    match scope:
        case Scope.ANY:
            return ""
        case Scope.HOST:
            return urls.host_of(url)
        case Scope.SUBDOMAINS:
            return urls.hostname_of(url)
        case Scope.DOMAIN:
            return _registrable_domain(urls.hostname_of(url))
        case Scope.PREFIX:
            return max(_parent_folders(url), key=len)


def parents_of(name: str) -> Iterable[str]:
    """Yield *name* and its parent names; harmless for an IP address, as no host is named "0.1"."""
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield name


def _parent_folders(url: str) -> Iterable[str]:
    """Yield host and folder of *url*, then each folder above it: "h/a/b/", "h/a/", "h/"."""
    folder = urls.host_of(url) + urls.path_of(url).partition("?")[0]
    while slash := folder.rfind("/") + 1:
        yield folder[:slash]
        folder = folder[: slash - 1]


@cache
def _suffix_list() -> PublicSuffixList:
    return PublicSuffixList()  # takes 30 ms, so only on demand


@lru_cache(maxsize=4_096)
def _registrable_domain(name: str) -> str:
    """Return the registrable domain of a host name.

    A public suffix, a single label or an IP address is returned unchanged. Under an unknown
    top-level domain, the last two labels are the domain.

    Source: the Public Suffix List, private section included (github.io is a suffix).
    """
    if ":" in name or name.rpartition(".")[2].isdigit():
        return name
    return _suffix_list().privatesuffix(name) or name


def is_public_suffix(name: str) -> bool:
    """Return whether names below *name* are open for registration: com, co.uk, github.io."""
    return bool(_suffix_list().is_public(name))


def line_matcher(field: str, patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Return a function that matches a line of text against *patterns*, ``None`` without any.

    Each is ``re:`` and a regular expression.

    Raises:
        Invalid: a pattern is malformed.
    """
    for pattern in patterns:
        if not pattern.startswith(_REGEX):
            raise Invalid(field, f"expected 're:' and a regular expression, got {pattern[:100]!r}")
    regexes = [_compile(field, pattern, _regex(field, pattern)) for pattern in patterns]
    if not regexes:
        return None
    return lambda line: any(
        regex.search(line.encode("utf-8", "replace")) is not None for regex in regexes
    )


def url_matcher(field: str, *patterns: str) -> Callable[[str], bool]:
    """Return a function that matches a canonical URL against *patterns*, as `Boundary` does.

    Raises:
        Invalid: a pattern is malformed.
    """
    pattern_list = Patterns(field, patterns)
    return lambda url: pattern_list.match(urls.for_rules(url))


class Patterns:
    """List of patterns matched in one pass, in time linear in the length of the URL."""

    def __init__(self, field: str, patterns: Sequence[str]) -> None:
        self._patterns: list[tuple[str, re2._Regexp]] = []
        errors: list[Invalid] = []
        for pattern in patterns:
            try:
                regex = _compile(field, pattern, _regex(field, pattern))
                self._patterns.append((pattern, regex))
            except Invalid as error:
                errors.append(error)
        if errors:
            raise Invalid.of(errors)
        # RE2's own Set would name the matching pattern directly, but silently misses matches
        # when it runs out of memory; an alternation only gets slower
        alternation = "|".join(f"(?:{_regex(field, p)})" for p in patterns)
        try:
            self._combined = _compile(field, "all together", alternation, _LIST_MEMORY)
            self._is_combined = True
        except Invalid:  # too large, or an unclosed \Q in one: match one by one
            self._combined = _compile(field, "anything", "")
            self._is_combined = False

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def match(self, url: str) -> bool:
        """Return whether any pattern matches *url*."""
        if not self._patterns:
            return False
        # bytes, because the wrapper counts the characters of a str around every match (2 µs)
        return self._combined.search(url.encode()) is not None and (
            self._is_combined or self.first(url) is not None
        )

    def first(self, url: str) -> str | None:
        """Return the first pattern that matches *url*, ``None`` if none does."""
        if not self._patterns:
            return None
        encoded_url = url.encode()
        if self._combined.search(encoded_url) is None:
            return None
        return next(
            (pattern for pattern, regex in self._patterns if regex.search(encoded_url)), None
        )


def _regex(field: str, pattern: str) -> str:
    """Return *pattern* as a regular expression to be searched in a whole URL."""
    if len(pattern) > MAX_PATTERN:
        raise Invalid(field, f"expected at most {MAX_PATTERN} characters, got {len(pattern)}")
    if pattern.startswith(_REGEX):
        if pattern == _REGEX:
            raise Invalid(field, "expected a regular expression after 're:', got nothing")
        return pattern.removeprefix(_REGEX)
    literal = pattern.partition("*")[0].partition("?")[0]
    if pattern.startswith("/"):
        start = r"\Ahttps?://[^/]*"
    elif pattern and (literal.startswith(_SCHEMES) or any(s.startswith(literal) for s in _SCHEMES)):
        start = r"\A"
    else:
        # "example.com/*" looks right but would never match
        why = "a glob begins with '/', with '*' or like a URL"
        raise Invalid(field, f"{pattern!r} can match no URL: {why}")
    return start + "".join(map(_glob_regex, pattern)) + r"\z"


def _glob_regex(character: str) -> str:
    match character:
        case "*":
            return ".*"
        case "?":
            return "."
        case "^":  # escaped in the path of a URL but not in its query
            return r"(?:\^|%5E)"
        case _:  # URLs have non-ASCII escaped, and never contain a lone surrogate
            raw = character if character.isascii() else quote(character, errors="replace")
            return str(re2.escape(raw.replace(" ", "%20")))


def _compile(field: str, pattern: str, regex: str, memory: int = _PATTERN_MEMORY) -> re2._Regexp:
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False  # errors would go to stderr
    options.never_capture = True
    try:
        return re2.compile(regex, options)
    except UnicodeEncodeError as error:
        raise Invalid(field, f"{pattern!r}: {error.reason} at position {error.start}") from None
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
        position = regex.find(reason.rpartition(": ")[2])
        where = f" at position {position}" if position >= 0 and pattern.startswith(_REGEX) else ""
        raise Invalid(field, f"{pattern!r}: {reason}{where}") from None


def same_site(url: str, other: str) -> bool:
    """Return whether the hosts of two canonical URLs have one registrable domain."""
    hostname, other_hostname = urls.hostname_of(url), urls.hostname_of(other)
    return _registrable_domain(hostname) == _registrable_domain(other_hostname)
