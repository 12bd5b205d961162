"""Upstream proxies of one job: their URLs, choice per host, and back-off after failures."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from hashlib import blake2b
from urllib.parse import unquote_to_bytes, urlsplit

from msgspec import Struct, field

from crawlyard.clock import Clock
from crawlyard.core.jobs.pulse import ProxyUse
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.quantity import count_noun
from crawlyard.core.templates.secrets import hide_proxy
from crawlyard.engine import urls
from crawlyard.engine.http.guard import BlockedAddress, Guard
from crawlyard.errors import Invalid

FIRST_REST_S = 2.0
LONGEST_REST_S = 600.0
MOST_NOTES = 100  # per run, so that a proxy that comes and goes doesn't flood the events
_MOST_SILENT = 3  # hosts in a row
_MOST_RANKS = 10_000  # hosts whose order of proxies is kept
_LONGEST_LOGIN = 255  # bytes of a user name, and of a password: RFC 1929, section 2
_EXPECTED = "expected http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ if needed"


class Scheme(StrEnum):
    """Protocol by which a proxy opens a tunnel."""

    HTTP = "http"  # CONNECT: RFC 9110, section 9.3.6
    SOCKS5 = "socks5"  # RFC 1928


class Proxy(Struct, eq=False, kw_only=True):
    """One proxy and its state. Instants are monotonic."""

    scheme: Scheme
    host: str  # as `urls.hostname_of` returns it
    port: int
    user: bytes = b""  # empty: no login
    password: bytes = b""
    label: str = ""  # its name in messages: without user and password
    key: bytes = b""  # the same in all processes and after restarts
    opened: int = 0  # tunnels
    failed: int = 0
    failures: int = 0  # in a row
    rests_until: float = 0.0
    silent: set[str] = field(default_factory=set)  # hosts without a response in a row
    on_trial: bool = False  # its rest is over, and a single connection tests it

    def is_ready(self, now: float) -> bool:
        """Return whether a connection may be made through it."""
        return not self.failures or (now >= self.rests_until and not self.on_trial)


class Proxies:
    """Proxies of one job, which carry all of its requests.

    A host keeps its proxy while that is healthy. A failing proxy rests, each time twice as long;
    then a single connection tests it, and the others wait for the result. *guard* checks the
    addresses of the proxies by the operator's settings, not by those of a job.

    Raises:
        Invalid: a URL is not a proxy URL.
    """

    def __init__(self, proxies: Sequence[str], guard: Guard, clock: Clock) -> None:
        self.guard = guard
        self._clock = clock
        self._all = tuple(map(proxy_of, proxies))
        labels = [proxy.label for proxy in self._all]
        for number, proxy in enumerate(self._all, 1):
            if labels.count(proxy.label) > 1:  # they differ in their logins
                proxy.label += f" (no. {number})"
        self._ranks: dict[str, list[Proxy]] = {}  # by host
        self._notes: list[str] = []
        self._noted = 0

    @classmethod
    def of(cls, spec: JobSpec, guard: Guard, clock: Clock) -> "Proxies | None":
        """Return the proxies of *spec*; ``None`` if its requests are sent directly."""
        return cls(spec.proxies, guard, clock) if spec.proxies else None

    @property
    def any_ready(self) -> bool:
        """True if any proxy is usable now."""
        now = self._clock.monotonic()
        return any(proxy.is_ready(now) for proxy in self._all)

    def choose(self, host: str) -> Proxy | None:
        """Return the proxy of *host*, ``None`` while all proxies rest."""
        return next(self.rank_for(host), None)

    def rank_for(self, host: str) -> Iterator[Proxy]:
        """Yield the proxies that *host* may use now, its usual one first."""
        ranks = self._ranks.get(host)
        if ranks is None:
            if len(self._ranks) >= _MOST_RANKS:
                self._ranks.clear()
            ranks = self._ranks[host] = sorted(self._all, key=lambda proxy: _rank(proxy, host))
        for proxy in tuple(ranks):
            if proxy.is_ready(self._clock.monotonic()):
                yield proxy

    def avoid(self, host: str, proxies: Collection[Proxy]) -> None:
        """Try *proxies* last for *host*, as they could not connect and another one could."""
        if proxies and (ranks := self._ranks.get(host)):
            ranks.sort(key=lambda proxy: proxy in proxies)

    @contextmanager
    def trial(self, proxy: Proxy) -> Iterator[None]:
        """Keep other connections from *proxy* meanwhile if it has just rested."""
        proxy.on_trial = proxy.failures > 0
        try:
            yield
        finally:
            proxy.on_trial = False

    def record_failure(self, proxy: Proxy, why: str) -> None:
        """Let a proxy rest after a failure of its own."""
        now = self._clock.monotonic()
        proxy.failed += 1
        if now < proxy.rests_until:
            return  # concurrent connections fail together: that is one failure
        rest_s = min(FIRST_REST_S * 2 ** min(proxy.failures, 16), LONGEST_REST_S)
        proxy.failures += 1
        proxy.rests_until = now + rest_s
        self._note(f"proxy {proxy.label} rests for {rest_s:g} s: {why}")

    def record_silence(self, proxy: Proxy, host: str) -> None:
        """Record that a proxy did not respond in time for *host*.

        For one host, this may be the host's fault; for several in a row, it is the proxy's.
        """
        proxy.silent.add(host)
        if proxy.failures or len(proxy.silent) >= _MOST_SILENT:
            self.record_failure(proxy, "no response in time")

    def record_response(self, proxy: Proxy) -> None:
        """Record that a proxy responds, which ends its failures."""
        proxy.silent.clear()
        if proxy.failures:
            self._note(f"proxy {proxy.label} is used again")
        proxy.failures, proxy.rests_until = 0, 0.0

    def record_tunnel(self, proxy: Proxy) -> None:
        """Record that a proxy has opened a tunnel."""
        proxy.opened += 1
        self.record_response(proxy)

    @property
    def rest_s(self) -> float:
        """The seconds until the next proxy is tried; 0 if one is usable."""
        if self.any_ready:
            return 0.0
        until = min(proxy.rests_until for proxy in self._all)
        return max(1.0, until - self._clock.monotonic())  # one is being tested now

    def uses(self) -> tuple[ProxyUse, ...]:
        """Return the connections and failures of each proxy so far."""
        now = self._clock.monotonic()
        return tuple(
            ProxyUse(
                proxy=p.label,
                connections=p.opened,
                failures=p.failed,
                rests_s=0.0 if p.is_ready(now) else max(1.0, p.rests_until - now),
            )
            for p in self._all
        )

    def notes(self, *, last: bool = False) -> tuple[str, ...]:
        """Return new notes for the job's events; the *last* ones sum up the run."""
        notes, self._notes = self._notes, []
        if last:
            notes += [
                f"proxy {p.label}: {count_noun(p.opened, 'connection')}, "
                f"{count_noun(p.failed, 'failure')}"
                for p in self._all
            ]
        return tuple(notes)

    def _note(self, text: str) -> None:
        if self._noted < MOST_NOTES:
            self._noted += 1
            self._notes.append(text)


def proxy_guard(allow: Sequence[str]) -> Guard:
    """Return the guard for the addresses of proxies; *allow* is the operator's list.

    Raises:
        Invalid: an entry is malformed.
    """
    return Guard(allow, field="allow_proxies")


def proxy_of(url: str) -> Proxy:
    """Return the proxy that *url* names.

    Raises:
        Invalid: it is no proxy URL; the message does not show its user and password.
    """
    redacted = hide_proxy(url)[:200]
    try:
        parts = urlsplit(url)
        scheme, port = Scheme(parts.scheme), parts.port
        host = urls.hostname_of(urls.canonical(f"http://{parts.netloc.rpartition('@')[2]}/"))
    except (ValueError, Invalid):
        raise Invalid("proxies", f"{_EXPECTED}, got {redacted!r}{_hint(url)}") from None
    if not port or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Invalid("proxies", f"{_EXPECTED}, got {redacted!r}")
    user, password = (unquote_to_bytes(part or "") for part in (parts.username, parts.password))
    if "@" in parts.netloc and not _is_login(scheme, user, password, parts.password):
        expected = f"expected USER:PASSWORD, of 1 to {_LONGEST_LOGIN} bytes each"
        raise Invalid("proxies", f"{expected} and escaped as in URLs, in {redacted!r}")
    label = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    key = blake2b(label.encode() + b"\0" + user).digest()
    return Proxy(
        scheme=scheme, host=host, port=port, user=user, password=password, label=label, key=key
    )


def check_address(guard: Guard, proxy: Proxy, address: str, port: int) -> None:
    """Check that the operator lets jobs connect to *proxy* at *address* and *port*.

    Raises:
        BlockedAddress: the address is not public, and the settings do not allow it.
    """
    try:
        guard.check(proxy.host, address, port)
    except BlockedAddress as blocked:
        why = str(blocked).partition(";")[0]
        at = f"[{address}]" if ":" in address else address
        setting = f"the operator can allow it with CRAWLYARD_ALLOW_PROXIES={at}:{port}"
        raise BlockedAddress(f"{why}; {setting}") from None


async def check_proxies(
    spec: JobSpec, guard: Guard, resolve: Callable[[str, int], Awaitable[Sequence[str]]]
) -> None:
    """Resolve the proxies of *spec*, and check that the operator lets jobs connect to them.

    Raises:
        Invalid: a proxy has no address, or one that is not allowed.
    """
    addresses_by_host: dict[str, Sequence[str]] = {}
    for proxy in map(proxy_of, spec.proxies):
        literal = urls.address_in(proxy.host)
        try:
            if proxy.host not in addresses_by_host:
                addresses = [literal] if literal else await resolve(proxy.host, proxy.port)
                addresses_by_host[proxy.host] = addresses
            for address in addresses_by_host[proxy.host]:
                check_address(guard, proxy, address, proxy.port)
        except BlockedAddress as blocked:
            raise Invalid("proxies", f"proxy {proxy.label}: {blocked}") from None
        except OSError:
            raise Invalid("proxies", f"proxy {proxy.label}: {proxy.host} has no address") from None


def _rank(proxy: Proxy, host: str) -> bytes:
    """Return the rank of a proxy for a host, the same in all processes.

    A proxy that rests moves only its own hosts. Source: rendezvous hashing (Thaler and
    Ravishankar, 1998).
    """
    return blake2b(proxy.key + host.encode(), digest_size=8).digest()


def _is_login(scheme: Scheme, user: bytes, password: bytes, raw_password: str | None) -> bool:
    if scheme is Scheme.HTTP:  # RFC 7617, section 2; the password may be empty, but not missing
        return bool(user) and b":" not in user and raw_password is not None
    return all(0 < len(part) <= _LONGEST_LOGIN for part in (user, password))


def _hint(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme == "socks5h":
        return "; use socks5, as names are resolved here for the address guard"
    return "; proxies over TLS are not supported" if scheme == "https" else ""
