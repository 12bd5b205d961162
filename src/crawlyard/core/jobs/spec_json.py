"""JSON form of a spec, as used by templates, schedules, files and the API.

Field names are those of `JobSpec`; durations end in ``_s`` and are in seconds. Every field has one
canonical form, which `form_of` writes, and may accept others.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeAlias, get_origin

from msgspec import Struct
from msgspec import field as struct_field
from msgspec.structs import replace

from crawlyard.core.fields import Field, check_all, fields_of
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.retry import RetryPolicy
from crawlyard.core.jobs.spec import JobSpec, Spread, SpreadOver
from crawlyard.core.parse import (
    boolean,
    format_value,
    is_list,
    nearest,
    none_of,
    number,
    size,
    span,
    text,
    texts,
    unknown,
    whole,
)
from crawlyard.core.quantity import FOREVER_S
from crawlyard.core.webhooks.webhook import JOB_FORMATS, JobWebhook
from crawlyard.errors import Invalid

Form = Mapping[str, object]

ENDLESS = "forever"
"""The written form of `FOREVER_S`."""

NO_LIMIT = "none"
"""Another form of null in a limit: in a merge patch, null would remove the limit."""


class FormField(Struct, frozen=True, kw_only=True):
    """JSON form of one field; *read* raises `ValueError` with what was expected."""

    field: Field
    accepts: str  # accepted values, as Markdown
    read: Callable[[object], Any]
    write: Callable[[Any], object]

    @property
    def path(self) -> str:
        """Its path in the form: "limits.duration_s"."""
        return self.field.path

    @property
    def also(self) -> str:
        """Another accepted path ("limits.duration"), or nothing."""
        return self.path.removesuffix("_s") if self.field.unit == "s" else ""


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    """Return names and values from an object or a list of pairs."""
    expected = "expected an object of names and texts, or a list of [name, text]"
    items = list(value.items()) if isinstance(value, Mapping) else value
    if not is_list(items):
        raise ValueError(f"{expected}, got {format_value(value)}")
    pairs = []
    for item in items:
        if not is_list(item) or len(item) != 2:
            raise ValueError(f"{expected}, got {format_value(item)} in the list")
        if not isinstance(item[1], str):
            message = f"expected text for {format_value(item[0])}, got {format_value(item[1])}"
            raise ValueError(message)  # noqa: TRY004 - as `float` does
        pairs.append((text(item[0]), item[1]))
    return tuple(pairs)


def _word(kind: Iterable[Enum]) -> Callable[[object], Any]:
    members = {str(member): member for member in kind}

    def read(value: object) -> Any:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in members:
            raise ValueError(none_of(value, members))
        return members[word]

    return read


def _words(kind: type[Enum]) -> Callable[[object], frozenset[Any]]:
    read = _word(kind)
    return lambda value: frozenset(read(item) for item in texts(value))


def _or_null(read: Callable[[object], Any], *also: str) -> Callable[[object], Any]:
    return lambda value: None if value is None or value in also else read(value)


def _span_s(value: object) -> float:
    return span(value).total_seconds()


def _retention(value: object) -> float:
    return FOREVER_S if value == ENDLESS else _span_s(value)


def _webhooks(value: object) -> tuple[JobWebhook, ...]:
    if not is_list(value):
        raise ValueError(
            f"expected a list of objects with {', '.join(_HOOK)}, got {format_value(value)}"
        )
    webhooks: list[JobWebhook] = []
    errors: list[Invalid] = []
    for index, item in enumerate(value):
        try:
            webhooks.append(_webhook(f"webhooks.{index}", item))
        except Invalid as error:
            errors.append(error)
    if errors:
        raise Invalid.of(errors)
    return tuple(webhooks)


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object, got {format_value(value)}")  # noqa: TRY004 - as text
    return value


def _headers(value: object) -> Mapping[str, str]:
    return {name: text(content) for name, content in _object(value).items()}


_HOOK: Mapping[str, Callable[[object], Any]] = {
    "url": text,
    "events": texts,
    "secret": text,
    "metadata": _object,
    "format": _word(JOB_FORMATS),
    "pages": boolean,
    "headers": _headers,
}
_SECRETS = frozenset({"secret", "headers"})


def _webhook(path: str, item: object) -> JobWebhook:
    if isinstance(item, str):
        return JobWebhook(url=item)
    if not isinstance(item, Mapping):
        expected = f"expected a URL, or an object with {', '.join(_HOOK)}"
        raise Invalid(path, f"{expected}, got {format_value(item)}")
    members: dict[str, Any] = {}
    errors: list[Invalid] = []
    for name, value in item.items():
        if name not in _HOOK:
            errors.append(unknown(f"{path}.{name}", str(name), tuple(_HOOK), "field"))
            continue
        try:
            members[name] = _read(f"{path}.{name}", _HOOK[name], value, secret=name in _SECRETS)
        except Invalid as error:
            errors.append(error)
    if "url" not in item and not any(nearest(str(name), _HOOK) == "url" for name in item):
        errors.append(Invalid(f"{path}.url", "expected a URL, got none"))
    if errors:
        raise Invalid.of(errors)
    return JobWebhook(**members)


def _webhook_form(hook: JobWebhook) -> object:
    return {
        "url": hook.url,
        "events": list(hook.events),
        "secret": hook.secret,
        "metadata": hook.metadata,
        "format": hook.format.value,
        "pages": hook.pages,
        "headers": hook.headers,
    }


def _seconds(length_s: float | None) -> object:
    """Return a duration as a whole number if it is one."""
    return int(length_s) if length_s is not None and length_s.is_integer() else length_s


def _retention_json(length_s: float | None) -> object:
    return ENDLESS if length_s == FOREVER_S else _seconds(length_s)


def _sorted_words(words: frozenset[Enum]) -> object:
    return sorted(str(word) for word in words)


def _spread(value: object) -> SpreadOver:
    return Spread.AUTO if value == Spread.AUTO else whole(value)


def _bare(spread: SpreadOver) -> object:
    return str(spread) if isinstance(spread, Spread) else spread


# --- the fields

_Way: TypeAlias = tuple[str, Callable[[object], Any], Callable[[Any], object]]
_WHOLE = "a whole number, or text: `20k`"
_SPECIAL: Mapping[str, _Way] = {
    "spread": ("a whole number, or `auto`", _spread, _bare),
    "retention_s": ("seconds, a duration or `forever`", _retention, _retention_json),
    "unique_key": ("text", text, lambda key: key),
    "webhooks": (
        "a list of URLs, or of objects with `url` and, optionally, `events` and `secret`",
        _webhooks,
        lambda hooks: [_webhook_form(hook) for hook in hooks],
    ),
}
"""Accepted values, reader and writer of fields whose type does not determine them."""


def _same(value: Any) -> Any:
    return value


def _form_field(field: Field) -> FormField:
    accepts, read, write = _SPECIAL.get(field.path) or _by_type(field)
    if field.about.null and field.path in _SPECIAL:
        read = _or_null(read)
        accepts = f"{accepts}; null: {field.about.null}"
    elif field.about.null:
        read = _or_null(read, NO_LIMIT)
        accepts = f"{accepts}; null or `{NO_LIMIT}`: {field.about.null}"
    return FormField(field=field, accepts=accepts, read=read, write=write)


def _by_type(field: Field) -> _Way:
    """Return the accepted values, reader and writer of a field, as its type determines them."""
    of, kind = field.about.of, field.choices
    if kind is not None:
        words = ", ".join(f"`{word}`" for word in kind)
        of_many = (f"a list of {words}", _words(kind), _sorted_words)
        return of_many if field.many else (words, _word(kind), str)
    if get_origin(field.kind) is tuple:
        accepts = f"an object of names and {of}, or a list of `[name, text]`"
        return accepts, _pairs, lambda pairs: [list(pair) for pair in pairs]
    if field.many:
        return f"a list of {of}, or a single one", texts, list
    return _BY_UNIT.get(field.unit) or _PLAIN[field.kind]


_BY_UNIT: Mapping[str | None, _Way] = {
    "s": ("seconds, or a duration: `90s`, `1h30m`", _span_s, _seconds),
    "bytes": ("bytes, or a size: `500MB`, `1GiB`", size, _same),
}
_PLAIN: Mapping[type, _Way] = {
    bool: ("true or false", boolean, _same),
    int: (_WHOLE, whole, _same),
    float: ("a number", number, _same),
    str: ("text", text, _same),
}

FIELDS: Mapping[str, FormField] = MappingProxyType(
    {path: _form_field(field) for path, field in fields_of(JobSpec).items()}
)
"""All fields by their paths, in the order in which `form_of` writes them."""

_GROUPS: Mapping[str, type[Limits] | type[RetryPolicy]] = {"limits": Limits, "retry": RetryPolicy}
_STARTS = ("urls", "sitemaps")
_BY_ANY_PATH = {path: f for f in FIELDS.values() for path in (f.path, f.also) if path}


EXAMPLE = JobSpec(urls=("https://example.com/",))
"""What is combined with values that need not include start URLs, to check them."""

SpecCheck: TypeAlias = Callable[[JobSpec], object]
"""A further check of a spec, which raises `Invalid`."""


def values_of(form: Form, check: SpecCheck | None = None) -> dict[str, Any]:
    """Return the values in *form* by the paths of `FIELDS`, as values of a `JobSpec`.

    If some cannot be read, the others are checked for the error as well, also by *check*.

    Raises:
        Invalid: a field is unknown or given twice, or its value is invalid.
    """
    values: dict[str, Any] = {}
    errors: list[Invalid] = []
    for path, value in _flat(form):
        field = _BY_ANY_PATH.get(path)
        if field is None:
            errors.append(_no_object(path, value) if path in _GROUPS else _unknown(path))
            continue
        if field.path in values:
            spellings = " or ".join(name for name in (field.also, field.path) if name)
            errors.append(Invalid(path, f"expected {spellings} once, got it twice"))
            continue
        try:
            values[field.path] = _read(path, field.read, value, secret=field.field.about.secret)
        except Invalid as error:
            errors.append(error)
    if errors:
        raise Invalid.of([*errors, *_faults_in(values, check)])
    return values


def spec_with(
    values: Mapping[str, Any], base: JobSpec | None = None, check: SpecCheck | None = None
) -> JobSpec:
    """Return *base*, or a default spec, with *values* as returned by `values_of`.

    If some are out of range, the others are checked for the error by *check*.

    Raises:
        Invalid: a value is out of range, or there is nothing to start from.
    """
    try:
        return _build_spec(values, base)
    except Invalid as error:
        sound = {path: value for path, value in values.items() if not _concerns(error, path)}
        more = _faults_in(sound, check) if check is not None else ()
        raise Invalid.of([error, *more]) from None


def _build_spec(values: Mapping[str, Any], base: JobSpec | None) -> JobSpec:
    groups: dict[str, dict[str, Any]] = {name: {} for name in ("", *_GROUPS)}
    for path, value in values.items():
        field = FIELDS[path]
        groups[field.field.group][field.field.name] = value
    own = groups.pop("")
    errors: list[Invalid] = []
    for name, kind in _GROUPS.items():
        if groups[name]:
            before = kind() if base is None else getattr(base, name)
            try:
                own[name] = replace(before, **groups[name])
            except Invalid as error:
                errors.append(error)
    try:
        spec = JobSpec(**own) if base is None else replace(base, **own)
    except Invalid as error:
        errors.append(error)
    if errors:
        raise Invalid.of(errors)
    return spec


def _faults_in(values: Mapping[str, Any], check: SpecCheck | None) -> tuple[Invalid, ...]:
    """Return what is wrong with *values* by themselves; start URLs may be missing."""
    try:
        spec = _build_spec(values, EXAMPLE)
    except Invalid as error:
        sound = {path: value for path, value in values.items() if not _concerns(error, path)}
        return (*error.faults, *(_faults_in(sound, check) if len(sound) < len(values) else ()))
    try:
        if check is not None:
            check(spec)
    except Invalid as error:
        return error.faults
    return ()


def _concerns(error: Invalid, path: str) -> bool:
    return any(f"{fault.field}.".startswith(f"{path}.") for fault in error.faults)


def spec_of(form: Form, base: JobSpec | None = None, check: SpecCheck | None = None) -> JobSpec:
    """Return the spec of *form*; fields that it leaves out are as in *base*, or default.

    *check* is called only if something is wrong, with the rest, so that the error names all.

    Raises:
        Invalid: as for `values_of` and `spec_with`.
    """
    if base is None and not any(nearest(str(name), _STARTS) for name in form):
        check_all(lambda: spec_with(values_of(form, check), EXAMPLE, check), JobSpec)
    return spec_with(values_of(form, check), base, check)


def form_of(spec: JobSpec) -> dict[str, object]:
    """Return *spec* in canonical form with every field; ``spec_of`` reads back the same spec."""
    form: dict[str, Any] = {}
    for field in FIELDS.values():
        group, name = field.field.group, field.field.name
        record = getattr(spec, group) if group else spec
        place = form.setdefault(group, {}) if group else form
        place[name] = field.write(getattr(record, name))
    return form


class JobRequest(Struct, frozen=True, kw_only=True):
    """A request for a job: a form, which may override fields of a template."""

    form: Mapping[str, object]
    template: str | None = None  # id or name
    template_version: int | None = None
    params: Mapping[str, object] = struct_field(default_factory=dict)
    start_at: datetime | None = None
    grant: bool = False  # an admin allows this job what the settings do not grant
    reads_results: bool = False  # the credential may read pages


def read_request(body: Mapping[str, Any]) -> JobRequest:
    """Return the request for a job in *body*.

    Raises:
        Invalid: a field beside the form is invalid.
    """
    rest = dict(body)
    template, version = rest.pop("template", None), rest.pop("template_version", None)
    params, start = rest.pop("params", None), rest.pop("start_at", None)
    params = {} if params is None else params
    if template is not None and not isinstance(template, str):
        raise Invalid("template", "expected a template's id or name")
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        raise Invalid("template_version", f"expected a whole number, got {version!r}")
    if not isinstance(params, Mapping):
        raise Invalid("params", "expected an object of names and values")
    return JobRequest(
        form=rest,
        template=template,
        template_version=version,
        params=params,
        start_at=None if start is None else instant_of("start_at", start),
    )


def instant_of(field: str, value: object) -> datetime:
    """Return the instant in RFC 3339 text.

    Raises:
        Invalid: it is none, or has no offset.
    """
    expected = "expected an instant such as 2027-01-01T08:00:00Z"
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise Invalid(field, f"{expected}, got {value!r}"[:200])
    return instant


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
            pairs.append((key, value))
    return pairs


def _no_object(path: str, value: object) -> Invalid:
    return Invalid(path, f"expected an object of its fields, got {format_value(value)}")


def _read(path: str, read: Callable[[object], Any], value: object, *, secret: bool = False) -> Any:
    try:
        return read(value)
    except ValueError as error:
        message = str(error).partition(", got ")[0] if secret else str(error)
        raise Invalid(path, message) from None


_OTHER_NAMES = {
    name: field.path
    for field in FIELDS.values()
    for name in (field.field.name, field.field.flag.removeprefix("--").replace("-", "_"))
    if name not in _BY_ANY_PATH
}
"""Fields by the names that options have, and those in groups by the last part of their path."""


def _unknown(path: str) -> Invalid:
    if path in _OTHER_NAMES:
        return Invalid(path, f"there is no such field; did you mean {_OTHER_NAMES[path]}?")
    group = path.partition(".")[0]
    inside = f"{group}." if group in _GROUPS else ""
    names = [name.removeprefix(inside) for name in _BY_ANY_PATH if name.startswith(inside)]
    near = [name for name in (*names, *_GROUPS) if "." not in name and name != group]
    return unknown(path, path.removeprefix(inside), near, "field")


EDITABLE = frozenset(
    {"limits", *(path for path, field in fields_of(JobSpec).items() if field.about.editable)}
)
"""Fields of a spec that can change during the life of a job; changes apply at once.

A single limit (``limits.pages``) leaves the others as they are, whoever changes those.
"""


def changes_of(patch: Form, check: SpecCheck | None = None) -> dict[str, Any]:
    """Return the values that *patch* sets, by the paths of `FIELDS`.

    Null means the default: no ceiling, no tags. A null group resets all its fields.

    Raises:
        Invalid: as for `values_of`, which takes *check*.
    """
    members: dict[str, object] = {}
    cleared: list[str] = []
    for name, value in patch.items():
        if isinstance(value, Mapping):
            cleared += [
                f"{name}.{inner}" for inner, inner_value in value.items() if inner_value is None
            ]
            members[name] = {
                inner: inner_value
                for inner, inner_value in value.items()
                if inner_value is not None
            }
        elif value is None:
            cleared.append(name)
        else:
            members[name] = value
    changes = values_of(members, check)
    for path in cleared:
        own = [f for f in FIELDS.values() if path and path in (f.path, f.also, f.field.group)]
        if not own:
            values_of({path: None} if "." not in path else _nested_null(path))  # raises Invalid
        for field in own:
            changes[field.path] = field.field.default
    return changes


def _nested_null(path: str) -> Form:
    group, _, name = path.partition(".")
    return {group: {name: None}}


def apply_changes(spec: JobSpec, changes: Mapping[str, Any], check: SpecCheck) -> JobSpec:
    """Return *spec* with *changes*, whose keys are in `EDITABLE`, as *check* accepts it.

    If some are out of range, the others are checked all the same, so that the error names all.

    Raises:
        Invalid: a value has the wrong type or is out of range, or *check* refuses it.
    """
    try:
        result = _replace_fields(spec, changes)
    except Invalid as error:
        sound = {name: value for name, value in changes.items() if not _concerns(error, name)}
        errors = [error]
        try:
            if len(sound) < len(changes):
                apply_changes(spec, sound, check)
        except Invalid as more:
            errors.append(more)
        raise Invalid.of(errors) from None
    check(result)
    return result


def _replace_fields(spec: JobSpec, changes: Mapping[str, Any]) -> JobSpec:
    prefix = "limits."
    single = {n.removeprefix(prefix): v for n, v in changes.items() if n.startswith(prefix)}
    fields = {n: v for n, v in changes.items() if not n.startswith(prefix)}
    errors: list[Invalid] = []
    try:
        if single:
            fields["limits"] = replace(fields.get("limits", spec.limits), **single)
    except Invalid as error:
        errors.append(error)
    try:
        spec = replace(spec, **fields)
    except Invalid as error:
        errors.append(error)
    if errors:
        raise Invalid.of(errors)
    return spec
