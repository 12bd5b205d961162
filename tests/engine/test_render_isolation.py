"""Pages that attack the network they are rendered in: what listens there hears nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import Browser
from crawlyard.demo.site import Answer
from crawlyard.engine.http import connect
from crawlyard.engine.http.dns import Infos, look_up
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.render import process
from tests.engine.clients import Make
from tests.engine.render_rig import MakeRig, rig, scripted

__all__ = ["rig"]

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("browser", Browser)]

ATTACKS = r"""
  const to = '127.0.0.2:PORT', told = [];
  const tried = (name, attempt) => { try { attempt(); told.push(name) } catch { } };
  tried('fetch', () => fetch(`http://${to}/fetch`).catch(() => {}));
  tried('cors', () => fetch(`http://${to}/c`, {mode: 'no-cors', credentials: 'include'})
    .catch(() => {}));
  tried('xhr', () => { const r = new XMLHttpRequest(); r.open('GET', `http://${to}/x`); r.send() });
  tried('sync', () => {
    const r = new XMLHttpRequest(); r.open('GET', `http://${to}/s`, false); r.send() });
  tried('socket', () => new WebSocket(`ws://${to}/w`));
  tried('secure', () => new WebSocket(`wss://${to}/w`));
  tried('events', () => new EventSource(`http://${to}/e`));
  tried('beacon', () => navigator.sendBeacon(`http://${to}/b`, 'x'));
  tried('image', () => { new Image().src = `http://${to}/i` });
  tried('worker', () => new Worker(URL.createObjectURL(
    new Blob([`fetch('http://${to}/wf'); new WebSocket('ws://${to}/ww')`]))));
  tried('module', () => import(`http://${to}/m.js`).catch(() => {}));
  tried('webtransport', () => new WebTransport(`https://${to}/t`));
  const call = (place) => {
    const p = new place.RTCPeerConnection({iceServers: [{urls: `stun:${to}`}, {urls: `turn:${to}`,
      username: 'u', credential: 'c'}, {urls: `turn:${to}?transport=tcp`, username: 'u',
      credential: 'c'}]});
    p.createDataChannel('x'); p.createOffer().then((o) => p.setLocalDescription(o)) };
  tried('rtc', () => call(window));
  tried('rtc in a frame', () => {
    const frame = document.createElement('iframe'); document.body.append(frame);
    call(frame.contentWindow) });
  tried('rtc in a document', () => {
    const frame = document.createElement('iframe');
    frame.srcdoc = `<script>(${call})(window)<\/script>`.replace('${to}', to);
    document.body.append(frame) });
  tried('rtc in data', () => {
    const frame = document.createElement('iframe');
    frame.src = `data:text/html,<script>const to = '${to}';(${call})(window)<\/script>`;
    document.body.append(frame) });
  for (const html of [`<img src="//${to}/1"><link rel=prefetch href="//${to}/2">`,
    `<link rel=dns-prefetch href="//${to}"><link rel=preconnect href="//${to}">`,
    `<link rel=stylesheet href="//${to}/3"><iframe src="//${to}/4"></iframe>`,
    `<object data="//${to}/5"></object><embed src="//${to}/6"><video src="//${to}/7"></video>`,
    `<style>@import "//${to}/8"; body { background: url(//${to}/9) }</style>`,
    `<iframe srcdoc="<img src='//${to}/10'><script src='//${to}/11'></script>"></iframe>`,
    `<form action="//${to}/12" method=post id=f></form><a ping="//${to}/13" href="#" id=a>a</a>`])
    tried('html', () => document.body.insertAdjacentHTML('beforeend', html));
  tried('script', () => {
    document.head.append(Object.assign(document.createElement('script'), {src: `//${to}/14`})) });
  tried('ping', () => a.click());
  tried('window', () => window.open(`http://${to}/15`));
  tried('service', () => navigator.serviceWorker.register('/sw.js'));
  fetch('/hop').catch(() => {}); fetch('/hop', {mode: 'no-cors'}).catch(() => {});
  new Image().src = '/hop';
  document.head.append(Object.assign(document.createElement('script'), {src: '/hop'}));
  setTimeout(() => tried('form', () => f.submit()), 300);
  setTimeout(() => { location = `http://${to}/16` }, 600);
  document.title = told;
"""


@dataclass
class Canary:
    """Records connections and packets to a port of 127.0.0.2, by TCP and UDP."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    heard_udp: asyncio.Event = field(default_factory=asyncio.Event)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, canary: Canary) -> None:
        self._canary = canary

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._canary.heard.append(b"UDP " + data[:60])
        self._canary.heard_udp.set()


@asynccontextmanager
async def a_canary() -> AsyncIterator[Canary]:
    canary = Canary()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        canary.heard.append(b"TCP " + await reader.read(60))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.2", 0)
    canary.port = server.sockets[0].getsockname()[1]
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Udp(canary), ("127.0.0.2", canary.port)
    )
    try:
        yield canary
    finally:
        udp.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("namespace", [True, False], ids=["no network", "no namespace"])
async def test_a_page_that_attacks_another_address_reaches_nothing(
    rig: MakeRig, browser: Browser, namespace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "WITHOUT_NETWORK", namespace)
    async with a_canary() as canary:
        hop = Answer(302, (("Location", f"http://127.0.0.2:{canary.port}/hop"),))
        script = ATTACKS.replace("PORT", str(canary.port))  # has an end tag of a script in it
        shell = scripted("", '<p><script src="/attack.js"></script>')
        site = await rig({"/": shell, "/attack.js": script, "/sw.js": "fetch('/hop')", "/hop": hop})
        page = await site.render(browser, "/")

        assert b"fetch,cors,xhr" in page.html  # they were tried
        assert canary.heard == []

        # and it would have heard them
        reader, writer = await asyncio.open_connection("127.0.0.2", canary.port)
        writer.write(b"here")
        await reader.read()
        writer.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"here", ("127.0.0.2", canary.port))
        await canary.heard_udp.wait()
        assert sorted(canary.heard) == [b"TCP here", b"UDP here"]

    refused = {failure.kind for failure in site.refused}
    assert refused == {ErrorKind.BLOCKED_ADDRESS}  # by the guard, in the fetcher of the job
    assert {request.same_site for request in site.asked if "127.0.0.2" in request.url} == {False}


async def test_a_rebound_dns_name_is_blocked(
    rig: MakeRig, browser: Browser, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "_FRESH_S", 0.0)  # for 30 s, a name leads where it led
    looked: list[str] = []

    def look(host: str, port: int) -> Infos:
        looked.append(host)
        return look_up("127.0.0.1" if len(looked) == 1 else "127.0.0.2", port)

    headers = (("Access-Control-Allow-Origin", "*"), ("Connection", "close"))
    site = await rig({"/": scripted(""), "/data.json": Answer(200, headers, b"read")})
    there = f"rebound.test:{site.server.port}"
    site.fetcher = make(guard=Guard(("127.0.0.1",)), look=look)
    script = f"""
      const again = () => fetch('http://{there}/data.json', {{cache: 'reload'}});
      again().then((r) => r.text()).then((text) => {{ out.textContent = text }}).then(again)
        .catch(() => {{ out.textContent += ' once' }})
    """
    site.bodies["/"] = scripted(script)
    async with a_canary() as canary:
        page = await site.render(browser, "/")

        assert b">read once<" in page.html
        assert canary.heard == []
    assert looked
    assert ErrorKind.BLOCKED_ADDRESS in {failure.kind for failure in site.refused}


async def test_a_browser_knows_no_secrets_of_the_worker(
    rig: MakeRig, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAWLYARD_DATABASE_URL", "postgresql://secret")
    site = await rig({"/": scripted("")})
    await site.render(browser, "/")

    [seat] = site.renderers._pools[browser]._idle
    running = seat.browser.process
    assert running is not None
    assert running.isolated
    environment = (Path("/proc") / str(running.pid) / "environ").read_bytes()
    assert b"secret" not in environment
    assert b"PATH=" in environment
