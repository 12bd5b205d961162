"""Worker factory: the workers of an instance, and its webhook deliverer."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from itertools import chain

from crawlyard.clock import Clock
from crawlyard.config import Settings
from crawlyard.core.workers.measures import Measures
from crawlyard.core.workers.tags import check_worker_tags
from crawlyard.engine.extract.loop_load import usable_cores
from crawlyard.engine.extract.parse_pool import ParsePool
from crawlyard.engine.hosts.rate_limiter import RateLimiter
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.proxy import proxy_guard
from crawlyard.engine.render.pool import Renderers
from crawlyard.engine.robots.cache import RobotsCache
from crawlyard.engine.visit.visitor import Tools
from crawlyard.lazy import lazily
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.services.access.cookies import Sealer
from crawlyard.services.workers.claiming import ClaimRules
from crawlyard.services.workers.fork_server import ForkServer
from crawlyard.services.workers.isolation import Isolation
from crawlyard.services.workers.liveness import HostLocks, Liveness
from crawlyard.services.workers.progress import ProgressTracker
from crawlyard.services.workers.recorder import Recorder
from crawlyard.services.workers.run import WorkerContext
from crawlyard.services.workers.worker import Worker, worker_id
from crawlyard.store.store import Store

# `work` and `serve` deliver, a crawl does not
with lazily():
    from crawlyard.engine.http import mail_post, webhook_post
    from crawlyard.services.webhooks import delivery


class WorkerFactory:
    """Creates the workers of an instance, which share a rate limiter and a robots.txt cache.

    With *alone*, nothing is shared with other processes or kept in the data directory.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher,
        progress: ProgressTracker,
        measures: Measures,
        *,
        alone: bool,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher
        self._progress = progress
        self._measures = measures
        self._alone = alone
        first_id = worker_id()
        self._rate_limiter = RateLimiter(clock, store.hosts, first_id, settings.lease)
        # slots have the name of the first worker, so that they are freed when it counts as dead
        self._names = chain((first_id,), iter(worker_id, ""))
        helpers = 0 if alone else min(settings.parse_helpers, usable_cores() - 1)
        self._heavy = ParsePool(helpers=helpers)
        self._renderers = Renderers(
            clock,
            most=settings.browsers,
            endpoint=settings.browser_cdp,
            measured=measures.renderings,
        )
        self._robots = RobotsCache(clock, store.robots)
        self._isolation = Isolation(settings, ForkServer("crawlyard.child"))

    @cached_property
    def deliverer(self) -> "delivery.Deliverer":
        """Service that delivers events to webhooks."""
        settings = self._settings
        poster = webhook_post.Poster(settings.user_agent, ca_file=settings.ca_file)
        server = None
        if settings.smtp_url and settings.mail_from:
            server = mail_post.MailServer(
                url=settings.smtp_url, sender=settings.mail_from, ca_file=settings.ca_file
            )
        options = delivery.DeliveryOptions(
            public_url=settings.public_url, secret_key=settings.secret_key, mail=server
        )
        return delivery.Deliverer(self._store, poster, self._clock, options)

    def worker(
        self,
        run_over: Callable[[], None],
        compare: Callable[[str], Awaitable[None]],
        *,
        only: str | None = None,
        slots: int | None = None,
        tags: Sequence[str] | None = None,
        reserved: int | None = None,
    ) -> Worker:
        """Return a worker that is not running yet; with *only*, it takes just that job.

        Arguments that are ``None`` are taken from the settings. *run_over* is called when a run of
        a schedule's job is over, and *compare* with the id of the schedule.

        Raises:
            Invalid: one of its tags is invalid.
        """
        name, settings = next(self._names), self._settings
        self._measures.workers.add(name)
        tags = settings.worker_tags if tags is None else tags
        check_worker_tags("worker_tags", tags)
        rules = ClaimRules(
            slots=slots or settings.jobs,
            lease=settings.lease,
            tags=frozenset(tags),
            reserved=settings.reserve_urgent if reserved is None else reserved,
            patience=settings.preempt_after,
            age_step=settings.age_after,
            only=only,
        )
        files, isolation = None, None
        if not self._alone:
            files = HostLocks(self._settings.data_dir / "workers", name)
            isolation = self._isolation
        liveness = Liveness(name, self._dispatcher, files)
        return Worker(
            self.worker_context(),
            self._dispatcher,
            liveness,
            isolation,
            rules,
            name,
            shutdown_s=settings.shutdown_s,
            run_over=run_over,
            compare=compare,
        )

    def worker_context(self) -> WorkerContext:
        """Return the context that one worker's jobs share; all workers share the rate limiter."""
        store, settings, measures = self._store, self._settings, self._measures
        return WorkerContext(
            store=store,
            clock=self._clock,
            tools=Tools(self._clock, self._rate_limiter, self._heavy, self._renderers),
            robots=self._robots,
            recorder=Recorder(store.frontier, self._clock, settings.lease, measures.checkpoints),
            progress=self._progress,
            agent=settings.user_agent,
            fetcher=partial(HttpFetcher, ca_file=settings.ca_file, measured=measures.requests),
            proxy_guard=proxy_guard(settings.allow_proxies),
            measures=measures,
            sealer=Sealer(store, settings.secret_key),
        )

    async def close(self) -> None:
        """Release booked request times and stop helper processes."""
        await self._isolation.forks.close()
        await self._rate_limiter.close()
        await self._robots.close()
        await self._heavy.close()
        await self._renderers.close()
