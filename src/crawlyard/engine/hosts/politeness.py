"""How one job treats the hosts it meets: by its spec, and by what their robots.txt asks for."""

from collections.abc import Callable, Iterable

from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.hosts.gate import HostGate
from crawlyard.engine.robots.cache import Closed, RobotsAccess
from crawlyard.engine.robots.rules import RobotsRules


class Politeness:
    """Tells the gate what the job wishes for each host, and knows the rules of each origin."""

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
        self._note = note  # tells operators of what is unusual
        self._listed = listed  # is told an origin and the sitemaps that its robots.txt names
        self._delays_s: dict[str, float] = {}  # hosts wished for, and the delay they ask for
        self._met: set[str] = set()  # origins whose rules were taken up

    def adopt(self, spec: JobSpec) -> None:
        """Go by *spec* from now on."""
        self._spec = spec
        for host in self._delays_s:
            self._tell(host)

    def wish(self, host: str) -> None:
        """Tell the gate of *host*, if it does not know of it from this job."""
        if host not in self._delays_s:
            self._delays_s[host] = 0.0
            self._tell(host)

    def rules_of(self, origin: str, host: str) -> RobotsRules | Closed | None:
        """Return the rules of *origin*, why it is closed, or ``None``: `learn` them first."""
        known = self._access.of(origin)
        if isinstance(known, RobotsRules) and origin not in self._met:
            self._met.add(origin)
            self._take_up(origin, host, known)
        return known

    async def learn(self, origin: str) -> float | None:
        """Ask for the robots.txt of *origin*; return in how many seconds to ask again.

        ``None``: it is settled, and `rules_of` knows.
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
