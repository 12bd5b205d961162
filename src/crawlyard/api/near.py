"""Local surface: an instance in this process."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial, wraps
from inspect import BoundArguments
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, Actor, Permit
from crawlyard.core.endpoints.endpoint import (
    KEY,
    OWN_ACCOUNT,
    Endpoint,
    Parameter,
    endpoints_of,
    split_words,
)
from crawlyard.core.endpoints.idempotency import MAX_KEY, SHOWN_ONCE, StoredReply, is_key
from crawlyard.core.faults import faults_of
from crawlyard.core.parse import strange_names
from crawlyard.errors import Conflict, Forbidden, Invalid, Refused
from crawlyard.services.idempotency import run_once
from crawlyard.services.noun import Noun
from crawlyard.services.surface import N, Surface
from crawlyard.yard import Yard


@asynccontextmanager
async def open(  # noqa: A001 - `crawlyard.open`
    settings: Settings | None = None, actor: Actor = LOCAL
) -> AsyncIterator[Surface]:
    """Open an instance in this process for one actor, creating its store if none exists.

    Without *settings*, they come from the environment and `crawlyard.toml`. `jobs.run` crawls in
    this process. Jobs of `jobs.create` and of schedules stay queued until a worker runs them:
    start ``crawlyard work`` on the same data directory or database, in another process.

    Raises:
        Invalid, StoreUnavailable, Unavailable, SchemaMismatch: as `Yard.open`.
    """
    async with Yard.open(settings) as yard:
        yield NearSurface(yard.services, actor)


class NearSurface(Surface):
    """Surface that validates arguments as a server does, with the same messages."""

    async def digest(self, data: bytes) -> str:
        """Return a hash of *data* under the key of the instance, the same on all its servers.

        Without the key, a guess of the data cannot be checked.
        """
        services, *_ = self._arguments
        return (await services.seal()).digest(data)

    def _noun(self, noun: type[N]) -> N:
        methods = {name: _local_method(endpoint) for name, endpoint in endpoints_of(noun).items()}
        return super()._noun(type(noun.__name__, (noun,), methods))


def _local_method(endpoint: Endpoint) -> Callable[..., Any]:
    @wraps(endpoint.call)
    def call(self: Noun, *args: Any, **kwargs: Any) -> Any:
        _check_scopes(self, endpoint)
        parameters = {
            each.name: each for each in endpoint.parameters
        }  # only when called: few endpoints are
        bound = endpoint.signature.bind(self, *args, **kwargs)
        key = bound.arguments.pop(KEY, None)
        for name, value in list(bound.arguments.items())[1:]:
            if name in parameters:
                bound.arguments[name] = _convert(parameters[name], value)
            else:  # collected by ``**terms``
                if strange := [*strange_names(value, list(parameters), "parameter")]:
                    raise Invalid.of(Invalid(path, message) for path, _, message in strange)
                arguments = {each: _convert(parameters[each], value[each]) for each in value}
                bound.arguments[name] = arguments
        if key is None:
            return endpoint.call(*bound.args, **bound.kwargs)
        return _call_once(endpoint, key, bound)

    return call


def _check_scopes(noun: Noun, endpoint: Endpoint) -> None:
    """Check that the credential of a request to a server permits the call, as `authorize` does."""
    caller = noun._caller  # noqa: SLF001 - of our own noun
    if caller is None:
        return
    missing = isinstance(endpoint.who, Permit) and endpoint.who not in caller.permits
    if missing or (endpoint.who is OWN_ACCOUNT and caller.credential.permits is not None):
        needs = endpoint.who if missing else "a token without scopes of its own"
        raise Forbidden(f"{endpoint.name} needs {needs}, which this token does not have")


async def _call_once(endpoint: Endpoint, key: str, bound: BoundArguments) -> Any:
    """Call an endpoint, or return the result of an earlier call with the same key and arguments.

    Raises:
        Invalid: the key is malformed.
        Refused: the key was used for another call.
        Conflict: the first call is still in progress.
    """
    if not is_key(key):
        raise Invalid(KEY, f"expected 1 to {MAX_KEY} printable characters, got {key[:50]!r}")
    bound.apply_defaults()
    if bound.arguments.get("dry_run"):  # changes nothing: the key may be used again
        return await endpoint.call(*bound.args, **bound.kwargs)
    noun, *arguments = bound.args
    services, now = noun._services, noun._services.clock.now()  # noqa: SLF001 - of our own noun
    content = msgspec.to_builtins([endpoint.name, arguments, bound.kwargs])
    call = StoredReply(
        asker=_digest(noun._actor.id)[:36],  # noqa: SLF001 - as above
        key=key,
        request=_digest(msgspec.json.encode(content, order="deterministic").decode()),
        created_at=now,
    )

    def reply_of(result: Struct) -> StoredReply:
        shown_once = {name: None for name in SHOWN_ONCE if name in result.__struct_fields__}
        body = msgspec.json.encode(replace(result, **shown_once))
        return replace(call, status=endpoint.status, body=body)

    run = partial(endpoint.call, *bound.args, **bound.kwargs)
    result = await run_once(services.store.replies, call, run, reply_of)
    if not isinstance(result, StoredReply):
        return result
    if result.request != call.request:
        raise Refused("the idempotency key was used for another call; use another")
    if not result.status:
        raise Conflict("the first call with this idempotency key is in progress")
    return msgspec.json.decode(result.body, type=endpoint.returns)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _convert(parameter: Parameter, value: Any) -> Any:
    """Convert an argument to the type of its parameter.

    Raises:
        Invalid: it has another type.
    """
    if value is parameter.default or parameter.place in {"rest", "header"}:
        return value
    plain = msgspec.to_builtins(value) if value is not None else None
    try:
        converted = msgspec.convert(plain, parameter.hint)
    except msgspec.ValidationError as error:
        name = parameter.alias
        faults = faults_of(plain, parameter.hint, error)
        raise Invalid.of(
            Invalid(f"{name}.{path}" if path else name, message) for path, _, message in faults
        ) from None
    if parameter.many and converted is not None:  # as in a query, where commas separate values
        return split_words((converted,) if isinstance(converted, str) else converted)
    return converted
