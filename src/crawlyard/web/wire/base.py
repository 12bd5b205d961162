"""What all shapes share: how instants, durations and text from outside are written."""

import re
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)

_SURROGATE = re.compile("[\ud800-\udfff]")


def rfc3339(instant: datetime) -> str:
    """Return *instant* as it is written: in UTC, to the millisecond."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[datetime, PlainSerializer(rfc3339, when_used="json")]


def whole(text: str) -> str:
    """Return *text* without half characters: no encoding of JSON or CSV can hold them."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


Text = Annotated[str, BeforeValidator(whole)]
"""Text from outside: a page may have named half of a character."""


class Wire(BaseModel):
    """The base of all shapes: frozen, and tolerant of fields that a newer server sends."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def filled(cls, source: object, /, **other: Any) -> Self:
        """Return a shape with *other*, and from *source* the fields of the same names."""
        same = {name: getattr(source, name) for name in cls.model_fields if name not in other}
        return cls(**same, **other)


class Ask(BaseModel):
    """The base of what is asked: an unknown field is an error, not a wish that is passed over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _as_json_has_it(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse ``false`` for 0, and "5" for 5: who sends it means something else."""
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if kinds & {int, float} and not kinds & {bool, str} and isinstance(value, (bool, str)):
            raise ValueError("expected a number")
        if bool in kinds and not isinstance(value, bool) and value is not None:
            raise ValueError("expected true or false")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """Return the types among which *annotation* leaves a choice."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return {kind for one in get_args(annotation) for kind in _kinds(one)}
    return {annotation} if isinstance(annotation, type) else set()


def example(**body: Any) -> ConfigDict:
    """Return the ``model_config`` of a shape whose document shows *body*."""
    return ConfigDict(json_schema_extra={"examples": [body]})


API = "/api/v1"
"""Where all paths of the API begin."""

LONGEST_REF = 200
"""Of what names a template or schedule: an id, a name, or OWNER/NAME."""


def seconds(duration: timedelta) -> float:
    """Return *duration* as it is written."""
    return round(duration.total_seconds(), 3)
