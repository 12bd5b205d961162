"""Visits of one job: each target is requested, and its response passes a list of steps."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import Outcome, Target, TargetState, Via
from crawlyard.core.crawl.render_options import RenderRule
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine import sitemaps
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.extract.parse_pool import ParsePool
from crawlyard.engine.hosts.rate_limiter import RateLimiter, Slot
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.recrawl import Recrawl
from crawlyard.engine.render.pool import Renderers
from crawlyard.engine.rendering import Rendering
from crawlyard.engine.site_session import ActiveSession, LogoutWatch
from crawlyard.engine.visit.confirming import Confirming
from crawlyard.engine.visit.external import ExternalLinks
from crawlyard.engine.visit.pages import PageReader
from crawlyard.engine.visit.redirects import Redirects
from crawlyard.engine.visit.requests import RequestSender
from crawlyard.engine.visit.retries import Retries
from crawlyard.engine.visit.sitemap import SitemapReader
from crawlyard.engine.visit.state import Step, Visit

_MAX_BODY = {Via.SITEMAP: sitemaps.MAX_BYTES, Via.EXTERNAL: 64 * 1024}
"""Maximum body sizes of targets that are no pages; for pages, an option of the job."""

_NO_HEADERS: Mapping[str, str] = {}


class Tools(Struct, frozen=True):
    """Objects that all visits of a process share."""

    clock: Clock
    rate_limiter: RateLimiter
    heavy: ParsePool
    renderers: Renderers | None = None


class Hooks(Struct, frozen=True):
    """Features that take part in visits; ``None``: the job does not use them."""

    rendering: Callable[[JobSpec], Rendering]  # called unless the job never renders
    recrawl: Recrawl | None = None
    session: ActiveSession | None = None


class Visitor:
    """Visits the targets of one job and returns their outcomes.

    The steps of a response depend on its status, on how its target was found and on the features
    of the job: the first step that returns an outcome ends the visit. If none does, the response
    is read as a page. A page that was found takes no step unless the job has a session.
    """

    def __init__(
        self,
        agent: str,
        requests: RequestSender,
        tools: Tools,
        discovery: Discovery,
        hooks: Hooks,
    ) -> None:
        self._requests, self._rate_limiter = requests, tools.rate_limiter
        self._make_rendering = hooks.rendering
        self._session, self._recrawl = hooks.session, hooks.recrawl
        self._retries = Retries(tools.clock, tools.rate_limiter)
        self._redirects = Redirects(requests, discovery, tools.clock)
        self._sitemaps = SitemapReader(discovery, hooks.recrawl)
        self._externals = ExternalLinks(tools.clock, self._retries)
        self._pages = PageReader(agent, tools.clock, tools.heavy, discovery, self._retries)
        self._confirming = None
        if hooks.recrawl is not None:
            self._confirming = Confirming(requests, self._retries, self._pages, tools.rate_limiter)

    def adopt(self, spec: JobSpec) -> None:
        """Rebuild the steps and hooks for *spec*."""
        recrawl, session = self._recrawl, self._session
        self._rendering = None
        if spec.render != RenderRule.NEVER:
            self._rendering = self._make_rendering(spec)
        watch = None if session is None else LogoutWatch(spec, session)
        self._retries.adopt(spec)
        self._externals.adopt(spec)
        self._pages.adopt(spec, self._rendering, watch)
        check, follow = self._retries.check_host, self._redirects.follow
        watched: tuple[Step, ...] = () if watch is None else (watch.check,)
        reused: tuple[Step, ...] = () if recrawl is None else (recrawl.reuse_unchanged,)
        self._steps_of_success: Mapping[Via, Sequence[Step]] = {
            Via.SITEMAP: (*watched, self._sitemaps.read),
            Via.EXTERNAL: (self._externals.check,),
        }
        self._page_steps_of_success = watched
        self._steps: Mapping[Via, Sequence[Step]] = {
            Via.SITEMAP: (check, *watched, follow, self._sitemaps.read),
            Via.EXTERNAL: (check, follow, self._externals.check),
        }
        self._page_steps = (check, *watched, follow, *reused)
        if recrawl is not None and self._confirming is not None:
            recrawl.adopt(spec)
            self._confirming.adopt(spec)

    async def visit(self, target: Target, slot: Slot) -> Outcome:
        """Fetch *target*, release its *slot* and return its outcome.

        Raises:
            NotSent: the host isn't ready yet; nothing has changed.
            VisitAgain: it must be requested once more, before others of its host.
            LoggedOut: the session of the job is logged out; nothing has changed.
        """
        visit = Visit(target, slot)
        try:
            if self._recrawl is not None:
                await self._recrawl.begin(visit)
            outcome = await self._outcome(visit)
        finally:
            slot.release()
        if self._session is not None:
            outcome = self._session.mark(outcome)
        if outcome.state is not TargetState.WAITING:
            if target.fp in self._redirects.chains:
                self._redirects.forget(target)
            if self._recrawl is not None:
                self._recrawl.settle(visit, outcome)
        return outcome

    async def _outcome(self, visit: Visit) -> Outcome:
        confirming, target = self._confirming, visit.target
        if confirming is not None and confirming.awaits(visit):
            return await confirming.visit(visit)
        try:
            response = await self._request(visit)
        except FetchFailed as failure:
            return self._retries.after_failure(target, failure)
        finally:
            visit.slot.release()
        if response.status // 100 == 2:
            self._rate_limiter.record_success(target.host)
            steps = self._steps_of_success.get(target.via, self._page_steps_of_success)
        else:
            steps = self._steps.get(target.via, self._page_steps)
        for step in steps:
            if (outcome := step(visit, response)) is not None:
                return outcome
        outcome = await self._pages.read(visit, response)
        if confirming is not None:
            confirming.check(visit, outcome)
        return outcome

    async def _request(self, visit: Visit) -> Response:
        target, headers = visit.target, _NO_HEADERS
        if self._recrawl is not None:
            headers = self._recrawl.conditions(visit, self._rendering)
        is_external = target.via is Via.EXTERNAL
        return await self._requests.send(
            target.url,
            visit.slot.wait_briefly_to_send,
            _MAX_BODY.get(target.via),
            headers,
            head=is_external and not target.tries,
            cookies=not is_external,  # the cookies of so many hosts would fill the jar
        )
