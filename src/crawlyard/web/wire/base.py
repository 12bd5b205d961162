"""What all bodies of requests share."""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


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
