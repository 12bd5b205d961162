"""Job lookup for commands: one job by a word, or several by a filter."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

from msgspec import Struct, defstruct

from crawlyard.cli import values
from crawlyard.cli.options import choice, option
from crawlyard.cli.when import When
from crawlyard.core.jobs.filter import MEANINGS, FilterKey
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Invalid, NotFound

if TYPE_CHECKING:  # help needs neither
    from crawlyard.cli.session import Session
    from crawlyard.services.jobs.terms import JobTerms

_RUNS = {"@last": 0, "@previous": 1}
"""Words for runs of a schedule, and their positions, newest first."""


async def job_id_of(session: "Session", word: str) -> str:
    """Return the id of the job that *word* means.

    A whole id, its beginning or end, ``last`` for the newest job, ``NAME@last`` for the newest
    run of a schedule, or ``NAME@previous`` for the one before it.

    Raises:
        NotFound: no job matches.
        Invalid: more than one job matches.
    """
    jobs = session.surface.jobs
    if is_id(word):
        return (await jobs.get(word.lower())).id
    name, at, which = word.rpartition("@")
    place = _RUNS.get(at + which)
    if place is not None:
        schedule = await session.surface.schedules.get(name)
        runs = (await jobs.list(schedule=schedule.id, limit=place + 1)).items
        if len(runs) <= place:
            noun = "job" if not runs else "earlier job"
            raise NotFound(f"schedule {schedule.name} has no {noun} yet")
        return runs[place].id
    last = word == "last"
    matches = (await jobs.list(id="" if last else word.lower(), limit=2)).items
    if not matches:
        raise NotFound("no jobs yet" if last else f"there is no job {word}")
    if len(matches) > 1 and not last:
        raise Invalid("id", f"more than one job starts or ends with {word!r}; use a longer part")
    return matches[0].id


async def resolve_since(session: "Session", form: Mapping[str, object]) -> dict[str, object]:
    """Return the form of a spec with the id of the job in its `since`."""
    since, resolved_form = form.get("since"), dict(form)
    if isinstance(since, str):
        resolved_form["since"] = await job_id_of(session, since)
    return resolved_form


class _JobFilter(Struct, frozen=True, kw_only=True):
    def terms(self, now: datetime) -> "JobTerms":
        """Return the filter of the list of jobs."""
        terms: dict[str, Any] = {}
        words: list[str] = []
        for name in self.__struct_fields__:
            text = getattr(self, name)
            if name == FilterKey.TAG:  # jobs must have all of them
                words += [f"tag:{_quote(tag)}" for tag in text or ()]
            elif name == FilterKey.TEXT:
                words += [_quote(text)] if text else []
            elif isinstance(text, When):
                terms[name] = text.instant(now).isoformat()
            elif text:
                terms[name] = tuple(text)
        return cast("JobTerms", terms | {"q": " ".join(words)})


def _fields() -> Iterator[tuple[str, Any, Any]]:
    """Yield a field for each filter key with an option."""
    for key, meaning in MEANINGS.items():
        if not meaning.help:
            continue
        flag = f"--{meaning.flag or key.replace('_', '-')}"
        if meaning.choices is not None:
            annotation = choice(flag, of=meaning.choices, text=meaning.help, many=True)
            yield key.value, Annotated[list[meaning.choices] | None, annotation], None  # type: ignore[name-defined]  # known at run time
        elif meaning.instant:
            annotation = option(When.of, flag, "WHEN", meaning.help)
            yield key.value, Annotated[When | None, annotation], None
        elif key is FilterKey.TEXT:
            yield key.value, Annotated[str, option(str, flag, meaning.metavar, meaning.help)], ""
        else:
            read = values.line if key is FilterKey.TAG else meaning.read
            annotation = option(read, flag, meaning.metavar, meaning.help)
            yield key.value, Annotated[list[str] | None, annotation], None


if TYPE_CHECKING:

    class JobFilter(_JobFilter, frozen=True, kw_only=True):
        """Filter options of a job list; jobs must match all of them."""

        tag: list[str] | None = None
        text: str = ""
else:
    JobFilter = defstruct(
        "JobFilter", list(_fields()), bases=(_JobFilter,), kw_only=True, frozen=True
    )


def _quote(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def tell_damaged(session: "Session", ids: Iterable[str]) -> None:
    """Report damaged jobs, and how to delete them."""
    for job_id in ids:
        delete = session.full_command(f"jobs delete {job_id}")
        session.tell(f"job {job_id} is damaged and cannot run; delete it with: {delete}")
