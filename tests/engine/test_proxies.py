"""Requests through proxies: none goes past them."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from crawlyard import LOCAL, State, Yard
from crawlyard.clock import SystemClock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.answers import SpecOut
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.jobs.spec_json import JobRequest
from crawlyard.demo.server import SiteServer
from crawlyard.engine.http.connection import ClientConnection
from crawlyard.engine.http.dns import Infos, look_up
from crawlyard.engine.http.fetch import NotSent
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.proxied import ProxiedConnector
from crawlyard.engine.http.proxy import Proxies, proxy_guard
from crawlyard.errors import Invalid
from crawlyard.services.jobs.lookup import find_job
from tests.clock import FakeClock
from tests.engine.clients import CAP, HEADERS, Make, failure
from tests.engine.raw import ServeRaw, answer, saying
from tests.engine.rig import a_spec, crawled, opened, outcome
from tests.engine.test_crawl import tree
from tests.engine.test_events import documented_events_of
from tests.engine.test_tls import CERTIFICATE, context
from tests.jobs import submit
from tests.proxies import ServeProxy, TestProxy
from tests.site import GraphSite, Serve, until

PUBLIC = proxy_guard([])
LOOPBACK = proxy_guard(["127.0.0.0/8", "::1"])


def through(*proxies: TestProxy, clock: FakeClock | None = None) -> Proxies:
    return Proxies([proxy.url for proxy in proxies], LOOPBACK, clock or SystemClock())


def to_site(host: str, port: int) -> Infos:
    return look_up("127.0.0.1", port)


class PeerSite(SiteServer):
    """A site that remembers where its connections come from."""

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers = {*getattr(self, "peers", ()), writer.get_extra_info("peername")[0]}
        super()._accept(reader, writer)


@pytest.mark.parametrize("login", ["", "us%25er:p%40ss%3A%2F"])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_the_proxy_gets_the_address_and_the_server_gets_the_name(
    make: Make, raw_server: ServeRaw, a_proxy: ServeProxy, scheme: str, login: str
) -> None:
    server = await raw_server(saying(answer(b"x")))
    proxy = await a_proxy(scheme, login="us%er:p@ss:/" if login else "")
    url = proxy.url.replace(proxy.login, login) if login else proxy.url
    fetcher = make(look=to_site, proxies=Proxies([url], LOOPBACK, SystemClock()))

    for _ in range(2):
        response = await fetcher.fetch(f"http://site.test:{server.port}/", HEADERS, CAP)

    assert response.body == b"x"
    assert proxy.asked == [f"127.0.0.1:{server.port}"]  # the tunnel was used again
    assert server.asked[0].startswith(b"GET / HTTP/1.1\r\nHost: site.test:")
    assert b"Proxy-Authorization" not in server.asked[0]


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_tls_is_between_us_and_the_server(
    make: Make, raw_server: ServeRaw, a_proxy: ServeProxy, scheme: str
) -> None:
    server_names: list[str | None] = []
    server = await raw_server(saying(answer(b"safe")), tls=context(server_names))
    proxy = await a_proxy(scheme)
    trusting = make(look=to_site, proxies=through(proxy), ca_file=CERTIFICATE)
    strict = make(look=to_site, proxies=through(proxy))
    url = f"https://site.test:{server.port}/"

    response = await trusting.fetch(url, HEADERS, CAP)
    failed = await failure(strict.fetch(url, HEADERS, CAP))

    assert response.body == b"safe"
    assert server_names[0] == "site.test"
    assert failed.kind is ErrorKind.TLS


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_ipv6_is_spoken_with_and_through_proxies(
    make: Make, site_server: Serve, a_proxy: ServeProxy, scheme: str
) -> None:
    server = await site_server(GraphSite({"/": []}), host="::1")
    proxy = await a_proxy(scheme, host="::1")
    fetcher = make(look=lambda _, port: look_up("::1", port), proxies=through(proxy))

    response = await fetcher.fetch(f"http://site.test:{server.port}/", HEADERS, CAP)

    assert response.status == 200
    assert proxy.asked == [f"[::1]:{server.port}"]


async def test_the_guard_checks_addresses_requested_through_a_proxy(
    make: Make, raw_server: ServeRaw, a_proxy: ServeProxy
) -> None:
    canary = await raw_server(saying(answer(b"secret")))
    proxy = await a_proxy("socks5")
    fetcher = make(look=to_site, guard=Guard(), proxies=through(proxy))

    named = await failure(fetcher.fetch(f"http://rebound.test:{canary.port}/", HEADERS, CAP))
    literal = await failure(fetcher.fetch(f"http://127.0.0.1:{canary.port}/", HEADERS, CAP))

    assert {named.kind, literal.kind} == {ErrorKind.BLOCKED_ADDRESS}
    assert (proxy.connections, canary.connections) == (0, 0)


async def test_a_proxy_at_a_private_address_is_not_connected_to(
    make: Make, raw_server: ServeRaw, a_proxy: ServeProxy
) -> None:
    server = await raw_server(saying(answer(b"x")))
    proxy = await a_proxy("http")
    named = f"http://proxy.test:{proxy.port}"  # its address is known once it is connected
    fetchers = [
        make(look=to_site, proxies=Proxies([url], Guard(), SystemClock()))
        for url in (proxy.url, named)
    ]

    failed = [await failure(fetcher.fetch(server.url, HEADERS, CAP)) for fetcher in fetchers]

    assert {failure.kind for failure in failed} == {ErrorKind.PROXY}
    assert all("CRAWLYARD_ALLOW_PROXIES=127.0.0.1:" in failure.detail for failure in failed)
    assert (proxy.connections, server.connections) == (0, 0)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize(
    ("login", "credentials"), [("user:right", "user:wrong"), ("user:right", ""), ("", "user:x")]
)
async def test_a_login_that_is_refused_is_said_without_the_password(
    make: Make, raw_server: ServeRaw, a_proxy: ServeProxy, scheme: str, login: str, credentials: str
) -> None:
    server = await raw_server(saying(answer(b"x")))
    proxy = await a_proxy(scheme, login=login)
    at = f"{credentials}@" if credentials else ""
    proxies = Proxies([f"{scheme}://{at}{proxy.address}"], LOOPBACK, SystemClock())

    if (scheme, login) == ("http", ""):
        response = await make(proxies=proxies).fetch(server.url, HEADERS, CAP)
        assert response.body == b"x"  # an unrequested login does no harm
        return
    failed = await failure(make(proxies=proxies).fetch(server.url, HEADERS, CAP))

    assert (failed.kind, failed.transient) == (ErrorKind.PROXY, True)
    assert f"proxy {scheme}://{proxy.address}: " in failed.detail
    assert not any(word in failed.detail for word in ("user:", "wrong", "right"))
    assert server.connections == 0


async def test_what_is_no_proxy_is_said(make: Make, raw_server: ServeRaw) -> None:
    ssh = await raw_server(saying(answer(b"x")))
    ssh.welcome = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"

    for scheme, protocol in (("http", "HTTP"), ("socks5", "SOCKS5")):
        proxies = Proxies([f"{scheme}://127.0.0.1:{ssh.port}"], LOOPBACK, SystemClock())
        failed = await failure(make(proxies=proxies).fetch("http://127.0.0.9:1/", HEADERS, CAP))

        assert failed.detail.endswith(f"{protocol} proxy")


async def test_a_server_out_of_reach_does_not_make_the_proxy_rest(
    make: Make, a_proxy: ServeProxy
) -> None:
    proxies = through(await a_proxy("http"), await a_proxy("socks5"))

    failed = await failure(make(proxies=proxies).fetch("http://127.0.0.9:1/", HEADERS, CAP))

    assert failed.kind is ErrorKind.PROXY
    assert "no connection to 127.0.0.9" in failed.detail
    assert proxies.any_ready
    assert proxies.notes() == ()


async def test_a_host_keeps_its_proxy_and_moves_when_that_is_dead(
    make: Make, raw_server: ServeRaw, a_proxy: ServeProxy
) -> None:
    server = await raw_server(saying(answer(b"x", "Connection: close")))
    proxy_servers = [await a_proxy("http"), await a_proxy("socks5")]
    clock = FakeClock()
    proxies = through(*proxy_servers, clock=clock)
    fetcher = make(proxies=proxies)

    for _ in range(3):
        await fetcher.fetch(server.url, HEADERS, CAP)
    [first] = [proxy for proxy in proxy_servers if proxy.asked]
    [second] = [proxy for proxy in proxy_servers if proxy is not first]
    await first.close()
    await fetcher.fetch(server.url, HEADERS, CAP)
    await second.close()
    failed = await failure(fetcher.fetch(server.url, HEADERS, CAP))
    with pytest.raises(NotSent, match="no proxy is usable; next try in 2 s"):
        await fetcher.fetch(server.url, HEADERS, CAP)
    clock.stall(timedelta(seconds=2))
    await first.open()
    await fetcher.fetch(server.url, HEADERS, CAP)

    assert (len(first.asked), len(second.asked)) == (4, 1)
    assert failed.kind is ErrorKind.PROXY
    assert server.connections == 5
    assert [note.partition(": ")[0] for note in proxies.notes()] == [
        f"proxy {first.scheme}://{first.address} rests for 2 s",
        f"proxy {second.scheme}://{second.address} rests for 2 s",
        f"proxy {first.scheme}://{first.address} is used again",
    ]


async def test_one_that_does_not_connect_to_a_host_is_passed_over_for_that_host(
    make: Make, raw_server: ServeRaw, a_proxy: ServeProxy
) -> None:
    server = await raw_server(saying(answer(b"x", "Connection: close")))
    proxy_servers = [await a_proxy("http"), await a_proxy("socks5")]
    proxies = through(*proxy_servers)
    chosen = proxies.choose("127.0.0.1")
    [first] = [p for p in proxy_servers if chosen is not None and p.port == chosen.port]
    first.refuses = "127.0.0.1"
    fetcher = make(proxies=proxies)

    for _ in range(3):
        await fetcher.fetch(server.url, HEADERS, CAP)

    assert len(first.asked) == 1
    assert server.connections == 3


async def test_one_that_is_silent_is_passed_over_while_others_answer(
    make: Make, raw_server: ServeRaw, a_proxy: ServeProxy
) -> None:
    server = await raw_server(saying(answer(b"x")))
    proxy_servers = [await a_proxy("http"), await a_proxy("http")]
    proxies = through(*proxy_servers)
    chosen = proxies.choose("127.0.0.1")
    [first] = [p for p in proxy_servers if chosen is not None and p.port == chosen.port]
    first.silent = True
    fetcher = make(proxies=proxies, timeout_s=1)

    response = await fetcher.fetch(server.url, HEADERS, CAP)

    assert response.body == b"x"
    assert "another proxy responded" in "".join(proxies.notes())


async def test_one_that_is_silent_for_several_hosts_rests(make: Make, a_proxy: ServeProxy) -> None:
    http, socks = await a_proxy("http", silent=True), await a_proxy("socks5", silent=True)
    for proxy, most in ((http, 3), (socks, 1)):  # SOCKS5 says something before it is asked for one
        proxies = through(proxy)
        fetcher = make(proxies=proxies, timeout_s=0.3)
        for number in range(1, most + 1):
            assert proxies.any_ready
            failed = await failure(fetcher.fetch(f"http://127.0.0.{number}:9/", HEADERS, CAP))
            assert failed.detail == f"proxy {proxy.url}: no response in time"
        assert not proxies.any_ready


async def test_a_crawl_goes_through_the_proxies_that_are_left(
    tmp_path: Path, a_proxy: ServeProxy
) -> None:
    proxy_servers = [
        await a_proxy("http", login="me:hunter2"),
        await a_proxy("socks5", login="me:hunter2"),
    ]
    async with (
        PeerSite(GraphSite(tree(4, 2)), latency_s=0.02) as server,
        opened(tmp_path, allow_proxies=("127.0.0.0/8",)) as yard,
    ):
        proxies = [proxy.url for proxy in proxy_servers]
        spec = a_spec(f"{server.url}/", proxies=proxies, url_retries=3, concurrency=4)
        job = await submit(yard, spec)
        running = asyncio.create_task(yard.worker(only=job.id).run())
        await until(lambda: len(server.hits) > 7)
        [busy] = [proxy for proxy in proxy_servers if proxy.asked]
        await busy.close()
        await running

        come = await outcome(yard, job.id)
        events = await documented_events_of(yard, job.id)
        assert len(come.ok) == 21
        assert server.peers == {"127.0.0.99"}
        assert all(proxy.asked for proxy in proxy_servers)
        progress = progress_of_standing(await find_job(yard.store, LOCAL, job.id))
        uses = {use.proxy: use for use in progress.proxies}
        assert uses.keys() == {f"{proxy.scheme}://{proxy.address}" for proxy in proxy_servers}
        died = uses[f"{busy.scheme}://{busy.address}"]
        assert died.failures > 0
        assert all(use.connections > 0 for use in uses.values())
        assert any("rests for 2 s" in str(event.data) for event in events)
        assert "hunter2" not in f"{events}{come.pages}"


async def test_a_crawl_waits_while_all_proxies_rest_and_loses_nothing(
    tmp_path: Path, a_proxy: ServeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.engine.http.proxy.FIRST_REST_S", 1.0)
    dialled: list[str] = []
    dial = ProxiedConnector.dial

    async def counted(
        connector: ProxiedConnector, url: str, make: Callable[[], ClientConnection]
    ) -> ClientConnection:
        dialled.append(url)
        return await dial(connector, url, make)

    monkeypatch.setattr(ProxiedConnector, "dial", counted)
    only = await a_proxy("socks5")
    async with (
        PeerSite(GraphSite(tree(3, 2)), latency_s=0.02) as server,
        opened(tmp_path, allow_proxies=(only.address,)) as yard,
    ):
        spec = a_spec(f"{server.url}/", proxies=[only.url], url_retries=2, concurrency=3)
        job = await submit(yard, spec)
        running = asyncio.create_task(yard.worker(only=job.id).run())
        await until(lambda: len(server.hits) > 4)
        await only.close()
        events: Sequence[Event] = []
        while not _resting(events):
            await asyncio.sleep(0.02)
            events = await documented_events_of(yard, job.id)
        request_count = len(server.hits)
        await only.open()
        await running

        come = await outcome(yard, job.id)
        assert len(come.ok) == 13
        assert request_count < len(server.hits)
        assert len(dialled) < 60  # those that wait are not tried in vain
        assert server.peers == {"127.0.0.99"}


def _resting(events: Sequence[Event]) -> bool:
    return any(" rests for " in str(event.data.get("note")) for event in events)


async def test_a_crawl_with_dead_proxies_fails_without_a_direct_request(
    tmp_path: Path, a_proxy: ServeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.engine.http.proxy.FIRST_REST_S", 0.01)
    dead = await a_proxy("http", login="me:hunter2")
    await dead.close()
    async with (
        PeerSite(GraphSite(tree(2, 1))) as server,
        opened(tmp_path, allow_proxies=(dead.address,)) as yard,
    ):
        spec = a_spec(f"{server.url}/", proxies=[dead.url], ignore_robots=True, url_retries=1)
        come = await crawled(yard, spec)

        assert come.job.state is State.FAILED
        assert f"proxy http://{dead.address}: unreachable" in come.job.detail
        assert set(come.errors.values()) == {"proxy"}
    assert server.hits == []


async def test_the_login_of_a_proxy_is_in_no_answer(yard: Yard) -> None:
    spec = a_spec("https://site.test/", proxies=["socks5://me:hunter2@198.41.0.4:1080"])

    job = await submit(yard, spec)

    standing = await find_job(yard.store, LOCAL, job.id)
    shown_urls = SpecOut.of(standing.job.spec).proxies
    assert list(shown_urls) == ["socks5://***@198.41.0.4:1080"]
    assert "hunter2" not in str(await documented_events_of(yard, job.id))


async def test_a_proxy_that_the_operator_does_not_open_is_refused(yard: Yard) -> None:
    for at in ("127.0.0.1:3128", "[::1]:1080", "10.0.0.7:8080", "localhost:3128", "2130706433:80"):
        spec = a_spec("https://site.test/", proxies=[f"http://me:hunter2@{at}"])
        with pytest.raises(Invalid, match="CRAWLYARD_ALLOW_PROXIES=") as refused:
            await submit(yard, spec)
        assert refused.value.field == "proxies"
        assert "hunter2" not in str(refused.value)
    for wrong in (
        "me:hunter2@198.41.0.4:1080",
        "socks4://me:hunter2@198.41.0.4:1080",
        "socks5://me:hun/ter2@198.41.0.4:1080",
        "http://me:hunter2@198.41.0.4",
        "http://me:hunter2@198.41.0.4:99999",
        "http://me:hunter2@198.41.0.4:80/path",
        "http://:hunter2@198.41.0.4:80",
        "http://***@198.41.0.4:80",  # as answers show it
        f"socks5://me:{'hunter2' * 40}@198.41.0.4:80",
    ):
        with pytest.raises(Invalid, match="expected") as refused:
            await submit(yard, a_spec("https://site.test/", proxies=[wrong]))
        assert "ter2" not in str(refused.value), wrong


async def test_a_preview_goes_through_proxies_as_well(tmp_path: Path, a_proxy: ServeProxy) -> None:
    proxy = await a_proxy("http")
    async with (
        PeerSite(GraphSite({"/": []})) as server,
        opened(tmp_path, allow_proxies=(proxy.address,)) as yard,
    ):
        form = {"urls": [server.url], "allow_private": True, "proxies": [proxy.url]}
        request = JobRequest(form=form)
        await yard.services.preview.of(LOCAL, request)
        await proxy.close()
        await yard.services.preview.of(LOCAL, request)

        assert server.peers == {"127.0.0.99"}
        assert {hit.path for hit in server.hits} == {"/robots.txt"}


async def test_each_host_has_its_proxy_and_only_those_of_a_dead_one_move() -> None:
    clock = FakeClock()
    names = [f"http://198.41.0.{number}:3128" for number in range(8)]
    hosts = [f"host{number}.test" for number in range(200)]
    proxies = Proxies(names, PUBLIC, clock)

    before = {host: proxies.choose(host) for host in hosts}
    again = Proxies(names[::-1], PUBLIC, clock)  # in another process, perhaps
    dead = before[hosts[0]]
    assert dead is not None
    proxies.record_failure(dead, "gone")
    moved = [host for host in hosts if proxies.choose(host) is not before[host]]

    labels = {host: proxy.label for host, proxy in before.items() if proxy is not None}
    assert {host: p.label for host in hosts if (p := again.choose(host))} == labels
    assert moved == [host for host in hosts if before[host] is dead]
    assert len(set(labels.values())) == 8


async def test_rests_grow_and_one_connection_tries_what_rested() -> None:
    clock = FakeClock()
    proxies = Proxies(["socks5://198.41.0.4:1080"], PUBLIC, clock)
    [only] = proxies.rank_for("a.test")
    rests = []
    for _ in range(12):
        proxies.record_failure(only, "gone")
        proxies.record_failure(only, "gone")  # one that was under way at once
        assert not proxies.any_ready
        rests.append(proxies.rest_s)
        clock.stall(timedelta(seconds=proxies.rest_s))
        assert proxies.any_ready

    with proxies.trial(only):
        assert not proxies.any_ready
        assert proxies.choose("b.test") is None
    proxies.record_tunnel(only)
    proxies.record_failure(only, "gone")

    assert rests == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]
    assert proxies.rest_s == 2
