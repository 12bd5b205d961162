"""The near side: the surface of an instance in this process."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import msgspec

from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.endpoint import Endpoint, Parameter, endpoints_of, split_words
from crawlyard.core.faults import faults_of
from crawlyard.core.parse import strange_names
from crawlyard.errors import Invalid
from crawlyard.services.surface import N, Surface
from crawlyard.yard import Yard


@asynccontextmanager
async def open(  # noqa: A001 - `crawlyard.open`
    settings: Settings | None = None, actor: Actor = LOCAL
) -> AsyncIterator[Surface]:
    """Open an instance in this process, creating its store if there is none, for one actor.

    Without *settings*, they come from the environment and `crawlyard.toml`. `jobs.run` crawls in
    this process. Jobs of `jobs.create` and of schedules stay queued until a worker runs them:
    start ``crawlyard work`` on the same data directory or database, in another process.

    Raises:
        Invalid, StoreUnavailable, Unavailable, SchemaMismatch: as `Yard.open`.
    """
    async with Yard.open(settings) as yard:
        yield NearSurface(yard.services, actor)


class NearSurface(Surface):
    """A surface that checks what it is asked as a server does, in the same words."""

    def _made(self, noun: type[N]) -> N:
        checks = {name: _checked(one) for name, one in endpoints_of(noun).items()}
        return super()._made(type(noun.__name__, (noun,), checks))


def _checked(one: Endpoint) -> Callable[..., Any]:
    @wraps(one.call)
    def call(self: object, *args: Any, **kwargs: Any) -> Any:
        known = {each.name: each for each in one.parameters}  # of few endpoints is it asked
        bound = one.signature.bind(self, *args, **kwargs)
        for name, value in list(bound.arguments.items())[1:]:
            if name in known:
                bound.arguments[name] = _converted(known[name], value)
            else:  # what ``**terms`` collected
                if strange := [*strange_names(value, list(known), "parameter")]:
                    raise Invalid.of(Invalid(path, message) for path, _, message in strange)
                given = {each: _converted(known[each], value[each]) for each in value}
                bound.arguments[name] = given
        return one.call(*bound.args, **bound.kwargs)

    return call


def _converted(parameter: Parameter, value: Any) -> Any:
    """Return an argument as its parameter takes it.

    Raises:
        Invalid: it does not.
    """
    if value is parameter.default or parameter.place in {"rest", "header"}:
        return value
    plain = msgspec.to_builtins(value) if value is not None else None
    try:
        given = msgspec.convert(plain, parameter.hint)
    except msgspec.ValidationError as error:
        name = parameter.alias
        faults = faults_of(plain, parameter.hint, error)
        raise Invalid.of(
            Invalid(f"{name}.{path}" if path else name, message) for path, _, message in faults
        ) from None
    if parameter.many and given is not None:  # as in a query, where commas separate words too
        return split_words((given,) if isinstance(given, str) else given)
    return given
