"""Plain commands of a noun: each calls one endpoint, and writes the record that this returns."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import typer
from msgspec import Struct

from crawlyard.cli.invoke import action
from crawlyard.cli.render.output import View
from crawlyard.cli.values import Ceiling
from crawlyard.core.endpoint import every
from crawlyard.errors import Invalid

if TYPE_CHECKING:
    from crawlyard.cli.session import Session

M = TypeVar("M", bound=Struct)
Declare: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]
"""Adds the command that a function without a body declares by its name, parameters and help."""


class PlainCommands(Struct, Generic[M], frozen=True, kw_only=True):
    """The commands of one noun that need no code of their own.

    A command is declared by a function without a body: its name is that of the endpoint, its first
    parameter what the command is about, and the others are parameters of the endpoint.
    """

    app: typer.Typer
    noun: str  # of the surface: "workers"
    view: Callable[[datetime], View[M]]
    find: Callable[["Session", str], Awaitable[str]] | None = None
    """Returns the id that a word means; ``None``: the words are ids."""

    def list(self, none: str, *, first: str = "newest", empty: bool = False) -> Declare:
        """Declare a list; *none* is said if there is nothing, and which are *first* if it is cut.

        *empty* is that of `invoke.run`.
        """

        async def act(session: "Session", _: str, **options: int | None) -> None:
            endpoint, limit = self._endpoint(session, "list"), options.get("limit", 0)
            if options:
                records: Any = every(endpoint, limit=session.most(limit))
            else:  # the endpoint returns everything at once
                records = (await endpoint()).items
            shown = await session.listed(records, self.view(session.clock.now()))
            session.tell_rest(shown, limit, none, first)

        return self._declare(act, "list", empty=empty)

    def show(self) -> Declare:
        """Declare a command that shows all that is known of one thing."""

        async def act(session: "Session", _: str, word: str) -> None:
            name = word if self.find is None else await self.find(session, word)
            record = await self._endpoint(session, "get")(name)
            await session.show(record, self.view(session.clock.now()))

        return self._declare(act, "show")

    def change(self, done: str, *, edits: bool = False, **settings: Any) -> Declare:
        """Declare a command that changes one thing, or each that is named, and says what is *done*.

        If it *edits*, it needs an option that says what. *settings* are those of `action`.
        """

        async def act(
            session: "Session", verb: str, words: str | Sequence[str], **options: Any
        ) -> int:
            given = {name: _value(value) for name, value in options.items() if value is not None}
            if edits and not given:
                flags = ", ".join(session.labels.options[name] for name in options)
                raise Invalid(f"{self.noun} {verb}", f"expected something to change: {flags}")
            change = partial(self._endpoint(session, verb), **given)
            return await self.each(
                session, [words] if isinstance(words, str) else words, change, done
            )

        return self._declare(act, **settings)

    async def each(
        self,
        session: "Session",
        words: Sequence[str],
        change: Callable[[str], Awaitable[M | None]],
        done: str,
    ) -> int:
        """Change each thing that *words* mean; write what they are now if that was asked for."""
        view = self.view(session.clock.now())

        async def act(name: str) -> tuple[str, M | None]:
            record = await change(name)  # None: it is gone
            return view.key(record) if record is not None else name, record

        code, results = await session.each(
            words,
            act,
            lambda result: f"{done}: {result[0]}",
            find=self.find and partial(self.find, session),
        )
        if not code:
            records = [record for _, record in results if record is not None]
            await session.changed(records, view, one=len(words) == 1)
        return code

    def _endpoint(self, session: "Session", name: str) -> Callable[..., Any]:
        endpoint: Callable[..., Any] = getattr(getattr(session.surface, self.noun), name)
        return endpoint

    def _declare(
        self, act: Callable[..., Awaitable[int | None]], name: str = "", **settings: Any
    ) -> Declare:
        def declare(declared: Callable[..., None]) -> Callable[..., None]:
            verb = name or declared.__name__.rstrip("_")
            parameters = inspect.signature(declared).parameters.values()
            arguments = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]

            @functools.wraps(declared)
            async def command(session: "Session", **given: Any) -> int | None:
                words = [given.pop(argument) for argument in arguments]
                return await act(session, verb, *words, **given)

            signature = inspect.Signature([_SESSION, *parameters])
            command.__signature__ = signature  # type: ignore[attr-defined]  # read by `action`
            self.app.command(verb)(action(**settings)(command))
            return declared

        return declare


def _value(value: Any) -> Any:
    """Return the value of an option as an endpoint takes it: "none" is null, or an empty list."""
    if isinstance(value, list):
        return tuple(_value(item) for item in value if item != Ceiling(None))
    return value.value if isinstance(value, Ceiling) else value


_SESSION = inspect.Parameter("session", inspect.Parameter.POSITIONAL_OR_KEYWORD)
