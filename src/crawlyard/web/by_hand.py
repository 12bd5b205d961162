"""Endpoints that answer in their own way: files, and parts of pages."""

from collections.abc import Collection, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse

from crawlyard.core.crawl.page import Body
from crawlyard.core.endpoint import Endpoint, endpoints_of
from crawlyard.export.base import Format, file_name
from crawlyard.services import surface
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.web.asking import count, proved, site_of
from crawlyard.web.endpoints import ByHand, answer, arguments
from crawlyard.web.errors.problems import Problem
from crawlyard.web.rates import Bucket
from crawlyard.web.signing_in import SigningIn, answer_with_cookie

MEDIA_TYPES = {
    Format.JSONL: "application/jsonl",
    Format.CSV: "text/csv",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.WARC: "application/warc",
}

_ASKED = {
    "application/jsonl": Format.JSONL,
    "application/x-ndjson": Format.JSONL,
    "text/csv": Format.CSV,
    "text/*": Format.CSV,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/warc": Format.WARC,
    "application/*": Format.JSONL,
    "*/*": Format.JSONL,
}

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
_PART = endpoints_of(Jobs)["part"]


async def page(request: Request, one: Endpoint, jobs: Jobs) -> Response:
    """Answer with a page record, or with one part of it as a document."""
    if "part" not in request.query_params:
        return await answer(request, one, jobs)
    given = await arguments(request, _PART)
    data = (await jobs.part(**given)).encode("utf-8", "replace")
    if given["part"] is Body.HTML:
        # what it says of its encoding is not heeded where the answer says one
        return HTMLResponse(data, headers=_FRAMED)
    return PlainTextResponse(data, headers=_INERT)


async def export(request: Request, one: Endpoint, jobs: Jobs) -> Response:
    """Answer with the pages of a job as a file."""
    given = await arguments(request, one)
    site = site_of(request)
    count(request, site, (await proved(request, site)).credential.id, Bucket.EXPORT)
    form = given.pop("format_", None) or accepted(request.headers.get("accept", ""))
    job = await jobs.get(given["job_id"])
    name = file_name(job.name, job.id, form)
    return StreamingResponse(
        await jobs.export(**given, format_=form),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


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


def files_of(*forms: Format) -> dict[str, Any]:
    """Return the content of an answer in one of *forms*, for the document."""
    text = {"type": "string"}
    return {
        MEDIA_TYPES[form]: {"schema": text if form.is_text else text | {"format": "binary"}}
        for form in forms
    }


FILES = {"results_export": files_of(*Format)}
"""The content of answers that are no JSON, by the names of their endpoints."""

BY_HAND: Mapping[str, ByHand] = {
    "auth_login": answer_with_cookie,
    "auth_logout": answer_with_cookie,
    "results_page": page,
    "results_export": export,
}
"""By the names of their endpoints."""

ENDPOINTS = (*endpoints_of(SigningIn).values(), *surface.ENDPOINTS)
"""All that can be asked of a server: of its surface, and what browsers alone ask for."""
