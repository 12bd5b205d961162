"""Templates: named crawls with placeholders that are filled at each run."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum, auto
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Struct

from crawlyard.core.fields import HIDDEN
from crawlyard.core.parse import (
    boolean,
    format_value,
    is_list,
    number,
    size,
    span,
    text,
    texts,
    whole,
)
from crawlyard.core.quantity import seconds
from crawlyard.errors import Invalid

MAX_NAME = 100
MAX_DESCRIPTION = 2_000
MAX_CONTENT_BYTES = 2 << 20
"""Maximum size of a file from another person."""

MAX_PARAMETERS = 100

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""The name of a parameter."""

PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
"""A placeholder in a text of a spec; whitespace inside the braces is ignored."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class ParameterType(StrEnum):
    """The type of a parameter's value."""

    TEXT = auto()
    URL = auto()  # http or https
    INTEGER = auto()
    NUMBER = auto()
    BOOLEAN = auto()
    DURATION = auto()  # 90s, 2h, or seconds
    SIZE = auto()  # 500MB, or bytes
    LIST = auto()  # of text


class FileFormat(StrEnum):
    """File format of a template; a file that starts with ``{`` is read as JSON."""

    YAML = auto()
    JSON = auto()


class TemplateParameter(Struct, frozen=True, kw_only=True):
    """A parameter of a template, written ``{{name}}`` in its spec.

    Raises:
        Invalid: the name is invalid, or the default or an allowed value does not fit the type.
    """

    name: str
    type: ParameterType = ParameterType.TEXT
    description: str = ""
    required: bool = False
    default: object = None  # None: no default
    allowed: tuple[object, ...] = ()  # empty: any value of the type

    def __post_init__(self) -> None:
        path = f"parameters.{self.name}"
        if not NAME.fullmatch(self.name):
            expected = "expected a lower-case name of letters, digits and '_', at most 40 of them"
            raise Invalid("parameters", f"{expected}, got {self.name!r}")
        if self.required and self.default is not None:
            raise Invalid(f"{path}.default", "expected none: a required parameter is always given")
        for value in self.allowed:
            _convert(f"{path}.allowed", self.type, [value] if self._lists else value)
        if self.default is not None:
            self._value(f"{path}.default", self.default)

    def value(self, argument: object) -> object:
        """Return *argument* as a JSON value of the type: durations in seconds, sizes in bytes.

        Raises:
            Invalid: it does not fit the type; the message says what was expected.
        """
        return self._value(f"params.{self.name}", argument)

    @property
    def sample(self) -> object:
        """A valid value, as `value` returns it: the default, or an allowed value.

        ``None`` if there is neither.
        """
        if self.default is not None:
            return self.value(self.default)
        return self.value(self.allowed[0]) if self.allowed else None

    @property
    def _lists(self) -> bool:
        return self.type is ParameterType.LIST

    def _value(self, path: str, argument: object) -> object:
        value = _convert(path, self.type, argument)
        if not self.allowed:
            return value
        items = value if is_list(value) else [value]
        choices = (
            self.allowed if self._lists else [_convert(path, self.type, a) for a in self.allowed]
        )
        for item in items:
            if item not in choices:
                choice_list = ", ".join(format_value(choice) for choice in self.allowed)
                raise Invalid(path, f"expected one of {choice_list}, got {format_value(item)}")
        return value


class TemplateDraft(Struct, frozen=True, kw_only=True):
    """A template as its author writes it, or as a file contains it; `render.check` validates it."""

    name: str
    description: str = ""
    parameters: tuple[TemplateParameter, ...] = ()
    spec: Mapping[str, object]


class CrawlTemplate(Struct, frozen=True, kw_only=True):
    """One version of a template. Versions never change; the latest one is the current template."""

    id: str
    owner: str
    name: str
    description: str = ""
    public: bool = False  # others may see and use this version
    version: int = 1
    parameters: tuple[TemplateParameter, ...] = ()
    spec: Mapping[str, object]  # fields of `JobSpec` in their JSON form, with {{name}} in them
    created_at: datetime  # of version 1
    updated_at: datetime  # of this version
    actor: str = ""  # author of this version
    trusted: Annotated[bool, HIDDEN] = False  # its author is `Actor.trusted`

    @property
    def draft(self) -> TemplateDraft:
        """The part written by its author."""
        return TemplateDraft(
            name=self.name,
            description=self.description,
            spec=self.spec,
            parameters=self.parameters,
        )


def check_name(name: str) -> None:
    """Check the name of a template, which must differ from an id and from OWNER/NAME.

    Raises:
        Invalid: it is empty, too long, or contains something that a name cannot contain.
    """
    if not name.strip() or name != name.strip() or not name.isprintable():
        raise Invalid("name", f"expected a name on one line, got {name!r}")
    if len(name) > MAX_NAME:
        raise Invalid("name", f"expected at most {MAX_NAME} characters, got {len(name)}")
    if "/" in name:
        raise Invalid("name", f"expected a name without '/', which follows an owner, got {name!r}")
    if is_id(name):
        raise Invalid("name", f"expected a name that does not look like an id, got {name!r}")


def is_id(word: str) -> bool:
    """Return whether *word* has the form of an id."""
    return _ID.fullmatch(word) is not None


def _url(value: object) -> str:
    url = text(value).strip()
    expected = f"expected an http or https URL, got {format_value(value)}"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname or not url.isprintable():
        raise ValueError(expected)
    return url


def _number(value: object) -> float:
    return value if isinstance(value, int) and not isinstance(value, bool) else number(value)


_READ: Mapping[ParameterType, Callable[[object], object]] = {
    ParameterType.TEXT: text,
    ParameterType.URL: _url,
    ParameterType.INTEGER: whole,
    ParameterType.NUMBER: _number,
    ParameterType.BOOLEAN: boolean,
    ParameterType.DURATION: lambda value: seconds(span(value)),
    ParameterType.SIZE: size,
    ParameterType.LIST: lambda value: list(texts(value)),
}


def _convert(path: str, kind: ParameterType, argument: object) -> object:
    try:
        return _READ[kind](argument)
    except ValueError as error:
        raise Invalid(path, str(error)) from None


class KeptTemplate(Struct, frozen=True, kw_only=True):
    """A schedule that keeps credentials that were removed from its published template."""

    schedule_id: str
    name: str
    fields: tuple[str, ...]  # where it keeps them: "params.token", "overrides.headers"


class SavedTemplate(Struct, frozen=True, kw_only=True):
    """A template after a change, and the paths of the credentials that were removed from it."""

    template: CrawlTemplate
    stripped: tuple[str, ...] = ()
    kept: tuple[KeptTemplate, ...] = ()  # by the schedules of its owner
