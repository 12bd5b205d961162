"""Response classes derived from the declaration of their record."""

from datetime import timedelta
from enum import IntEnum, StrEnum, auto
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from crawlyard.core.answer import Tagged, Wire, derive_answer
from crawlyard.core.fields import HIDDEN, after, answer_name, round_to


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
    weight_kg: Annotated[float, round_to(1)] = 0.0
    wheels: tuple[Wheel, ...] = ()
    spare: Wheel | None = None

    def __post_init__(self) -> None:
        if self.weight_kg < 0:
            raise ValueError("a weight is at least 0")

    @property
    def is_light(self) -> bool:
        return self.weight_kg < 9


@derive_answer
class WheelOut(Wheel, Wire, frozen=True, kw_only=True):
    """A wheel."""


@derive_answer
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


class Trip(Struct, frozen=True, kw_only=True):
    id: str
    rider: Annotated[str, answer_name("user")]
    length: timedelta = timedelta(0)
    colours: Annotated[frozenset[Colour], HIDDEN] = frozenset()
    stops: Annotated[frozenset[str], answer_name("places")] = frozenset()

    @property
    def is_short(self) -> bool:
        return self.length < timedelta(hours=1)


@derive_answer
class TripOut(Trip, Tagged, frozen=True, kw_only=True, dict=True):
    """A trip."""

    user: str
    v: Annotated[int, after("")]
    object: Literal["trip"] = "trip"
    is_short: Annotated[bool, after("user")]
    bell: Annotated[bool, after("is_short")] = False


class LongTripOut(TripOut, frozen=True, kw_only=True, dict=True):
    """A trip with a guide."""

    guide: str


TRIP = Trip(id="t1", rider="ada", length=timedelta(seconds=1.23456), stops=frozenset({"b", "a"}))


def test_an_added_field_has_the_place_that_it_names_and_the_value_of_a_property() -> None:
    names = ("v", "id", "object", "user", "is_short", "bell", "length_s", "places")
    assert TripOut.__struct_fields__ == names
    assert TripOut.filled(TRIP, v=1, bell=True).is_short


def test_renamed_fields_durations_and_sets_are_read_from_the_record() -> None:
    values = msgspec.to_builtins(TripOut.filled(TRIP, v=1, bell=False))

    assert (values["user"], values["length_s"], values["places"]) == ("ada", 1.235, ("a", "b"))
    assert "rider" not in values
    schema = msgspec.json.schema(TripOut)["$defs"]["TripOut"]["properties"]
    assert schema["length_s"] == {"type": "number"}
    assert schema["places"] == {"type": "array", "items": {"type": "string"}}


def test_an_answer_with_more_fields_is_made_from_another_answer() -> None:
    trip = TripOut.filled(TRIP, v=1, bell=False).at_beat(7)

    longer = LongTripOut.filled(trip, guide="b").at_beat(trip.beat)

    assert (longer.user, longer.guide, longer.beat) == ("ada", "b", 7)
