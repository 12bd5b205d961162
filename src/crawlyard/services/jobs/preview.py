"""Preview of a job without creating it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.estimate import HostPace, Sight, estimate_crawl
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.jobs.job import Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.preview_answers import (
    EarlierOut,
    EstimateOut,
    PreviewOut,
    SeenOriginOut,
    SitemapOut,
    TestedOut,
)
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import JobRequest, form_of
from crawlyard.core.parse import hosts_in
from crawlyard.core.templates.secrets import hide_credentials
from crawlyard.engine.discovery import NAMED_BY_ROBOTS
from crawlyard.engine.http.dns import addresses_of
from crawlyard.engine.http.guard import spec_guard
from crawlyard.engine.http.proxy import Proxies, check_proxies
from crawlyard.engine.probe import MOST_ORIGINS, MOST_SITEMAPS, OriginProbe, Probe
from crawlyard.engine.urls import canonical, host_of, origin_of, path_of
from crawlyard.errors import Forbidden, Invalid
from crawlyard.ids import new_id
from crawlyard.services.access.policy import CEILING, Policy
from crawlyard.services.jobs.submission import Submitter
from crawlyard.services.results.url_fate import boundary_of
from crawlyard.services.webhooks.receivers import check_job_spec
from crawlyard.services.workers.run import WorkerContext
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store

LONGEST = timedelta(seconds=10)
"""Time limit of a preview; what was not answered by then is reported as missing."""

MOST_SHOWN = 100
"""Maximum number of start URLs in an answer, which also has their total number."""

_MOST_NAMED = 50  # sitemaps that one robots.txt names
_AT_ONCE = 4  # previews at once in a process; others wait


_log = logging.getLogger(__name__)


class Preview:
    """Previews job requests; nothing is written, and no page is fetched."""

    def __init__(
        self, store: Store, submitter: Submitter, policy: Policy, context: WorkerContext
    ) -> None:
        self._store = store
        self._submitter = submitter
        self._policy = policy
        self._context = context
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._parser = ThreadPoolExecutor(1, "crawlyard-preview")

    async def of(self, actor: Actor, request: JobRequest, urls: Sequence[str] = ()) -> PreviewOut:
        """Return the preview of a job, and whether each of *urls* would be fetched.

        Fetches robots.txt and sitemaps, for at most `LONGEST`.

        Raises:
            Invalid, NotFound, Forbidden: as if it were submitted.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may view jobs, but not preview one")
        ready = await self._submitter.prepare(actor, request)
        check_job_spec(ready.spec)
        await check_proxies(ready.spec, self._context.proxy_guard, addresses_of)
        needed = await self._policy.find_needed(actor, ready.spec, ready.origin)
        if not ready.grant:
            await self._policy.check_granted(*needed)
        within = await self._policy.clamp(actor.id, ready.spec)
        scout, missing = await self._probe(within.spec)
        hosts = ", ".join(origin.partition("//")[2] for origin in scout.origins)
        _log.info("%s previews a crawl of %s: %d requests", actor.id, hosts, scout.requests)
        judge = _Judge(within.spec, scout)
        starts = list(dict.fromkeys(map(canonical, within.spec.urls)))
        key = within.spec.unique_key
        return PreviewOut(
            config=hide_credentials(form_of(within.spec)),
            sources={**ready.sources, **dict.fromkeys(within.cut, CEILING)},
            start_urls=tuple(judge.test(url) for url in starts[:MOST_SHOWN]),
            start_count=len(starts),
            origins=tuple(map(_origin, scout.origins.values())),
            sitemaps=tuple(map(SitemapOut.filled, scout.sitemaps.values())),
            tested=tuple(judge.test(url) for url in urls),
            missing=missing,
            user_agent=scout.agent,
            estimate=_estimate(within.spec, judge, await self._earlier(actor, within.spec)),
            existing_id=key and await self._store.jobs.with_unique_key(actor.id, key),
        )

    async def _earlier(self, actor: Actor, spec: JobSpec) -> Standing | None:
        """Return the actor's last completed job that starts at the same host."""
        hosts = hosts_in(spec.urls)[:1]
        if not hosts:
            return None
        where = (condition(FilterKey.HOST, hosts),)
        query = JobQuery(owner=actor.id, states=frozenset({State.COMPLETED}), where=where)
        return next(iter(await self._store.jobs.find(query, 1)), None)

    async def _probe(self, spec: JobSpec) -> tuple[Probe, tuple[str, ...]]:
        context, boundary = self._context, boundary_of(spec)
        fetcher = context.fetcher(
            spec_guard(spec),
            min(timedelta(seconds=spec.timeout_s), LONGEST),
            context.clock,
            proxies=Proxies.of(spec, context.proxy_guard, context.clock),
        )
        scout = Probe(
            spec=spec,
            agent=spec.user_agent or context.agent,
            fetcher=fetcher,
            rate_limiter=context.tools.rate_limiter,
            robots=context.robots,
            key=f"preview:{new_id()}",
            parser=self._parser,
            inside=lambda url: not boundary.verdict(url, 0),
        )
        origins = list(dict.fromkeys(origin_of(canonical(url)) for url in spec.urls))
        named = [canonical(url) for url in spec.sitemaps if url != NAMED_BY_ROBOTS]
        try:
            async with self._turns:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LONGEST.total_seconds()):
                        await scout.run(origins, named)
        finally:
            await fetcher.close()
        return scout, _missing(scout, origins)


class _Judge:
    """Decides whether URLs would be fetched."""

    def __init__(self, spec: JobSpec, scout: Probe) -> None:
        self.scout = scout
        self._spec = spec
        self._origins = scout.origins
        self._boundary = boundary_of(spec)

    def test(self, url: str) -> TestedOut:
        """Return whether *url* would be fetched at depth 0."""
        try:
            url = canonical(url)
        except Invalid as error:
            return TestedOut(url=url[:500], inside=False, rule=str(error))
        rule = self._boundary.verdict(url, 0) or self._robots(url)
        return TestedOut(url=url, inside=not rule, rule=rule or "")

    def _robots(self, url: str) -> str | None:
        probe = self._origins.get(origin_of(url))
        if self._spec.ignore_robots or probe is None or probe.rules is None:
            return None
        line = probe.rules.verdict(path_of(url))
        return f"robots: {line}" if line else None


def _missing(scout: Probe, origins: Sequence[str]) -> tuple[str, ...]:
    problems = [
        f"{probe.origin}: {probe.problem}" for probe in scout.origins.values() if probe.problem
    ]
    problems += [
        f"{sitemap.url}: {sitemap.problem}"
        for sitemap in scout.sitemaps.values()
        if sitemap.problem
    ]
    if len(origins) > MOST_ORIGINS:
        problems.append(
            f"of {len(origins):,} origins, only the first {MOST_ORIGINS} were requested"
        )
    if len(scout.sitemaps) >= MOST_SITEMAPS:
        problems.append(f"at most {MOST_SITEMAPS} sitemaps were read")
    return tuple(problems)


def _origin(probe: OriginProbe) -> SeenOriginOut:
    rules = probe.rules
    line = rules.verdict("/") if rules is not None else None
    return SeenOriginOut(
        origin=probe.origin,
        robots="missing" if rules is None else "had",
        crawl_delay_s=rules.delay_s if rules is not None else None,
        start_allowed=None if rules is None else line is None,
        rule=line or "",
        sitemaps=rules.sitemaps[:_MOST_NAMED] if rules is not None else (),
        problem=probe.problem,
        blocked=probe.blocked,
    )


def _estimate(spec: JobSpec, judge: _Judge, earlier: Standing | None) -> EstimateOut:
    scout = judge.scout
    origins = dict.fromkeys(origin_of(canonical(url)) for url in spec.urls)
    paces = {}
    for origin in (*(f"https://{host}" for host in scout.named), *origins):
        host = host_of(f"{origin}/")
        delay_s, answer_s = scout.delay_s(origin), scout.response_s(host)
        paces[host] = HostPace(delay_s=delay_s, answer_s=answer_s)
    inside = [url for url in dict.fromkeys(map(canonical, spec.urls)) if judge.test(url).inside]
    read = scout.sitemaps.values()
    sight = Sight(
        starts=Counter(map(host_of, inside)),
        named=scout.named,
        whole=len(read) < MOST_SITEMAPS and all(sitemap.urls is not None for sitemap in read),
        paces=paces,
        earlier=earlier.shard.usage if earlier is not None else None,
    )
    estimate = estimate_crawl(spec, sight)
    delay_s = max((scout.delay_s(origin) for origin in list(origins)[:1]), default=spec.delay_s)
    return EstimateOut.filled(
        estimate,
        delay_s=delay_s,
        delay_by="robots" if delay_s > spec.delay_s else "spec",
        earlier=EarlierOut.of(earlier) if earlier is not None else None,
    )
