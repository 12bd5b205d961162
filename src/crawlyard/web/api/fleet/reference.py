"""The reference of the API, as a page: for everybody, as it says nothing that is anybody's."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from crawlyard.web import reference

router = APIRouter(include_in_schema=False)

_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"
_DAY = "public, max-age=86400"


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the reference, made of the OpenAPI document."""
    server = f"{request.url.scheme}://{request.url.netloc}"
    page = reference.page_of(request.app.openapi(), css="docs.css", server=server)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs.css")
async def css() -> Response:
    """Return its style sheet."""
    return Response(reference.CSS, media_type="text/css", headers={"Cache-Control": _DAY})
