"""Text of the demo site: titles and paragraphs, deterministic by page number."""

from collections.abc import Sequence
from zlib import crc32

SECTIONS = (
    "First steps",
    "Moorings",
    "Tides",
    "Signals",
    "Cranes",
    "Cargo",
    "Pilots",
    "Weather",
    "Repairs",
    "Night watch",
    "Charts",
    "Customs",
)


def _split_words(words: str) -> tuple[str, ...]:
    """Split *words* at the bars; a literal list would take a line per word."""
    return tuple(words.split("|"))


# 40 and 36 words: as 41 and 36 are coprime, `title` repeats a pair only after 40 x 36.
_DOING = _split_words(
    "Reading|Planning|Checking|Sharing|Opening|Closing|Moving|Counting|Naming|Lighting|"
    "Testing|Drawing|Raising|Lowering|Booking|Clearing|Guarding|Leaving|Finding|Keeping|"
    "Marking|Measuring|Mending|Noting|Ordering|Painting|Passing|Placing|Raking|Recording|"
    "Replacing|Reporting|Securing|Sorting|Steering|Storing|Teaching|Turning|Watching|Weighing"
)
_THINGS = _split_words(
    "tide table|harbour gate|north pier|south pier|signal mast|fog horn|pilot boat|ferry ramp|"
    "lock chamber|stone quay|fish market|rope store|coal bunker|grain silo|dry dock|slipway|"
    "boat house|lamp room|weather glass|chart room|anchor field|buoy line|breakwater|crane track|"
    "loading bay|customs shed|night office|water tank|fire post|rescue boat|tug berth|winch house|"
    "sail loft|ice house|timber yard|ballast pit"
)

_OPENINGS = (
    "Before the first ship of the day",
    "When the wind turns to the west",
    "At half tide",
    "On a quiet morning",
    "As long as the lamp is lit",
    "Once a month",
    "After a storm",
    "Whenever two crews share a berth",
)
_ACTS = (
    "the keeper walks to the {thing} and writes down what is there",
    "two people look after the {thing}, and one always stays awake",
    "the {thing} is not touched before the office has been told",
    "the {thing} is checked against the list that hangs beside the door",
    "the log of the {thing} is read aloud, so that everyone has heard it",
    "the {thing} stays as it is until the harbour master has seen it",
    "a flag at the {thing} says whether the way is clear",
    "the older hands show the {thing} to those who are new",
)
_CLOSINGS = (
    "This takes about {n} minutes.",
    "If something is missing, there are {n} spare parts in the shed.",
    "In most years it happens {n} times.",
    "Anything heavier than {n} tonnes waits for high water.",
    "The page before this one says why.",
    "Ask again if you are not sure: it has never been held against anyone.",
    "What is written down by evening need not be remembered at night.",
    "The rule is older than the pier, and it still holds.",
)

LATER = "Since the last flood, this is done twice a day."
"""A sentence of the second edition."""


def title(number: int) -> str:
    """Return the title of article *number* (from 0); no two numbers share one."""
    doing, things = len(_DOING), len(_THINGS)
    words = f"{_DOING[number % doing]} the {_THINGS[(number // doing + number) % things]}"
    turn = number // (doing * things)
    return f"{words}, part {turn + 1}" if turn else words


def slug(words: str) -> str:
    """Return *words* as a path segment: lower case, with hyphens."""
    return words.lower().replace(",", "").replace(" ", "-")


def description(number: int) -> str:
    """Return a unique description of page *number*."""
    return f"{_sentence(number, 0)} Page {number} of the harbour handbook."


def paragraphs(number: int) -> list[str]:
    """Return three to five paragraphs of plain text for page *number*."""
    return [
        " ".join(
            f"{_sentence(number, 10 * p + s)} {_closing(number, 10 * p + s)}" for s in range(1, 4)
        )
        for p in range(1, 4 + number % 3)
    ]


def _sentence(number: int, salt: int) -> str:
    act = _pick(_ACTS, number, salt, "act").format(thing=_pick(_THINGS, number, salt, "thing"))
    return f"{_pick(_OPENINGS, number, salt, 'opening')}, {act}."


def _closing(number: int, salt: int) -> str:
    return _pick(_CLOSINGS, number, salt, "closing").format(n=2 + (number + salt) % 40)


def _pick(words: Sequence[str], *salt: object) -> str:
    """Return one of *words*, the same on every machine and Python, unlike with `random`."""
    return words[crc32(repr(salt).encode()) % len(words)]
