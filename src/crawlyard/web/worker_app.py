"""Web application of a worker process: its metrics and its health."""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from crawlyard.core.access.user import Permit
from crawlyard.core.answer import encode_answer
from crawlyard.core.instance import HealthOut
from crawlyard.errors import Unavailable
from crawlyard.services.instance import metrics
from crawlyard.web import problems
from crawlyard.web.auth import authorize
from crawlyard.web.middleware import Gate
from crawlyard.web.routes import OneMethod
from crawlyard.web.site import Site

_ANSWERS_WITHIN_S = 5


def create_worker_app(site: Site, looks: Callable[[], bool]) -> Starlette:
    """Return the application of a worker process; *looks* reports whether it polls for jobs."""

    async def show_metrics(request: Request) -> Response:
        await authorize(request, site, Permit.ADMIN)  # as /metrics of a server
        services = site.yard.services
        figures = await metrics.process_figures(services.store, services.measures)
        return Response(metrics.format_metrics(figures), media_type=metrics.MEDIA_TYPE)

    async def show_life(_request: Request) -> Response:
        return Response(encode_answer(HealthOut()), media_type="application/json")

    async def show_health(_request: Request) -> Response:
        if not looks():
            raise Unavailable("the worker does not poll for jobs")
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                await site.yard.store.check()
        except (Unavailable, TimeoutError):
            # this endpoint is public: don't disclose the name of the store
            raise Unavailable("the store does not answer, or has another schema") from None
        return Response(encode_answer(HealthOut()), media_type="application/json")

    # /readyz is what `crawlyard health` requests
    handlers = {
        "/metrics": show_metrics,
        "/healthz": show_health,
        "/readyz": show_health,
        "/livez": show_life,
    }
    app = Starlette(routes=[OneMethod(path, answer, "GET") for path, answer in handlers.items()])
    app.router.redirect_slashes = False
    app.state.site = site
    problems.install(app)
    app.add_middleware(Gate)
    return app
