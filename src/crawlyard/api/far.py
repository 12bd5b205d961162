"""Remote surface: an instance served elsewhere, called over HTTP."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, cast
from urllib.parse import quote

import httpx
import msgspec

from crawlyard.api.connection import Connection
from crawlyard.api.follow import Cursor, EventCursor, LogCursor, follow
from crawlyard.api.server import server_of
from crawlyard.core.endpoints.endpoint import KEY, Endpoint, Header, Parameter, endpoints_of, reply
from crawlyard.core.instance import ReadyOut
from crawlyard.core.jobs.answers import EventOut
from crawlyard.core.parse import strange_names
from crawlyard.errors import Invalid, Unavailable, Version
from crawlyard.services.surface import N, Surface

_TIMEOUT = "timeout_s"
"""Name of the parameter for the longest wait of an endpoint."""

_CURSORS = frozenset({"after", "last_event_id"})
"""Parameters for the start of a stream."""


@asynccontextmanager
async def connect(
    url: str | None = None,
    token: str | None = None,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Surface]:
    """Connect to the instance at *url* with *token*.

    They default to ``CRAWLYARD_SERVER`` and ``CRAWLYARD_TOKEN`` (or the file that
    ``CRAWLYARD_TOKEN_FILE`` names). The certificate authorities in the file that
    ``CRAWLYARD_CA_FILE`` names are trusted in addition to the system's. Nothing is sent before the
    first call. *transport* takes the cursor of the network, for tests.

    Raises:
        Invalid: no server or token is set, or one is malformed.
    """
    async with Connection(server_of(url, token), transport) as connection:
        yield FarSurface(connection)


class FarSurface(Surface):
    """Surface of a remote instance, with the rights of a token."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _noun(self, noun: type[N]) -> N:
        """Return a *noun* whose methods send requests."""
        methods = {
            n: _remote_method(endpoint, self._connection)
            for n, endpoint in endpoints_of(noun).items()
        }
        members = {**methods, "_here": False}
        return cast("N", object.__new__(type(noun.__name__, (noun,), members)))


async def ready(connection: Connection) -> ReadyOut:
    """Check that the server can work.

    Raises:
        Unavailable: it cannot, or did not answer.
    """
    answer = await connection.send("GET", "/readyz")
    return msgspec.json.decode(answer.content, type=ReadyOut)


def _remote_method(endpoint: Endpoint, connection: Connection) -> Callable[..., Any]:
    @wraps(endpoint.call)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if endpoint.yields in (None, bytes):
            return _send(endpoint, connection, args, kwargs)
        return _open_stream(self, endpoint, connection, _bind_arguments(endpoint, args, kwargs))

    return call


async def _send(
    endpoint: Endpoint, connection: Connection, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    arguments = _bind_arguments(endpoint, args, kwargs)
    request = _request(endpoint, arguments)
    if endpoint.yields is bytes:
        return _pieces(connection, request)
    waits = [
        arguments.get(_TIMEOUT, each.default)
        for each in endpoint.parameters
        if each.name == _TIMEOUT
    ]
    silence = waits[0] + connection.server.timeout_s if waits else None
    answer = await connection.send(endpoint.method, **request, silence_s=silence)
    reply().unchanged = answer.status_code == 200 and endpoint.status != 200
    if endpoint.returns is str:
        return answer.text
    if endpoint.returns in (None, type(None)):
        return None
    try:
        return msgspec.json.decode(answer.content, type=endpoint.returns)
    except msgspec.DecodeError as error:
        shape = getattr(endpoint.returns, "__name__", str(endpoint.returns))
        detail = f"{answer.request.url} did not answer with a valid {shape}: {error}"
        raise Unavailable(detail) from None


def _open_stream(
    noun: Any, endpoint: Endpoint, connection: Connection, arguments: dict[str, Any]
) -> AsyncIterator[Any]:
    after = next((arguments.pop(name) for name in sorted(_CURSORS & arguments.keys())), None)
    request = _request(endpoint, arguments)
    cursor: Cursor[Any]
    if endpoint.yields is EventOut:
        job = arguments.get("job") or arguments.get("job_id")
        cursor = EventCursor(noun, after, job, arguments.get("topics"))
    else:
        cursor = LogCursor(noun, after or 0, **arguments)
    return follow(cursor, connection, request["path"], request["params"])


def _request(endpoint: Endpoint, arguments: Mapping[str, Any]) -> dict[str, Any]:
    def at(place: str) -> list[tuple[Parameter, Any]]:
        return [
            (each, arguments[each.name]) for each in endpoint.at(place) if each.name in arguments
        ]

    body: dict[str, Any] | None = {} if endpoint.needs_body else None
    for _, rest in at("rest"):
        body = {**_plain(rest)}
    members = {each.alias: _plain(value) for each, value in at("body")}
    if members:
        body = {**(body or {}), **members}
    headers: dict[str, str] = {}
    for each in endpoint.at("header"):
        headers |= _header(each.mark(Header), arguments.get(each.name))
    if KEY in arguments:
        headers["Idempotency-Key"] = arguments[KEY]
    parts = {each.alias: quote(str(value), safe="") for each, value in at("path")}
    path = endpoint.path.format_map(parts)
    params = {each.alias: _plain(value) for each, value in at("query")}
    if endpoint.listed:  # by default, a list has only some of the fields
        params["fields"] = ",".join(endpoint.item.__struct_fields__)
    return {
        "path": path if "root" in endpoint.marks else path.removeprefix("/"),
        "params": params,
        "body": body,
        "headers": headers,
    }


def _bind_arguments(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call that differ from their defaults, by name."""
    parameters = {each.name: each for each in endpoint.parameters}
    arguments: dict[str, Any] = {}
    for name, value in list(endpoint.signature.bind(None, *args, **kwargs).arguments.items())[1:]:
        if name == KEY:
            arguments |= {} if value is None else {name: value}
        elif name not in parameters:  # collected by ``**terms``, where None has a meaning
            if strange := [*strange_names(value, list(parameters), "parameter")]:
                raise Invalid.of(Invalid(path, message) for path, _, message in strange)
            arguments |= value
        elif value is not parameters[name].default:
            arguments[name] = value
    return arguments


def _header(mark: Header | None, value: Any) -> dict[str, str]:
    if mark is None:
        return {}
    if mark.name == "If-Match":
        return _if_match(value, required=mark.required)
    return {} if value is None else {mark.name: str(value)}


def _if_match(version: Version, *, required: bool) -> dict[str, str]:
    """Return the If-Match header for a change to a version.

    ``None`` is any version; it is sent only where the server *required* the header.
    """
    if version is None:
        return {"If-Match": "*"} if required else {}
    versions = version if isinstance(version, tuple) else (version,)
    return {"If-Match": ", ".join(f'"v{each}"' for each in versions)}


def _plain(value: Any) -> Any:
    return None if value is None else msgspec.to_builtins(value)


async def _pieces(connection: Connection, request: Mapping[str, Any]) -> AsyncIterator[bytes]:
    path, params = request["path"], request["params"]
    headers = {
        "Accept": "*/*",
        **request["headers"],
    }  # a file, in the default format of its endpoint
    async with connection.stream(path, params=params, headers=headers) as answer:
        async for piece in answer.aiter_bytes():
            yield piece
