"""The near side: the surface of an instance in this process."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from inspect import BoundArguments
from typing import Any

import msgspec
from msgspec.structs import replace

from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.endpoints.endpoint import KEY, Endpoint, Parameter, endpoints_of, split_words
from crawlyard.core.endpoints.idempotency import (
    DEAD_AFTER,
    MAX_KEY,
    REPLIES_LAST,
    SHOWN_ONCE,
    Reply,
    is_key,
)
from crawlyard.core.faults import faults_of
from crawlyard.core.parse import strange_names
from crawlyard.errors import Conflict, Invalid, Refused
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
        key = bound.arguments.pop(KEY, None)
        for name, value in list(bound.arguments.items())[1:]:
            if name in known:
                bound.arguments[name] = _converted(known[name], value)
            else:  # what ``**terms`` collected
                if strange := [*strange_names(value, list(known), "parameter")]:
                    raise Invalid.of(Invalid(path, message) for path, _, message in strange)
                given = {each: _converted(known[each], value[each]) for each in value}
                bound.arguments[name] = given
        if key is None:
            return one.call(*bound.args, **bound.kwargs)
        return _once(one, key, bound)

    return call


async def _once(one: Endpoint, key: str, bound: BoundArguments) -> Any:
    """Call an endpoint, or return what a call with the same key and arguments did.

    Raises:
        Invalid: it is no key.
        Refused: the key was used for another call.
        Conflict: the first call is still in progress.
    """
    if not is_key(key):
        raise Invalid(KEY, f"expected 1 to {MAX_KEY} printable characters, got {key[:50]!r}")
    bound.apply_defaults()
    if bound.arguments.get("dry_run"):  # nothing is done: the key may be used again
        return await one.call(*bound.args, **bound.kwargs)
    noun, *arguments = bound.args
    services, now = noun._services, noun._services.clock.now()  # noqa: SLF001 - of our own noun
    said = msgspec.to_builtins([one.name, arguments, bound.kwargs])
    call = Reply(
        asker=_digest(noun._actor.id)[:36],  # noqa: SLF001 - as above
        key=key,
        request=_digest(msgspec.json.encode(said, order="deterministic").decode()),
        created_at=now,
    )
    replies = services.store.replies
    known = await replies.begin(call, now - REPLIES_LAST, now - DEAD_AFTER)
    if known is not None:
        if known.request != call.request:
            raise Refused("the idempotency key was used for another call; use another")
        if not known.status:
            raise Conflict("the first call with this idempotency key is in progress")
        return msgspec.json.decode(known.body, type=one.returns)
    try:
        result = await one.call(*bound.args, **bound.kwargs)
    except BaseException:
        await replies.drop(call.asker, key)  # it may be made again, corrected
        raise
    shown_once = {name: None for name in SHOWN_ONCE if name in one.returns.__struct_fields__}
    body = msgspec.json.encode(replace(result, **shown_once))
    await replies.settle(replace(call, status=one.status, body=body))
    return result


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
