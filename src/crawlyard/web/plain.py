"""Routes of no noun, for which nobody need sign in: health, what problems mean, the reference."""

import asyncio
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crawlyard.core.answers.base import API, Wire, encoded
from crawlyard.core.answers.fleet.health import HealthOut, ProblemKindOut, ReadyOut
from crawlyard.errors import NotFound, Unavailable
from crawlyard.services.fleet.readiness import ready
from crawlyard.web import reference
from crawlyard.web.asking import site_of
from crawlyard.web.errors.explaining import kind_of, page_of
from crawlyard.web.errors.problems import KINDS
from crawlyard.web.routes import Handler, OneMethod, answered

_READY_WITHIN_S = 5
_DAY = "public, max-age=86400"
_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"

_log = logging.getLogger(__name__)


async def healthz(_request: Request) -> Response:
    """Tell that the process lives."""
    return _json(HealthOut())


async def readyz(request: Request) -> Response:
    """Tell that requests can be answered: the store is there, with the tables that it must have.

    Without its Redis, a server is slower and as ready.
    """
    site = site_of(request)
    if site.live.closed:
        raise Unavailable("the server is to end")
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            await site.yard.store.check()
    except (Unavailable, TimeoutError) as error:
        # who asks is not known: what the store is called is not for everybody
        _log.warning("not ready: %s", str(error) or "the store does not answer in time")
        raise Unavailable("the store does not answer, or is not as it must be") from None
    return _json(ready(site.yard.bus.reach))


async def problem(request: Request) -> Response:
    """Return what a type of problem means and what to do: a page, or JSON by Accept."""
    kind = str(request.path_params["kind"])
    code = kind.replace("-", "_")
    if code not in KINDS:
        raise NotFound(f"no problem {kind[:64]}")
    told, accept = kind_of(code), request.headers.get("accept", "")
    if "json" in accept and "text/html" not in accept:
        return _json(told)
    return HTMLResponse(page_of(told), headers={"Vary": "Accept"})


async def docs(request: Request) -> Response:
    """Return the reference, made of the OpenAPI document."""
    server = f"{request.url.scheme}://{request.url.netloc}"
    page = reference.page_of(request.app.state.document(), css="docs.css", server=server)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


async def css(_request: Request) -> Response:
    """Return its style sheet."""
    return Response(reference.CSS, media_type="text/css", headers={"Cache-Control": _DAY})


def _json(shape: Wire) -> Response:
    return Response(encoded(shape), media_type="application/json")


class Plain(Struct, frozen=True, kw_only=True):
    """A GET of no noun, and what the document says of it."""

    path: str
    call: Handler
    name: str = ""  # in the document; empty: it is not there
    groups: tuple[str, ...] = ()
    answers: type[Wire] | None = None
    page: bool = False  # it answers with a page as well
    statuses: tuple[int, ...] = ()  # of its problems, beside those of all

    @property
    def route(self) -> OneMethod:
        """Return its route."""

        async def endpoint(request: Request) -> Response:
            return await answered(request, self.call)

        return OneMethod(self.path, endpoint, "GET")


PLAIN = (
    Plain(
        path="/healthz",
        call=healthz,
        name="monitoring_healthz",
        groups=("monitoring",),
        answers=HealthOut,
    ),
    Plain(
        path="/readyz",
        call=readyz,
        name="monitoring_readyz",
        groups=("monitoring",),
        answers=ReadyOut,
    ),
    Plain(
        path="/problems/{kind}",
        call=problem,
        name="problems_get",
        groups=("monitoring", "problems"),
        answers=ProblemKindOut,
        page=True,
        statuses=(404, 422),
    ),
    Plain(path=f"{API}/docs", call=docs),
    Plain(path=f"{API}/docs.css", call=css),
)


def described() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the paths that the document has, and the schemas that they refer to."""
    shown = [one for one in PLAIN if one.answers is not None]
    found, components = msgspec.json.schema_components(
        [one.answers for one in shown], ref_template="#/components/schemas/{name}"
    )
    paths = {
        one.path: {"get": _described(one, schema)} for one, schema in zip(shown, found, strict=True)
    }
    return paths, components


def _described(one: Plain, schema: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if one.page:
        content["text/html"] = {"schema": {"type": "string"}}
    told: dict[str, Any] = {
        "operationId": one.name,
        "tags": list(one.groups),
        "description": inspect.getdoc(one.call) or "",
        "responses": {"200": {"description": "As asked", "content": content}}
        | {str(status): {} for status in one.statuses},
    }
    if "{kind}" in one.path:
        text = {"type": "string", "maxLength": 200}
        told["parameters"] = [{"name": "kind", "in": "path", "required": True, "schema": text}]
    return told
