"""Services of an instance elsewhere: their endpoints are sent to it over HTTP."""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import msgspec

from crawlyard.client import AsyncClient
from crawlyard.client.asynchronous.calls import Calls
from crawlyard.client.transport import if_match, part, shaped
from crawlyard.core.endpoint import Endpoint, Header, Parameter, endpoints_of
from crawlyard.services.surface import NOUNS, Surface

S = TypeVar("S")

_PATIENT = "timeout_s"
"""The parameter for how long an endpoint may wait before it answers."""


@asynccontextmanager
async def connect(url: str | None = None, token: str | None = None) -> AsyncIterator[Surface]:
    """Connect to an instance that is served at *url*; *token* says who asks.

    Without them, ``CRAWLYARD_SERVER`` and ``CRAWLYARD_TOKEN`` say it. Nothing is sent before the
    first call.

    Raises:
        Invalid: nobody says where and who, or it cannot be right.
    """
    async with AsyncClient(url, token) as client:
        yield far_surface(client.calls)


def far_surface(calls: Calls) -> Surface:
    """Return the surface of the instance that *calls* reach, in the name of their token."""
    surface = Surface.__new__(Surface)
    for name, service in NOUNS.items():
        surface.__dict__[name] = far(service, calls)  # in place of the cached property
    return surface


def far(service: type[S], calls: Calls) -> S:
    """Return a *service* whose endpoints are requests."""
    methods = {name: _method(one, calls) for name, one in endpoints_of(service).items()}
    return cast("S", object.__new__(type(service.__name__, (service,), methods)))


def _method(one: Endpoint, calls: Calls) -> Callable[..., Any]:
    @wraps(one.call)
    async def send(_self: object, *args: Any, **kwargs: Any) -> Any:
        request = _request(one, args, kwargs)
        if one.yields is bytes:
            return _pieces(calls, request)
        silence = request.pop("silence_s", None)
        if silence is not None:
            silence += calls.server.timeout_s
        answer = await calls.send(**request, silence_s=silence)
        if one.returns is str:
            return answer.text
        if one.returns in (None, type(None)):
            return None
        return shaped(one.returns, answer.content, answer)

    return send


def _request(one: Endpoint, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that a call of an endpoint stands for."""
    given = _given(one, args, kwargs)

    def at(place: str) -> list[tuple[Parameter, Any]]:
        return [(each, given[each.name]) for each in one.at(place) if each.name in given]

    body: dict[str, Any] | None = None
    for _, rest in at("rest"):
        body = {**_plain(rest)}
    members = {each.alias: _plain(value) for each, value in at("body")}
    if members:
        body = {**(body or {}), **members}
    headers: dict[str, str] = {}
    for each in one.at("header"):
        headers |= _header(each.mark(Header), given.get(each.name))
    path = one.path.format_map({each.alias: part(str(value)) for each, value in at("path")})
    request = {
        "method": one.method,
        "path": path.removeprefix("/"),
        "params": {each.alias: _plain(value) for each, value in at("query")},
        "body": body,
        "headers": headers,
    }
    return request | ({"silence_s": given[_PATIENT]} if _PATIENT in given else {})


def _given(one: Endpoint, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call that are not what they are anyway, by their names."""
    signature = inspect.signature(one.call)
    known = {each.name: each for each in one.parameters}
    given: dict[str, Any] = {}
    for name, value in list(signature.bind(None, *args, **kwargs).arguments.items())[1:]:
        if name not in known:  # what ``**terms`` collected: there, None is something to say
            given |= value
        elif value is not known[name].default:
            given[name] = value
    return given


def _header(mark: Header | None, value: Any) -> dict[str, str]:
    if mark is None:
        return {}
    if mark.name == "If-Match":
        return if_match(value, required=mark.required)
    return {} if value is None else {mark.name: str(value)}


def _plain(value: Any) -> Any:
    return None if value is None else msgspec.to_builtins(value)


async def _pieces(calls: Calls, request: Mapping[str, Any]) -> AsyncIterator[bytes]:
    path, params, headers = request["path"], request["params"], request["headers"]
    async with calls.stream(path, params=params, headers=headers) as answer:
        async for piece in answer.aiter_bytes():
            yield piece
