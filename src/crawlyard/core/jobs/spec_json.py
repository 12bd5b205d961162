"""JSON form of a spec, as used by templates, schedules, files and the API.

Field names are those of `JobSpec`; durations end in ``_s`` and are in seconds. Every field has one
canonical form, which `form_of` writes, and may accept others.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.retry import RetryPolicy, RetryReason
from crawlyard.core.jobs.spec import FOREVER_S, JobSpec, Scope, Strategy, TextMode
from crawlyard.core.jobs.spread import Asked, Spread
from crawlyard.core.parse import (
    boolean,
    is_list,
    number,
    shown,
    size,
    span,
    text,
    texts,
    unknown,
    whole,
)
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.errors import Invalid

Form = Mapping[str, object]

ENDLESS = "forever"
"""The written form of `FOREVER_S`."""


class FormField(Struct, frozen=True, kw_only=True):
    """How one field is written; *read* raises `ValueError` that says what was expected."""

    path: str  # "limits.duration_s"
    accepts: str
    read: Callable[[object], Any]
    write: Callable[[Any], object] = lambda value: value
    also: str = ""  # another path that is accepted: "limits.duration"

    @property
    def group(self) -> str:
        """Return the object that contains it: "limits", "retry", or an empty string."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Return its name in that object and in the record."""
        return self.path.rpartition(".")[2]


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    """Return names and values from an object or a list of pairs."""
    expected = "expected an object of names and texts, or a list of [name, text]"
    items = list(value.items()) if isinstance(value, Mapping) else value
    if not is_list(items):
        raise ValueError(f"{expected}, got {shown(value)}")
    pairs = []
    for item in items:
        if not is_list(item) or len(item) != 2:
            raise ValueError(f"{expected}, got {shown(item)} in the list")
        pairs.append((text(item[0]), text(item[1])))
    return tuple(pairs)


def _word(kind: type[Enum]) -> Callable[[object], Any]:
    known = {str(member): member for member in kind}

    def read(value: object) -> Any:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in known:
            raise ValueError(f"expected one of {', '.join(known)}, got {shown(value)}")
        return known[word]

    return read


def _words(kind: type[Enum]) -> Callable[[object], frozenset[Any]]:
    read = _word(kind)
    return lambda value: frozenset(read(item) for item in texts(value))


def _or_null(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


def _span_s(value: object) -> float:
    return span(value).total_seconds()


def _retention(value: object) -> float | None:
    return FOREVER_S if value == ENDLESS else _or_null(_span_s)(value)


def _webhooks(value: object) -> tuple[JobWebhook, ...]:
    if not is_list(value):
        raise ValueError(f"expected a list of objects with url, events, secret, got {shown(value)}")
    return tuple(_webhook(f"webhooks.{n}", item) for n, item in enumerate(value))


_HOOK: Mapping[str, Callable[[object], Any]] = {"url": text, "events": texts, "secret": text}


def _webhook(path: str, item: object) -> JobWebhook:
    if isinstance(item, str):
        return JobWebhook(url=item)
    if not isinstance(item, Mapping):
        expected = "expected a URL, or an object with url, events, secret"
        raise Invalid(path, f"{expected}, got {shown(item)}")
    given: dict[str, Any] = {}
    for name, value in item.items():
        if name not in _HOOK:
            raise unknown(f"{path}.{name}", str(name), tuple(_HOOK), "field")
        given[name] = _read(f"{path}.{name}", _HOOK[name], value)
    if "url" not in given:
        raise Invalid(f"{path}.url", "expected a URL, got none")
    return JobWebhook(**given)


def _webhook_form(hook: JobWebhook) -> object:
    return {"url": hook.url, "events": list(hook.events), "secret": hook.secret}


def _seconds(length_s: float | None) -> object:
    """Return a duration as a whole number if it is one."""
    return int(length_s) if length_s is not None and length_s.is_integer() else length_s


def _kept(length_s: float | None) -> object:
    return ENDLESS if length_s == FOREVER_S else _seconds(length_s)


def _sorted_words(words: frozenset[Enum]) -> object:
    return sorted(str(word) for word in words)


def _spread(value: object) -> Asked:
    return Spread.AUTO if value == Spread.AUTO else whole(value)


def _bare(asked: Asked) -> object:
    return str(asked) if isinstance(asked, Spread) else asked


# --- the fields


def _field(path: str, accepts: str, read: Callable[[object], Any], **more: Any) -> FormField:
    return FormField(path=path, accepts=accepts, read=read, **more)


def _duration(path: str, *, null: str = "") -> FormField:
    """Return a field in seconds; *null* says what null means, if it is allowed."""
    read = _or_null(_span_s) if null else _span_s
    accepts = "seconds, or a duration: `90s`, `1h30m`" + (f"; null: {null}" if null else "")
    return _field(path, accepts, read, write=_seconds, also=path.removesuffix("_s"))


def _list(path: str, of: str) -> FormField:
    return _field(path, f"a list of {of}, or a single one", texts, write=list)


def _names(path: str, of: str) -> FormField:
    accepts = f"an object of names and {of}, or a list of `[name, text]`"
    return _field(path, accepts, _pairs, write=lambda pairs: [list(pair) for pair in pairs])


def _enum(path: str, kind: type[Enum]) -> FormField:
    return _field(path, ", ".join(f"`{word}`" for word in kind), _word(kind), write=str)


def _flag(path: str) -> FormField:
    return _field(path, "true or false", boolean)


_WHOLE = "a whole number, or text: `20k`"
_SIZE = "bytes, or a size: `500MB`, `1GiB`"
_NO_CEILING = "; null: no ceiling"

_ALL = (
    _list("urls", "URLs"),
    _list("sitemaps", "URLs or `robots`"),
    _field("name", "text", text),
    _list("tags", "texts"),
    _enum("priority", Priority),
    _list("worker_tags", "texts"),
    _field("spread", "a whole number, or `auto`", _spread, write=_bare),
    _field("limits.pages", _WHOLE + _NO_CEILING, _or_null(whole)),
    _field("limits.bytes", _SIZE + _NO_CEILING, _or_null(size)),
    _duration("limits.duration_s", null="no ceiling"),
    _field("limits.errors", _WHOLE + _NO_CEILING, _or_null(whole)),
    _field("retry.attempts", _WHOLE, whole),
    _duration("retry.first_s"),
    _field("retry.factor", "a number", number),
    _field("retry.jitter", "a number from 0 to 1", number),
    _duration("retry.cap_s"),
    _field(
        "retry.reasons",
        f"a list of {', '.join(f'`{reason}`' for reason in RetryReason)}",
        _words(RetryReason),
        write=_sorted_words,
    ),
    _enum("scope", Scope),
    _list("include", "patterns"),
    _list("exclude", "patterns"),
    _field("max_depth", f"{_WHOLE}; null: no end", _or_null(whole)),
    _enum("strategy", Strategy),
    _flag("ignore_robots"),
    _flag("follow_nofollow"),
    _flag("store_noindex"),
    _duration("delay_s"),
    _field("per_host", _WHOLE, whole),
    _field("concurrency", _WHOLE, whole),
    _duration("crawl_delay_cap_s"),
    _duration("timeout_s"),
    _field("max_body", _SIZE, size),
    _field("url_retries", _WHOLE, whole),
    _field("user_agent", "text", text),
    _names("headers", "texts"),
    _list("allow_addresses", "hosts, CIDRs or either with `:PORT`"),
    _flag("allow_private"),
    _enum("text", TextMode),
    _names("extract", "selectors"),
    _flag("keep_html"),
    _field(
        "retention_s",
        "seconds, a duration or `forever`; null: as the yard's settings say",
        _retention,
        write=_kept,
        also="retention",
    ),
    _field(
        "webhooks",
        "a list of URLs, or of objects with `url` and, if wished, `events` and `secret`",
        _webhooks,
        write=lambda hooks: [_webhook_form(hook) for hook in hooks],
    ),
)

FIELDS: Mapping[str, FormField] = MappingProxyType({field.path: field for field in _ALL})
"""All fields by path, in the order in which `form_of` writes them."""

_GROUPS: Mapping[str, type[Limits] | type[RetryPolicy]] = {"limits": Limits, "retry": RetryPolicy}
_BY_ANY_PATH = {path: field for field in _ALL for path in (field.path, field.also) if path}


def values_of(form: Form) -> dict[str, Any]:
    """Return the values in *form* by the paths of `FIELDS`, as values of a `JobSpec`.

    Raises:
        Invalid: a field is unknown or given twice, or its value is invalid.
    """
    values: dict[str, Any] = {}
    for path, value in _flat(form):
        field = _BY_ANY_PATH.get(path)
        if field is None:
            raise _unknown(path)
        if field.path in values:
            spellings = " or ".join(name for name in (field.also, field.path) if name)
            raise Invalid(path, f"expected {spellings} once, got it twice")
        values[field.path] = _read(path, field.read, value)
    return values


def spec_with(values: Mapping[str, Any], base: JobSpec | None = None) -> JobSpec:
    """Return *base*, or a default spec, with *values* as returned by `values_of`.

    Raises:
        Invalid: a value is out of range, or there is nothing to start from.
    """
    groups: dict[str, dict[str, Any]] = {name: {} for name in ("", *_GROUPS)}
    for path, value in values.items():
        field = FIELDS[path]
        groups[field.group][field.name] = value
    own = groups.pop("")
    for name, kind in _GROUPS.items():
        if groups[name]:
            before = kind() if base is None else getattr(base, name)
            own[name] = replace(before, **groups[name])
    return JobSpec(**own) if base is None else replace(base, **own)


def spec_of(form: Form, base: JobSpec | None = None) -> JobSpec:
    """Return the spec of *form*; fields that it leaves out are as in *base*, or default.

    Raises:
        Invalid: as for `values_of` and `spec_with`.
    """
    return spec_with(values_of(form), base)


def form_of(spec: JobSpec) -> dict[str, object]:
    """Return *spec* in canonical form with every field; ``spec_of`` reads back the same spec."""
    form: dict[str, Any] = {}
    for field in _ALL:
        record = getattr(spec, field.group) if field.group else spec
        place = form.setdefault(field.group, {}) if field.group else form
        place[field.name] = field.write(getattr(record, field.name))
    return form


def at(form: Form, path: str) -> object:
    """Return the value at *path* in a form returned by `form_of`."""
    value: Any = form
    for name in path.split("."):
        value = value[name]
    return value


def _flat(form: Form) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for key, value in form.items():
        if key not in _GROUPS:
            pairs.append((str(key), value))
        elif isinstance(value, Mapping):
            pairs += [(f"{key}.{name}", inner) for name, inner in value.items()]
        else:
            raise Invalid(key, f"expected an object of its fields, got {shown(value)}")
    return pairs


def _read(path: str, read: Callable[[object], Any], value: object) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise Invalid(path, str(error)) from None


def _unknown(path: str) -> Invalid:
    group = path.partition(".")[0]
    inside = f"{group}." if group in _GROUPS else ""
    known = [name.removeprefix(inside) for name in _BY_ANY_PATH if name.startswith(inside)]
    near = [name for name in (*known, *_GROUPS) if "." not in name and name != group]
    return unknown(path, path.removeprefix(inside), near, "field")
