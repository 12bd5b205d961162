"""Requests through a reverse proxy: whose address and scheme they have, and who is believed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.forwarded import address_behind, networks_of
from crawlyard.web.rates import PER_MINUTE, Bucket
from crawlyard.web.site import SiteOptions
from tests.clock import FakeClock
from tests.web.live_rig import LiveRig, a_live_rig
from tests.web.raw import END, Answer, RawConnection

MOST = PER_MINUTE[Bucket.LOGIN]


@asynccontextmanager
async def behind(host: str, *proxies: str) -> AsyncIterator[LiveRig]:
    """Serve on *host*, counting requests, behind these proxies."""
    options = SiteOptions(trusted_proxies=networks_of(proxies))
    async with a_live_rig(open_in_memory(), options=options, host=host) as live:
        live.rig.site.rates.clock = FakeClock()  # no request is forgiven meanwhile
        yield live


async def sign_in(live: LiveRig, *lines: str, source: str | None = None) -> Answer:
    """Return the answer to a sign-in with a token, sent from the address *source*."""
    body = b'{"code": "%b"}' % live.rig.secrets["local"].encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}", *lines)
    head = "\r\n".join(("POST /api/v1/auth/login HTTP/1.1", "Host: localhost", *lines))
    url = live.client.base_url
    host = url.host.strip("[]")
    reader, writer = await asyncio.open_connection(
        host, url.port, local_addr=None if source is None else (source, 0)
    )
    try:
        writer.write(head.encode() + END + body)
        return await RawConnection(reader, writer).answer()
    finally:
        writer.transport.abort()


async def allowed(live: LiveRig, headers: Sequence[str], source: str | None = None) -> int:
    """Return how many sign-ins with *headers*, used in turns, are not refused as too many."""
    turns = (headers[n % len(headers)] for n in range(2 * MOST * len(headers)))
    answers = [await sign_in(live, header, source=source) for header in turns]
    assert {answer.status for answer in answers} <= {200, 429}
    return sum(answer.status == 200 for answer in answers)


V4, V6 = "127.0.0.1", "::1"


@pytest.mark.parametrize(
    ("host", "visitors"),
    [(V4, ("203.0.113.7", "203.0.113.8")), (V6, ("2001:db8::7", "[2001:db8::8]:4711"))],
)
async def test_the_visitors_of_a_proxy_are_counted_one_by_one(
    host: str, visitors: tuple[str, ...]
) -> None:
    # each visitor forges another address, which the proxy leaves in front of their own
    headers = [f"X-Forwarded-For: 198.51.100.{n}, {visitor}" for n, visitor in enumerate(visitors)]
    async with behind(host, host) as live:
        assert await allowed(live, headers) == len(visitors) * MOST


@pytest.mark.parametrize(
    ("host", "proxies", "source"),
    [
        (V4, (), V4),  # no proxy is trusted unless a setting names it
        (V6, (), V6),
        (V4, ("127.0.0.1",), "127.0.0.2"),
        (V4, ("10.0.0.0/8", "::1"), V4),
    ],
)
async def test_a_header_that_is_forged_elsewhere_is_ignored(
    host: str, proxies: tuple[str, ...], source: str
) -> None:
    forged = [f"X-Forwarded-For: 203.0.113.{n}" for n in range(3)]
    async with behind(host, *proxies) as live:
        assert await allowed(live, forged, source) == MOST


async def test_the_scheme_is_what_a_trusted_proxy_says() -> None:
    for proxies, forwarded_proto, name in [
        ((V4,), "https", "__Host-crawlyard"),
        ((V4,), "http", "crawlyard"),
        ((V4,), "gopher", "crawlyard"),
        ((), "https", "crawlyard"),
        (("10.0.0.0/8",), "https", "crawlyard"),
    ]:
        async with behind(V4, *proxies) as live:
            answer = await sign_in(live, f"X-Forwarded-Proto: {forwarded_proto}")
        assert answer.headers["set-cookie"].startswith(f"{name}="), (proxies, forwarded_proto)


def test_the_client_is_the_right_most_address_that_is_not_trusted() -> None:
    trusted = networks_of(("10.0.0.0/8", "192.0.2.1", "fd00::/8"))
    for peer, forwarded, client in [
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.7, 192.0.2.1"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("fd00::1", ["2001:DB8:0::7"], "2001:db8::7"),
        ("fd00::1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("fd00::1", ["[2001:db8::7]"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # a client inside
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("", ["198.51.100.1"], ""),
    ]:
        assert address_behind(peer, forwarded, trusted) == client, (peer, forwarded)
