"""The Markdown of a page as nodes, for the reader of the dashboard."""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.page import Body
from crawlyard.errors import NotFound
from crawlyard.lazy import lazily
from crawlyard.services.results.terms import PageId
from crawlyard.web.endpoints import surface_of
from crawlyard.web.routes import OneMethod

with lazily():  # most servers show no page
    from crawlyard.web import markdown

MAX_CHARACTERS = 200_000
"""Limit of characters shown; the script of the viewer has the same number."""


async def _reader(request: Request) -> Response:
    results = (await surface_of(request, Permit.RESULTS_READ)).results
    try:
        page_id = msgspec.convert(request.path_params["page"], PageId, strict=False)
    except msgspec.ValidationError:
        raise NotFound(f"no page {request.path_params['page'][:100]!r}") from None
    text = await results.part(request.path_params["job"], page_id, Body.TEXT)
    nodes_of = markdown.nodes_of  # loads the module here: two threads must not import it at once
    nodes = await asyncio.to_thread(nodes_of, text[:MAX_CHARACTERS])
    answer = {"nodes": nodes, "whole": len(text) <= MAX_CHARACTERS}
    return Response(msgspec.json.encode(answer), media_type="application/json")


ROUTES = (OneMethod("/jobs/{job}/pages/{page}/reader", _reader, "GET"),)
