"""Endpoints: operations of an instance, declared on the service methods that implement them.

A web route, the OpenAPI document, the remote method and the synchronous client are all
made from the declaration. A parameter that is named in the path is in the path; one marked with
`Header` is a header; one marked with `REST` is the rest of the JSON body; all others are in the
query of GET and DELETE, and members of the JSON body otherwise. Parameters collected by
``**name: Unpack[Terms]`` count one by one.
"""

import inspect
import re
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextvars import ContextVar
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, Unpack, cast, get_args, get_origin

from msgspec import Meta, Struct

from crawlyard.core.access.user import Permit
from crawlyard.errors import Version

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
S = TypeVar("S")


class Slice(Struct, Generic[T], frozen=True, kw_only=True, tag_field="object", tag="list"):
    """A part of a list; *next_cursor* identifies the next part, ``None``: this is the last."""

    items: list[T]
    next_cursor: str | None = None
    has_more: bool = False
    total: int | None = None  # if requested


KEY = "idempotency_key"
"""The parameter for an `IdempotencyKey`."""


class Header(Struct, frozen=True):
    """Marks a parameter that is a header of the request."""

    name: str
    required: bool = False


class Rest(Struct, frozen=True):
    """Marks a mapping that takes all members of the body that no other parameter takes."""

    form: str  # schema of the body: "job", "change", …


class Default(Struct, frozen=True):
    """Marks a member of ``**name: Unpack[Terms]`` that has a value when it is absent."""

    value: Any


class Who(Struct, frozen=True):
    """Access rule of an endpoint that needs no particular permit."""

    doc: str


NOBODY = Who("no sign-in needed")
ANYBODY = Who("any signed-in user")
OWN_ACCOUNT = Who("any signed-in user, but not with a token limited to some permits")

IfMatch = Annotated[Version, Header("If-Match")]
"""The expected version; several: any of them; ``None``: any version."""

MustMatch = Annotated[Version, Header("If-Match", required=True)]
"""The same, but over HTTP the header is required (``*``: any version)."""

IdempotencyKey = Annotated[str | None, Header("Idempotency-Key")]
"""A key chosen by the caller: a repeated call within a day returns the first result.

`crawlyard.open` reads it in this process, and the web for all endpoints: methods ignore it.
"""

Word = Annotated[str, Meta(max_length=500)]
Words = Annotated[Annotated[tuple[Word, ...], Meta(max_length=100)] | Word, "words"]
"""Alternatives. In a query they may be repeated or separated by commas: see `split_words`."""

Instant = Annotated[datetime, Meta(tz=True, examples=["2027-01-01T08:00:00Z"])]

LONGEST_REF = 200
Ref = Annotated[
    str, Meta(max_length=LONGEST_REF, description="An id, a name of your own, or `OWNER%2FNAME`.")
]
"""Reference to a template or a schedule in a path."""

Owner = Annotated[str, Meta(max_length=64, description="`me`, or a user id.")]

LARGEST_PART = 200
"""Maximum items of one part of a list."""

Limit = Annotated[int, Meta(ge=1, le=LARGEST_PART, description="Maximum items per page.")]
Cursor = (
    Annotated[str, Meta(max_length=1000, description="`next_cursor` of the previous page.")] | None
)


_PART = re.compile(r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"\s*|(?P<plain>[^,]*))(?:,|\Z)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def split_words(texts: Iterable[str]) -> tuple[str, ...]:
    r"""Return the words between the commas of *texts*; `"…"` keeps a word with commas together.

    `\"` and `\\` in quotes stand for `"` and `\`.
    """
    words: list[str] = []
    for part in (part for text in texts for part in _PART.finditer(text)):
        plain = part["plain"]
        words.append(_ESCAPED.sub(r"\1", part["quoted"]) if plain is None else plain.strip())
    return tuple(filter(None, words))


class ResponseMeta(Struct):
    """Properties of a response beside its result; over HTTP, its status and headers."""

    unchanged: bool = False  # nothing changed
    dry_run: bool = False  # nothing changed: its Idempotency-Key may be used again
    status: int | None = None  # replaces that of its endpoint
    location: str = ""
    gone: Callable[[], Awaitable[bool]] | None = None  # asks if the client has disconnected


_reply: ContextVar[ResponseMeta | None] = ContextVar("reply", default=None)


def reply() -> ResponseMeta:
    """Return the reply of the current call, for the endpoint to fill in."""
    return _reply.get() or ResponseMeta()


def begin_reply(is_disconnected: Callable[[], Awaitable[bool]] | None = None) -> ResponseMeta:
    """Begin a call of an endpoint, local or remote, whose `reply` is used afterwards."""
    begun = ResponseMeta(gone=is_disconnected)
    _reply.set(begun)
    return begun


class Parameter(Struct, frozen=True, kw_only=True):
    """A parameter of an endpoint, and its place in a request."""

    name: str  # of the method
    alias: str  # in the request
    hint: Any  # its type, without None and marks
    default: Any  # `inspect.Parameter.empty`: it is required
    place: str  # path, header, rest, query or body
    metas: tuple[Any, ...]

    @property
    def required(self) -> bool:
        """True if it has no default."""
        return self.default is inspect.Parameter.empty

    def mark(self, kind: type[S]) -> S | None:
        """Return its mark of a kind; ``None`` if it has none."""
        return next((meta for meta in self.metas if isinstance(meta, kind)), None)

    @property
    def many(self) -> bool:
        """True if a query may repeat it."""
        return "words" in self.metas


class Endpoint(Struct, frozen=True, kw_only=True, dict=True):
    """One method of a service, as an operation of the API."""

    noun: str  # "jobs": the attribute of the surface
    group: str  # in the document
    named: str = ""  # name in the document, if not that of the method
    method: str
    path: str  # "/jobs/{job_id}"
    who: Permit | Who
    status: int
    call: Callable[..., Any]
    marks: frozenset[str] = frozenset()
    """``seq``: its answer has the seq of the last event; ``root``: its path is outside the API;
    ``live``: it changes while its version stays; ``file``: it is a file; ``html``: also a web page;
    ``same``: it shares another's route. A number, such as ``404``: an alternative status."""

    example: Mapping[str, Any] | None = None  # of a body
    listed: tuple[str, ...] = ()  # fields of an item that HTTP sends unless `fields` names others

    @property
    def name(self) -> str:
        """Its name in the document: ``jobs_pause``."""
        return f"{self.group}_{self.named or self.call.__name__.strip('_')}"

    @cached_property
    def signature(self) -> inspect.Signature:
        """Signature of the Python method, which declares its parameters."""
        return inspect.signature(self.call)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Arguments of the method, each with its place in a request."""
        return tuple(self._parameters())

    def at(self, *places: str) -> list[Parameter]:
        """Return the parameters in these *places* of a request, such as path and query."""
        return [parameter for parameter in self.parameters if parameter.place in places]

    @property
    def needs_body(self) -> bool:
        """True if a request must have a body, even an empty object."""
        return self.method == "PATCH" or any(parameter.required for parameter in self.at("rest"))

    @cached_property
    def returns(self) -> Any:
        """Type of its result."""
        return typing.get_type_hints(self.call, include_extras=True)["return"]

    @property
    def item(self) -> type[Struct]:
        """Type of the items, if it returns a list."""
        kind: type[Struct] = get_args(self.returns)[0]
        return kind

    @cached_property
    def yields(self) -> Any:
        """Type of the items that it streams; ``None`` if it is not a stream."""
        streams = get_origin(self.returns) in (AsyncIterator, AsyncGenerator)
        return get_args(self.returns)[0] if streams else None

    def _parameters(self) -> Iterator[Parameter]:
        hints = typing.get_type_hints(self.call, include_extras=True)
        for name, parameter in self.signature.parameters.items():
            if name in {"self", KEY}:
                continue
            if parameter.kind is parameter.VAR_KEYWORD:
                terms = get_args(hints[name])[0] if get_origin(hints[name]) is Unpack else {}
                for inner, hint in typing.get_type_hints(terms, include_extras=True).items():
                    yield self._parameter(inner, hint, None)
            else:
                yield self._parameter(name, hints[name], parameter.default)

    def _parameter(self, name: str, hint: Any, default: Any) -> Parameter:
        kind, metas = split_marks(hint)
        default = next((mark.value for mark in metas if isinstance(mark, Default)), default)
        rest = "query" if self.method in {"GET", "DELETE"} else "body"
        place, alias = rest, name.removesuffix("_")
        header = next((meta for meta in metas if isinstance(meta, Header)), None)
        if f"{{{name}}}" in self.path:
            place = "path"
        elif header is not None:
            place, alias = "header", header.name
        elif any(isinstance(meta, Rest) for meta in metas):
            place = "rest"
        elif "query" in metas:
            place = "query"
        return Parameter(
            name=name,
            alias=alias,
            hint=kind,
            default=default,
            place=place,
            metas=tuple(metas),
        )


def split_marks(hint: Any) -> tuple[Any, list[Any]]:
    """Return a type without the marks that msgspec does not know, and all its marks."""
    metas: list[Any] = []
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        metas += marks
        own_metas = [meta for meta in marks if isinstance(meta, Meta)]
        kind, below = split_marks(inner)
        metas += below
        return (Annotated[(kind, *own_metas)] if own_metas else kind), metas
    return hint, metas


def endpoint(
    route: str,
    access: Permit | Who,
    *marks: str,
    status: int = 200,
    noun: str = "",
    group: str = "",
    name: str = "",
    example: Mapping[str, Any] | None = None,
    listed: tuple[str, ...] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a method of a service as the endpoint of *route*, such as ``GET /jobs/{job_id}``.

    The noun is the first part of the path unless it is named, and the group in the document is
    the noun. There, *name* is that of the method unless it is given. Over HTTP, items of a list
    have the fields *listed*, if there are any, unless the request names others.
    """
    method, path = route.split()
    noun = noun or re.split(r"[/{]", path)[1]

    def declare(call: Callable[P, R]) -> Callable[P, R]:
        call.endpoint = Endpoint(  # type: ignore[attr-defined]  # read by `endpoints_of`
            noun=noun,
            group=group or noun,
            named=name,
            method=method,
            path=path,
            who=access,
            status=status,
            call=call,
            marks=frozenset(marks),
            example=example,
            listed=listed,
        )
        return call

    return declare


def composed_method(call: Callable[P, R]) -> Callable[P, R]:
    """Declare a public method that calls endpoints of its noun but is not one.

    It is the same locally and remotely, and has no route.
    """
    call.composed = True  # type: ignore[attr-defined]  # read by `methods_of`
    return call


def methods_of(service: type) -> dict[str, Callable[..., Any]]:
    """Return the public methods of *service*: its endpoints, and those composed of them."""
    methods = {n: e.call for n, e in endpoints_of(service).items() if not n.startswith("_")}
    for kind in reversed(service.__mro__):
        methods |= {n: m for n, m in vars(kind).items() if hasattr(m, "composed")}
    return methods


def endpoints_of(service: type) -> dict[str, Endpoint]:
    """Return the endpoints of *service*, and of what it inherits, by the names of its methods."""
    endpoints: dict[str, Endpoint] = {}
    for kind in reversed(service.__mro__):
        endpoints |= {n: m.endpoint for n, m in vars(kind).items() if hasattr(m, "endpoint")}
    return endpoints


def make_slice(
    records: Sequence[S],
    limit: int,
    shape: Callable[[S], T],
    position: Callable[[S], str | int],
    total: int | None = None,
) -> Slice[T]:
    """Return a list part from *records*, which were read with a limit of one more than *limit*."""
    more = len(records) > limit
    first_records = records[:limit]
    cursor = str(position(first_records[-1])) if more else None
    items = [shape(record) for record in first_records]
    return Slice(items=items, next_cursor=cursor, has_more=more, total=total)


async def wait_in_steps(
    wait: Callable[..., Awaitable[T]],
    is_over: Callable[[T], bool],
    timeout_s: float | None,
    step_s: float,
    first_s: float | None = None,
) -> T:
    """Return what a long wait returns, made of calls of *wait* with a `timeout_s` of their own.

    It ends once *is_over*, or after *timeout_s*; ``None``: never. A call takes at most *step_s*,
    the first one *first_s* if given.
    """
    waited_s = 0.0
    while True:
        longest_s = step_s if waited_s or first_s is None else first_s
        left_s = longest_s if timeout_s is None else min(timeout_s - waited_s, longest_s)
        result = await wait(timeout_s=left_s)
        waited_s += left_s
        if (timeout_s is not None and waited_s >= timeout_s) or is_over(result):
            return result


async def every(
    ask: Callable[..., Awaitable[Slice[T]]] | Callable[..., AsyncIterator[T]],
    *args: Any,
    limit: int | None = None,
    **terms: Any,
) -> AsyncIterator[T]:
    """Yield the items of a list, at most *limit*, part by part.

    For example ``every(yard.jobs.list, state="failed")``.
    """
    if inspect.isasyncgenfunction(ask):  # it pages by itself
        async for item in ask(*args, **terms, limit=limit):
            yield item
        return
    remaining, cursor = limit, None
    list_part = cast("Callable[..., Awaitable[Slice[T]]]", ask)
    while remaining is None or remaining > 0:
        size = LARGEST_PART if remaining is None else min(remaining, LARGEST_PART)
        part = await list_part(*args, **terms, limit=size, cursor=cursor)
        for item in part.items:
            yield item
        remaining = None if remaining is None else remaining - len(part.items)
        cursor = part.next_cursor
        if cursor is None:
            return
