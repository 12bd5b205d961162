"""Upstream proxies of one job: their URLs, which of them a host uses, and which ones rest."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from hashlib import blake2b
from urllib.parse import unquote_to_bytes, urlsplit

from msgspec import Struct, field

from crawlyard.clock import Clock
from crawlyard.core.jobs.pulse import ProxyUse
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.quantity import counted
from crawlyard.core.templates.secrets import hidden_proxy
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
    """How a proxy is asked for a tunnel."""

    HTTP = "http"  # CONNECT: RFC 9110, section 9.3.6
    SOCKS5 = "socks5"  # RFC 1928


class Proxy(Struct, eq=False, kw_only=True):
    """One proxy, and what is known of it. Instants are monotonic."""

    scheme: Scheme
    host: str  # as `urls.hostname_of` returns it
    port: int
    user: bytes = b""  # empty: no login
    password: bytes = b""
    label: str = ""  # names it in messages: without user and password
    key: bytes = b""  # stays the same over processes and restarts
    opened: int = 0  # tunnels
    failed: int = 0
    failures: int = 0  # in a row
    rests_until: float = 0.0
    silent: set[str] = field(default_factory=set)  # hosts for which it said nothing, in a row
    on_trial: bool = False  # its rest is over, and one connection tries it

    def ready(self, now: float) -> bool:
        """Return whether a connection may be made through it."""
        return not self.failures or (now >= self.rests_until and not self.on_trial)


class Proxies:
    """The proxies of one job, which all of its requests go through.

    A host keeps its proxy while that is healthy. One that fails rests, each time twice as long;
    then a single connection tries it, and the others wait for the result. *guard* judges
    the addresses of the proxies: what the operator opens, and nothing that a job says.

    Raises:
        Invalid: a URL is not that of a proxy.
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
    def ready(self) -> bool:
        """Return whether any of them can be used now."""
        now = self._clock.monotonic()
        return any(proxy.ready(now) for proxy in self._all)

    def chosen(self, host: str) -> Proxy | None:
        """Return the proxy of *host*, ``None`` while all of them rest."""
        return next(self.ranked(host), None)

    def ranked(self, host: str) -> Iterator[Proxy]:
        """Yield the proxies that *host* may use now, the one that it keeps in front."""
        ranks = self._ranks.get(host)
        if ranks is None:
            if len(self._ranks) >= _MOST_RANKS:
                self._ranks.clear()
            ranks = self._ranks[host] = sorted(self._all, key=lambda proxy: _rank(proxy, host))
        for proxy in tuple(ranks):
            if proxy.ready(self._clock.monotonic()):
                yield proxy

    def avoid(self, host: str, proxies: Collection[Proxy]) -> None:
        """Try *proxies* last for *host*: they did not connect to it, and another one did."""
        if proxies and (ranks := self._ranks.get(host)):
            ranks.sort(key=lambda proxy: proxy in proxies)

    @contextmanager
    def tried(self, proxy: Proxy) -> Iterator[None]:
        """Let no other connection try *proxy* meanwhile if it comes from a rest."""
        proxy.on_trial = proxy.failures > 0
        try:
            yield
        finally:
            proxy.on_trial = False

    def failed(self, proxy: Proxy, why: str) -> None:
        """Let a proxy rest that failed by itself."""
        now = self._clock.monotonic()
        proxy.failed += 1
        if now < proxy.rests_until:
            return  # connections that were under way at once fail together: that is one failure
        rest_s = min(FIRST_REST_S * 2 ** min(proxy.failures, 16), LONGEST_REST_S)
        proxy.failures += 1
        proxy.rests_until = now + rest_s
        self._note(f"proxy {proxy.label} rests for {rest_s:g} s: {why}")

    def silent(self, proxy: Proxy, host: str) -> None:
        """Record that a proxy did not say in time whether it can connect to *host*.

        For one host, that may be the host's fault; for several in a row, it is the proxy's.
        """
        proxy.silent.add(host)
        if proxy.failures or len(proxy.silent) >= _MOST_SILENT:
            self.failed(proxy, "it did not answer in time")

    def works(self, proxy: Proxy) -> None:
        """Record that a proxy answers."""
        proxy.silent.clear()
        if proxy.failures:
            self._note(f"proxy {proxy.label} is used again")
        proxy.failures, proxy.rests_until = 0, 0.0

    def opened(self, proxy: Proxy) -> None:
        """Record that a proxy has opened a tunnel."""
        proxy.opened += 1
        self.works(proxy)

    @property
    def rest_s(self) -> float:
        """Return the seconds until the first of them is tried again; 0 if one can be used."""
        if self.ready:
            return 0.0
        until = min(proxy.rests_until for proxy in self._all)
        return max(1.0, until - self._clock.monotonic())  # one is being tried just now

    def uses(self) -> tuple[ProxyUse, ...]:
        """Return how each of them has done so far."""
        now = self._clock.monotonic()
        return tuple(
            ProxyUse(
                proxy=p.label,
                connections=p.opened,
                failures=p.failed,
                rests_s=0.0 if p.ready(now) else max(1.0, p.rests_until - now),
            )
            for p in self._all
        )

    def notes(self, *, last: bool = False) -> tuple[str, ...]:
        """Return what is new for the job's events; the *last* notes sum up the run."""
        notes, self._notes = self._notes, []
        if last:
            notes += [
                f"proxy {p.label}: {counted(p.opened, 'connection')}, "
                f"{counted(p.failed, 'failure')}"
                for p in self._all
            ]
        return tuple(notes)

    def _note(self, text: str) -> None:
        if self._noted < MOST_NOTES:
            self._noted += 1
            self._notes.append(text)


def proxy_guard(allow: Sequence[str]) -> Guard:
    """Return the guard for the addresses of proxies; *allow* is what the operator opens.

    Raises:
        Invalid: an entry is malformed.
    """
    return Guard(allow, field="allow_proxies")


def proxy_of(url: str) -> Proxy:
    """Return the proxy that *url* names.

    Raises:
        Invalid: it names none; the message does not show its user and password.
    """
    shown = hidden_proxy(url)[:200]
    try:
        parts = urlsplit(url)
        scheme, port = Scheme(parts.scheme), parts.port
        host = urls.hostname_of(urls.canonical(f"http://{parts.netloc.rpartition('@')[2]}/"))
    except (ValueError, Invalid):
        raise Invalid("proxies", f"{_EXPECTED}, got {shown!r}{_hint(url)}") from None
    if not port or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Invalid("proxies", f"{_EXPECTED}, got {shown!r}")
    user, password = (unquote_to_bytes(part or "") for part in (parts.username, parts.password))
    if "@" in parts.netloc and not _is_login(scheme, user, password, parts.password):
        expected = f"expected USER:PASSWORD, of 1 to {_LONGEST_LOGIN} bytes each"
        raise Invalid("proxies", f"{expected} and escaped as in URLs, in {shown!r}")
    label = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    key = blake2b(label.encode() + b"\0" + user).digest()
    return Proxy(
        scheme=scheme, host=host, port=port, user=user, password=password, label=label, key=key
    )


def check_address(guard: Guard, proxy: Proxy, address: str, port: int) -> None:
    """Check that the operator lets jobs connect to *proxy* at *address* and *port*.

    Raises:
        BlockedAddress: the address is not public, and not opened by the settings.
    """
    try:
        guard.check(proxy.host, address, port)
    except BlockedAddress as blocked:
        why = str(blocked).partition(";")[0]
        at = f"[{address}]" if ":" in address else address
        opened = f"the operator can open it: CRAWLYARD_ALLOW_PROXIES={at}:{port}"
        raise BlockedAddress(f"{why}; {opened}") from None


async def check_proxies(
    spec: JobSpec, guard: Guard, resolve: Callable[[str, int], Awaitable[Sequence[str]]]
) -> None:
    """Look up the proxies of *spec*, and check that the operator lets jobs connect to them.

    Raises:
        Invalid: one has no address, or an address that is not opened.
    """
    found: dict[str, Sequence[str]] = {}
    for proxy in map(proxy_of, spec.proxies):
        literal = urls.address_in(proxy.host)
        try:
            if proxy.host not in found:
                addresses = [literal] if literal else await resolve(proxy.host, proxy.port)
                found[proxy.host] = addresses
            for address in found[proxy.host]:
                check_address(guard, proxy, address, proxy.port)
        except BlockedAddress as blocked:
            raise Invalid("proxies", f"proxy {proxy.label}: {blocked}") from None
        except OSError:
            raise Invalid("proxies", f"proxy {proxy.label}: {proxy.host} has no address") from None


def _rank(proxy: Proxy, host: str) -> bytes:
    """Return the rank of a proxy for a host, the same in all processes.

    A proxy that rests moves its own hosts and no others. Source: rendezvous hashing (Thaler and
    Ravishankar, 1998).
    """
    return blake2b(proxy.key + host.encode(), digest_size=8).digest()


def _is_login(scheme: Scheme, user: bytes, password: bytes, said: str | None) -> bool:
    if scheme is Scheme.HTTP:  # RFC 7617, section 2; the password may be empty, if it is said so
        return bool(user) and b":" not in user and said is not None
    return all(0 < len(part) <= _LONGEST_LOGIN for part in (user, password))


def _hint(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme == "socks5h":
        return ": names are looked up here, so that the address guard can judge them; use socks5"
    return ": proxies over TLS are not supported" if scheme == "https" else ""
