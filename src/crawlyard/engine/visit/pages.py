"""Reading of pages: extract them, run their scripts if needed, follow their links, record them."""

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import NOT_READABLE, Outcome, PageError
from crawlyard.core.crawl.rendering import RenderReason
from crawlyard.core.jobs.spec import JobSpec, TextMode
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.extract import record
from crawlyard.engine.extract.page import Extracted, ExtractError, PageSource, extract_options_of
from crawlyard.engine.extract.parse_pool import ParsePool
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.rendering import Rendering
from crawlyard.engine.robots.rules import token_of
from crawlyard.engine.site_session import LogoutWatch
from crawlyard.engine.visit.retries import Retries
from crawlyard.engine.visit.state import Visit


class PageReader:
    """Reads the final responses to the visits of one job."""

    def __init__(
        self, agent: str, clock: Clock, pool: ParsePool, discovery: Discovery, retries: Retries
    ) -> None:
        self._token = token_of(agent)
        self._clock = clock
        self._pool = pool
        self._discovery = discovery
        self._retries = retries

    def adopt(self, spec: JobSpec, rendering: Rendering | None, watch: LogoutWatch | None) -> None:
        """Switch to *spec*; the hooks of features that it does not use are ``None``."""
        self._spec = spec
        self._rendering = rendering
        self._watch = watch
        self._options = extract_options_of(spec)
        if watch is not None:
            self._options = replace(self._options, session=watch.signs)

    async def read(self, visit: Visit, response: Response, *, follow: bool = True) -> Outcome:
        """Return the outcome of a page; with *follow*, its links are offered to the crawl."""
        rendering, reason, url = self._rendering, None, visit.target.url
        if rendering is not None and not (response.status // 100 == 2 and record.is_html(response)):
            rendering = None
        if rendering is not None and rendering.decides_by_url:
            reason = rendering.reason(url)
        if reason is None:
            await self._extract(visit, response)
            if rendering is not None and visit.extracted and visit.extracted.needs_scripts:
                reason = rendering.reason(url, needs_scripts=True)
        if rendering is not None and reason is not None:
            try:
                await self._render(visit, response, rendering, reason)
            except FetchFailed as failure:
                outcome = self._retries.retry(visit.target) if failure.transient else None
                if outcome is not None:
                    return outcome
                visit.error = PageError(kind=failure.kind, detail=failure.detail)
                if visit.extracted is None:
                    await self._extract(visit, response)
        if follow and visit.extracted is not None:
            self._follow(visit, response, visit.extracted)
        now = self._clock.now()
        return record.response_outcome(
            visit.target,
            response,
            visit.extracted,
            self._spec,
            now,
            rendered=visit.rendered,
            error=visit.error,
        )

    async def _render(
        self, visit: Visit, response: Response, rendering: Rendering, reason: RenderReason
    ) -> None:
        visit.slot.sent = False  # no request is in flight: a stop need not wait for the rendering
        page = await rendering.render(visit.target.url, response)
        visit.rendered = record.RenderedDocument(page, reason)
        await self._extract(visit, response)

    def _follow(self, visit: Visit, response: Response, extracted: Extracted) -> None:
        if self._watch is not None:
            self._watch.check_page(visit.target.url, extracted.logged_out)
        if response.status < 400:
            self._discovery.count_credentials(extracted.credentials)
            self._discovery.follow(visit.target, extracted.links, extracted.refresh)

    async def _extract(self, visit: Visit, response: Response) -> None:
        """Extract a page, from its rendered HTML if there is any."""
        is_pdf = record.is_pdf(response) and self._spec.text is not TextMode.NONE
        if not (is_pdf or record.is_html(response)):
            return
        page = None if visit.rendered is None else visit.rendered.page
        source = PageSource(
            url=visit.target.url if page is None else page.url,
            is_pdf=is_pdf,
            charset=response.charset if page is None else "utf-8",
            language=response.header("content-language"),
            robots_header=response.all_headers("x-robots-tag"),
            agent_token=self._token,
            options=self._options,
        )
        try:
            visit.extracted = await self._pool.run(
                response.body if page is None else page.html, source
            )
        except ExtractError as error:
            visit.extracted = Extracted(cut=f"{NOT_READABLE}: {error}", unreadable=str(error))
