"""Answers that are made from the declaration of their record."""

from enum import IntEnum, StrEnum, auto
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from crawlyard.core.answer import Wire, derived
from crawlyard.core.fields import HIDDEN, rounded


class Colour(StrEnum):
    RED = auto()


class Size(IntEnum):
    SMALL = 1

    def __str__(self) -> str:
        return self.name.lower()


class Wheel(Struct, frozen=True, kw_only=True):
    spokes: int = 32
    colour: Colour = Colour.RED


class Bike(Struct, frozen=True, kw_only=True):
    id: str
    lock_code: Annotated[str, HIDDEN] = "0000"
    size: Size = Size.SMALL
    weight_kg: Annotated[float, rounded(1)] = 0.0
    wheels: tuple[Wheel, ...] = ()
    spare: Wheel | None = None

    def __post_init__(self) -> None:
        if self.weight_kg < 0:
            raise ValueError("a weight is at least 0")

    @property
    def is_light(self) -> bool:
        return self.weight_kg < 9


@derived
class WheelOut(Wheel, Wire, frozen=True, kw_only=True):
    """A wheel."""


@derived
class BikeOut(Bike, Wire, frozen=True, kw_only=True):
    """A bike."""

    object: Literal["bike"] = "bike"
    wheels: tuple[WheelOut, ...]
    spare: WheelOut | None
    owner: str


BIKE = Bike(id="b1", lock_code="4711", weight_kg=8.4499, wheels=(Wheel(), Wheel(spokes=28)))


def test_a_hidden_field_is_no_field_of_the_answer() -> None:
    assert "lock_code" not in BikeOut.__struct_fields__
    assert b"4711" not in msgspec.json.encode(BikeOut.filled(BIKE, owner="ada"))


def test_the_fields_keep_the_order_of_the_record_and_the_tag_follows_the_id() -> None:
    names = ("id", "object", "size", "weight_kg", "wheels", "spare", "owner")
    assert BikeOut.__struct_fields__ == names


def test_values_are_converted_from_those_of_the_record() -> None:
    bike = BikeOut.filled(BIKE, owner="ada")

    assert (bike.weight_kg, bike.spare) == (8.4, None)
    assert msgspec.to_builtins(bike)["size"] == "small"
    assert bike.wheels[1] == WheelOut(spokes=28, colour=Colour.RED)
    assert bike.is_light


def test_every_field_is_required_and_enumerations_are_text() -> None:
    wheel = msgspec.json.schema(WheelOut)["$defs"]["WheelOut"]

    assert wheel["description"] == "A wheel."
    assert wheel["required"] == ["spokes", "colour"]
    assert wheel["properties"]["colour"] == {"type": "string"}


def test_answers_of_other_versions_are_read_without_the_checks_of_the_record() -> None:
    sent = {"id": "b1", "size": "huge", "weight_kg": -1, "wheels": [], "spare": None, "owner": ""}

    bike = msgspec.convert(sent | {"bell": True}, BikeOut)

    assert (str(bike.size), bike.weight_kg) == ("huge", -1)
