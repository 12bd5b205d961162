"""Confirmation of changes: a page that seems changed is requested once more in the same run."""

from crawlyard.core.crawl.page import Outcome
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.conditional import mark_volatile, seems_changed
from crawlyard.engine.hosts.rate_limiter import RateLimiter
from crawlyard.engine.http.fetch import FetchFailed, is_refusal
from crawlyard.engine.visit.pages import PageReader
from crawlyard.engine.visit.requests import RequestSender
from crawlyard.engine.visit.retries import Retries
from crawlyard.engine.visit.state import Visit, VisitAgain

MOST_UNCONFIRMED = 1_000  # pages in memory that are requested again, at most a few of each host


class Confirming:
    """Visits changed pages of one job for the second time."""

    def __init__(
        self,
        requests: RequestSender,
        retries: Retries,
        pages: PageReader,
        rate_limiter: RateLimiter,
    ) -> None:
        self._requests = requests
        self._retries = retries
        self._pages = pages
        self._rate_limiter = rate_limiter
        self._first: dict[int, Outcome] = {}  # by fp of a target that is requested again

    def adopt(self, spec: JobSpec) -> None:
        """Turn confirmation on or off as *spec* says."""
        self._is_on = spec.confirm_changes

    def check(self, visit: Visit, outcome: Outcome) -> None:
        """Keep the outcome of a page that differs from the earlier run.

        Raises:
            VisitAgain: it differs; the next visit confirms it.
        """
        before = visit.baseline
        if not self._is_on or before is None or len(self._first) >= MOST_UNCONFIRMED:
            return
        if seems_changed(before, outcome):
            self._first[outcome.target.fp] = outcome
            raise VisitAgain

    def awaits(self, visit: Visit) -> bool:
        """Return whether a visit is the second one of a changed page."""
        return visit.target.fp in self._first

    async def visit(self, visit: Visit) -> Outcome:
        """Return the outcome of a second visit, that of the first if the second fails."""
        target = visit.target
        first = self._first[target.fp]
        try:
            response = await self._requests.send(
                target.url, visit.slot.wait_briefly_to_send, cookies=True
            )
        except FetchFailed:
            response = None
        finally:
            visit.slot.release()
        del self._first[target.fp]
        if response is None or first.page is None:
            return first
        if is_refusal(response):
            self._retries.hold(target.host, response)
        if response.status != first.page.status:
            return first
        self._rate_limiter.record_success(target.host)
        return mark_volatile(first, await self._pages.read(visit, response, follow=False))
