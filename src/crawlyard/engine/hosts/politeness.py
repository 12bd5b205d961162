"""Politeness of one job: applies its spec and the robots.txt of hosts to the host gate."""

from collections.abc import Callable, Iterable

from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.hosts.gate import HostGate
from crawlyard.engine.robots.cache import Closed, RobotsAccess
from crawlyard.engine.robots.rules import RobotsRules


class Politeness:
    """Sets the limits of each host at the gate, and looks up the robots.txt rules of origins."""

    def __init__(
        self,
        job: str,
        gate: HostGate,
        access: RobotsAccess,
        note: Callable[[str], None],
        listed: Callable[[str, Iterable[str]], None],
    ) -> None:
        self._job = job
        self._gate = gate
        self._access = access
        self._note = note  # adds a note to the job's events
        self._listed = listed  # called with an origin and the sitemaps in its robots.txt
        self._delays_s: dict[str, float] = {}  # hosts known to the gate, and their crawl-delay
        self._met: set[str] = set()  # origins whose rules were applied

    def adopt(self, spec: JobSpec) -> None:
        """Switch to *spec*."""
        self._spec = spec
        for host in self._delays_s:
            self._tell(host)

    def wish(self, host: str) -> None:
        """Register *host* at the gate, unless this job has done so already."""
        if host not in self._delays_s:
            self._delays_s[host] = 0.0
            self._tell(host)

    def rules_of(self, origin: str, host: str) -> RobotsRules | Closed | None:
        """Return the rules of *origin* or why it is closed; ``None`` if `learn` must be called."""
        known = self._access.of(origin)
        if isinstance(known, RobotsRules) and origin not in self._met:
            self._met.add(origin)
            self._take_up(origin, host, known)
        return known

    async def learn(self, origin: str) -> float | None:
        """Fetch the robots.txt of *origin*; return the seconds until the next try.

        ``None`` if no further try is needed, so that `rules_of` returns the result.
        """
        known = await self._access.learn(origin)
        if isinstance(known, RobotsRules) or known.retry_in_s is None:
            return None
        self._note(f"{known.detail}; asked again in {known.retry_in_s:g} s")
        return known.retry_in_s

    def _take_up(self, origin: str, host: str, rules: RobotsRules) -> None:
        asked, cap = rules.delay_s, self._spec.crawl_delay_cap_s
        if asked is not None:
            if asked > cap:
                self._note(f"{origin} asks for a crawl-delay of {asked:g} s; {cap:g} s are kept")
            self._delays_s[host] = min(asked, cap)
            self._tell(host)
        self._listed(origin, rules.sitemaps)

    def _tell(self, host: str) -> None:
        delay_s = max(self._spec.delay_s, self._delays_s[host])
        self._gate.wish(self._job, host, delay_s, self._spec.per_host)
