"""The far side: the surface of an instance that is served elsewhere, asked over HTTP."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, cast
from urllib.parse import quote

import httpx
import msgspec

from crawlyard.api.connection import Connection
from crawlyard.api.follow import EventPlace, LogPlace, Place, followed
from crawlyard.api.server import server_of
from crawlyard.core.endpoints.endpoint import KEY, Endpoint, Header, Parameter, endpoints_of, reply
from crawlyard.core.instance import ReadyOut
from crawlyard.core.jobs.answers import EventOut
from crawlyard.core.parse import strange_names
from crawlyard.errors import Invalid, Unavailable, Version
from crawlyard.services.surface import N, Surface

_PATIENT = "timeout_s"
"""The parameter for how long an endpoint may wait before it answers."""

_PLACE = frozenset({"after", "last_event_id"})
"""Parameters for where to begin to follow."""


@asynccontextmanager
async def connect(
    url: str | None = None,
    token: str | None = None,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Surface]:
    """Connect to an instance that is served at *url*; *token* says who asks.

    Without them, ``CRAWLYARD_SERVER`` and ``CRAWLYARD_TOKEN`` (or the file that
    ``CRAWLYARD_TOKEN_FILE`` names) say it. The certificate authorities in the file that
    ``CRAWLYARD_CA_FILE`` names are trusted in addition to the system's. Nothing is sent before the
    first call. *transport* takes the place of the network, for tests.

    Raises:
        Invalid: nobody says where and who, or it cannot be right.
    """
    async with Connection(server_of(url, token), transport) as connection:
        yield FarSurface(connection)


class FarSurface(Surface):
    """The surface of the instance that a connection reaches, in the name of its token."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _made(self, noun: type[N]) -> N:
        """Return a *noun* whose endpoints are requests."""
        methods = {n: _asked(one, self._connection) for n, one in endpoints_of(noun).items()}
        members = {**methods, "_here": False}
        return cast("N", object.__new__(type(noun.__name__, (noun,), members)))


async def ready(connection: Connection) -> ReadyOut:
    """Check that the server can work.

    Raises:
        Unavailable: it cannot, or nobody answered.
    """
    answer = await connection.send("GET", "/readyz")
    return msgspec.json.decode(answer.content, type=ReadyOut)


def _asked(one: Endpoint, connection: Connection) -> Callable[..., Any]:
    @wraps(one.call)
    def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
        if one.yields in (None, bytes):
            return _sent(one, connection, args, kwargs)
        return _followed(self, one, connection, _given(one, args, kwargs))

    return ask


async def _sent(
    one: Endpoint, connection: Connection, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    given = _given(one, args, kwargs)
    request = _request(one, given)
    if one.yields is bytes:
        return _pieces(connection, request)
    waits = [given.get(_PATIENT, each.default) for each in one.parameters if each.name == _PATIENT]
    silence = waits[0] + connection.server.timeout_s if waits else None
    answer = await connection.send(one.method, **request, silence_s=silence)
    reply().unchanged = answer.status_code == 200 and one.status != 200
    if one.returns is str:
        return answer.text
    if one.returns in (None, type(None)):
        return None
    try:
        return msgspec.json.decode(answer.content, type=one.returns)
    except msgspec.DecodeError as error:
        shape = getattr(one.returns, "__name__", str(one.returns))
        said = f"{answer.request.url} answered with what is no {shape}: {error}"
        raise Unavailable(said) from None


def _followed(
    noun: Any, one: Endpoint, connection: Connection, given: dict[str, Any]
) -> AsyncIterator[Any]:
    after = next((given.pop(name) for name in sorted(_PLACE & given.keys())), None)
    request = _request(one, given)
    place: Place[Any]
    if one.yields is EventOut:
        job = given.get("job") or given.get("job_id")
        place = EventPlace(noun, after, job, given.get("topics"))
    else:
        place = LogPlace(noun, after or 0, **given)
    return followed(place, connection, request["path"], request["params"])


def _request(one: Endpoint, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that a call of an endpoint stands for."""

    def at(place: str) -> list[tuple[Parameter, Any]]:
        return [(each, given[each.name]) for each in one.at(place) if each.name in given]

    body: dict[str, Any] | None = {} if one.needs_body else None
    for _, rest in at("rest"):
        body = {**_plain(rest)}
    members = {each.alias: _plain(value) for each, value in at("body")}
    if members:
        body = {**(body or {}), **members}
    headers: dict[str, str] = {}
    for each in one.at("header"):
        headers |= _header(each.mark(Header), given.get(each.name))
    if KEY in given:
        headers["Idempotency-Key"] = given[KEY]
    parts = {each.alias: quote(str(value), safe="") for each, value in at("path")}
    path = one.path.format_map(parts)
    params = {each.alias: _plain(value) for each, value in at("query")}
    if one.listed:  # unless they are named, a list has some of the fields alone
        params["fields"] = ",".join(one.item.__struct_fields__)
    return {
        "path": path if "root" in one.marks else path.removeprefix("/"),
        "params": params,
        "body": body,
        "headers": headers,
    }


def _given(one: Endpoint, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call that are not what they are anyway, by their names."""
    known = {each.name: each for each in one.parameters}
    given: dict[str, Any] = {}
    for name, value in list(one.signature.bind(None, *args, **kwargs).arguments.items())[1:]:
        if name == KEY:
            given |= {} if value is None else {name: value}
        elif name not in known:  # what ``**terms`` collected: there, None is something to say
            if strange := [*strange_names(value, list(known), "parameter")]:
                raise Invalid.of(Invalid(path, message) for path, _, message in strange)
            given |= value
        elif value is not known[name].default:
            given[name] = value
    return given


def _header(mark: Header | None, value: Any) -> dict[str, str]:
    if mark is None:
        return {}
    if mark.name == "If-Match":
        return _if_match(value, required=mark.required)
    return {} if value is None else {mark.name: str(value)}


def _if_match(version: Version, *, required: bool) -> dict[str, str]:
    """Return the header by which a change is made to one version alone.

    ``None`` is whichever there is; where a server wants it said (*required*), it is said.
    """
    if version is None:
        return {"If-Match": "*"} if required else {}
    versions = version if isinstance(version, tuple) else (version,)
    return {"If-Match": ", ".join(f'"v{each}"' for each in versions)}


def _plain(value: Any) -> Any:
    return None if value is None else msgspec.to_builtins(value)


async def _pieces(connection: Connection, request: Mapping[str, Any]) -> AsyncIterator[bytes]:
    path, params = request["path"], request["params"]
    headers = {"Accept": "*/*", **request["headers"]}  # a file, in the format of its endpoint
    async with connection.stream(path, params=params, headers=headers) as answer:
        async for piece in answer.aiter_bytes():
            yield piece
