"""The application of a worker process: its metrics and its health, and nothing else."""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from crawlyard.core.access.user import Permit
from crawlyard.core.answer import encoded
from crawlyard.core.instance import HealthOut
from crawlyard.errors import Unavailable
from crawlyard.services.instance import metrics
from crawlyard.web import problems
from crawlyard.web.auth import admitted
from crawlyard.web.middleware import Gate
from crawlyard.web.routes import OneMethod
from crawlyard.web.site import Site

_ANSWERS_WITHIN_S = 5


def create_worker_app(site: Site, looks: Callable[[], bool]) -> Starlette:
    """Return the application of a process whose worker *looks* for work, or does not."""

    async def show_metrics(request: Request) -> Response:
        await admitted(request, site, Permit.ADMIN)  # as /metrics of a server
        services = site.yard.services
        found = await metrics.process_figures(services.store, services.measures)
        return Response(metrics.exposed(found), media_type=metrics.MEDIA_TYPE)

    async def tell_health(_request: Request) -> Response:
        if not looks():
            raise Unavailable("the worker does not look for work")
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                await site.yard.store.check()
        except (Unavailable, TimeoutError):
            # anybody may ask: the name of the store is not for everybody
            raise Unavailable("the store does not answer, or is not as it must be") from None
        return Response(encoded(HealthOut()), media_type="application/json")

    shown = {"/metrics": show_metrics, "/healthz": tell_health}
    app = Starlette(routes=[OneMethod(path, answer, "GET") for path, answer in shown.items()])
    app.router.redirect_slashes = False
    app.state.site = site
    problems.install(app)
    app.add_middleware(Gate)
    return app
