"""Pages of `docs/reference/` that are made of the code: ``python -m tests.docs`` writes them."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path

from annotated_types import Ge, Le, MinLen
from pydantic.fields import FieldInfo

from crawlyard import LIFECYCLE, ErrorKind, EventName, Move, Settings, State, StateReason
from crawlyard.core.job import EVENT_OF
from crawlyard.core.lifecycle import ENDED

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"

_MADE = "<!-- made by `python -m tests.docs`; a test compares it with the code -->"
_MEMBER = re.compile(r"^    ([A-Z0-9_]+) = .*?  # (.+)$", re.MULTILINE)


def comments_of(closed: type[Enum]) -> dict[str, str]:
    """Return what the source says behind each member of an enumeration, by its name."""
    return dict(_MEMBER.findall(inspect.getsource(closed)))


def lifecycle() -> str:
    """Return the page about states, moves and reasons."""
    states, moves, reasons = (comments_of(each) for each in (State, Move, StateReason))
    table = [
        [f"**{state}**", *(LIFECYCLE[state].get(move, "") for move in Move)] for state in State
    ]
    drawing = [
        "stateDiagram-v2",
        f"    [*] --> {State.PENDING}",
        *(
            f"    {state} --> {after}: {', '.join(_between(state, after))}"
            for state in State
            for after in dict.fromkeys(LIFECYCLE[state].values())
        ),
    ]
    return _page(
        "The life of a job",
        "A job is always in one of six states. Nothing but the moves below changes its state, "
        "and each move writes its event in the same transaction.",
        "## States",
        _table(["state", "what it means"], [[f"`{s}`", states[s.name]] for s in State]),
        f"{_listed(s for s in State if s in ENDED)} are ends: "
        "nothing more happens unless somebody asks for it.",
        "## Moves",
        _table(
            ["move", "what happens", "its event"],
            [[f"`{m}`", moves[m.name], f"`{EVENT_OF[m]}`"] for m in Move],
        ),
        "From the state on the left, each move leads to the state in its column. "
        "Where there is none, the move is refused.",
        _table(["", *(f"`{m}`" for m in Move)], table),
        "```mermaid\n" + "\n".join(drawing) + "\n```",
        "A job that is pending may have to wait until its due time. A resumed job and one that "
        "goes on after a lost worker keep their place in the queue.",
        "## Reasons",
        "Beside its state, a job has a reason from this list, and often a sentence of detail.",
        _table(["reason", "state, and why"], [[f"`{r}`", reasons[r.name]] for r in StateReason]),
        f"`{StateReason.PREEMPTED}` is there for later: no job gives way to another yet.",
        "## Other events",
        _table(["event", "when"], [[f"`{n}`", when] for n, when in _OTHER_EVENTS.items()]),
    )


_OTHER_EVENTS: Mapping[EventName, str] = {
    EventName.CREATED: "the job was submitted",
    EventName.EDITED: "its spec was changed; the data says which fields",
    EventName.DELETED: "it was deleted with its pages",
    EventName.NOTED: "something about the crawl is worth knowing, such as a capped crawl-delay",
}


def settings() -> str:
    """Return the page about settings."""
    rows = [
        [
            f"`{name}`",
            f"`CRAWLYARD_{name.upper()}`",
            _default(field),
            _range(field),
            field.description or "",
        ]
        for name, field in Settings.model_fields.items()
    ]
    return _page(
        "Settings",
        "A setting comes from the first of these that has it: a flag of the command, the "
        "environment, the file `crawlyard.toml` in the working directory, the default.",
        _table(["in `crawlyard.toml`", "in the environment", "default", "range", "what"], rows),
        "The flags are `--data-dir` of every command that uses one, and `--jobs` of "
        "`crawlyard work`. A value out of its range, and a name in the file that is none, ends the "
        "command with exit code 2.",
        "An example of `crawlyard.toml`:",
        '```toml\ndata_dir = "/var/lib/crawlyard"\njobs = 8\n'
        'user_agent = "ExampleBot/1.0 (+https://example.org/bot)"\n```',
    )


def errors() -> str:
    """Return the page about failed URLs."""
    told = comments_of(ErrorKind)
    return _page(
        "Why a URL failed",
        "A failed URL has a page record with an `error`: a kind from this closed list, and a "
        "sentence of detail.",
        _table(["kind", "what happened"], [[f"`{k}`", told[k.name]] for k in ErrorKind]),
        "Time-outs, lost connections, names that do not resolve, and the statuses 500, 502, 503 "
        "and 504 are tried again, twice unless the job says otherwise, after growing waits. A 429, "
        "and a 503 with Retry-After, hold the whole host first. A robots.txt that cannot be had is "
        "asked for again as well, and its site is closed meanwhile. All else is final at once.",
        "List a job's failures with `crawlyard jobs errors ID`, and try them again with "
        "`crawlyard jobs retry ID --failed`, or only some of them with `--kind`.",
    )


PAGES: Mapping[str, Callable[[], str]] = {
    "lifecycle.md": lifecycle,
    "settings.md": settings,
    "errors.md": errors,
}


def _between(state: State, after: State) -> list[str]:
    return [str(move) for move, to in LIFECYCLE[state].items() if to is after]


def _listed(states: Iterable[State]) -> str:
    *most, last = (f"`{state}`" for state in states)
    return f"{', '.join(most)} and {last}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return f"`{value}`" if str(value) else "empty"


def _range(field: FieldInfo) -> str:
    least = next((str(m.ge) for m in field.metadata if isinstance(m, Ge)), "")
    most = next((str(m.le) for m in field.metadata if isinstance(m, Le)), "")
    if any(isinstance(m, MinLen) for m in field.metadata):
        return "not empty"
    return f"{least} to {most}" if least else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", _MADE, *blocks]) + "\n"


def write() -> None:
    """Write all of them."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
