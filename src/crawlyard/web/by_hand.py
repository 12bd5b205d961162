"""Endpoints with answers of their own: files, parts of pages, streams, cookies."""

import re
from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from crawlyard.core.crawl.page import Body
from crawlyard.core.endpoints.endpoint import Endpoint, endpoints_of
from crawlyard.core.endpoints.idempotency import REPLIES_LAST
from crawlyard.core.events.event import Topic
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.job_log import Level, LevelWord
from crawlyard.core.templates.template import FileFormat
from crawlyard.export import atom
from crawlyard.export.base import Format, file_name
from crawlyard.services import surface
from crawlyard.services.events.event_feed import EventFeed
from crawlyard.services.instance.meta import Meta
from crawlyard.services.instance.metrics import MEDIA_TYPE as EXPOSITION
from crawlyard.services.instance.monitoring import Monitoring
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.noun import Noun
from crawlyard.services.results.results import Results
from crawlyard.services.results.site import CrawledSite
from crawlyard.services.schedules.schedules import Schedules
from crawlyard.services.search.pages import Pages
from crawlyard.services.templates.templates import Templates
from crawlyard.web.auth import count, proved, site_of
from crawlyard.web.endpoints import ByHand, answer, arguments, tag_of
from crawlyard.web.live.hub import Hub
from crawlyard.web.live.stream import LogWish, Stream, Wish
from crawlyard.web.paging import DEFAULT, MOST
from crawlyard.web.problems import Problem
from crawlyard.web.rates import PER_MINUTE, Bucket
from crawlyard.web.routes import DEEPEST, json_answer
from crawlyard.web.server_endpoints import (
    ServerStatus,
    SigningIn,
    answer_health,
    answer_problem,
    answer_with_cookie,
)
from crawlyard.web.site import Site

MEDIA_TYPES = {
    Format.JSONL: "application/jsonl",
    Format.CSV: "text/csv",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.WARC: "application/warc",
    Format.MARKDOWN: "application/zip",
}

_ASKED = {
    "application/jsonl": Format.JSONL,
    "application/x-ndjson": Format.JSONL,
    "text/csv": Format.CSV,
    "text/*": Format.CSV,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/warc": Format.WARC,
    "application/zip": Format.MARKDOWN,
    "application/*": Format.JSONL,
    "*/*": Format.JSONL,
}

_GZIP = "application/gzip"  # RFC 6713

_OF_ALL = (Format.JSONL, Format.CSV, Format.PARQUET)
"""The formats that pages of all jobs are exported in."""

_INERT = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_FRAMED = {
    # Whatever the page says: as if it came from nowhere, it runs nothing, sends no form,
    # opens no window, moves no frame but its own and asks nobody for anything.
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",  # a look-up of a host of its own would tell who looks
}
_TEMPLATES = {FileFormat.YAML: "application/yaml", FileFormat.JSON: "application/json"}  # RFC 9512
EVENTS = "text/event-stream"
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would buffer it
_PICTURES = ("image/png", "image/webp")
_BINARY = "application/octet-stream"
_UNNAMEABLE = re.compile(r"[^a-z0-9]+")
_PART = endpoints_of(Results)["part"]


async def page(request: Request, one: Endpoint, results: Results) -> Response:
    """Answer with a page record, or with one part of it as a document."""
    if "part" not in request.query_params:
        return await answer(request, one, results)
    given = await arguments(request, _PART)
    data = (await results.part(**given)).encode("utf-8", "replace")
    if given["part"] in (Body.HTML, Body.RENDERED):
        # what it says of its encoding is not heeded where the answer says one
        return HTMLResponse(data, headers=_FRAMED)
    return PlainTextResponse(data, headers=_INERT)


async def screenshot(request: Request, one: Endpoint, results: Results) -> Response:
    """Answer with the screenshot of a page.

    Clients that accept application/octet-stream but no image, as generated ones do, get that type.
    """
    given = await arguments(request, one)
    data = b"".join([piece async for piece in await results.screenshot(**given)])
    png, webp = _PICTURES
    kind = png if data.startswith(b"\x89PNG") else webp
    accept = request.headers.get("accept", "")
    if _BINARY in accept and "image/" not in accept:
        kind = _BINARY
    return Response(data, media_type=kind, headers=_INERT)


async def check(request: Request, one: Endpoint, crawled: CrawledSite) -> Response:
    """Answer with the check of a job; it reads all of its pages, so it counts as an export."""
    site = site_of(request)
    count(request, site, (await proved(request, site)).credential.id, Bucket.EXPORT)
    return await answer(request, one, crawled)


async def findings(request: Request, one: Endpoint, crawled: CrawledSite) -> Response:
    """Answer with a part of the check of a job; the parts after the first are at hand."""
    return await (answer if "cursor" in request.query_params else check)(request, one, crawled)


async def export(request: Request, one: Endpoint, results: Results) -> Response:
    """Answer with the pages of a job as a file."""
    given, form = await _export(request, one)
    job = await _job(request, given["job_id"])
    chunks = await results.export(**given, format_=form)
    gzip = given.get("gzip", False)
    kind = _GZIP if gzip else MEDIA_TYPES[form]
    return _file(chunks, kind, file_name(job.spec.name, job.id, form, gzip=gzip))


async def _job(request: Request, job_id: str) -> Job:
    site = site_of(request)
    actor = (await proved(request, site)).actor
    return (await find_job(site.yard.store, actor, job_id)).job


async def export_all(request: Request, one: Endpoint, pages: Pages) -> Response:
    """Answer with the pages of all jobs as a file."""
    given, form = await _export(request, one, _OF_ALL)
    chunks = await pages.export(**given | {"format_": form.value})
    return _file(chunks, MEDIA_TYPES[form], f"pages{form.suffix}")


async def _export(
    request: Request, one: Endpoint, forms: Collection[Format] = tuple(Format)
) -> tuple[dict[str, Any], Format]:
    """Return the arguments for an export but for its format, and that; it counts as one."""
    given = await arguments(request, one)
    site = site_of(request)
    count(request, site, (await proved(request, site)).credential.id, Bucket.EXPORT)
    asked = given.pop("format_", None)
    form = Format(asked) if asked else accepted(request.headers.get("accept", ""), forms)
    return given, form


def _file(chunks: AsyncIterator[bytes], media_type: str, name: str) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(chunks, media_type=media_type, headers=disposition)


async def meta(request: Request, one: Endpoint, service: Meta) -> Response:
    """Answer with what there is and how much may be sent, over HTTP as well."""
    await arguments(request, one)
    told = await service.get()
    shown = replace(told, limits={**_limits(site_of(request)), **told.limits})
    return json_answer(request, shown)


def _limits(site: Site) -> dict[str, int]:
    rates = {f"{bucket}_requests_per_minute": most for bucket, most in PER_MINUTE.items()}
    return {
        "body_bytes": site.options.max_body_bytes,
        "json_levels": DEEPEST,
        "page_items": MOST,
        "page_items_default": DEFAULT,
        "idempotency_key_kept_s": int(REPLIES_LAST.total_seconds()),
        **(rates if site.rates.on else {}),
    }


async def template_file(request: Request, one: Endpoint, templates: Templates) -> Response:
    """Answer with a template as a file."""
    given = await arguments(request, one)
    form = given.setdefault("format_", FileFormat.YAML)
    ref, version = given["ref"], given.get("version")
    shown = await (templates.get(ref) if version is None else templates.version(ref, version))
    text = await templates.export(**given | {"ref": shown.id, "version": shown.version})
    stem = _UNNAMEABLE.sub("-", shown.name.lower()).strip("-") or "template"
    name = f"{stem}-v{shown.version}.{form.value}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "ETag": tag_of(shown.version),
    }
    return Response(text, media_type=_TEMPLATES[form], headers=headers)


async def metrics(_request: Request, _one: Endpoint, monitoring: Monitoring) -> Response:
    """Answer with the figures of the yard, whatever else a scraper adds to the URL."""
    return Response(await monitoring.metrics(), media_type=EXPOSITION)


async def changes_feed(request: Request, one: Endpoint, schedules: Schedules) -> Response:
    """Answer with what runs of a schedule have changed, as an Atom feed.

    Who accepts text/xml alone, as generated clients do, is told that it is that.
    """
    given = await arguments(request, one)
    accept = request.headers.get("accept", "")
    plain = _XML in accept and atom.MEDIA_TYPE not in accept
    kind = _XML if plain else atom.MEDIA_TYPE
    return Response(await schedules.changes_feed(**given), media_type=kind)


def accepted(accept: str, forms: Collection[Format] = tuple(Format)) -> Format:
    """Return the first format of *forms* that a header `Accept` names.

    Raises:
        Problem: it names none of them.
    """
    named = [word.partition(";")[0].strip().lower() for word in accept.split(",") if word.strip()]
    for word in named:
        if _ASKED.get(word) in forms:
            return _ASKED[word]
    if named:
        known = ", ".join(MEDIA_TYPES[form] for form in forms)
        raise Problem("not_acceptable", f"expected one of {known}")
    return Format.JSONL


# --- streams


class EventStream(StreamingResponse):
    """Server-sent events, until the stream ends or its client is gone."""

    media_type = EVENTS

    def __init__(self, hub: Hub, stream: Stream) -> None:
        super().__init__(hub.messages(stream), headers=_STREAM_HEADERS)
        self._leave = partial(hub.leave, stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _events(request: Request, one: Endpoint, feed: EventFeed) -> Response:
    given = await arguments(request, one)
    topics, job = await feed.audible(given.get("topics"), given.get("job"))
    return await _opened(request, Wish(topics=topics, job=job, after=_place(given)))


async def _events_of_job(request: Request, one: Endpoint, feed: EventFeed) -> Response:
    given = await arguments(request, one)
    topics, job = await feed.audible((Topic.JOBS,), given["job_id"])
    return await _opened(request, Wish(topics=topics, job=job, after=_place(given)))


async def _log(request: Request, one: Endpoint, _: Noun) -> Response:
    given = await arguments(request, one)
    job = await _job(request, given["job_id"])
    least = Level[given.get("level", LevelWord.INFO).name]
    log = LogWish(job=job.id, least=least, after=_place(given) or 0)
    return await _opened(request, Wish(log=log))


def _place(given: Mapping[str, Any]) -> int | None:
    """Return where to go on: a browser that comes again repeats the URL of its first time."""
    last: int | None = given.get("last_event_id")
    return given.get("after") if last is None else last


async def _opened(request: Request, wish: Wish) -> Response:
    site = site_of(request)
    caller = await proved(request, site)
    return EventStream(site.live, await site.live.open(caller, wish))


# --- all of them, for the routes and the OpenAPI document


_BYTES = {"type": "string", "format": "binary"}


def files_of(*forms: Format) -> dict[str, Any]:
    """Return the content of an answer in one of *forms*, for the document."""
    text = {"type": "string"}
    return {MEDIA_TYPES[form]: {"schema": text if form.is_text else _BYTES} for form in forms}


_XML = "text/xml"

_STREAMS: Mapping[str, ByHand] = {
    "events_stream": _events,
    "events_stream_of_job": _events_of_job,
    "jobs_log_stream": _log,
}

FILES = {
    "results_export": files_of(*Format) | {_GZIP: {"schema": _BYTES}},
    "results_find_all": files_of(*_OF_ALL),
    "results_screenshot": {kind: {"schema": _BYTES} for kind in (*_PICTURES, _BINARY)},
    "templates_export": {kind: {"schema": {"type": "object"}} for kind in _TEMPLATES.values()},
    "monitoring_metrics": {EXPOSITION: {"schema": {"type": "string"}}},
    "results_changes_feed": {
        kind: {"schema": {"type": "string"}} for kind in (atom.MEDIA_TYPE, _XML)
    },
    **{name: {EVENTS: {"schema": {"type": "string"}}} for name in _STREAMS},
}
"""The content of answers that are no JSON, by the names of their endpoints."""

BY_HAND: Mapping[str, ByHand] = {
    "results_page": page,
    "results_screenshot": screenshot,
    "results_check": check,
    "results_findings": findings,
    "results_export": export,
    "templates_export": template_file,
    "monitoring_metrics": metrics,
    "results_changes_feed": changes_feed,
    **_STREAMS,
    "results_find_all": export_all,
    "meta_get": meta,
    "auth_login": answer_with_cookie,
    "auth_logout": answer_with_cookie,
    "monitoring_healthz": answer_health,
    "monitoring_readyz": answer_health,
    "problems_get": answer_problem,
}
"""By the names of their endpoints."""

ENDPOINTS = (
    *endpoints_of(SigningIn).values(),
    *surface.every_endpoint(),
    *endpoints_of(ServerStatus).values(),
)
"""All endpoints of a server: those of its surface, and its own."""
