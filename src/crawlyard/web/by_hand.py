"""Handlers of endpoints that do not answer in plain JSON: files, streams, cookies."""

import re
from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from crawlyard.core.access.job_parts import JobPart
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
from crawlyard.services.access.audit import AuditLog
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
from crawlyard.web.auth import authenticate, count_request, site_of
from crawlyard.web.endpoints import ByHand, answer, arguments, tag_of
from crawlyard.web.live.hub import Hub
from crawlyard.web.live.stream import LogSubscription, Stream, Subscription
from crawlyard.web.paging import DEFAULT, MOST
from crawlyard.web.problems import Problem
from crawlyard.web.rates import PER_MINUTE, Bucket
from crawlyard.web.routes import DEEPEST, json_answer
from crawlyard.web.server_endpoints import (
    ServerStatus,
    SigningIn,
    TriggerCalls,
    answer_health,
    answer_hook,
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

_BY_MEDIA_TYPE = {
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

_TEXT_FORMATS = (Format.JSONL, Format.CSV)
_ALL_JOBS_FORMATS = (Format.JSONL, Format.CSV, Format.PARQUET)
"""Export formats for pages of all jobs."""

_INERT = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_FRAMED = {
    # A stored page has an opaque origin; it runs no script, sends no form, opens no
    # window, navigates no other frame and loads nothing.
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",  # a DNS lookup of its own host would reveal the reader
}
_TEMPLATES = {FileFormat.YAML: "application/yaml", FileFormat.JSON: "application/json"}  # RFC 9512
EVENTS = "text/event-stream"
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would buffer it
_PICTURES = ("image/png", "image/webp")
_BINARY = "application/octet-stream"
_UNNAMEABLE = re.compile(r"[^a-z0-9]+")
_PART = endpoints_of(Results)["part"]


async def page(request: Request, endpoint: Endpoint, results: Results) -> Response:
    """Answer with a page record, or one part of it as a document."""
    if "part" not in request.query_params:
        return await answer(request, endpoint, results)
    args = await arguments(request, _PART)
    data = (await results.part(**args)).encode("utf-8", "replace")
    if args["part"] in (Body.HTML, Body.RENDERED):
        # the charset of the response overrides the one in the document
        return HTMLResponse(data, headers=_FRAMED)
    return PlainTextResponse(data, headers=_INERT)


async def screenshot(request: Request, endpoint: Endpoint, results: Results) -> Response:
    """Answer with the screenshot of a page.

    Generated clients accept application/octet-stream but no image, and get that type.
    """
    args = await arguments(request, endpoint)
    data = b"".join([piece async for piece in await results.screenshot(**args)])
    png, webp = _PICTURES
    kind = png if data.startswith(b"\x89PNG") else webp
    accept = request.headers.get("accept", "")
    if _BINARY in accept and "image/" not in accept:
        kind = _BINARY
    return Response(data, media_type=kind, headers=_INERT)


async def check(request: Request, endpoint: Endpoint, crawled: CrawledSite) -> Response:
    """Answer with the check of a job; it reads all its pages, so it counts as an export."""
    site = site_of(request)
    count_request(request, site, (await authenticate(request, site)).credential.id, Bucket.EXPORT)
    return await answer(request, endpoint, crawled)


async def findings(request: Request, endpoint: Endpoint, crawled: CrawledSite) -> Response:
    """Answer with part of the check of a job; parts after the first cost no new check."""
    return await (answer if "cursor" in request.query_params else check)(request, endpoint, crawled)


async def export(request: Request, endpoint: Endpoint, results: Results) -> Response:
    """Answer with the pages of a job as a file."""
    args, form = await _export(request, endpoint)
    job = await _job(request, args["job_id"], JobPart.PAGES)
    chunks = await results.export(**args, format_=form)
    gzip = args.get("gzip", False)
    kind = _GZIP if gzip else MEDIA_TYPES[form]
    return file_response(chunks, kind, file_name(job.spec.name, job.id, form, gzip=gzip))


async def export_schedule(request: Request, endpoint: Endpoint, schedules: Schedules) -> Response:
    """Answer with the current pages of a schedule as a file."""
    args, form = await _export(request, endpoint)
    schedule = await schedules.get(args["ref"])
    chunks = await schedules.export(**args, format_=form)
    gzip = args.get("gzip", False)
    kind = _GZIP if gzip else MEDIA_TYPES[form]
    return file_response(chunks, kind, file_name(schedule.name, schedule.id, form, gzip=gzip))


async def _job(request: Request, job_id: str, part: JobPart) -> Job:
    site = site_of(request)
    actor = (await authenticate(request, site)).actor
    return (await find_job(site.yard.store, actor, job_id, part)).job


async def export_all(request: Request, endpoint: Endpoint, pages: Pages) -> Response:
    """Answer with the pages of all jobs as a file."""
    args, form = await _export(request, endpoint, _ALL_JOBS_FORMATS)
    chunks = await pages.export(**args | {"format_": form.value})
    return file_response(chunks, MEDIA_TYPES[form], f"pages{form.suffix}")


async def export_audit(request: Request, endpoint: Endpoint, log: AuditLog) -> Response:
    """Answer with the audit log as a file."""
    args, form = await _export(request, endpoint, _TEXT_FORMATS)
    chunks = await log.export(**args | {"format_": form.value})
    return file_response(chunks, MEDIA_TYPES[form], f"audit{form.suffix}")


async def _export(
    request: Request, endpoint: Endpoint, forms: Collection[Format] = tuple(Format)
) -> tuple[dict[str, Any], Format]:
    """Return the arguments and the format of an export, and count it against its limit."""
    args = await arguments(request, endpoint)
    site = site_of(request)
    count_request(request, site, (await authenticate(request, site)).credential.id, Bucket.EXPORT)
    name = args.pop("format_", None)
    form = Format(name) if name else negotiate(request.headers.get("accept", ""), forms)
    return args, form


def file_response(chunks: AsyncIterator[bytes], media_type: str, name: str) -> Response:
    """Return *chunks* as a download called *name*."""
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(chunks, media_type=media_type, headers=disposition)


async def meta(request: Request, endpoint: Endpoint, service: Meta) -> Response:
    """Answer with features and limits, those of HTTP included."""
    await arguments(request, endpoint)
    answered = await service.get()
    with_limits = replace(answered, limits={**_limits(site_of(request)), **answered.limits})
    return json_answer(request, with_limits)


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


async def template_file(request: Request, endpoint: Endpoint, templates: Templates) -> Response:
    """Answer with a version of a template, by default the current one, as a YAML or JSON file."""
    args = await arguments(request, endpoint)
    form = args.setdefault("format_", FileFormat.YAML)
    ref, version = args["ref"], args.get("version")
    template = await (templates.get(ref) if version is None else templates.version(ref, version))
    text = await templates.export(**args | {"ref": template.id, "version": template.version})
    stem = _UNNAMEABLE.sub("-", template.name.lower()).strip("-") or "template"
    name = f"{stem}-v{template.version}.{form.value}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "ETag": tag_of(template.version),
    }
    return Response(text, media_type=_TEMPLATES[form], headers=headers)


async def metrics(_request: Request, _endpoint: Endpoint, monitoring: Monitoring) -> Response:
    """Answer with Prometheus metrics; unknown parameters are ignored."""
    return Response(await monitoring.metrics(), media_type=EXPOSITION)


async def changes_feed(request: Request, endpoint: Endpoint, schedules: Schedules) -> Response:
    """Answer with the changes between runs of a schedule, as an Atom feed.

    Generated clients accept text/xml only, and get that type.
    """
    args = await arguments(request, endpoint)
    accept = request.headers.get("accept", "")
    plain = _XML in accept and atom.MEDIA_TYPE not in accept
    kind = _XML if plain else atom.MEDIA_TYPE
    return Response(await schedules.changes_feed(**args), media_type=kind)


def negotiate(accept: str, forms: Collection[Format] = tuple(Format)) -> Format:
    """Return the first format of *forms* in an Accept header.

    Raises:
        Problem: it has none of them.
    """
    named = [word.partition(";")[0].strip().lower() for word in accept.split(",") if word.strip()]
    for word in named:
        if _BY_MEDIA_TYPE.get(word) in forms:
            return _BY_MEDIA_TYPE[word]
    if named:
        expected = ", ".join(MEDIA_TYPES[form] for form in forms)
        raise Problem("not_acceptable", f"expected one of {expected}")
    return Format.JSONL


# --- streams


class EventStream(StreamingResponse):
    """Server-sent events, until the stream ends or the client disconnects."""

    media_type = EVENTS

    def __init__(self, hub: Hub, stream: Stream) -> None:
        super().__init__(hub.messages(stream), headers=_STREAM_HEADERS)
        self._leave = partial(hub.leave, stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events, and close the stream in the end."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _events(request: Request, endpoint: Endpoint, feed: EventFeed) -> Response:
    args = await arguments(request, endpoint)
    topics, job = await feed.resolve_topics(args.get("topics"), args.get("job"))
    return await _open_stream(
        request, Subscription(topics=topics, job=job, after=_resume_after(args))
    )


async def _events_of_job(request: Request, endpoint: Endpoint, feed: EventFeed) -> Response:
    args = await arguments(request, endpoint)
    topics, job = await feed.resolve_topics((Topic.JOBS,), args["job_id"])
    return await _open_stream(
        request, Subscription(topics=topics, job=job, after=_resume_after(args))
    )


async def _log(request: Request, endpoint: Endpoint, _: Noun) -> Response:
    args = await arguments(request, endpoint)
    job = await _job(request, args["job_id"], JobPart.PAGES)
    min_level = Level[args.get("level", LevelWord.INFO).name]
    log = LogSubscription(job=job.id, min_level=min_level, after=_resume_after(args) or 0)
    return await _open_stream(request, Subscription(log=log))


def _resume_after(args: Mapping[str, Any]) -> int | None:
    """Return the cursor to resume after: a browser that reconnects repeats its first URL."""
    last: int | None = args.get("last_event_id")
    return args.get("after") if last is None else last


async def _open_stream(request: Request, subscription: Subscription) -> Response:
    site = site_of(request)
    caller = await authenticate(request, site)
    return EventStream(site.live, await site.live.open(caller, subscription))


# --- tables, for the routes and the OpenAPI document


_BYTES = {"type": "string", "format": "binary"}


def files_of(*forms: Format) -> dict[str, Any]:
    """Return the content of a response in one of *forms*, for the document."""
    text = {"type": "string"}
    return {MEDIA_TYPES[form]: {"schema": text if form.is_text else _BYTES} for form in forms}


_XML = "text/xml"

_STREAMS: Mapping[str, ByHand] = {
    "events_stream": _events,
    "events_stream_of_job": _events_of_job,
    "jobs_log_stream": _log,
}

FILES = {
    **dict.fromkeys(
        ("results_export", "schedules_export"), files_of(*Format) | {_GZIP: {"schema": _BYTES}}
    ),
    "audit_export": files_of(*_TEXT_FORMATS),
    "results_find_all": files_of(*_ALL_JOBS_FORMATS),
    "results_screenshot": {kind: {"schema": _BYTES} for kind in (*_PICTURES, _BINARY)},
    "templates_export": {kind: {"schema": {"type": "object"}} for kind in _TEMPLATES.values()},
    "monitoring_metrics": {EXPOSITION: {"schema": {"type": "string"}}},
    "results_changes_feed": {
        kind: {"schema": {"type": "string"}} for kind in (atom.MEDIA_TYPE, _XML)
    },
    **{name: {EVENTS: {"schema": {"type": "string"}}} for name in _STREAMS},
}
"""Content of responses that are not JSON, by endpoint name."""

BY_HAND: Mapping[str, ByHand] = {
    "results_page": page,
    "results_screenshot": screenshot,
    "results_check": check,
    "results_findings": findings,
    "results_export": export,
    "schedules_export": export_schedule,
    "templates_export": template_file,
    "monitoring_metrics": metrics,
    "results_changes_feed": changes_feed,
    **_STREAMS,
    "audit_export": export_audit,
    "results_find_all": export_all,
    "meta_get": meta,
    "auth_login": answer_with_cookie,
    "auth_logout": answer_with_cookie,
    "triggers_start": answer_hook,
    "monitoring_healthz": answer_health,
    "monitoring_readyz": answer_health,
    "problems_get": answer_problem,
}
"""Handlers by endpoint name."""

ENDPOINTS = (
    *endpoints_of(SigningIn).values(),
    *endpoints_of(TriggerCalls).values(),
    *surface.every_endpoint(),
    *endpoints_of(ServerStatus).values(),
)
"""All endpoints of a server: its own and those of the surface."""
