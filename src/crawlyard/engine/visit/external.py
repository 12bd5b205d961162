"""Check of links out of scope; their pages are not kept."""

from datetime import timedelta

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import Outcome
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.extract import record
from crawlyard.engine.extract.page import Extracted
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.visit.retries import Retries
from crawlyard.engine.visit.state import Visit

_REFUSE_HEAD = frozenset({403, 405, 501})


class ExternalLinks:
    """Checks the external links of one job, first by HEAD."""

    def __init__(self, clock: Clock, retries: Retries) -> None:
        self._clock = clock
        self._retries = retries

    def adopt(self, spec: JobSpec) -> None:
        """Record outcomes under *spec* from now on."""
        self._spec = spec

    def check(self, visit: Visit, response: Response) -> Outcome:
        """Return the outcome of a link, or schedule a GET; the last step."""
        target = visit.target
        if response.status in _REFUSE_HEAD and not target.tries:
            return self._retries.retry_after(target, timedelta(0))
        head, now = replace(response, body=b"", truncated=""), self._clock.now()
        outcome = record.response_outcome(target, head, Extracted(), self._spec, now)
        return replace(outcome, bodies={})
