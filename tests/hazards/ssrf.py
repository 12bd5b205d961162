"""Ways to make a crawler ask a machine that it must not ask: the canary."""

from crawlyard.demo.site import Answer
from tests.hazards.common import Hazard, HazardRequest, html, location, page

BLOCKED = ("failed:blocked_address", "skipped", "failed:bad_redirect")

ADDRESSES = (
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1.",
    "2130706433",  # one number
    "0x7f000001",
    "0x7F.0.0.1",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "%31%32%37.0.0.1",
    "\uff11\uff12\uff17.0.0.1",  # full-width digits
    "\u2460\u2461\u2466.0.0.1",  # circled digits
    "127\u30020\u30020\u30021",  # ideographic full stops
    "0.0.0.0",
    "0",
    "127.0.0.2",
    "127.255.255.254",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",  # NAT64
    "[2002:7f00:1::]",  # 6to4
    "user:secret@127.0.0.1",
    "example.org@127.0.0.1",
)
"""Spellings of loopback, for a canary that listens there."""

ELSEWHERE = (
    *("http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/"),
    *("http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/", "http://100.64.0.1/"),
    *("http://169.254.1.1/", "http://224.0.0.1/", "http://240.0.0.1/", "http://255.255.255.255/"),
    *("http://192.0.2.1/", "http://198.18.0.1/", "http://[fe80::1]/", "http://[fc00::1]/"),
    *("http://[ff02::1]/", "http://[fec0::1]/", "http://[64:ff9b::a00:1]/"),
    *("http://[2001:db8::1]/", "http://[2002:a00:1::]/", "http://[::ffff:10.0.0.1]/"),
)
"""URLs that are no loopback and must not be connected to either. No page here links to them."""


def spellings(canary: str) -> tuple[str, ...]:
    """Return URLs of the canary at *canary* (host:port): its port at each of `ADDRESSES`."""
    port = canary.rpartition(":")[2]
    return tuple(
        f"http://{address}:{port}/canary/{number}" for number, address in enumerate(ADDRESSES)
    )


def links(call: HazardRequest) -> Answer:
    return page(*spellings(call.world.canary), "/found/ssrf/links")


def redirect(call: HazardRequest) -> Answer:
    """Lead to one spelling: /ssrf/to/3."""
    return location(spellings(call.world.canary)[int(call.path.rpartition("/")[2])])


def hop(call: HazardRequest) -> Answer:
    return location(f"/ssrf/to/{call.path.rpartition('/')[2]}")


def redirects(_: HazardRequest) -> Answer:
    return page(*(f"/ssrf/{kind}/{n}" for kind in ("to", "hop") for n in range(len(ADDRESSES))))


def meta(call: HazardRequest) -> Answer:
    url = f"http://{call.world.canary}/canary/meta"
    return page("/found/ssrf/meta", head=f'<meta http-equiv=refresh content="0;url={url}">')


def embedded(call: HazardRequest) -> Answer:
    at = f"http://{call.world.canary}/canary"
    return html(
        f'<base href="{at}/base/"><iframe src="{at}/iframe"></iframe><img src="{at}/img">'
        f'<link rel=stylesheet href="{at}/css"><script src="{at}/js"></script><a href="x">x</a>'
        f'<link rel=canonical href="{at}/canonical"><form action="{at}/form"></form>'
        f'<a href="http://{call.host}/found/ssrf/embedded">on</a>'
    )


HAZARDS = (
    Hazard("/ssrf/links", links, ("page",), ("/found/ssrf/links",)),
    Hazard("/ssrf/redirects", redirects, ("page",), ("/ssrf/to/0", "/ssrf/hop/0")),
    Hazard("/ssrf/to/*", redirect, BLOCKED, start="/ssrf/to/0"),
    Hazard("/ssrf/hop/*", hop, BLOCKED, ("/ssrf/to/0",), start="/ssrf/hop/0"),
    Hazard("/ssrf/meta", meta, ("page", *BLOCKED)),
    Hazard("/ssrf/embedded", embedded, ("page",), ("/found/ssrf/embedded",)),
)
