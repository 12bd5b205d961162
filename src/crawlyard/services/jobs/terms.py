"""Filter parameters of lists of jobs."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, TypedDict, TypeVar

from msgspec import Meta

from crawlyard.core.endpoints.endpoint import Words
from crawlyard.core.jobs.filter import MEANINGS, Condition, FilterKey, condition, parse
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import MAX_URL, Priority
from crawlyard.core.operations.bulk import MOST_IDS, BulkAction, Chosen, JobAction, RetryScope
from crawlyard.core.parse import none_of
from crawlyard.errors import Invalid
from crawlyard.services.jobs.parameters import MOST_TAGS, JobId, Kinds, Reason

_K = TypeVar("_K", bound=StrEnum)

MOST_Q = 500

ANY = "Several: any of them."


def _of(key: FilterKey) -> Meta:
    meaning = MEANINGS[key]
    return Meta(description=meaning.doc if meaning.instant else f"{meaning.doc} {ANY}")


class JobTerms(TypedDict, total=False):
    """Filters of lists of jobs; a job must match all of them."""

    state: Annotated[Words, _of(FilterKey.STATE)]
    priority: Annotated[Words, _of(FilterKey.PRIORITY)]
    priority_gte: Annotated[Words, _of(FilterKey.PRIORITY_GTE)]
    tag: Annotated[Words, _of(FilterKey.TAG)]
    host: Annotated[Words, _of(FilterKey.HOST)]
    template: Annotated[Words, _of(FilterKey.TEMPLATE)]
    schedule: Annotated[Words, _of(FilterKey.SCHEDULE)]
    group_id: Annotated[Words, _of(FilterKey.GROUP_ID)]
    owner: Annotated[Words, _of(FilterKey.OWNER)]
    origin: Annotated[Words, _of(FilterKey.ORIGIN)]
    created_after: Annotated[Words, _of(FilterKey.CREATED_AFTER)]
    created_before: Annotated[Words, _of(FilterKey.CREATED_BEFORE)]
    q: Annotated[
        str,
        Meta(
            max_length=MOST_Q,
            description='The filter language: `state:failed host:x -tag:y "free text"`.',
        ),
    ]


def words_of(words: Words | Iterable[str] | None) -> tuple[str, ...]:
    """Return the alternatives of a filter, given as one word or several."""
    return () if words is None else (words,) if isinstance(words, str) else tuple(words)


def conditions_of(terms: JobTerms) -> tuple[Condition, ...]:
    """Return the conditions of *terms*.

    Raises:
        Invalid: a value is not what its key takes; the error names the key.
    """
    return (*_conditions(terms), *_parse(terms.get("q", "")))


def _conditions(terms: JobTerms) -> Iterator[Condition]:
    for name, raw in terms.items():
        if name != "q" and (words := words_of(raw)):  # type: ignore[arg-type]  # all but q
            yield condition(FilterKey(name), words)


def _parse(text: str) -> tuple[Condition, ...]:
    try:
        return parse(text)
    except Invalid as error:
        raise Invalid("q", error.message, error.position) from None


def kind_of(parameter: str, word: str, kinds: Iterable[_K]) -> _K:
    """Return the member of *kinds*, such as kinds of errors, with the name *word*.

    Raises:
        Invalid: no kind has that name.
    """
    listed = list(kinds)
    for kind in listed:
        if kind == word:
            return kind
    raise Invalid(parameter, none_of(word, listed))


def states_of(words: Words) -> Sequence[State]:
    """Return the states to wait for.

    Raises:
        Invalid: a word is no state.
    """
    try:
        states = condition(FilterKey.STATE, words_of(words)).words
    except Invalid as error:
        raise Invalid("states", error.message) from None
    return [kind_of("states", word, State) for word in states]  # no job waits to be "stopped"


class BulkTerms(TypedDict, total=False):
    """The jobs that a bulk action selects, and the action."""

    ids: Annotated[tuple[JobId, ...], Meta(max_length=MOST_IDS)] | None
    filter: JobTerms | None
    reason: Reason
    priority: Annotated[Priority | None, Meta(description="Of `set_priority`.")]
    tags: Annotated[
        tuple[Annotated[str, Meta(max_length=MAX_URL)], ...],
        Meta(max_length=MOST_TAGS, description="Of `add_tags` and `remove_tags`."),
    ]
    scope: Annotated[RetryScope, Meta(description="Of `retry`.")]
    kinds: Kinds


def bulk_action(action: JobAction, terms: BulkTerms) -> BulkAction:
    """Return *action* with its arguments, which *terms* contains."""
    return BulkAction(
        action=action,
        reason=terms.get("reason", ""),
        priority=terms.get("priority"),
        tags=terms.get("tags", ()),
        scope=terms.get("scope", RetryScope.ALL),
        kinds=frozenset(terms.get("kinds", ())),
    )


def choose_jobs(terms: BulkTerms) -> Chosen:
    """Return the jobs that a bulk action selects.

    Raises:
        Invalid: neither ids nor a filter is given, or both are.
    """
    ids, where = terms.get("ids"), terms.get("filter")
    if (ids is None) is (where is None):
        raise Invalid("ids", "expected ids or a filter, one of the two")
    if where is None:
        return Chosen(ids=ids or ())
    try:
        return Chosen(where=conditions_of(where))
    except Invalid as error:
        raise Invalid(f"filter.{error.field}", error.message, error.position) from None
